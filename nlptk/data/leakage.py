"""Texts that come twice: within a split, in two splits, and with two different labels; and what else splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nlptk.data.pools import Part, numbered, text_ids
from nlptk.data.problems import counted
from nlptk.errors import DataError

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = 3


def find_duplicates(parts: Sequence[Part], roles: Sequence[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What comes twice, and the rows to drop.

    Returns: {"within": {split: {"count", "examples"}}, "between": {"later/earlier": {"count", "examples"}}}, where
    count is the rows whose text an earlier row (of the earlier split) has; and split -> places in the part of the rows
    whose text an earlier split has.
    """
    import numpy as np

    ids = text_ids(parts)
    within = {p.split: _repeats(p, own, roles) for p, own in zip(parts, ids, strict=True)}
    between, leaked = {}, {}
    for later in range(1, len(parts)):
        in_any = np.zeros(len(ids[later]), dtype=bool)
        for earlier in range(later):
            shared = np.isin(ids[later], ids[earlier])
            in_any |= shared
            pairs = _pairs(np.flatnonzero(shared)[:EXAMPLES], ids[later], ids[earlier])
            examples = [_example(parts[later], row, parts[earlier], other, roles) for row, other in pairs]
            name = f"{parts[later].split}/{parts[earlier].split}"
            between[name] = {"count": int(shared.sum()), "examples": examples}
        leaked[parts[later].split] = np.flatnonzero(in_any)
    return {"within": within, "between": between}, leaked


def sharing(count: int, split: str) -> str:
    """`1 row of test has`, `2 rows of test have`."""
    return f"{counted(count, 'row')} of {split} {'has' if count == 1 else 'have'}"


def refuse_leaks(between: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if a split has texts of an earlier one.

    Raises:
        DataError: counts by pair of splits, and examples.
    """
    found = {name: item for name, item in between.items() if item["count"]}
    if not found:
        return
    said = []
    for name, item in found.items():
        later, earlier = name.split("/")
        shown = "; ".join(_shown(example) for example in item["examples"])
        said.append(f"{sharing(item['count'], later)} a text that {earlier} has too ({shown})")
    cure = "set data.duplicates=drop to drop them from the later split, or keep to measure on them all the same"
    raise DataError(f"leakage: {'; '.join(said)}; {cure}")


def find_conflicts(parts: Sequence[Part], roles: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Texts that come with different labels: {"count": texts, "rows": rows, "examples"}."""
    import numpy as np

    ids = np.concatenate(text_ids(parts))
    _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[inverse] > 1)
    split_of = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    seen: dict[int, dict[tuple[int, ...], list[int]]] = {}
    for place in repeated.tolist():
        part = parts[split_of[place]]
        labels = tuple(sorted(part.pool.labels_of(int(rows[place]))))
        seen.setdefault(int(ids[place]), {}).setdefault(labels, []).append(place)
    clashing = [by_label for by_label in seen.values() if len(by_label) > 1]
    examples = []
    for by_label in clashing[:EXAMPLES]:
        places = [found[0] for found in by_label.values()]
        first = parts[split_of[places[0]]]
        refs = [parts[split_of[p]].pool.place(int(rows[p])) for p in places]
        labels_named = [[words[value] for value in labels] for labels in by_label]
        rows_said = [{**ref, "labels": named} for ref, named in zip(refs, labels_named, strict=True)]
        examples.append({"text": first.pool.snippet(int(rows[places[0]]), roles), "rows": rows_said})
    total = sum(len(found) for by_label in clashing for found in by_label.values())
    return {"count": len(clashing), "rows": total, "examples": examples}


def shared_values(parts: Sequence[Part]) -> list[str]:
    """A note for every two splits that share values of a column that keeps rows together, with counts and the cure."""
    import numpy as np

    notes = []
    for later, earlier in ((b, a) for place, b in enumerate(parts) for a in parts[:place]):
        for role in later.pool.together.keys() & earlier.pool.together.keys():
            here, there = (part.pool.together[role][part.rows] for part in (later, earlier))
            ids = numbered(np.concatenate([here, there]))
            both = np.isin(ids[: len(here)], ids[len(here) :]) & here.any(axis=1)
            if both.any():
                values = len(np.unique(ids[: len(here)][both]))
                notes.append(_shared(role, values, int(both.sum()), later=later.split, earlier=earlier.split))
    return sorted(notes)


def _shared(role: str, values: int, rows: int, *, later: str, earlier: str) -> str:
    said = f"{sharing(rows, later)} a {role} that {earlier} has too ({counted(values, 'value')} of it)"
    return (
        f"{said}; their figures may be better than those on a new {role} will be: to split by {role}, give all rows as "
        f"data.train and a fraction as data.{later}"
    )


def _repeats(part: Part, ids: np.ndarray, roles: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(ids)))
    examples = [_example(part, int(row), part, int(first[inverse[row]]), roles) for row in again[:EXAMPLES]]
    return {"count": len(again), "examples": examples}


def _pairs(rows: np.ndarray, ids: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    return [(int(row), int((others == ids[row]).argmax())) for row in rows]


def _example(part: Part, row: int, other: Part, other_row: int, roles: Sequence[str]) -> dict[str, Any]:
    here, there = int(part.rows[row]), int(other.rows[other_row])
    return {"text": part.pool.snippet(here, roles), "row": part.pool.place(here), "same_as": other.pool.place(there)}


def _shown(example: Mapping[str, Any]) -> str:
    here, there = example["row"], example["same_as"]
    return f"{here['file']} row {here['row']} = {there['file']} row {there['row']}: {example['text']!r}"
