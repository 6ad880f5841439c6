"""Readers of text files: delimited, JSON lines, JSON arrays; bounded batches with their row numbers.

A row's number is its place among the rows of its file, from 1, in every format: header and blank lines are no rows,
rows that cannot be used count. Where a row is malformed, the message adds its line.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nlptk.data.inputs import of_cells, of_objects
from nlptk.data.problems import Problems, counted
from nlptk.data.squad import is_squad, squad_rows
from nlptk.data.text_files import open_text, reading
from nlptk.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 10_000
BATCH_CHARACTERS = 16_000_000
"""A batch ends at whichever limit comes first, so that very long texts stay bounded too."""

ABSENT = object()
"""The value of a key that a JSON object does not have."""

_PEEKED_ROWS = 1_000


@dataclass
class Batch:
    """Some rows: their numbers, the raw values of the wanted columns, and all columns (`inputs`) where asked for."""

    numbers: list[int]
    columns: dict[str, list[Any]]
    inputs: pa.Table | None = None


class Reader(Protocol):
    """An opened source of rows.

    columns: the names present; of JSON lines those of the first rows, and of all rows once they were read.
    class_names: names of integer labels, where the source declares them. cells: every value is text (a delimited file).
    blank_lines: counted while reading. total: rows, where that is known before they are read.
    """

    columns: list[str]
    class_names: Mapping[str, tuple[str, ...]]
    cells: bool
    blank_lines: int
    total: int | None

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        """Rows in order. whole: keep all columns in `Batch.inputs`, too."""
        ...


@contextmanager
def _any_field_size() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@dataclass
class DelimitedReader:
    """A csv or tsv file with a header line."""

    path: Path
    encoding: str
    delimiter: str
    columns: list[str] = field(init=False)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: bool = True
    blank_lines: int = 0
    total: int | None = None

    def __post_init__(self) -> None:
        with reading(self.path, self.encoding), _any_field_size(), self._open() as stream:
            records = csv.reader(stream, delimiter=self.delimiter, strict=True)
            try:
                header = next((record for record in records if record), None)
            except csv.Error as error:
                raise DataError(f"{self.path}: the header is not valid csv: {error}") from error
        if header is None:
            raise DataError(f"{self.path}: the file is empty; expected a header line and rows")
        self.columns = _named(header)
        twice = sorted(name for name, count in Counter(self.columns).items() if count > 1)
        if twice:
            raise DataError(f"{self.path}: the header names {', '.join(map(repr, twice))} twice; rename one")

    def _open(self) -> Any:
        return open_text(self.path, self.encoding, newline="")

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        places = [(name, self.columns.index(name)) for name in wanted]
        with reading(self.path, self.encoding), _any_field_size(), self._open() as stream:
            for numbers, records in self._chunks(stream, problems):
                inputs = of_cells(self.columns, records) if whole else None
                yield Batch(numbers, {name: [record[place] for record in records] for name, place in places}, inputs)

    def _chunks(self, stream: Any, problems: Problems) -> Iterator[tuple[list[int], list[list[str]]]]:
        width, header_seen, size, number = len(self.columns), False, 0, 0
        numbers: list[int] = []
        records: list[list[str]] = []
        for start, record in self._records(stream):
            if isinstance(record, csv.Error):
                number += 1
                problems.add(number, f"not valid csv: {record} (line {start})")
                continue
            if not header_seen or not record:
                self.blank_lines += not record
                header_seen = header_seen or bool(record)
                continue
            number += 1
            if len(record) != width:
                fields = counted(len(record), "field")
                problems.add(number, f"{fields} where the header has {width} (line {start})")
            else:
                numbers.append(number)
                records.append(record)
                size += sum(map(len, record))
                if len(records) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                    yield numbers, records
                    numbers, records, size = [], [], 0
        yield numbers, records

    def _records(self, stream: Any) -> Iterator[tuple[int, list[str] | csv.Error]]:
        """Each record, or why there is none, with the number of its first line.

        A record that is not valid ends with its first line: one quote that is not closed would else take along the
        lines up to the next quote, or all there are.
        """
        lines = _Lines(stream)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            lines.begin()
            try:
                record = next(reader, None)
            except csv.Error as error:
                yield lines.first, error
                lines.go_back_to_second()
                reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
                continue
            if record is None:
                return
            yield lines.first, record


class _Lines:
    """Lines of a stream, those of the record that is being read kept, so that one can go back."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._stream = iter(stream)
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self.first = 1
        """Number of the record's first line, from 1."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._stream)
        self._taken.append(line)
        return line

    def begin(self) -> None:
        """Begin a record with the next line."""
        self.first += len(self._taken)
        self._taken = []

    def go_back_to_second(self) -> None:
        """Read the lines behind the record's first once more."""
        self._again.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]


@dataclass
class JsonLinesReader:
    """A JSON object a line."""

    path: Path
    encoding: str
    columns: list[str] = field(init=False)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: bool = False
    blank_lines: int = 0
    total: int | None = None

    def __post_init__(self) -> None:
        names: dict[str, None] = {}
        content = False
        for number, line in self._lines():
            content = content or bool(line.strip())
            found = _parsed(line.rstrip())
            if isinstance(found, dict):
                names.update(dict.fromkeys(found))
            if number >= _PEEKED_ROWS and names:
                break
        if not content:
            raise DataError(f"{self.path}: the file is empty; expected a JSON object a line")
        self.columns = list(names)

    def _lines(self) -> Iterator[tuple[int, str]]:
        with reading(self.path, self.encoding), open_text(self.path, self.encoding, newline="\n") as stream:
            yield from enumerate(stream, start=1)

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        numbers: list[int] = []
        rows: list[dict[str, Any]] = []
        size = 0
        names, number = dict.fromkeys(self.columns), 0
        self.blank_lines = 0
        for place, line in self._lines():
            if not line.strip():
                self.blank_lines += 1
                continue
            number += 1
            found = _parsed(line.rstrip())
            if isinstance(found, dict):
                numbers.append(number)
                rows.append(found)
                names.update(dict.fromkeys(found))
                size += len(line)
            else:
                fault = found.message if isinstance(found, _Invalid) else f"{_kind(found)}, not an object"
                problems.add(number, fault if number == place else f"{fault} (line {place})")
            if len(rows) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                yield _by_column(numbers, rows, wanted, whole=whole)
                numbers, rows, size = [], [], 0
        yield _by_column(numbers, rows, wanted, whole=whole)
        self.columns = list(names)


@dataclass
class JsonReader:
    """A JSON array of objects, bare or under "data", or a SQuAD file, read whole."""

    path: Path
    encoding: str
    columns: list[str] = field(init=False)
    rows: list[Any] = field(init=False)
    total: int | None = field(init=False)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: bool = False
    blank_lines: int = 0

    def __post_init__(self) -> None:
        with reading(self.path, self.encoding), open_text(self.path, self.encoding, newline="\n") as stream:
            text = stream.read()
        if not text.strip():
            raise DataError(f"{self.path}: the file is empty; expected a JSON array of objects")
        found = _parsed(text)
        if isinstance(found, _Invalid):
            hint = "; a file with an object a line is named .jsonl" if "Extra data" in found.message else ""
            raise DataError(f"{self.path}: {found.message}{hint}")
        if is_squad(found):
            found = squad_rows(found, self.path)
        rows = found.get("data") if isinstance(found, dict) else found
        if not isinstance(rows, list):
            came = f"an object with the keys {', '.join(found)}" if isinstance(found, dict) else _kind(found)
            raise DataError(f'{self.path}: {came}; expected an array of objects, or {{"data": [...]}}')
        self.rows, self.total = rows, len(rows)
        objects = (row for row in rows if isinstance(row, dict))
        self.columns = list(dict.fromkeys(name for row in objects for name in row))

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        for first in range(0, len(self.rows), BATCH_ROWS):
            part = list(enumerate(self.rows[first : first + BATCH_ROWS], start=first + 1))
            for number, row in part:
                if not isinstance(row, dict):
                    problems.add(number, f"{_kind(row)}, not an object")
            good = [(number, row) for number, row in part if isinstance(row, dict)]
            numbers, rows = [number for number, _ in good], [row for _, row in good]
            yield _by_column(numbers, rows, wanted, whole=whole)


@dataclass(frozen=True)
class _Invalid:
    message: str


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        return _Invalid(f"not valid JSON: {error.msg.removesuffix(' at')} at {place}")
    except (ValueError, RecursionError) as error:
        return _Invalid(f"not readable JSON: {error}")


def _by_column(numbers: list[int], rows: list[dict[str, Any]], wanted: Sequence[str], *, whole: bool) -> Batch:
    """whole: the rows are kept as they are, too."""
    columns = {name: [row.get(name, ABSENT) for row in rows] for name in wanted}
    return Batch(numbers, columns, of_objects(rows) if whole else None)


def _named(header: Sequence[str]) -> list[str]:
    """The names of a header line; of several nameless columns each is named by its place."""
    names = [name.strip() for name in header]
    if names.count("") < 2:
        return names
    return [name or f"column {place}" for place, name in enumerate(names, start=1)]


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), "an object")
