"""Calibration error and reliability bins against worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from nlptk.metrics import classification_figures, expected_calibration_error, reliability_bins
from nlptk.metrics.calibration import wilson_interval
from nlptk.task import LabelSpace

TWO = LabelSpace(("no", "yes"))
MULTI = LabelSpace(("a", "b"), multi=True)


def test_calibration_error_of_a_worked_example() -> None:
    # Bin (0.8, 0.8667]: stated 0.85, 0.85, one of two right -> gap 0.35 on 2 of 4 rows.
    # Bin (0.9333, 1]: stated 0.95, 0.97, both right -> gap 0.04 on 2 of 4 rows. Together 0.195.
    p = np.array([[0.85, 0.15], [0.15, 0.85], [0.95, 0.05], [0.03, 0.97]])
    assert expected_calibration_error(p, [0, 0, 0, 1], TWO) == pytest.approx(0.195)


def test_multi_label_calibration_error_bins_every_decision_by_its_probability() -> None:
    # Bin (0.0667, 0.1333]: stated 0.1 twice, never true -> gap 0.1 on half of the decisions.
    # Bin (0.8667, 0.9333]: stated 0.9 twice, once true -> gap 0.4 on the other half.
    p = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert expected_calibration_error(p, [[0, 1], [0, 0]], MULTI) == pytest.approx(0.5 * 0.1 + 0.5 * 0.4)


def test_the_figure_is_the_same_calibration_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet((1, 1), size=300)
    y = rng.integers(0, 2, 300)
    assert classification_figures(p, y, TWO)["ece"].value == pytest.approx(expected_calibration_error(p, y, TWO))


def test_bins_sum_to_the_calibration_error_and_hold_all_rows() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet((1, 1), size=300)
    y = rng.integers(0, 2, 300)
    bins = reliability_bins(p, y, TWO)
    assert sum(b["count"] for b in bins) == 300
    summed = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / 300
    assert summed == pytest.approx(expected_calibration_error(p, y, TWO))
    assert all(b["edge_low"] < b["confidence"] <= b["edge_high"] for b in bins)
    assert all(b["low"] <= b["accuracy"] <= b["high"] for b in bins)


def test_probabilities_of_zero_and_one_fall_into_the_outer_bins() -> None:
    bins = reliability_bins(np.array([[0.0, 1.0]]), [[0, 1]], MULTI)
    assert [(b["edge_low"], b["edge_high"]) for b in bins] == [(0.0, 1 / 15), (14 / 15, 1.0)]


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 -> 0.2553 to 0.3662; 0 of 20 -> 0 to 0.1611.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
