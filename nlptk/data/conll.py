"""Reader of CoNLL files: a token a line with its tag in the last column, a blank line after each sentence.

Columns are separated by tabs, or by spaces in lines without any; the first is the token, those between it and the last
are left out. Blank lines may hold white space. Document marks (`-DOCSTART-`, `#begin document`) and comments
(`# id = 7`) are no tokens; a line `#`, tab, `O` is one.

A row is a sentence, numbered from 1. Where document marks stand among the first lines it has a `document`, numbered
likewise, which `data.group=document` keeps on one side of a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from nlptk.data.formats import BATCH_CHARACTERS, BATCH_ROWS, Batch
from nlptk.data.inputs import of_objects
from nlptk.data.problems import Problems
from nlptk.data.text_files import open_text, reading
from nlptk.errors import DataError

_MARKS = ("-DOCSTART-", "#begin")
_COMMENT = re.compile(r"#([ \t]|begin\b|end\b)")
_TAG = re.compile(r"O|[BIESLU]-.+")
_BLANK = " \t\r\n\ufeff"  # no other white space: U+00A0 may be a token; a stray byte order mark is none
_PEEKED_LINES = 1_000


@dataclass
class _Sentence:
    """number, document: its place among the sentences, and its document's, from 1; fault: why it cannot be used."""

    number: int
    document: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    fault: str | None = None

    def row(self, columns: Sequence[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in columns}


@dataclass
class ConllReader:
    """A CoNLL file as the columns `tokens` and `tags`; without tags where its lines hold tokens alone, with `document`
    where it has marks."""

    path: Path
    encoding: str
    columns: list[str] = field(init=False)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: bool = False
    blank_lines: int = 0
    total: int | None = None

    def __post_init__(self) -> None:
        lines = [fields for _, fields in islice(self._lines(), _PEEKED_LINES) if fields]
        plain = [fields for fields in lines if fields[0] != _MARKS[0]]
        found = sorted(plain, key=lambda fields: fields[0].startswith("#"))  # what may be comments last
        if not found:
            raise DataError(f"{self.path}: the file is empty; expected a token and its tag a line")
        self._width = len(found[0])
        self.columns = ["tokens"] if self._width == 1 else ["tokens", "tags"]
        if any(self._is_mark(fields) for fields in lines):
            self.columns.append("document")

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        numbers: list[int] = []
        rows: list[dict[str, Any]] = []
        size = 0
        for sentence in self._sentences():
            if sentence.fault is not None:
                problems.add(sentence.number, sentence.fault)
                continue
            numbers.append(sentence.number)
            rows.append(sentence.row(self.columns))
            size += sum(map(len, sentence.tokens))
            if len(rows) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                yield self._batch(numbers, rows, wanted, whole)
                numbers, rows, size = [], [], 0
        yield self._batch(numbers, rows, wanted, whole)

    def _batch(self, numbers: list[int], rows: list[dict[str, Any]], wanted: Sequence[str], whole: bool) -> Batch:
        columns = {name: [row[name] for row in rows] for name in wanted}
        return Batch(numbers, columns, of_objects(rows) if whole else None)

    def _sentences(self) -> Iterator[_Sentence]:
        sentence: _Sentence | None = None
        number, document = 0, 0
        for line, fields in self._lines():
            mark = self._is_mark(fields)
            document += mark
            if not fields or mark:
                if sentence is not None:
                    yield sentence
                sentence = None
            elif not self._is_comment(fields):
                if sentence is None:
                    number += 1
                    sentence = _Sentence(number, max(1, document))
                self._add(sentence, line, fields)
        if sentence is not None:
            yield sentence

    def _add(self, sentence: _Sentence, line: int, fields: list[str]) -> None:
        if len(fields) != self._width:
            columns = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
            sentence.fault = sentence.fault or f"{columns} where the file has {self._width} (line {line})"
            return
        sentence.tokens.append(fields[0])
        if self._width > 1:
            sentence.tags.append(fields[-1])

    def _is_mark(self, fields: list[str]) -> bool:
        return bool(fields) and (fields[0] == _MARKS[0] or (fields[0] == _MARKS[1] and self._is_comment(fields)))

    def _is_comment(self, fields: list[str]) -> bool:
        if not _COMMENT.match(" ".join(fields)):
            return False
        return len(fields) != self._width or (self._width > 1 and not _TAG.fullmatch(fields[-1]))

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Line numbers from 1, and the columns of each line that are not empty."""
        with reading(self.path, self.encoding), open_text(self.path, self.encoding, newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                parts = line.split("\t") if "\t" in line.strip(_BLANK) else line.split(" ")
                yield number, [kept for part in parts if (kept := part.strip(_BLANK))]
