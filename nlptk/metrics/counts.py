"""Precision, recall, F1 and Matthews correlation from counts, for many resamples at once.

Every function takes arrays whose last axis is the resample (one column for a plain measurement): gold, predicted and
correct are the (weighted) numbers of rows that have a label, that were given it, and both: (labels, resamples).
What is undefined is NaN here; the callers leave it out or turn it into None.
"""

from __future__ import annotations

import numpy as np

from nlptk.metrics.inputs import Floats


def ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom elementwise, NaN where bottom is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = np.where(bottom == 0, np.nan, top / bottom)
    return quotient


def mean_of_defined(values: Floats) -> Floats:
    """Mean over labels of the values that are numbers, (labels, resamples) -> (resamples,); NaN where none is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))


def f1(gold: Floats, predicted: Floats, correct: Floats) -> Floats:
    """2 tp / (gold + predicted), (labels, resamples); NaN for a label that is neither gold nor predicted anywhere."""
    return ratio(2 * correct, gold + predicted)


def precision(gold: Floats, predicted: Floats, correct: Floats) -> Floats:
    """tp / predicted, (labels, resamples); 0 for a label that is gold and never predicted, NaN where it is neither."""
    return np.where((predicted == 0) & (gold > 0), 0.0, ratio(correct, predicted))


def recall(gold: Floats, correct: Floats) -> Floats:
    """tp / gold, (labels, resamples); NaN for a label without gold rows."""
    return ratio(correct, gold)


def weighted_f1(gold: Floats, predicted: Floats, correct: Floats) -> Floats:
    """F1 averaged over labels by their gold counts, (resamples,); NaN where nothing is gold."""
    return ratio((gold * np.nan_to_num(f1(gold, predicted, correct))).sum(axis=0), gold.sum(axis=0))


def mcc(gold: Floats, predicted: Floats, correct: Floats) -> Floats:
    """Matthews correlation of a single-label problem, (resamples,), in [-1, 1].

    Gorodkin 2004, R_K: (c s - sum_k p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)), s rows, c of them correct. 0
    where the predictions are all one label (the limit: Chicco and Jurman 2020), NaN where the references are.
    """
    rows = gold.sum(axis=0)
    covariance = correct.sum(axis=0) * rows - (gold * predicted).sum(axis=0)
    spread_gold = rows**2 - (gold**2).sum(axis=0)
    spread_predicted = rows**2 - (predicted**2).sum(axis=0)
    value = ratio(covariance, np.sqrt(spread_gold * spread_predicted))
    return np.where((spread_predicted == 0) & (spread_gold > 0), 0.0, value)


def pooled_mcc(gold: Floats, predicted: Floats, correct: Floats, decisions: Floats) -> Floats:
    """Matthews correlation of all yes/no decisions of a multi-label problem taken as one, (resamples,), in [-1, 1].

    decisions: rows x labels of each resample, (resamples,).
    """
    yes, said_yes, both = gold.sum(axis=0), predicted.sum(axis=0), correct.sum(axis=0)
    neither = decisions - yes - said_yes + both
    return mcc(np.stack([decisions - yes, yes]), np.stack([decisions - said_yes, said_yes]), np.stack([neither, both]))
