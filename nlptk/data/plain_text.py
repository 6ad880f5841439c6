"""Reader of plain text: a row a line, as the `text` loader of datasets has it, in the column `text`.

Lines that hold nothing but white space are no rows. A text of several lines belongs into another format: jsonl, say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nlptk.data.formats import BATCH_CHARACTERS, BATCH_ROWS, Batch
from nlptk.data.inputs import of_objects
from nlptk.data.problems import Problems
from nlptk.data.text_files import open_text, reading
from nlptk.errors import DataError

COLUMN = "text"


@dataclass
class PlainTextReader:
    """A file of lines as the column `text`, without the line breaks."""

    path: Path
    encoding: str
    columns: list[str] = field(default_factory=lambda: [COLUMN])
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: bool = False
    blank_lines: int = 0
    total: int | None = None

    def __post_init__(self) -> None:
        if not any(line.strip() for line in self._lines()):
            raise DataError(f"{self.path}: the file is empty; expected a text a line")

    def _lines(self) -> Iterator[str]:
        with reading(self.path, self.encoding), open_text(self.path, self.encoding, newline="\n") as stream:
            for line in stream:
                yield line.rstrip("\r\n")

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        first, size = 1, 0
        texts: list[str] = []
        for line in self._lines():
            if not line.strip():
                self.blank_lines += 1
                continue
            texts.append(line)
            size += len(line)
            if len(texts) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                yield _batch(first, texts, wanted, whole)
                first, texts, size = first + len(texts), [], 0
        yield _batch(first, texts, wanted, whole)


def _batch(first: int, texts: list[str], wanted: Sequence[str], whole: bool) -> Batch:
    numbers = list(range(first, first + len(texts)))
    inputs = of_objects([{COLUMN: text} for text in texts]) if whole else None
    return Batch(numbers, {name: list(texts) for name in wanted}, inputs)
