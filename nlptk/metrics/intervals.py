"""A measure over weighted rows -> figures with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from nlptk.metrics.bootstrap import bootstrap as run_bootstrap
from nlptk.metrics.bootstrap import percentile_interval
from nlptk.metrics.inputs import Floats
from nlptk.task import Figure

Measure = Callable[[Floats], dict[str, Floats]]
"""Weights (rows, resamples) -> figure -> (resamples,), NaN where undefined."""


def point_values(measure: Measure, rows: int) -> dict[str, float | None]:
    """The figures of the rows as they are; None where undefined."""
    found = {name: float(values[0]) for name, values in measure(np.ones((rows, 1))).items()}
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def figures_of(
    measure: Measure, rows: int, *, bootstrap: int = 0, seed: int = 0, centred: Collection[str] = ()
) -> dict[str, Figure]:
    """The figures that are defined on these rows, each with its 95 % percentile interval where `bootstrap` is not 0.

    bootstrap: resamples of the rows. centred: shares whose interval is moved to the figure, because drawing rows with
    replacement shifts them (see `percentile_interval`), and kept within [0, 1]. An interval is left out where most
    resamples are undefined.
    """
    samples = run_bootstrap(measure, rows, resamples=bootstrap, seed=seed) if bootstrap else {}
    figures: dict[str, Figure] = {}
    for name, value in point_values(measure, rows).items():
        if value is None:
            continue
        interval = percentile_interval(samples[name], centre=value if name in centred else None) if samples else None
        if interval is not None and name in centred:
            interval = max(0.0, interval[0]), min(1.0, interval[1])
        figures[name] = Figure(value, *(interval or (None, None)))
    return figures


def fixed_figures(values: dict[str, float | None]) -> dict[str, Figure]:
    """Counts and thresholds: figures that have no interval; None is left out."""
    return {name: Figure(value) for name, value in values.items() if value is not None}
