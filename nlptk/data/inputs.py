"""All columns of the rows to predict, as they were read, to be written out again beside the predictions.

They lie in an Arrow file beside the one with the columns that a task reads: text columns from delimited files, one
column of JSON objects from json and jsonl, the source's own columns from parquet and data sets.
"""

from __future__ import annotations

import base64
import datetime
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_OBJECTS = {b"nlptk": b"objects"}
"""Metadata of a file whose one column holds JSON objects."""


def of_cells(columns: Sequence[str], records: Sequence[Sequence[str]]) -> pa.Table:
    """Records of a delimited file as text columns."""
    import pyarrow as pa

    cells = [pa.array([record[place] for record in records], pa.string()) for place in range(len(columns))]
    return pa.table(cells, names=list(columns))


def of_objects(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """JSON objects as one column of their texts: each keeps its own keys, their order and their values."""
    import pyarrow as pa

    texts = pa.array([json.dumps(row, ensure_ascii=True) for row in rows], pa.large_string())
    return pa.table([texts], schema=pa.schema([pa.field("object", pa.large_string())], metadata=_OBJECTS))


class InputsWriter:
    """Writes the good rows of one source; nothing at all where no batch is added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: Any = None

    def add(self, inputs: pa.Table, good: Sequence[int]) -> None:
        import pyarrow as pa

        if self._stream is None:
            self._sink = pa.OSFile(str(self._path), "wb")
            self._stream = pa.ipc.new_stream(self._sink, inputs.schema)
        kept = inputs if len(good) == inputs.num_rows else inputs.take(pa.array(good, pa.int64()))
        self._stream.write_table(kept)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._sink.close()


class Inputs:
    """All columns of some rows, in row order, memory-mapped.

    names: of the columns, by first appearance. Values: texts from delimited files; from json and jsonl what the JSON
    says; from parquet and data sets Python's form of the Arrow value.
    """

    def __init__(self, files: Sequence[Path], names: Sequence[str], count: int) -> None:
        import pyarrow as pa

        self.names, self._count = list(names), count
        self._maps = [pa.memory_map(str(file)).read_buffer() for file in files]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every row with the columns it has."""
        rows = (row for batch in self._batches() for row in _rows(batch))
        return itertools.islice(rows, self._count)

    def plain(self) -> Iterator[dict[str, Any]]:
        """The rows in values that JSON has: dates and times as ISO 8601, binary data as base64, decimals as text."""
        return ({name: _plain(value) for name, value in row.items()} for row in self)

    def typed(self) -> tuple[Iterator[dict[str, Any]], dict[str, pa.DataType]]:
        """The rows for parquet, and the types of all columns: the source's own, or those that all values share.

        A column whose values share none, or one that parquet does not have, comes as JSON text.
        """
        import pyarrow as pa

        types = self._types()
        rows = ({name: _as_typed(row.get(name), kind) for name, kind in types.items()} for row in self)
        return rows, {name: pa.string() if kind is None else kind for name, kind in types.items()}

    def _batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for buffer in self._maps:
            yield from pa.ipc.open_stream(pa.BufferReader(buffer))

    def _types(self) -> dict[str, pa.DataType | None]:
        """Column -> the Arrow type that holds every value and that parquet can write, or None."""
        found: dict[str, set[pa.DataType | None]] = {name: set() for name in self.names}
        for batch in self._batches():
            for name, kind in _batch_types(batch).items():
                found[name].add(kind)
        types = {name: _common(kinds) for name, kinds in found.items()}
        doubtful = {name for name, kinds in found.items() if len(kinds) > 1 and types[name] is not None}
        for batch in self._batches() if doubtful else ():
            rows = _rows(batch)
            for name in list(doubtful):
                if (
                    _type([row.get(name) for row in rows], types[name]) is None
                ):  # a number too large for the others' type
                    types[name] = None
                    doubtful.discard(name)
        return types


def free_names(names: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Every name -> itself, or with `input_` before it where it is taken.

    >>> free_names(["id", "label"], ["label", "score"])
    {'id': 'id', 'label': 'input_label'}
    """
    found: dict[str, str] = {}
    for name in names:
        free = name
        while free in taken or (free != name and free in names):
            free = f"input_{free}"
        found[name] = free
    return found


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    if _is_objects(batch):
        return [json.loads(text) for text in batch.column(0).to_pylist()]
    return list(batch.to_pylist())


def _is_objects(batch: pa.RecordBatch) -> bool:
    return bool((batch.schema.metadata or {}).get(b"nlptk") == b"objects")


def _batch_types(batch: pa.RecordBatch) -> dict[str, pa.DataType | None]:
    import pyarrow as pa

    if not _is_objects(batch):
        kinds = {field.name: field.type for field in batch.schema}
        return {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in kinds.items()}
    rows = _rows(batch)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _type([row.get(name) for row in rows]) for name in names}


def _type(values: list[Any], wanted: pa.DataType | None = None) -> pa.DataType | None:
    """The type of an array of the values, or None where there is none."""
    import pyarrow as pa

    try:
        return pa.array(values, wanted).type
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _common(kinds: set[pa.DataType | None]) -> pa.DataType | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if None in kinds:
        return None
    schemas = [pa.schema([pa.field("value", kind)]) for kind in sorted(kinds, key=str)]
    try:
        schema = (
            pa.unify_schemas(schemas, promote_options="permissive") if schemas else pa.schema([("value", pa.null())])
        )
        pq.ParquetWriter(BytesIO(), schema).close()
    except pa.ArrowException:
        return None
    return schema.field("value").type


def _as_typed(value: Any, kind: pa.DataType | None) -> Any:
    return value if kind is not None or value is None else json.dumps(_plain(value), ensure_ascii=True)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
