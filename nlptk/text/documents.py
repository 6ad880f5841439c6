"""Documents streamed from text files: one at a time, never a file whole in memory."""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlptk.data.cache import file_digest, key_of
from nlptk.data.text_files import open_text, reading
from nlptk.data.values import half_pair
from nlptk.errors import DataError
from nlptk.nearest import did_you_mean
from nlptk.text.option_names import Named, in_recipe

TEXT, ROWS = (".txt",), (".jsonl", ".ndjson")
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Corpus:
    """Text files and how documents are found in them.

    column: of jsonl files; lines_per_document: consecutive non-empty lines of a txt file that make one document.
    named: what error messages call the settings.
    """

    files: tuple[Path, ...]
    column: str = "text"
    lines_per_document: int = 1
    encoding: str = "utf-8"
    max_documents: int | None = None
    named: Named = in_recipe

    def documents(self) -> Iterator[str]:
        """Every document that is not empty, in the order of the files. Raises: DataError with file and line."""
        found = (document for path in self.files for document in self._of_file(path))
        return itertools.islice(found, self.max_documents)

    def key(self) -> str:
        """A name for exactly these documents: it changes with any byte of a file and with how they are read."""
        digests = [file_digest(path) for path in self.files]
        return key_of(
            "corpus", digests, self.column, self.lines_per_document, self.encoding.lower(), self.max_documents
        )

    def _of_file(self, path: Path) -> Iterator[str]:
        setting = self.named("encoding")
        with (
            reading(path, self.encoding, setting=setting),
            open_text(path, self.encoding, newline="\n", setting=setting) as lines,
        ):
            # marks are left inside a file that was joined from several
            clean = (line.replace(_BYTE_ORDER_MARK, "") for line in lines)
            if _stem_suffix(path) in ROWS:
                for number, line in enumerate(clean, start=1):
                    if line.strip() and (text := self._of_row(line, f"{path}, row {number}")):
                        yield text
            else:
                filled = (text for line in clean if (text := line.strip()))
                while group := list(itertools.islice(filled, self.lines_per_document)):
                    yield "\n".join(group)

    def _of_row(self, line: str, where: str) -> str:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not JSON ({error}); expected one object a line") from None
        value = row.get(self.column) if isinstance(row, dict) else None
        if not isinstance(value, str):
            had = ", ".join(sorted(row)) if isinstance(row, dict) else f"a {type(row).__name__}, not an object"
            raise DataError(f"{where}: no text in column {self.column!r} (it has: {had}); set {self.named('column')}")
        if fault := half_pair(value):
            raise DataError(f"{where}: {self.column} {fault}; mend the row")
        return value.strip()


def find_corpus(
    files: str | Path | Sequence[str | Path],
    *,
    column: str = "text",
    lines_per_document: int = 1,
    encoding: str = "utf-8",
    max_documents: int | None = None,
    named: Named = in_recipe,
) -> Corpus:
    """The corpus in these files or globs, in the order given. Raises: DataError for what is missing or no text."""
    given = [files] if isinstance(files, str | Path) else list(files)
    found = tuple(dict.fromkeys(path for item in given for path in _matching(str(item))))
    if not found:
        raise DataError(f"{named('train')}: an empty list of files; give at least one")
    for path in found:
        if _stem_suffix(path) not in (*TEXT, *ROWS):
            raise DataError(f"{path}: not a kind of text file nlptk knows; expected .txt or .jsonl, each also .gz")
    corpus = Corpus(found, column, lines_per_document, encoding, max_documents, named)
    if next(corpus.documents(), None) is None:
        listed = ", ".join(map(str, found[:3]))
        raise DataError(f"{listed}: no text in {'it' if len(found) == 1 else 'them'}; give files with text")
    return corpus


def is_held_out(document: str, share: float) -> bool:
    """Whether a document belongs to the held-out part: a function of its text alone, so that repeated documents stay
    on one side, and a document held out once is held out in every run with that share or a larger one."""
    return _place(document) < share * 2**64


def _place(document: str) -> int:
    digest = hashlib.blake2b(document.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def dividing_share(documents: Iterable[str]) -> float | None:
    """A share, of four decimals, that holds out one of these documents (and its repetitions) and leaves the others.

    None where there is none: of a single document, or of two that stand too near each other.
    """
    places = sorted({_place(document) for document in documents})
    if len(places) < 2:
        return None
    share = math.ceil((places[0] + 1) / 2**64 * 10_000) / 10_000
    return share if share < 1 and places[1] >= share * 2**64 else None


def _stem_suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _matching(item: str) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_file():
        return [path]
    if glob.has_magic(item):
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        if files:
            return files
        raise DataError(f"{item}: no file matches; the pattern is taken from {Path.cwd()}")
    if path.is_dir():
        raise DataError(f"{item}: a folder; give its files, such as {path / '*.txt'}")
    near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
    raise DataError(f"{item}: file not found{near}; paths are taken from {Path.cwd()}")
