"""How far probabilities can be believed: expected calibration error and the bins of a reliability diagram."""

from __future__ import annotations

from math import sqrt
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from nlptk.metrics.inputs import Batch, Floats, Ints, check_batch
from nlptk.task import LabelSpace

BINS = 15
NORMAL_975 = 1.959963984540054
"""The 97.5th percentile of the standard normal distribution."""


class ReliabilityBin(TypedDict):
    """One bin of a reliability diagram.

    confidence: mean stated probability, accuracy: observed share, count: decisions in the bin. low, high: the 95 %
    Wilson score interval of accuracy. edge_low, edge_high: the bin is (edge_low, edge_high].
    """

    confidence: float
    accuracy: float
    count: int
    low: float
    high: float
    edge_low: float
    edge_high: float


def stated_and_observed(batch: Batch) -> tuple[Floats, Floats]:
    """What was claimed and whether it came true, both (rows, decisions a row).

    Single-label: the probability of the most probable label and whether that label is right, one decision a row.
    Multi-label: the probability of each label and whether the row has it, one decision a label.
    """
    if batch.multi:
        return batch.probabilities, batch.references.astype(np.float64)
    top = batch.probabilities.argmax(axis=1)
    right = (top == batch.references).astype(np.float64)
    return batch.probabilities.max(axis=1, keepdims=True), right[:, None]


def bin_of(confidence: Floats, bins: int = BINS) -> Ints:
    """Index of the equal-width bin ((0, 1/bins], (1/bins, 2/bins], ...; 0 belongs to the first) of each probability."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1).astype(np.int64)


def gap_sums(batch: Batch, bins: int = BINS) -> Floats:
    """(bins, rows): what each row adds to each bin's sum of (stated - observed)."""
    stated, observed = stated_and_observed(batch)
    rows, decisions = stated.shape
    cells = bin_of(stated, bins) * rows + np.arange(rows)[:, None]
    sums = np.bincount(cells.ravel(), weights=(stated - observed).ravel(), minlength=bins * rows)
    return np.asarray(sums.reshape(bins, rows) / decisions, dtype=np.float64)


def expected_calibration_error(
    probabilities: ArrayLike, references: ArrayLike, labels: LabelSpace, *, bins: int = BINS
) -> float:
    """Mean distance between stated probability and observed share over equal-width bins, in [0, 1].

    Guo et al. 2017, "On Calibration of Modern Neural Networks": sum_b (n_b / n) |accuracy(b) - confidence(b)|, on the
    most probable label. Multi-label: over all rows x labels decisions, binned by the probability of yes.

        >>> error = expected_calibration_error([[0.8, 0.2], [0.8, 0.2]], [0, 1], LabelSpace(("a", "b")))
        >>> round(error, 6)  # stated 0.8, seen 0.5
        0.3
    """
    batch = check_batch(probabilities, references, labels)
    return float(np.abs(gap_sums(batch, bins).sum(axis=1)).sum() / len(batch.probabilities))


def reliability_bins(
    probabilities: ArrayLike, references: ArrayLike, labels: LabelSpace, *, bins: int = BINS
) -> list[ReliabilityBin]:
    """The bins that hold at least one decision, from low to high probability; decisions as in the calibration error."""
    stated, observed = (part.ravel() for part in stated_and_observed(check_batch(probabilities, references, labels)))
    where = bin_of(stated, bins)
    counts = np.bincount(where, minlength=bins)
    confidence = np.bincount(where, weights=stated, minlength=bins)
    hits = np.bincount(where, weights=observed, minlength=bins)
    found: list[ReliabilityBin] = []
    for index in np.flatnonzero(counts):
        count = int(counts[index])
        low, high = wilson_interval(float(hits[index]), count)
        found.append(
            {
                "confidence": float(confidence[index] / count),
                "accuracy": float(hits[index] / count),
                "count": count,
                "low": low,
                "high": high,
                "edge_low": float(index / bins),
                "edge_high": float((index + 1) / bins),
            }
        )
    return found


def wilson_interval(hits: float, count: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927), in [0, 1]: it stays sensible for few rows and for 0 or all hits."""
    share, z2 = hits / count, NORMAL_975**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL_975 * sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)
