"""The bootstrap as textbooks have it, row by row, to compare the weighted one with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from nlptk.task import Figure


def check_intervals(
    figures: dict[str, Figure],
    score: Callable[[list[int]], dict[str, float]],
    *,
    rows: int,
    resamples: int,
    seed: int,
    exactly: Sequence[str] = (),
) -> None:
    """Every figure that `score` makes of a list of row numbers has the interval of scoring each resample anew.

    score may leave out what is undefined in a resample. exactly: the names that must be there.
    """
    drawn = np.random.default_rng(seed).integers(0, rows, size=(resamples, rows))
    samples = [score(row.tolist()) for row in drawn]
    names = {name for sample in samples for name in sample}
    assert names >= set(exactly)
    for name in names:
        low, high = np.percentile([sample[name] for sample in samples if name in sample], [2.5, 97.5])
        assert (figures[name].low, figures[name].high) == pytest.approx((low, high), abs=1e-12), name
