"""The bootstrap over rows as weights, and percentile intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nlptk.metrics.inputs import Floats

CHUNK_CELLS = 1_000_000
"""Weights held at a time (rows x resamples): 8 MB, whatever the number of rows up to a million."""


def resample_weights(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn, in chunks (rows, some resamples) that together hold `resamples` columns.

    Each column draws `rows` rows with replacement (Efron 1979) and sums to `rows`. The same seed gives the same draws.
    """
    generator = np.random.default_rng(seed)
    width = max(1, CHUNK_CELLS // rows)
    for start in range(0, resamples, width):
        columns = min(width, resamples - start)
        drawn = generator.integers(0, rows, size=(columns, rows))
        cells = drawn * columns + np.arange(columns)[:, None]
        counts = np.bincount(cells.ravel(), minlength=rows * columns)
        yield counts.reshape(rows, columns).astype(np.float64)


def bootstrap(
    measure: Callable[[Floats], dict[str, Floats]], rows: int, *, resamples: int, seed: int
) -> dict[str, Floats]:
    """Every measure on every resample: name -> (resamples,). measure: weights (rows, n) -> name -> (n,)."""
    parts: dict[str, list[Floats]] = {}
    for weights in resample_weights(rows, resamples, seed):
        for name, values in measure(weights).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def percentile_interval(samples: Floats, *, centre: float | None = None) -> tuple[float, float] | None:
    """The 2.5th and 97.5th percentile of the samples that are defined (not NaN); None where fewer than half are.

    centre: move the interval so that the samples' mean falls here. It takes out what resampling itself adds: to a sum
    of absolute values (the calibration error), and to a mean over labels that loses rare ones in some resamples; either
    can put the interval beside the figure.
    """
    defined = samples[~np.isnan(samples)]
    if 2 * len(defined) < len(samples) or not len(defined):
        return None
    shift = 0.0 if centre is None else centre - float(defined.mean())
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low) + shift, float(high) + shift
