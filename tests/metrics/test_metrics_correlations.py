"""Similarity figures against scipy.stats and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from nlptk.errors import DataError
from nlptk.metrics import similarity_figures
from tests.metrics.plain_bootstrap import check_intervals

Array = NDArray[Any]


def scored(rows: int, seed: int = 0, *, decimals: int = 1) -> tuple[Array, Array]:
    """Correlated values, rounded so that ties occur."""
    rng = np.random.default_rng(seed)
    gold = np.round(rng.uniform(0, 5, rows), decimals)
    return np.round(gold / 5 + rng.normal(scale=0.3, size=rows), decimals), gold


def labelled(rows: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, rows)
    return np.round(rng.normal(size=rows) + gold, 1), gold


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_correlations_equal_scipy(decimals: int) -> None:
    x, y = scored(300, decimals=decimals)
    figures = similarity_figures(x, y)
    assert figures["pearson"].value == pytest.approx(stats.pearsonr(x, y)[0], rel=1e-12)
    assert figures["spearman"].value == pytest.approx(stats.spearmanr(x, y)[0], rel=1e-12)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-3, 3)), min_size=2, max_size=12))
def test_spearman_equals_scipy_on_any_numbers(pairs: list[tuple[float, int]]) -> None:
    x, y = (list(column) for column in zip(*pairs, strict=True))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert "spearman" not in similarity_figures(x, y)
    else:
        assert similarity_figures(x, y)["spearman"].value == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)


def test_correlation_intervals_equal_a_plain_bootstrap_over_scipy() -> None:
    x, y = scored(40, seed=2)

    def score(drawn: list[int]) -> dict[str, float]:
        return {
            "pearson": float(stats.pearsonr(x[drawn], y[drawn])[0]),
            "spearman": float(stats.spearmanr(x[drawn], y[drawn])[0]),
        }

    figures = similarity_figures(x, y, bootstrap=80, seed=6)
    check_intervals(figures, score, rows=40, resamples=80, seed=6, exactly=["pearson", "spearman"])


def test_resamples_that_are_constant_are_left_out() -> None:
    x, y = [0.1, 0.1, 0.1, 0.7], [0.3, 0.3, 0.3, 0.9]  # 0.1 * 3 / 3 is not 0.1 in floats
    figure = similarity_figures(x, y, bootstrap=200)["pearson"]
    assert (figure.value, figure.low, figure.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("constant", [0.1, 0.0, 1e9 + 0.1])
def test_correlation_with_a_constant_is_absent(constant: float) -> None:
    assert similarity_figures([constant] * 3, [1, 2, 3], bootstrap=5) == {}


def test_large_offsets_do_not_spoil_pearson() -> None:
    x, y = scored(50, decimals=6)
    assert similarity_figures(x + 1e6, y)["pearson"].value == pytest.approx(stats.pearsonr(x, y)[0], rel=1e-8)


def best_f1(scores: Array, gold: Array) -> float:
    """By trying every score as the threshold."""
    said = scores >= scores[:, None]
    return float((2 * (said & (gold == 1)).sum(axis=1) / (said.sum(axis=1) + gold.sum())).max())


def test_labelled_pairs_equal_scikit_learn() -> None:
    scores, gold = labelled(200)
    figures = similarity_figures(scores, gold, labelled=True)
    assert figures["average_precision"].value == pytest.approx(average_precision_score(gold, scores))
    assert figures["roc_auc"].value == pytest.approx(roc_auc_score(gold, scores))
    assert figures["best_f1"].value == pytest.approx(best_f1(scores, gold))
    said = scores >= figures["best_f1_threshold"].value
    assert f1_score(gold, said) == pytest.approx(figures["best_f1"].value)


def test_the_threshold_lies_between_its_neighbours() -> None:
    figures = similarity_figures([-0.4, 0.1, 0.5, 0.9], [0, 0, 1, 1], labelled=True)
    assert (figures["best_f1"].value, figures["best_f1_threshold"].value) == pytest.approx((1.0, 0.3))
    assert similarity_figures([0.2, 0.8], [1, 1], labelled=True)["best_f1_threshold"].value == 0.2


def test_labelled_intervals_equal_a_plain_bootstrap_over_scikit_learn() -> None:
    scores, gold = labelled(40, seed=3)

    def score(drawn: list[int]) -> dict[str, float]:
        return {
            "best_f1": best_f1(scores[drawn], gold[drawn]),
            "average_precision": float(average_precision_score(gold[drawn], scores[drawn])),
        }

    figures = similarity_figures(scores, gold, labelled=True, bootstrap=40, seed=1)
    check_intervals(figures, score, rows=40, resamples=40, seed=1, exactly=["best_f1", "average_precision"])


def test_pairs_without_positive_labels_have_no_figures() -> None:
    assert similarity_figures([0.1, 0.2], [0, 0], labelled=True, bootstrap=5) == {}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.1], [1, 2]), {}, "predictions 1, references 2"),
        (([], []), {}, "no rows"),
        (([float("nan")], [1]), {}, "predictions: shape \\(1,\\), or NaN"),
        (([[0.1]], [1]), {}, "predictions: shape \\(1, 1\\)"),
        (([0.1, 0.2], [0, 5]), {"labelled": True}, "values other than 0 and 1"),
    ],
)
def test_bad_input_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        similarity_figures(*arguments, **options)
