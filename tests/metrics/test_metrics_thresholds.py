"""Tuned thresholds against a brute-force search."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from nlptk.errors import DataError
from nlptk.metrics import tune_thresholds


@pytest.mark.parametrize("objective", ["f1", "mcc"])
@pytest.mark.parametrize("decimals", [1, 6])
def test_no_threshold_beats_the_tuned_one(objective: Literal["f1", "mcc"], decimals: int) -> None:
    score = f1_score if objective == "f1" else matthews_corrcoef
    rng = np.random.default_rng(0)
    gold = (rng.random((60, 6)) < [0.05, 0.1, 0.3, 0.5, 0.8, 0.95]).astype(int)
    p = np.round(np.clip(rng.normal(0.3, 0.2, gold.shape) + 0.2 * gold, 0, 1), decimals)
    for label, threshold in enumerate(tune_thresholds(p, gold, objective=objective)):
        y, scores = gold[:, label], p[:, label]
        best = max(score(y, scores >= cut) for cut in np.unique(scores))
        assert score(y, scores >= threshold) == pytest.approx(best)


def test_the_cut_lies_midway_between_the_neighbouring_scores() -> None:
    assert tune_thresholds([[0.2], [0.3], [0.7], [0.8]], [[0], [0], [1], [1]]).tolist() == [0.5]


def test_a_label_without_positives_keeps_one_half() -> None:
    assert tune_thresholds([[0.9], [0.1]], [[0], [0]]).tolist() == [0.5]


def test_of_equally_good_cuts_the_one_nearest_one_half_wins() -> None:
    # Cuts at 0.9 (1 of 2 found, no error: F1 2/3) and at 0.35 (both found, 2 errors: F1 2/3).
    p = [[0.95], [0.85], [0.6], [0.4], [0.3]]
    assert tune_thresholds(p, [[1], [0], [0], [1], [0]]).tolist() == pytest.approx([0.35])


def test_neighbouring_floats_are_still_told_apart() -> None:
    low = 0.7
    high = float(np.nextafter(low, 1))
    threshold = tune_thresholds([[low], [high]], [[0], [1]])[0]
    assert low < threshold <= high


def test_thresholds_hold_for_the_float32_scores_they_were_tuned_on() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((50, 1)).astype(np.float32)
    gold = (p > 0.4).astype(int)
    assert np.array_equal(p >= tune_thresholds(p, gold), gold)


@pytest.mark.parametrize(
    ("p", "gold", "message"),
    [([[2.0]], [[1]], "sigmoid"), ([[0.5]], [[2]], "other than 0 and 1"), ([[0.5]], [1], "expected one shape")],
)
def test_inputs_that_do_not_fit_are_refused(p: list[list[float]], gold: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tune_thresholds(p, gold)
