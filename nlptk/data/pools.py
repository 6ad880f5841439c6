"""What the work on splits needs of the rows, in memory: 16 bytes of hash for the text and for each column that keeps
rows together, and a few numbers a row; no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nlptk.data.rows import GROUP, KEY, ROW, TOGETHER, Rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SNIPPET = 80


@dataclass(frozen=True)
class Pool:
    """The rows of the sources of one split, one after another.

    keys: uint64 (rows, 2), equal for equal texts. numbers: source row numbers. groups: equal for rows that must stay
    together, or None. Labels of row i: `label_values[label_offsets[i]:label_offsets[i + 1]]`, places in a vocabulary
    shared by all pools; None without a label column. together: role -> keys of its values, (rows, 2) like `keys`, zeros
    for none.
    """

    parts: tuple[Rows, ...]
    keys: np.ndarray
    numbers: np.ndarray
    groups: np.ndarray | None
    label_offsets: np.ndarray | None
    label_values: np.ndarray | None
    together: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return int(self.keys.shape[0])

    def place(self, row: int) -> dict[str, Any]:
        """Where a row of the pool stands: {"file", "row"}."""
        return {"file": self._part(row)[0].source.name, "row": int(self.numbers[row])}

    def _part(self, row: int) -> tuple[Rows, int]:
        """The source of a row, and the row's place in it."""
        for part in self.parts:
            if row < part.count:
                return part, row
            row -= part.count
        raise IndexError(row)

    def snippet(self, row: int, roles: Sequence[str]) -> str:
        """The beginning of a row's texts."""
        part, row = self._part(row)
        for batch in part.batches():
            if row < batch.num_rows:
                texts = [str(batch.column(role)[row].as_py()) for role in roles if role in part.mapping]
                joined = " | ".join(texts)
                return joined if len(joined) <= SNIPPET else joined[: SNIPPET - 1] + "…"
            row -= batch.num_rows
        return ""

    def labels_of(self, row: int) -> list[int]:
        if self.label_offsets is None or self.label_values is None:
            return []
        return [int(v) for v in self.label_values[self.label_offsets[row] : self.label_offsets[row + 1]]]


@dataclass(frozen=True)
class Part:
    """One split: some rows of a pool, in order."""

    split: str
    pool: Pool
    rows: np.ndarray

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Every label of every row: (place of the row in the part, place of the label in the vocabulary)."""
        import numpy as np

        offsets, values = self.pool.label_offsets, self.pool.label_values
        assert offsets is not None
        assert values is not None
        lengths = np.diff(offsets)[self.rows]
        row_of = np.repeat(np.arange(len(self.rows)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return row_of, values[offsets[:-1][self.rows][row_of] + within]


def build_pool(parts: Sequence[Rows], vocabulary: dict[str, int], *, label_role: str | None) -> Pool:
    """Gather the numbers of all parts; the labels' names are added to the vocabulary."""
    import numpy as np

    keys, numbers, groups, lengths, values = [], [], [], [], []
    known_groups: dict[str, int] = {}
    has_labels = label_role is not None and any(label_role in part.mapping for part in parts)
    for part in parts:
        places = np.asarray([vocabulary.setdefault(n, len(vocabulary)) for n in part.vocabulary], dtype=np.int32)
        for batch in part.batches():
            keys.append(_keys(batch.column(KEY)))
            numbers.append(batch.column(ROW).to_numpy())
            if GROUP in batch.schema.names:
                names = batch.column(GROUP).to_pylist()
                groups.append(np.asarray([known_groups.setdefault(n, len(known_groups)) for n in names], np.int64))
            if has_labels:
                found, sizes = _labels(batch, label_role)
                lengths.append(sizes)
                values.append(places[found])
    return Pool(
        parts=tuple(parts),
        keys=np.concatenate(keys) if keys else np.zeros((0, 2), np.uint64),
        numbers=np.concatenate(numbers) if numbers else np.zeros(0, np.int64),
        groups=np.concatenate(groups) if groups else None,
        label_offsets=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]) if lengths else None,
        label_values=np.concatenate(values) if values else None,
        together=_together(parts),
    )


def _together(parts: Sequence[Rows]) -> dict[str, np.ndarray]:
    """Keys of the columns whose equal values belong together; zeros in the rows of sources that lack the column."""
    import numpy as np

    schemas: list[list[str]] = [next((batch.schema.names for batch in part.batches()), []) for part in parts]
    names = dict.fromkeys(name for schema in schemas for name in schema if name.startswith(TOGETHER))
    found = {}
    for name in names:
        keys = [
            _keys(batch.column(name)) if name in schema else np.zeros((batch.num_rows, 2), np.uint64)
            for part, schema in zip(parts, schemas, strict=True)
            for batch in part.batches()
        ]
        found[name.removeprefix(TOGETHER)] = np.concatenate(keys)
    return found


def _keys(array: pa.Array) -> np.ndarray:
    import numpy as np

    flat = np.frombuffer(array.buffers()[1], dtype=np.uint64)
    return flat[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2).copy()


def _labels(batch: pa.RecordBatch, role: str | None) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    import pyarrow.compute as pc

    if role not in batch.schema.names:
        return np.zeros(0, np.int32), np.zeros(batch.num_rows, np.int64)
    column = batch.column(role)
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return pc.list_flatten(column).to_numpy(zero_copy_only=False), sizes.astype(np.int64)


def text_ids(parts: Sequence[Part]) -> list[np.ndarray]:
    """For every part, a number a row that is equal for equal texts, across the parts too."""
    import numpy as np

    ids = numbered(np.concatenate([part.pool.keys[part.rows] for part in parts]))
    return np.split(ids, np.cumsum([len(part.rows) for part in parts])[:-1])


def numbered(keys: np.ndarray) -> np.ndarray:
    """A number a row, from 0, that is equal for equal keys. keys: (rows, 2)."""
    import numpy as np

    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    is_new = np.ones(len(keys), dtype=np.int64)
    is_new[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    ids = np.empty(len(keys), dtype=np.int64)
    ids[order] = np.cumsum(is_new) - 1
    return ids


def in_order(parts: Sequence[Part]) -> Iterator[tuple[Part, int, int]]:
    """Every row of every part: (part, place in the part, row of the pool)."""
    for part in parts:
        for place, row in enumerate(part.rows.tolist()):
            yield part, place, row
