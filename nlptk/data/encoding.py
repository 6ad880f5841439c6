"""The chosen rows of a split -> an Arrow file with encoded labels, nested values and where each row comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk.data.labels import Encoding
from nlptk.data.pools import Part
from nlptk.data.rows import FILE, GROUP, ROW, Rows
from nlptk.errors import DataError
from nlptk.task import Column

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset

Field = tuple[Column, Any]
"""A column and its Arrow type in the split's file."""


def write_part(part: Part, path: Path, columns: Sequence[Column], encoding: Encoding | None) -> None:
    """Write the rows of a part, in order, batch by batch."""
    import numpy as np
    import pyarrow as pa

    fields = _fields(part, columns, encoding)
    schema = pa.schema([pa.field(column.role, kind) for column, kind in fields])
    schema = schema.append(pa.field(FILE, pa.string())).append(pa.field(ROW, pa.int64()))
    if part.pool.groups is not None:
        schema = schema.append(pa.field(GROUP, pa.string()))
    chosen = np.zeros(part.pool.count, dtype=bool)
    chosen[part.rows] = True
    first = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
        for rows in part.pool.parts:
            for batch in rows.batches():
                mask = chosen[first : first + batch.num_rows]
                first += batch.num_rows
                if mask.any():
                    kept = batch if mask.all() else batch.filter(pa.array(mask))
                    stream.write_batch(_encoded(kept, rows, fields, schema, encoding))


def open_dataset(path: Path) -> Dataset:
    """The written rows, memory-mapped."""
    from datasets import Dataset

    return Dataset.from_file(str(path))


def _fields(part: Part, columns: Sequence[Column], encoding: Encoding | None) -> list[Field]:
    import pyarrow as pa

    fields: list[Field] = []
    for column in columns:
        having = [rows for rows in part.pool.parts if column.role in rows.mapping]
        if not having or (column.kind == "label" and encoding is None):
            continue
        if column.kind == "json":
            fields.append((column, _one_type(column.role, having)))
        elif column.kind == "label" and encoding is not None:
            fields.append((column, pa.list_(pa.int64()) if encoding.space.multi else pa.int64()))
        else:
            fields.append((column, pa.string() if column.kind == "text" else pa.float64()))
    return fields


def _one_type(role: str, parts: Sequence[Rows]) -> pa.DataType:
    import pyarrow as pa

    schemas = [pa.schema([pa.field("value", rows.json_types[role])]) for rows in parts]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("value").type
    except pa.ArrowException as error:
        names = ", ".join(rows.source.name for rows in parts)
        raise DataError(f"{names}: column {role!r} holds values of different types: {error}") from error


def _encoded(
    batch: pa.RecordBatch, rows: Rows, fields: Sequence[Field], schema: pa.Schema, encoding: Encoding | None
) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for column, kind in fields:
        if column.role not in rows.mapping:
            arrays.append(pa.nulls(batch.num_rows, kind))
        elif column.kind == "json":
            values = [None if text is None else json.loads(text) for text in batch.column(column.role).to_pylist()]
            arrays.append(pa.array(values, kind))
        elif column.kind == "label" and encoding is not None:
            ids = encoding.ids_of(rows.vocabulary)
            arrays.append(_labels(batch.column(column.role), ids, multi=encoding.space.multi))
        else:
            arrays.append(batch.column(column.role))
    arrays += [pa.array([rows.source.name] * batch.num_rows, pa.string()), batch.column(ROW)]
    arrays += [batch.column(GROUP)] if GROUP in schema.names else []
    return pa.record_batch(arrays, schema=schema)


def _labels(column: pa.Array, ids: np.ndarray, *, multi: bool) -> pa.Array:
    """Places in the source's own vocabulary -> ids; several ids of a row ascend."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not multi:
        places = pc.list_element(column, 0)
        return pa.array(ids, pa.int64()).take(places)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values: np.ndarray = ids[pc.list_flatten(column).to_numpy(zero_copy_only=False)]
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    ordered = values[np.lexsort((values, row_of))]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(ordered, pa.int64()))
