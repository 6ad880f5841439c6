"""ROC-AUC and average precision under row weights: exact, ties included, for many resamples at once.

Both depend on a label's rows only through a few sums: at each distinct score that a positive row has, the weight of the
positives there, of the negatives tied with them, and of the negatives above it since the last such score. `Segments`
assigns each row to one of these sums, so a resample costs one sparse product instead of a sort.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats


class Segments:
    """The rows of one label, sorted into the sums that its ranking figures need.

    scores: (rows,) higher means more probably positive. positive: (rows,) bool.
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_]):
        from scipy.sparse import csr_array

        levels = np.unique(scores[positive])[::-1]
        self.levels = len(levels)
        # Position of each score in the descending levels: `at` counts the levels above it.
        at = np.searchsorted(-levels, -scores, side="left")
        tied = (at < self.levels) & (levels[np.minimum(at, self.levels - 1)] == scores) if self.levels else at < 0
        segment = np.where(positive, at, np.where(tied, self.levels + at, 2 * self.levels + at))
        rows = np.arange(len(scores))
        self.sums: Any = csr_array(
            (np.ones(len(scores)), (segment, rows)), shape=(3 * self.levels + 1, len(scores)), dtype=np.float64
        )

    def figures(self, weights: Floats) -> tuple[Floats, Floats]:
        """ROC-AUC and average precision, both (resamples,), for weights (rows, resamples).

        ROC-AUC is the weighted share of (positive, negative) pairs ranked rightly, a tie counting one half; NaN unless
        there is weight on both. Average precision is sum_n (R_n - R_{n-1}) P_n over the distinct scores, without
        interpolation (as scikit-learn has it); NaN without positives.
        """
        if not self.levels:
            nothing = np.full(weights.shape[1], np.nan)
            return nothing, nothing
        sums: Floats = self.sums @ weights
        positive, tied, between = np.split(sums, [self.levels, 2 * self.levels])
        false = np.cumsum(between[:-1] + tied, axis=0)
        positives, negatives = positive.sum(axis=0), false[-1] + between[-1]
        right = (positive * (negatives - false + 0.5 * tied)).sum(axis=0)
        true = np.cumsum(positive, axis=0)
        precision = np.nan_to_num(ratio(true, true + false))
        return ratio(right, positives * negatives), ratio((positive * precision).sum(axis=0), positives)


def segments_of(probabilities: Floats, indicator: NDArray[np.bool_], *, multi: bool) -> list[Segments]:
    """One `Segments` a ranked label: every label, or the second one alone where two exclude each other.

    probabilities and indicator: (rows, labels).
    """
    labels = probabilities.shape[1]
    ranked = [1] if labels == 2 and not multi else list(range(labels))
    return [Segments(probabilities[:, label], indicator[:, label]) for label in ranked]


def ranking_figures(segments: list[Segments], weights: Floats) -> dict[str, Floats]:
    """ROC-AUC and average precision averaged over the labels where they are defined, and over how many that is.

    weights: (rows, resamples). Every value: (resamples,).
    """
    total = {"roc_auc": np.zeros(weights.shape[1]), "average_precision": np.zeros(weights.shape[1])}
    counted = {name: np.zeros(weights.shape[1]) for name in total}
    for segment in segments:
        for name, values in zip(total, segment.figures(weights), strict=True):
            defined = ~np.isnan(values)
            total[name] += np.where(defined, values, 0.0)
            counted[name] += defined
    means = {name: ratio(total[name], counted[name]) for name in total}
    return means | {f"{name}_labels": counted[name] for name in total}
