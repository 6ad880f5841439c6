"""What comes of withholding labels, and how well a score tells texts in scope from those that are in no class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats
from nlptk.metrics.intervals import figures_of
from nlptk.metrics.ranking import Segments
from nlptk.metrics.rows import check_rows
from nlptk.task import Figure

REJECTED = 0.95
"""Share of the texts out of scope at whose rejection the wrongly rejected ones are counted."""


def rejection_figures(right: ArrayLike, rejected: ArrayLike, *, bootstrap: int = 0, seed: int = 0) -> dict[str, Figure]:
    """What comes of rejection among rows that have a class.

    right: (rows,) whether the most probable class is the right one; rejected: (rows,) whether it is withheld. Figures:
    rejected, the share of these; accuracy_with_rejection, of all rows, a rejected one being wrong; accuracy_of_kept, of
    those that keep their label, absent where none does.

    Raises: DataError: no rows, or columns of different lengths.
    """
    correct, away = np.asarray(right, dtype=bool), np.asarray(rejected, dtype=bool)
    rows = check_rows(right=correct, rejected=away)

    def measure(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=0)
        kept, kept_right = total - away @ weights, (correct & ~away) @ weights
        return {
            "rejected": ratio(away @ weights, total),
            "accuracy_with_rejection": ratio(kept_right, total),
            "accuracy_of_kept": ratio(kept_right, kept),
        }

    return figures_of(measure, rows, bootstrap=bootstrap, seed=seed)


def out_of_scope_figures(
    known: ArrayLike, strangers: ArrayLike, *, threshold: float | None = None, bootstrap: int = 0, seed: int = 0
) -> dict[str, Figure]:
    """How well familiarity tells the known texts from strangers, which should score lower.

    known, strangers: (texts,) scores. threshold: the score below which a text is rejected. Figures: out_of_scope_auroc;
    false_rejection_at_95, the share of the known that fall with 95 % of the strangers or, where they are few, the least
    more; out_of_scope_rejected, the share of the strangers below the threshold. bootstrap: resamples of all texts.

    Raises: DataError: no known texts, or no strangers.
    """
    inside, outside = np.asarray(known, dtype=np.float64), np.asarray(strangers, dtype=np.float64)
    check_rows(known=inside)
    check_rows(strangers=outside)
    scores = np.concatenate([inside, outside])
    ranks = Segments(scores, np.arange(len(scores)) < len(inside))
    inside_order, outside_order = np.argsort(inside), np.argsort(outside)
    known_up, strangers_up = inside[inside_order], outside[outside_order]

    def measure(weights: Floats) -> dict[str, Floats]:
        ours, theirs = np.split(weights, [len(inside)])
        total, everybody = ours.sum(axis=0), theirs.sum(axis=0)
        enough = np.cumsum(theirs[outside_order], axis=0) >= REJECTED * everybody - 1e-9
        edges = strangers_up[enough.argmax(axis=0)]
        below = np.concatenate([np.zeros((1, weights.shape[1])), np.cumsum(ours[inside_order], axis=0)])
        lost = np.take_along_axis(below, np.searchsorted(known_up, edges, side="right")[None], axis=0)[0]
        found = {
            "out_of_scope_auroc": ranks.figures(weights)[0],
            "false_rejection_at_95": np.where(everybody > 0, ratio(lost, total), np.nan),
        }
        if threshold is not None:
            found["out_of_scope_rejected"] = ratio((outside < threshold) @ theirs, everybody)
        return found

    return figures_of(measure, len(scores), bootstrap=bootstrap, seed=seed)
