"""The label space, from the training rows alone, and the rows of other splits that do not fit it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlptk.data.pools import Part
from nlptk.data.problems import REMEMBERED, SHOWN, listed_places
from nlptk.data.values import MISSING_WORDS
from nlptk.errors import DataError
from nlptk.nearest import did_you_mean
from nlptk.task import LabelSpace

if TYPE_CHECKING:
    import numpy as np

SEPARATORS = ("|", ";", ",")
MANY = 20
"""Labels; fewer can be a few-shot set with an example of each."""
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Encoding:
    """The label space, and for every place in the shared vocabulary its id, or -1 where training lacks it."""

    space: LabelSpace
    ids: np.ndarray
    vocabulary: Mapping[str, int]

    def ids_of(self, words: Sequence[str]) -> np.ndarray:
        """Ids of the words of one source, whose own vocabulary numbers them in its own order."""
        return self.ids[[self.vocabulary[word] for word in words]]


def encode(train: Part, vocabulary: Mapping[str, int], *, names: Sequence[str] | None) -> Encoding:
    """The space of the training rows' labels.

    Order of the names: `names` (for labels that are whole numbers, or among the names), else what the source declares
    (ClassLabel), else by value for whole numbers, else alphabetical.

    Raises:
        DataError: a label that `names` has no place for, or rows that mix lists and single labels.
    """
    import numpy as np

    multi = _is_multi([train])
    words = list(vocabulary)
    used = np.unique(train.labels()[1])
    seen = [words[place] for place in used]
    declared = _declared(train)
    if names is not None:
        order = list(names)
        renamed = {word: _named(word, order) for word in words}
        for word in seen:
            if renamed[word] is None:
                raise DataError(_not_named(word, vocabulary[word], train, order))
    else:
        order = declared or _sorted(seen)
        renamed = {word: word for word in words}
    place = {name: index for index, name in enumerate(order)}
    trained = {renamed[word] for word in seen}
    ids = [place.get(renamed[word] or "", -1) if renamed[word] in trained else -1 for word in words]
    return Encoding(LabelSpace(tuple(order), multi=multi), np.asarray(ids, dtype=np.int64), vocabulary)


def encode_known(space: LabelSpace, vocabulary: Mapping[str, int], *, names: Sequence[str] | None) -> Encoding:
    """Ids of a vocabulary in a space that is already settled (a trained model's)."""
    import numpy as np

    place = space.label2id
    renamed = [word if word in place else (_named(word, list(names or [])) or "") for word in vocabulary]
    return Encoding(space, np.asarray([place.get(word, -1) for word in renamed], dtype=np.int64), vocabulary)


def check_enough(encoding: Encoding, train: Part) -> None:
    """Refuse training rows that all have one label.

    Raises:
        DataError: says which label, and on how many rows.
    """
    found = sorted({int(value) for value in encoding.ids[train.labels()[1]]})
    if len(found) >= (1 if encoding.space.multi else 2):
        return
    name = train.pool.parts[0].source.name
    came = f"every row has the label {encoding.space.names[found[0]]!r}" if found else "no row has a label"
    raise DataError(f"{name}: {came} ({len(train.rows)} training rows); expected at least two labels to tell apart")


def check_forms(parts: Sequence[Part]) -> None:
    """Refuse lists of labels in one file and single labels in another.

    Raises:
        DataError: names the two files.
    """
    forms = {rows.label_form: rows.source.name for part in parts for rows in part.pool.parts if rows.label_form}
    if len(forms) > 1:
        raise DataError(f"{forms['list']} has lists of labels and {forms['single']} single ones; give both one form")


def unseen_rows(part: Part, encoding: Encoding) -> np.ndarray:
    """Places in the part of the rows with a label that training never saw."""
    import numpy as np

    row_of, values = part.labels()
    return np.unique(row_of[encoding.ids[values] < 0])


def describe_unseen(part: Part, encoding: Encoding, vocabulary: Mapping[str, int]) -> list[dict[str, Any]]:
    """For every unseen label: {"split", "label", "count", "rows"} with the first 20 places."""
    import numpy as np

    words = list(vocabulary)
    row_of, values = part.labels()
    found = []
    for value in np.unique(values[encoding.ids[values] < 0]):
        rows = part.rows[row_of[values == value]]
        places = [part.pool.place(int(row)) for row in rows[:REMEMBERED]]
        found.append({"split": part.split, "label": words[value], "count": len(rows), "rows": places})
    return found


def refuse_unseen(found: Sequence[Mapping[str, Any]], space: LabelSpace) -> None:
    """Raise for the labels that `describe_unseen` found, if any.

    Raises:
        DataError: names each label, how often it comes and on which rows.
    """
    if not found:
        return
    said = []
    for item in found[:SHOWN]:
        hint = did_you_mean(item["label"], space.names)
        where = listed_places(item["rows"], item["count"])
        said.append(f"{item['label']!r} in {item['split']}, {where}{hint}")
    rest = f"; and {len(found) - SHOWN} more labels" if len(found) > SHOWN else ""
    cure = "correct them, add training rows, or set data.unseen_labels=drop"
    raise DataError(f"labels that no training row has: {'; '.join(said)}{rest}; {cure}")


def near_names(space: LabelSpace) -> list[str]:
    """Notes on labels that differ only by case or spaces, most likely one label written in two ways."""
    first: dict[str, str] = {}
    notes = []
    for name in space.names:
        other = first.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            notes.append(f"the labels {other!r} and {name!r} differ only by letter case or spaces")
    return notes


def missing_names(space: LabelSpace) -> list[str]:
    """Notes on labels that are called as a missing value is where it is written as text."""
    return [f"a label is called {name!r}; is it a missing value?" for name in space.names if name in MISSING_WORDS]


def many_singles(encoding: Encoding, train: Part) -> list[str]:
    """A note where most labels have one training row, as a number or a name of each row's own has."""
    import numpy as np

    counts = np.bincount(encoding.ids[train.labels()[1]])
    found, single = int((counts > 0).sum()), int((counts == 1).sum())
    if 2 * single <= found or found < MANY:
        return []
    return [
        f"{single} of {found} labels have one training row each; are they classes, or a number or name of each row?"
    ]


def packed_lists(space: LabelSpace) -> list[str]:
    """A note on labels that look like several in one cell: the parts of most of them come in other labels too."""
    for mark in SEPARATORS:
        packed = [name for name in space.names if mark in name]
        parts = Counter(part.strip() for name in space.names for part in set(name.split(mark)))
        inside = {part.strip() for name in packed for part in name.split(mark)}
        if len(packed) > 1 and 2 * sum(parts[part] > 1 for part in inside) >= len(inside):
            cure = f"if a cell holds several labels, set data.label_separator={mark!r}"
            return [f"{len(packed)} labels hold {mark!r}, such as {packed[0]!r}; {cure}"]
    return []


def _is_multi(parts: Sequence[Part]) -> bool:
    check_forms(parts)
    return any(rows.label_form == "list" for part in parts for rows in part.pool.parts)


def _declared(train: Part) -> list[str] | None:
    declared = [rows.declared for rows in train.pool.parts]
    return declared[0] if all(other == declared[0] for other in declared) else None


def _sorted(labels: list[str]) -> list[str]:
    if all(_WHOLE_NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _named(word: str, names: list[str]) -> str | None:
    if word in names:
        return word
    number = int(word) if _WHOLE_NUMBER.fullmatch(word) else -1
    return names[number] if 0 <= number < len(names) else None


def _not_named(word: str, value: int, train: Part, names: list[str]) -> str:
    row_of, values = train.labels()
    place = train.pool.place(int(train.rows[row_of[values == value][0]]))
    expected = f"expected one of {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
    numbers = f"or 0..{len(names) - 1} (data.label_names)"
    return f"{place['file']}, row {place['row']}: label {word!r}; {expected} {numbers}{did_you_mean(word, names)}"
