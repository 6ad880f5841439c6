"""Decision thresholds of a multi-label classifier, chosen on validation rows."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from nlptk.errors import DataError
from nlptk.metrics.counts import f1, mcc
from nlptk.metrics.inputs import Floats, Ints

DEFAULT = 0.5
Objective = Literal["f1", "mcc"]


def tune_thresholds(probabilities: ArrayLike, references: ArrayLike, *, objective: Objective = "f1") -> Floats:
    """Per label the threshold t for which `p >= t` scores best, exactly: every cut between scores is tried; (labels,).

    probabilities and references: (rows, labels), the latter 0 and 1. objective: each label's own F1 or Matthews
    correlation; best F1 per label is best macro F1. A cut lies midway between the two neighbouring scores (below the
    lowest score, midway to 0); among cuts that score the same, the one nearest 0.5 wins. A label whose rows
    are all negative, or all positive for mcc, keeps 0.5: nothing can be learnt from it.

    With few positives the best cut is a noisy choice and its score an optimistic one: measure on other rows.

    Raises:
        DataError: shapes that differ, values outside [0, 1], references other than 0 and 1.
    """
    scores, gold = np.asarray(probabilities, dtype=np.float64), np.asarray(references)
    if scores.ndim != 2 or scores.shape != gold.shape:
        raise DataError(f"thresholds: probabilities {scores.shape}, references {gold.shape}; expected one shape")
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise DataError("thresholds: probabilities outside [0, 1] or not numbers; pass logits through sigmoid first")
    if not np.isin(gold, (0, 1)).all():
        raise DataError("thresholds: references other than 0 and 1; expected a (rows, labels) indicator")
    if objective not in ("f1", "mcc"):
        raise DataError(f"thresholds: objective {objective!r}; expected 'f1' or 'mcc'")
    targets = gold.astype(np.int64)
    cuts = [_best_cut(scores[:, label], targets[:, label], objective) for label in range(scores.shape[1])]
    return np.array(cuts, dtype=np.float64)


def _best_cut(scores: Floats, gold: Ints, objective: Objective) -> float:
    positives, rows = int(gold.sum()), len(gold)
    if positives == 0 or (objective == "mcc" and positives == rows):
        return DEFAULT
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    said = (last_of_tie + 1).astype(np.float64)
    true = np.cumsum(gold[order])[last_of_tie].astype(np.float64)
    quality = _quality(said, true, positives=positives, rows=rows, objective=objective)
    above = ordered[last_of_tie]
    below = np.append(above[1:], 0.0)
    middle = (above + below) / 2
    # Between neighbouring floats the midpoint may round down to the lower score, which would move the cut.
    cuts = np.where(middle > below, middle, above)
    best = cuts[quality >= quality.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - DEFAULT))])


def _quality(said: Floats, true: Floats, *, positives: int, rows: int, objective: Objective) -> Floats:
    """The objective at each cut, (cuts,); said: rows called positive there, true: those that are."""
    gold = np.full_like(said, positives)
    if objective == "f1":
        return f1(gold, said, true)
    negatives = rows - gold
    kept = negatives - (said - true)
    return mcc(np.stack([negatives, gold]), np.stack([rows - said, said]), np.stack([kept, true]))
