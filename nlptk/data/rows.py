"""One source -> its good rows as an Arrow file in the cache, with what was noted while reading."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk.data import cache
from nlptk.data.columns import resolve, same_column
from nlptk.data.conll import ConllReader
from nlptk.data.formats import Batch, DelimitedReader, JsonLinesReader, JsonReader, Reader
from nlptk.data.inputs import InputsWriter
from nlptk.data.normalize import KEY_BYTES, text_key
from nlptk.data.plain_text import PlainTextReader
from nlptk.data.problems import Problems, counted
from nlptk.data.tables import DatasetReader, ParquetReader
from nlptk.data.text_files import Format
from nlptk.data.values import JsonValues, LabelValues, NumberValues, TextValues, Values, Wrong, is_missing
from nlptk.errors import DataError
from nlptk.task import NO_RULES, Column, RowRules

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

KEY = "_key"
ROW = "source_row"
FILE = "source_file"
GROUP = "group"
TOGETHER = "_together_"
"""Before a role: the column of what makes two of its values equal."""
NO_VALUE = bytes(KEY_BYTES)
"""The key of a value that is not there: no text's, but for a chance of 2^-128."""


@dataclass(frozen=True)
class Source:
    """One thing that rows are read from: a file, or a data set that is already open.

    name: as messages show it. kind: what the file holds. fingerprint: of an open data set.
    """

    name: str
    path: Path | None = None
    kind: Format | None = None
    dataset: Dataset | None = None
    fingerprint: str = ""

    @cached_property
    def key(self) -> str:
        """Stands for the content in the cache's keys; a file is read for it."""
        return self.fingerprint if self.path is None else cache.file_digest(self.path)


@dataclass(frozen=True)
class ReadSettings:
    """What decides how a source is read. whole: all columns are kept, beside those that have a role."""

    columns: tuple[Column, ...]
    mapping: Mapping[str, str]
    group: str | None = None
    separator: str | None = None
    encoding: str = "utf-8"
    whole: bool = False
    rules: RowRules = NO_RULES


@dataclass(frozen=True)
class Rows:
    """The good rows of one source: an Arrow file, and what was noted.

    file: columns by role (labels as lists of places in `vocabulary`, nested values as JSON text), `source_row`,
    `_key` (what makes two rows the same text), `_together_ROLE` for each column whose equal values belong together, and
    `group` where one is asked for. inputs: the same rows with all their columns, where they were read whole (see
    `inputs.Inputs`).
    """

    source: Source
    file: Path
    count: int
    mapping: dict[str, str]
    present: list[str]
    problems: Problems
    blank_lines: int
    vocabulary: list[str]
    label_form: str | None
    declared: list[str] | None
    json_types: dict[str, pa.DataType]
    notes: list[str]
    inputs: Path | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with pa.memory_map(str(self.file)) as stream:
            yield from pa.ipc.open_stream(stream)


def open_reader(source: Source, encoding: str) -> Reader:
    """A reader for the source.

    Raises:
        DataError: a damaged file, an empty one.
    """
    if source.dataset is not None:
        return DatasetReader(source.dataset)
    assert source.path is not None
    kind = source.kind
    if kind == "parquet":
        return ParquetReader(source.path)
    if kind == "jsonl":
        return JsonLinesReader(source.path, encoding)
    if kind in ("json", "squad"):
        return JsonReader(source.path, encoding)
    if kind == "conll":
        return ConllReader(source.path, encoding)
    if kind == "text":
        return PlainTextReader(source.path, encoding)
    return DelimitedReader(source.path, encoding, delimiter="," if kind == "csv" else "\t")


def read_source(source: Source, settings: ReadSettings) -> Rows:
    """Read and check every row, or take what an earlier call left in the cache.

    Raises:
        DataError: the source cannot be read, lacks a column, or holds no row. Bad rows are noted, not raised.
    """
    kinds = [[c.role, c.kind, list(c.names), c.required, c.target, c.together] for c in settings.columns]
    how: list[Any] = [dict(settings.mapping), settings.group, settings.separator, settings.encoding, settings.whole]
    how += [settings.rules.forms, settings.rules.key]
    suffix = f"{source.kind}{source.name.endswith('.gz')}" if source.path else "dataset"
    key = cache.key_of("rows", source.key, suffix, kinds, how)
    entry = cache.find(key)
    if entry is None:
        entry = _convert(source, settings, key)
    return _opened(source, entry)


def _convert(source: Source, settings: ReadSettings, key: str) -> cache.Entry:
    reader = open_reader(source, settings.encoding)
    if not reader.columns:
        problems = Problems()
        for _ in _shown(reader.batches([], problems), source, reader.total):
            pass
        raise DataError(f"{source.name}: not one row could be read: {problems.listed() or 'there is none'}")
    entry = None
    while entry is None:  # a second time where later rows have a column that the first ones have not
        entry = _written(reader, source, settings, key)
    return entry


def _written(reader: Reader, source: Source, settings: ReadSettings, key: str) -> cache.Entry | None:
    """The rows in the cache; None where reading them all showed a column that plays a role and was not known."""
    problems = Problems()
    mapping, group = _located(reader, source, settings)
    found = [column for column in settings.columns if column.role in mapping]
    values = [_values(column, mapping, reader, settings=settings, where=source.name) for column in found]
    with cache.draft(key) as draft:
        keys = _Keys(key_roles(settings.columns, mapping), [c.role for c in found if c.together], group is not None)
        writer = _Writer(draft.path("rows"), values, keys, settings.rules)
        inputs = InputsWriter(draft.path("inputs"))
        try:
            wanted = list(dict.fromkeys([*mapping.values(), *([group] if group else [])]))
            batches = reader.batches(wanted, problems, whole=settings.whole)
            for batch in _shown(batches, source, reader.total):
                good = writer.add(batch, mapping, group, problems)
                if batch.inputs is not None:
                    inputs.add(batch.inputs, good)
        finally:
            writer.close()
            inputs.close()
        if _located(reader, source, settings) != (mapping, group):
            return None
        if not writer.count and not problems.count:
            raise DataError(f"{source.name}: no rows; the file has a header at most")
        meta = {
            "count": writer.count,
            "mapping": mapping,
            "present": reader.columns,
            "problems": problems.to_json(),
            "blank_lines": reader.blank_lines,
            **_noted(values, writer.said()),
        }
        return draft.commit(["rows", "inputs"] if settings.whole else ["rows"], meta)


def _located(reader: Reader, source: Source, settings: ReadSettings) -> tuple[dict[str, str], str | None]:
    """Role -> column name, and the group's column. Raises: DataError for what is not there."""
    forms = settings.rules.forms
    mapping = resolve(settings.columns, reader.columns, mapping=settings.mapping, where=source.name, forms=forms)
    group = settings.group
    if group is not None:
        group = same_column(group, reader.columns, where=source.name, setting="data.group")
    return mapping, group


def glance_at(source: Source, settings: ReadSettings) -> None:
    """Refuse what the first lines tell: a file that is empty or lacks a column. Other kinds than those with a row a
    line, or a header, wait until they are read.

    Raises:
        DataError: as `read_source`.
    """
    if source.path is None or source.kind not in ("csv", "tsv", "jsonl", "parquet"):
        return
    reader = open_reader(source, settings.encoding)
    if reader.columns:
        _located(reader, source, settings)


def _shown(batches: Iterator[Batch], source: Source, total: int | None) -> Iterator[Batch]:
    """The batches, with a bar that counts their rows where reading takes longer than two seconds."""
    from tqdm.auto import tqdm

    hidden = os.environ.get("RANK", "0") != "0"  # of several processes one shows what all of them read
    name = Path(source.name).name
    with tqdm(desc=f"reading {name}", total=total, unit="row", delay=2, leave=False, disable=hidden or None) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch.numbers))


def key_roles(columns: Sequence[Column], found: Mapping[str, str]) -> list[str]:
    """The roles that make two rows the same text: the input texts, or the nested inputs where there are none.

    Of rows without inputs (a text that is itself to be predicted) it is the targets.
    """
    present = [column for column in columns if column.role in found]
    inputs = [column for column in present if not column.target] or present
    texts = [column.role for column in inputs if column.kind == "text"]
    return texts or [column.role for column in inputs if column.kind == "json"]


def _values(
    column: Column, mapping: Mapping[str, str], reader: Reader, *, settings: ReadSettings, where: str
) -> Values:
    role, required, cells = column.role, column.required, reader.cells
    names = reader.class_names.get(mapping[role])
    if column.kind == "text":
        # a column may be absent where it is optional, but a row may not lack an input that the other rows have
        return TextValues(role, required or not column.target)
    if column.kind == "number":
        return NumberValues(role, required, cells)
    if column.kind == "json":
        return JsonValues(role, where, required, cells, names)
    return LabelValues(role, required, cells, settings.separator, names)


def _noted(values: Sequence[Values], said: Sequence[str]) -> dict[str, Any]:
    """What is kept of the columns. said: of the rows as a whole."""
    import pyarrow as pa

    labels: dict[str, Any] = {"vocabulary": [], "label_form": None, "declared": None}
    noted = {**labels, "json_types": {}, "notes": list(said)}
    for value in values:
        if isinstance(value, TextValues):
            found = ", ".join(f"{word!r} ({counted(count, 'row')})" for word, count in value.missing_words.items())
            noted["notes"] += [f"{value.role}: the text is {found}; is it a missing value?"] if found else []
        if isinstance(value, LabelValues):
            declared = list(value.class_names) if value.class_names is not None else None
            noted.update(vocabulary=list(value.vocabulary), label_form=value.form, declared=declared)
        elif isinstance(value, JsonValues):
            schema = pa.schema([pa.field("value", value.type or pa.null())])
            noted["json_types"][value.role] = base64.b64encode(schema.serialize().to_pybytes()).decode()
    return noted


def _opened(source: Source, entry: cache.Entry) -> Rows:
    import pyarrow as pa

    meta = dict(entry.meta)
    packed = {role: base64.b64decode(text) for role, text in meta.pop("json_types").items()}
    types = {role: pa.ipc.read_schema(pa.py_buffer(raw)).field("value").type for role, raw in packed.items()}
    problems = Problems.from_json(meta.pop("problems"))
    inputs = entry.files.get("inputs")
    return Rows(source=source, file=entry.files["rows"], inputs=inputs, problems=problems, json_types=types, **meta)


@dataclass(frozen=True)
class _Keys:
    """What relates rows to each other. texts: roles that make two rows the same text; together: roles of which each by
    itself keeps rows on one side; grouped: whether a column of the source does."""

    texts: list[str]
    together: list[str]
    grouped: bool


class _Writer:
    """Checks batches and writes the good rows."""

    def __init__(self, path: Path, values: list[Values], keys: _Keys, rules: RowRules) -> None:
        import pyarrow as pa

        self.values, self.keys, self.count, self.rules = values, keys, 0, rules
        self.marked: dict[str, tuple[int, int]] = {}
        fields = [pa.field(value.role, value.arrow([]).type) for value in values]
        fields += [pa.field(ROW, pa.int64()), pa.field(KEY, pa.binary(KEY_BYTES))]
        fields += [pa.field(TOGETHER + role, pa.binary(KEY_BYTES)) for role in keys.together]
        fields += [pa.field(GROUP, pa.string())] if keys.grouped else []
        self.schema = pa.schema(fields)
        self.sink = pa.OSFile(str(path), "wb")
        self.stream = pa.ipc.new_stream(self.sink, self.schema)

    def add(self, batch: Batch, mapping: Mapping[str, str], group: str | None, problems: Problems) -> list[int]:
        """Write the good rows of a batch. Returns: their places in it."""
        wrong: Wrong = {}
        columns = {v.role: list(batch.columns[mapping[v.role]]) for v in self.values}
        for value in self.values:
            if isinstance(value, JsonValues):
                value.parse(columns[value.role], wrong)
        if self.rules != NO_RULES:
            self._apply_rules(columns, batch.numbers, wrong)
        columns = {v.role: v.convert(columns[v.role], wrong) for v in self.values}
        groups = _groups(batch.columns[group], wrong) if group is not None else []
        numbers = batch.numbers
        for place in sorted(wrong):
            problems.add(numbers[place], " and ".join(wrong[place]))
        good = [place for place in range(len(numbers)) if place not in wrong]
        if wrong:
            columns = {role: [column[place] for place in good] for role, column in columns.items()}
            numbers = [numbers[place] for place in good]
            groups = [groups[place] for place in good] if group is not None else []
        if numbers:
            self._write(columns, numbers, groups)
        return good

    def said(self) -> list[str]:
        """What the rules have to say of all rows together."""
        return self.rules.notes(self.marked) if self.rules.notes is not None else []

    def _apply_rules(self, columns: dict[str, list[Any]], numbers: Sequence[int], wrong: Wrong) -> None:
        """Put the task's own form of every row into the columns, or note what is wrong with the row."""
        forms, check = self.rules.forms, self.rules.check
        for place, row in enumerate(zip(*columns.values(), strict=True)):
            if place in wrong:
                continue
            has = {role: item for role, item in zip(columns, row, strict=True) if not is_missing(item)}
            if forms and not any(set(form) <= set(has) for form in forms):
                wrong.setdefault(place, []).append(_lacking(list(has), forms))
                continue
            if check is None:
                continue
            try:
                kept = check(has)
            except ValueError as error:
                wrong.setdefault(place, []).append(str(error))
                continue
            for mark in self.rules.marks(has) if self.rules.marks is not None else ():
                count, first = self.marked.get(mark, (0, numbers[place]))
                self.marked[mark] = count + 1, first
            for role, item in kept.items():
                columns[role][place] = item

    def _write(self, columns: dict[str, list[Any]], numbers: list[int], groups: list[str]) -> None:
        import pyarrow as pa

        arrays = [value.arrow(columns[value.role]) for value in self.values]
        arrays += [
            pa.array(numbers, pa.int64()),
            pa.array(self._text_keys(columns, len(numbers)), pa.binary(KEY_BYTES)),
        ]
        for role in self.keys.together:
            keys = [NO_VALUE if value is None else text_key((str(value),)) for value in columns[role]]
            arrays.append(pa.array(keys, pa.binary(KEY_BYTES)))
        arrays += [pa.array(groups, pa.string())] if self.keys.grouped else []
        self.stream.write_batch(pa.record_batch(arrays, schema=self.schema))
        self.count += len(numbers)

    def _text_keys(self, columns: dict[str, list[Any]], rows: int) -> list[bytes]:
        texts = [columns[role] for role in self.keys.texts]
        if not texts:
            return [text_key([str(self.count + place)]) for place in range(rows)]
        if len(texts) == 1:
            return [text_key((text or "",)) for text in texts[0]]
        return [text_key([text or "" for text in row]) for row in zip(*texts, strict=True)]

    def close(self) -> None:
        self.stream.close()
        self.sink.close()


def _groups(raw: list[Any], wrong: Wrong) -> list[str]:
    groups = []
    for place, value in enumerate(raw):
        scalar = isinstance(value, str | int | float) and value == value
        if not scalar or (isinstance(value, str) and not value.strip()):
            wrong.setdefault(place, []).append("the group is missing")
        groups.append(value if isinstance(value, str) else json.dumps(value, default=str))
    return groups


def _lacking(has: Sequence[str], forms: Sequence[Sequence[str]]) -> str:
    """What is wrong with a row that has these roles and fits none of the forms."""
    wanted = ", or ".join(" and ".join(form) for form in forms)
    nearest = max(forms, key=lambda form: len(set(form) & set(has)))
    missing = " or ".join(role for role in nearest if role not in has)
    came = f"{', '.join(has)}, but no {missing}" if set(nearest) & set(has) else ", ".join(has) or "nothing to read"
    return f"has {came} (expected {wanted})"
