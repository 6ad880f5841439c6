"""Random splits that are stratified, seeded, and never part two rows with the same text, the same group, or the same
value of a column that keeps rows together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nlptk.data.pools import Part, Pool, numbered

if TYPE_CHECKING:
    import numpy as np


def set_aside(pool: Pool, fractions: Mapping[str, float], *, seed: int) -> dict[str, np.ndarray]:
    """Split name -> rows of the pool, ascending: one entry a fraction, and what is left under `train`.

    Rows that share a text, a group or a value that keeps rows together form a unit, and a unit goes to one split. Units
    are dealt by the label of their first row (of several labels the rarest), so that each split has every label's share
    as near as whole units allow.
    No label loses its last training row. The same rows in the same order and the same seed give the same split.
    """
    import numpy as np

    units = units_of(pool)
    strata = _strata(pool)
    destination = _deal(units, strata, list(fractions.values()), seed)
    row_destination = destination[units]
    _return_unseen(pool, units, row_destination, len(fractions))
    found = {"train": np.flatnonzero(row_destination == len(fractions))}
    for index, name in enumerate(fractions):
        found[name] = np.flatnonzero(row_destination == index)
    return found


def units_of(pool: Pool) -> np.ndarray:
    """Unit of every row, numbered by first appearance."""
    import numpy as np

    ids = numbered(pool.keys)
    for others, has in _ties(pool):
        ids = _joined(ids, others, has)
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse])


def _ties(pool: Pool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers that are equal for rows that stay together for one reason, and which rows have one."""
    import numpy as np

    if pool.groups is not None:
        yield pool.groups, np.ones(pool.count, dtype=bool)
    for keys in pool.together.values():
        yield numbered(keys), np.any(keys != 0, axis=1)


def _joined(ids: np.ndarray, others: np.ndarray, has: np.ndarray) -> np.ndarray:
    """A number a row that is equal for rows that equal ids or, where they have them, equal others connect."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(ids):
        return ids
    first = int(ids.max()) + 1
    size = first + int(others.max()) + 1
    ones = np.ones(int(has.sum()), np.int8)
    links = coo_matrix((ones, (ids[has], first + others[has])), shape=(size, size))
    found: np.ndarray = connected_components(links, directed=False)[1][ids]
    return found


def _strata(pool: Pool) -> np.ndarray:
    """The rarest label of every row; -1 for a row without one. Ties go to the label seen first."""
    import numpy as np

    strata = np.full(pool.count, -1, dtype=np.int64)
    if pool.label_offsets is None or pool.label_values is None or not len(pool.label_values):
        return strata
    values = pool.label_values.astype(np.int64)
    _, first, inverse, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    rarity = np.empty(len(first), dtype=np.int64)  # 0 is the rarest label
    rarity[np.lexsort((first, counts))] = np.arange(len(first))
    lengths = np.diff(pool.label_offsets)
    labelled = lengths > 0
    strata[labelled] = np.minimum.reduceat(rarity[inverse], pool.label_offsets[:-1][labelled])
    return strata


def _deal(units: np.ndarray, strata: np.ndarray, fractions: list[float], seed: int) -> np.ndarray:
    """Destination of every unit: the index of a fraction, or len(fractions) for train."""
    import numpy as np

    names, first = np.unique(units, return_index=True)
    sizes = np.bincount(units)
    unit_strata = np.unique(strata[first], return_inverse=True)[1]
    rows = np.bincount(unit_strata, weights=sizes).astype(np.int64)
    quotas = _quotas(rows, fractions)
    destination = np.full(len(names), len(fractions), dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    left = quotas.tolist()
    for unit in shuffled.tolist():
        size, needs = int(sizes[unit]), left[unit_strata[unit]]
        for index, need in enumerate(needs):
            if size <= need:
                needs[index] = need - size
                destination[unit] = index
                break
    return destination


def _quotas(rows: np.ndarray, fractions: list[float]) -> np.ndarray:
    """Rows each stratum gives to each fraction, by largest remainder; a stratum keeps at least one row."""
    import numpy as np

    quotas = np.zeros((len(rows), len(fractions)), dtype=np.int64)
    for index, fraction in enumerate(fractions):
        exact = rows * fraction
        room = np.maximum(rows - 1 - quotas.sum(axis=1), 0)
        share = np.minimum(np.floor(exact).astype(np.int64), room)
        missing = max(1, round(float(rows.sum()) * fraction)) - int(share.sum())
        order = np.lexsort((np.arange(len(rows)), -rows, -(exact - share)))
        for stratum in order[room[order] > share[order]][: max(0, missing)]:
            share[stratum] += 1
        quotas[:, index] = share
    return quotas


def _return_unseen(pool: Pool, units: np.ndarray, destination: np.ndarray, train: int) -> None:
    """Give back to train every unit that took away the last training row of a label."""
    import numpy as np

    if pool.label_offsets is None or pool.label_values is None:
        return
    row_of = np.repeat(np.arange(pool.count), np.diff(pool.label_offsets))
    in_train = destination[row_of] == train
    unseen = ~np.isin(pool.label_values, np.unique(pool.label_values[in_train]))
    if unseen.any():
        destination[np.isin(units, units[row_of[unseen]])] = train


def sample(part: Part, limit: int, *, seed: int) -> np.ndarray:
    """At most `limit` rows of a part, ascending: one of every label first, the rest by chance."""
    import numpy as np

    if len(part.rows) <= limit:
        return part.rows
    order = np.random.default_rng(seed).permutation(part.rows)
    strata = _strata(part.pool)[order]
    first = np.zeros(len(order), dtype=bool)
    first[np.unique(strata, return_index=True)[1]] = True
    return np.sort(np.concatenate([order[first], order[~first]])[:limit])
