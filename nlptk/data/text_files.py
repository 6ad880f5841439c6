"""Opening data files: by their extension, through gzip, in the right encoding, with errors that name the line."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from nlptk.errors import DataError
from nlptk.recipe import FileFormat

Format = FileFormat

EXTENSIONS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".txt": "text",
}
READ_ONLY: tuple[Format, ...] = ("conll", "squad", "text")
KNOWN = f"{', '.join(EXTENSIONS)}, each also with .gz"
SETTING = "data.encoding"

_MARKS = (  # UTF-32 first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def format_of(path: Path) -> Format | None:
    """What a file holds by its name, or None for an unknown extension."""
    name = path.name.lower().removesuffix(".gz")
    return EXTENSIONS.get(Path(name).suffix)


def known_format(path: Path) -> Format:
    """The file's format.

    Raises:
        DataError: the extension is none that nlptk reads and writes.
    """
    found = format_of(path)
    if found is None:
        came = "".join(path.suffixes[-2:]) or "no extension"
        raise DataError(f"{path}: {came} is not a kind of file nlptk knows; expected {KNOWN}, or set data.format")
    return found


def written_format(path: Path) -> Format:
    """The format of a file to be written.

    Raises:
        DataError: the extension is none that nlptk writes.
    """
    found = format_of(path)
    if found is None or found in READ_ONLY:
        came = "".join(path.suffixes[-2:]) or "no extension"
        written = ", ".join(name for name, kind in EXTENSIONS.items() if kind not in READ_ONLY)
        raise DataError(f"{path}: {came} is not a kind of file nlptk writes; expected {written}, each also with .gz")
    return found


def open_bytes(path: Path) -> BinaryIO:
    """The file's content as bytes, decompressed."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def encoding_of(path: Path, encoding: str, *, setting: str = SETTING) -> str:
    """The encoding a byte order mark announces, else the one asked for. setting: what a message calls the latter.

    Raises:
        DataError: Python knows no encoding of that name.
    """
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise DataError(f"{setting}={encoding}: no such encoding; for example utf-8, latin-1, cp1252") from None
    with open_bytes(path) as stream:
        start = stream.read(4)
    return next((name for mark, name in _MARKS if start.startswith(mark)), encoding)


def open_text(path: Path, encoding: str, *, newline: str, setting: str = SETTING) -> TextIO:
    """The file's content as text; newline as for `open`."""
    return io.TextIOWrapper(open_bytes(path), encoding=encoding_of(path, encoding, setting=setting), newline=newline)


@contextmanager
def reading(path: Path, encoding: str, *, setting: str = SETTING) -> Iterator[None]:
    """Turn what can go wrong while a file is read into a DataError. setting: what a message calls the encoding.

    Raises:
        DataError: wrong encoding (with line and byte), damaged gzip, no permission, not a file.
    """
    try:
        yield
    except UnicodeError as error:
        raise DataError(_undecodable(path, encoding, setting)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        cure = "it is cut short or damaged; fetch or compress it again"
        raise DataError(f"{path}: not a whole gzip file ({error}); {cure}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _undecodable(path: Path, encoding: str, setting: str) -> str:
    actual = encoding_of(path, encoding, setting=setting)
    decoder = codecs.getincrementaldecoder(actual)()
    line, consumed = 1, 0
    with open_bytes(path) as stream:
        while True:
            chunk = stream.read(1 << 16)
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].decode(actual, errors="replace").count("\n")
                byte, offset = error.object[error.start], consumed - pending + error.start
                where = f"{path}, line {line}: byte 0x{byte:02x} at offset {offset} is not {actual}"
                return f"{where}; save the file as UTF-8 or set {setting} (latin-1, cp1252, ...)"
            except UnicodeError as error:
                return f"{path}: not {actual} ({error}); save the file as UTF-8 or set {setting}"
            if not chunk:
                return f"{path}: not {actual}; save the file as UTF-8 or set {setting}"
            consumed += len(chunk)
