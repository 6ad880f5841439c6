"""Writing rows to any format nlptk reads, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from nlptk.data.cache import disk_errors
from nlptk.data.formats import BATCH_ROWS
from nlptk.data.text_files import written_format
from nlptk.data.values import half_pair
from nlptk.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]


def write_rows(path: str | Path, rows: Iterable[Row], *, types: Mapping[str, pa.DataType] | None = None) -> None:
    """Write rows to a file whose extension says the format; the file appears when it is whole, or not at all.

    The columns of csv, tsv and parquet are those of the first row; values that are no text or number become JSON text
    in csv and tsv. With .gz the same rows give the same bytes. types: of parquet columns whose first rows do not tell.

    Raises:
        DataError: an unknown extension, a full disk, or a row whose keys or types do not fit the others.
    """
    path = Path(path)
    kind = written_format(path)
    with _replacing(path) as stream:
        if kind == "parquet":
            _write_parquet(path, stream, rows, types or {})
            return
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        if kind == "jsonl":
            for number, row in enumerate(rows, start=1):
                text.write(_json(row, path, number) + "\n")
        elif kind == "json":
            _write_array(path, text, rows)
        else:
            _write_delimited(path, text, rows, "," if kind == "csv" else "\t")
        text.flush()
        text.detach()


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with disk_errors(path, elsewhere="give another path"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as raw:
                if path.name.lower().endswith(".gz"):
                    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                        yield cast(BinaryIO, packed)
                else:
                    yield raw
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _json(row: Any, path: Path, number: int) -> str:
    try:
        value = dict(row) if isinstance(row, Mapping) else row
        text = json.dumps(value, ensure_ascii=False, default=_plain)
        return json.dumps(value, default=_plain) if half_pair(text) else text
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, row {number}: cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as Python's own."""
    plain = getattr(value, "tolist", None)
    if plain is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return plain()


def _schema(batch: Sequence[Row], types: Mapping[str, pa.DataType]) -> pa.Schema:
    """Of the first rows, in their columns' order."""
    import pyarrow as pa

    told = pa.Table.from_pylist([{name: row[name] for name in row if name not in types} for row in batch]).schema
    names = list(batch[0]) if batch else []
    return pa.schema([pa.field(name, types[name]) if name in types else told.field(name) for name in names])


def _write_array(path: Path, text: TextIO, rows: Iterable[Row]) -> None:
    text.write("[")
    for number, row in enumerate(rows, start=1):
        text.write((",\n" if number > 1 else "\n") + _json(row, path, number))
    text.write("\n]\n")


def _write_delimited(path: Path, text: TextIO, rows: Iterable[Row], delimiter: str) -> None:
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    names: list[str] = []
    for number, row in enumerate(rows, start=1):
        if number == 1:
            names = list(row)
            writer.writerow(names)
        strange = sorted(set(row) - set(names))
        if strange:
            raise DataError(f"{path}, row {number}: keys {', '.join(strange)} that the first row does not have")
        cells = [_cell(row.get(name), path, number) for name in names]
        if cells == [""]:  # the csv module writes a lone empty cell as an empty line, which readers skip
            text.write('""\n')
        else:
            writer.writerow(cells)


def _cell(value: Any, path: Path, number: int) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and not half_pair(value):
        return value
    return _json(value, path, number)


def _write_parquet(path: Path, stream: BinaryIO, rows: Iterable[Row], types: Mapping[str, pa.DataType]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = iter(rows)
    writer, first = None, 1
    try:
        while True:
            batch = [dict(row) for row in itertools.islice(source, BATCH_ROWS)]
            if not batch and writer is not None:
                break
            table = pa.Table.from_pylist(batch, schema=writer.schema if writer is not None else _schema(batch, types))
            if writer is None:
                writer = pq.ParquetWriter(stream, table.schema)
            writer.write_table(table)
            first += len(batch)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{path}, rows from {first}: values of different types in one column: {error}") from error
    finally:
        if writer is not None:
            writer.close()
