"""A data set's fingerprint: equal exactly when the same rows come in the same order, whatever file they came from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from nlptk.data.rows import FILE, GROUP, ROW

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_ROWS_AT_ONCE = 2_000


def fingerprint(dataset: Dataset) -> str:
    """sha256 over the role columns, in row order; where the rows come from does not count.

    Each column is hashed by itself, by name order: for text the lengths in bytes and the bytes, for numbers the
    little-endian values, for lists the lengths and the values, for anything else its canonical JSON; nulls apart.
    """
    roles = sorted(name for name in dataset.column_names if name not in (FILE, ROW, GROUP))
    states = {role: _ColumnState() for role in roles}
    if roles:
        for table in dataset.select_columns(roles).with_format("arrow").iter(batch_size=_ROWS_AT_ONCE):
            for role in roles:
                for chunk in table.column(role).chunks:
                    states[role].update(chunk)
    whole = hashlib.sha256(f"{dataset.num_rows} rows".encode())
    for role in roles:
        whole.update(f"\n{role} {states[role].digest()}".encode())
    return whole.hexdigest()


class _ColumnState:
    """The running hashes of one column; the result does not depend on how the column is cut into chunks."""

    def __init__(self) -> None:
        self.nulls, self.lengths, self.data = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def digest(self) -> str:
        return " ".join(part.hexdigest() for part in (self.nulls, self.lengths, self.data))

    def update(self, array: pa.Array) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        self.nulls.update(np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False)).astype(np.uint8).tobytes())
        kind = array.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            self._update_text(pc.fill_null(array, ""))
        elif pa.types.is_list(kind) and pa.types.is_int64(kind.value_type):
            lengths = pc.fill_null(pc.list_value_length(array), 0)
            self.lengths.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
            self.data.update(pc.list_flatten(array).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        elif pa.types.is_int64(kind) or pa.types.is_float64(kind):
            values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
            self.data.update(values.astype("<i8" if pa.types.is_int64(kind) else "<f8").tobytes())
        else:
            self._update_text(pa.array([_canonical(value) for value in array.to_pylist()], pa.string()))

    def _update_text(self, array: pa.Array) -> None:
        import numpy as np
        import pyarrow as pa

        wide = array.cast(pa.large_string())
        offsets = np.frombuffer(wide.buffers()[1], dtype="<i8")[wide.offset : wide.offset + len(wide) + 1]
        self.lengths.update(np.diff(offsets).astype("<i8").tobytes())
        if len(wide) and offsets[-1] > offsets[0]:
            self.data.update(memoryview(wide.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
