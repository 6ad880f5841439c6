"""Figures of rejection against worked examples, scikit-learn, and row-by-row resampling."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nlptk.errors import DataError
from nlptk.metrics import out_of_scope_figures, rejection_figures
from tests.metrics.plain_bootstrap import check_intervals

RNG = np.random.default_rng(0)


def test_separation_on_a_worked_example() -> None:
    """Of 12 pairs 11 are in order; the stranger at 0.35 lies above the known one at 0.3. 95 % of three are all."""
    found = out_of_scope_figures(np.array([0.3, 0.5, 0.7, 0.9]), np.array([0.1, 0.2, 0.35]))
    assert found["out_of_scope_auroc"].value == pytest.approx(11 / 12)
    assert found["false_rejection_at_95"].value == pytest.approx(1 / 4)


def test_where_strangers_are_few_no_fewer_than_95_percent_of_them_are_rejected() -> None:
    """19 of 20 are 95 %; of ten, all must be; of equals, all are."""
    known = np.arange(40) / 40 + 0.01
    twenty = np.arange(20) / 20
    assert out_of_scope_figures(known, twenty)["false_rejection_at_95"].value == pytest.approx((known <= 0.9).mean())
    assert out_of_scope_figures(known, twenty[:10])["false_rejection_at_95"].value == pytest.approx(
        (known <= 0.45).mean()
    )
    halves = np.repeat([0.5, 0.9], 10)
    assert out_of_scope_figures(known, halves)["false_rejection_at_95"].value == pytest.approx((known <= 0.9).mean())


def test_rejection_on_a_worked_example() -> None:
    """Of five rows three are right and two are rejected, one of these rightly classed."""
    right, rejected = [True, True, True, False, False], [False, False, True, True, False]
    values = {name: figure.value for name, figure in rejection_figures(right, rejected).items()}
    expected = {"rejected": 2 / 5, "accuracy_with_rejection": 2 / 5, "accuracy_of_kept": 2 / 3}
    assert values == pytest.approx(expected)
    assert "accuracy_of_kept" not in rejection_figures([True], [True])
    with pytest.raises(DataError):
        rejection_figures([], [])


def test_intervals_are_those_of_rows_drawn_one_by_one() -> None:
    right, rejected = RNG.random(40) < 0.8, RNG.random(40) < 0.2

    def kept(drawn: list[int]) -> dict[str, float]:
        away, good = rejected[drawn], right[drawn]
        found = {"rejected": away.mean(), "accuracy_with_rejection": (good & ~away).mean()}
        return {**found, "accuracy_of_kept": good[~away].mean()}

    figures = rejection_figures(right, rejected, bootstrap=60, seed=1)
    check_intervals(figures, kept, rows=40, resamples=60, seed=1, exactly=["accuracy_of_kept", "rejected"])

    known, strangers = np.round(RNG.normal(1, 1, 30), 1), np.round(RNG.normal(0, 1, 20), 1)  # with ties
    scores, inside = np.concatenate([known, strangers]), np.arange(50) < 30

    def told_apart(drawn: list[int]) -> dict[str, float]:
        ours, theirs = scores[drawn][inside[drawn]], scores[drawn][~inside[drawn]]
        edge = np.sort(theirs)[int(np.ceil(0.95 * len(theirs) - 1e-9)) - 1]
        return {
            "out_of_scope_auroc": float(roc_auc_score(inside[drawn], scores[drawn])),
            "false_rejection_at_95": float((ours <= edge).mean()),
            "out_of_scope_rejected": float((theirs < 0.5).mean()),
        }

    figures = out_of_scope_figures(known, strangers, threshold=0.5, bootstrap=60, seed=1)
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(told_apart(list(range(50))))
    check_intervals(figures, told_apart, rows=50, resamples=60, seed=1, exactly=list(figures))
