"""What the measures take, checked once at the door: wrong shapes, ids and probabilities are refused by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlptk.errors import DataError
from nlptk.task import LabelSpace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUM_TOLERANCE = 1e-2
"""How far a row's probabilities may sum from 1: a softmax over 150 labels in float16 is off by some 1e-3."""
RANGE_TOLERANCE = 1e-6
"""How far a probability may leave [0, 1]: the rounding of float32."""


@dataclass(frozen=True)
class Batch:
    """Checked rows. probabilities: (rows, labels) float64, floor: the smallest probability a logarithm sees.

    references and predictions: (rows,) label ids, or (rows, labels) of 0 and 1 where `multi`.
    """

    probabilities: Floats
    references: Ints
    predictions: Ints
    multi: bool
    floor: float


def check_batch(
    probabilities: ArrayLike, references: ArrayLike, labels: LabelSpace, *, predictions: ArrayLike | None = None
) -> Batch:
    """Checked and typed inputs; missing predictions are the most probable label, or every label with p >= 0.5.

    Raises:
        DataError: no rows, a shape that does not fit, an id outside the label space, NaN, or what is no probability.
    """
    raw = np.asarray(probabilities)
    checked = check_probabilities(raw, labels)
    gold = check_ids("references", references, labels, rows=len(checked))
    if predictions is None:
        guess = (checked >= 0.5).astype(np.int64) if labels.multi else checked.argmax(axis=1).astype(np.int64)
    else:
        guess = check_ids("predictions", predictions, labels, rows=len(checked))
    floor = float(np.finfo(raw.dtype).eps) if np.issubdtype(raw.dtype, np.floating) else float(np.finfo(float).eps)
    return Batch(checked, gold, guess, labels.multi, floor)


def check_probabilities(probabilities: ArrayLike, labels: LabelSpace) -> Floats:
    """(rows, labels) float64 in [0, 1]; rows sum to 1 unless the label space is multi-label.

    Raises:
        DataError: another shape, no rows, NaN, values outside [0, 1], or rows that do not sum to 1 (logits, say).
    """
    array = np.asarray(probabilities, dtype=np.float64)
    expected = len(labels.names)
    if array.ndim != 2 or array.shape[1] != expected:
        raise DataError(f"probabilities: shape {array.shape}; expected (rows, {expected}), one column a label")
    if not len(array):
        raise DataError("probabilities: no rows to measure; give at least one labelled row")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise DataError(f"probabilities, row {row}: not a number; the model's outputs overflowed or it diverged")
    if array.min() < -RANGE_TOLERANCE or array.max() > 1 + RANGE_TOLERANCE:
        raise DataError(
            f"probabilities: values from {array.min():.4g} to {array.max():.4g}; expected [0, 1]; "
            f"pass logits through {'sigmoid' if labels.multi else 'softmax'} first"
        )
    off = np.abs(array.sum(axis=1) - 1)
    if not labels.multi and off.max() > SUM_TOLERANCE:
        row = int(off.argmax())
        raise DataError(f"probabilities, row {row}: sum to {array[row].sum():.4g}; expected 1; use softmax")
    return np.clip(array, 0.0, 1.0)


def check_ids(what: str, values: ArrayLike, labels: LabelSpace, *, rows: int | None = None) -> Ints:
    """(rows,) ids below the number of labels or, for a multi-label space, (rows, labels) of 0 and 1; int64.

    Raises:
        DataError: another shape, another number of rows, or a value outside the label space.
    """
    array = np.asarray(values)
    count = len(labels.names)
    top = 1 if labels.multi else count - 1
    shape = f"(rows, {count})" if labels.multi else "(rows,)"
    if array.ndim != (2 if labels.multi else 1) or (labels.multi and array.shape[1] != count):
        raise DataError(f"{what}: shape {array.shape}; expected {shape}")
    if rows is not None and len(array) != rows:
        raise DataError(f"{what}: {len(array)} rows; expected {rows}, as many as there are probabilities")
    if not len(array):
        raise DataError(f"{what}: no rows to measure; give at least one labelled row")
    integers = array.astype(np.int64) if array.dtype.kind in "biuf" else None
    if integers is None or not np.array_equal(integers, array):
        raise DataError(f"{what}: {array.dtype} values; expected integer label ids, {shape}")
    if integers.min() < 0 or integers.max() > top:
        bad = integers.min() if integers.min() < 0 else integers.max()
        raise DataError(f"{what}: value {bad}; expected 0 to {top}")
    return integers
