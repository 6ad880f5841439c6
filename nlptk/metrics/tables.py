"""Per-class figures and confusion counts."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from nlptk.metrics import counts
from nlptk.metrics.inputs import Floats, Ints, check_ids
from nlptk.task import LabelSpace


class ClassFigures(TypedDict):
    """One label's figures, in [0, 1]; None where undefined (never predicted, no gold rows, neither)."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def per_class(predictions: ArrayLike, references: ArrayLike, labels: LabelSpace) -> list[ClassFigures]:
    """Precision, recall, F1 and the number of gold rows of each label, in the label space's order.

    predictions and references: (rows,) label ids, or (rows, labels) of 0 and 1 for a multi-label space.
    """
    guess, gold = _checked_pair(predictions, references, labels)
    if labels.multi:
        gold_count, guess_count, correct = gold.sum(axis=0), guess.sum(axis=0), (gold & guess).sum(axis=0)
    else:
        size = len(labels.names)
        gold_count, guess_count = np.bincount(gold, minlength=size), np.bincount(guess, minlength=size)
        correct = np.bincount(gold[gold == guess], minlength=size)
    true, said, both = (part.astype(np.float64) for part in (gold_count, guess_count, correct))
    columns = counts.ratio(both, said), counts.recall(true, both), counts.f1(true, said, both)
    precision, recall, f1 = (_defined(column) for column in columns)
    return [
        {"label": name, "precision": precision[i], "recall": recall[i], "f1": f1[i], "support": int(gold_count[i])}
        for i, name in enumerate(labels.names)
    ]


def confusion(predictions: ArrayLike, references: ArrayLike, labels: LabelSpace) -> Ints:
    """Counts of rows, int64. Single-label: (labels, labels), a row for the gold label, a column for the predicted one.

    Multi-label: (labels, 2, 2), each [[true negatives, false positives], [false negatives, true positives]].
    """
    guess, gold = _checked_pair(predictions, references, labels)
    size = len(labels.names)
    if not labels.multi:
        return np.bincount(gold * size + guess, minlength=size * size).reshape(size, size).astype(np.int64)
    tables = [np.bincount(gold[:, i] * 2 + guess[:, i], minlength=4).reshape(2, 2) for i in range(size)]
    return np.stack(tables).astype(np.int64)


def _checked_pair(predictions: ArrayLike, references: ArrayLike, labels: LabelSpace) -> tuple[Ints, Ints]:
    gold = check_ids("references", references, labels)
    return check_ids("predictions", predictions, labels, rows=len(gold)), gold


def _defined(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
