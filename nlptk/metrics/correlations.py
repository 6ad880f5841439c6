"""Similarity scores against gold: correlations for scored pairs, ranking figures for labelled ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nlptk.errors import DataError
from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats, Ints
from nlptk.metrics.intervals import Measure, figures_of, fixed_figures
from nlptk.metrics.ranking import Segments
from nlptk.metrics.rows import check_rows
from nlptk.task import Figure

CONSTANT = 1e-13
"""Spread by magnitude below which values are the same number up to rounding (scipy.stats.pearsonr warns there)."""


def similarity_figures(
    predictions: ArrayLike, references: ArrayLike, *, labelled: bool = False, bootstrap: int = 0, seed: int = 0
) -> dict[str, Figure]:
    """How well predicted similarities agree with gold ones.

    predictions: (rows,) similarities. references: (rows,) gold similarities on any scale or, if `labelled`, 1 for pairs
    that belong together and 0 for others. bootstrap: resamples of the rows.

    Scored pairs: pearson and spearman, in [-1, 1], as in scipy.stats; ties have their mean rank. Each resample is
    ranked anew: the mean ranks of a resample follow from how often each distinct value was drawn.

    Labelled pairs: average_precision and roc_auc in [0, 1], as in scikit-learn; best_f1, the best F1 of the rule
    "similarity >= threshold", and best_f1_threshold, midway between the two neighbouring similarities (no interval; the
    interval of best_f1 chooses anew in every resample). Chosen on the rows that measure it, best_f1 is optimistic.

    A figure that is undefined on these rows is absent: correlations of a constant, ranking without one of the labels.

    Raises:
        DataError: no rows, columns of different lengths, values that are not finite numbers, labels other than 0 and 1.
    """
    x, y = checked("predictions", predictions), checked("references", references)
    rows = check_rows(predictions=x, references=y)
    if not labelled:
        return figures_of(correlation_measure(x, y), rows, bootstrap=bootstrap, seed=seed)
    if not np.isin(y, (0, 1)).all():
        raise DataError("references: values other than 0 and 1; expected labels of pairs; scored pairs: labelled=False")
    cuts = PairCuts(x, y == 1)
    figures = figures_of(ranking_measure(x, y == 1, cuts), rows, bootstrap=bootstrap, seed=seed)
    return figures | fixed_figures({"best_f1_threshold": cuts.best_threshold()})


def checked(what: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise DataError(f"{what}: shape {array.shape}, or NaN; expected (rows,) finite numbers")
    return array


def correlation_measure(x: Floats, y: Floats) -> Measure:
    """Pearson and Spearman of the rows as a function of their weights."""
    level_x, level_y = np.unique(x, return_inverse=True)[1], np.unique(y, return_inverse=True)[1]

    def measure(weights: Floats) -> dict[str, Floats]:
        ranks = weighted_ranks(level_x, weights), weighted_ranks(level_y, weights)
        return {
            "pearson": weighted_pearson(x[:, None], y[:, None], weights),
            "spearman": weighted_pearson(*ranks, weights),
        }

    return measure


def weighted_pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson correlation, (resamples,), NaN where x or y is constant; x, y: (rows, 1 or resamples)."""
    total = weights.sum(axis=0)
    parts, constant = [], np.zeros(weights.shape[1], dtype=bool)
    for values in (x, y):
        centred = values - (values * weights).sum(axis=0) / total
        spread = np.sqrt((centred**2 * weights).sum(axis=0))
        constant |= spread <= CONSTANT * np.abs(values).max() * np.sqrt(total)
        parts.append((centred, spread))
    (a, spread_a), (b, spread_b) = parts
    found = ratio((a * b * weights).sum(axis=0), spread_a * spread_b)
    return np.where(constant, np.nan, np.clip(found, -1.0, 1.0))


def weighted_ranks(level: Ints, weights: Floats) -> Floats:
    """(rows, resamples): mean ranks from 1 of the values in each resample.

    level: (rows,) position of each row's value among the distinct values. In a resample a value that was drawn t times,
    after b draws of smaller ones, has the ranks b + 1 ... b + t: (t + 1) / 2 + b on average.
    """
    from scipy.sparse import csr_array

    rows = np.arange(len(level))
    drawn: Floats = csr_array((np.ones(len(level)), (level, rows))) @ weights
    ranks: Floats = np.cumsum(drawn, axis=0) - (drawn - 1) / 2
    return ranks[level]


class PairCuts:
    """The thresholds that tell labelled pairs apart, and F1 at each; scores: (rows,), positive: (rows,) bool."""

    def __init__(self, scores: Floats, positive: np.ndarray):
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.positive = positive[self.order].astype(np.float64)[:, None]
        self.ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        above = ordered[self.ends]
        middle = (above + np.append(above[1:], above[-1])) / 2
        # Between neighbouring floats the midpoint may round down to the lower score, which would move the cut.
        self.thresholds = np.where(middle > np.append(above[1:], -np.inf), middle, above)

    def f1(self, weights: Floats) -> Floats:
        """(cuts, resamples): F1 of each threshold, from the highest to the lowest; NaN without positive rows."""
        drawn = weights[self.order]
        said, true = np.cumsum(drawn, axis=0)[self.ends], np.cumsum(drawn * self.positive, axis=0)
        return np.where(true[-1] > 0, ratio(2 * true[self.ends], said + true[-1]), np.nan)

    def best_threshold(self) -> float | None:
        values = self.f1(np.ones((len(self.order), 1)))[:, 0]
        return None if np.isnan(values).all() else float(self.thresholds[np.argmax(values)])


def ranking_measure(scores: Floats, positive: np.ndarray, cuts: PairCuts) -> Measure:
    """The ranking figures of the rows as a function of their weights."""
    segments = Segments(scores, positive)

    def measure(weights: Floats) -> dict[str, Floats]:
        roc_auc, average_precision = segments.figures(weights)
        return {"average_precision": average_precision, "roc_auc": roc_auc, "best_f1": cuts.f1(weights).max(axis=0)}

    return measure
