"""Every headline figure of a classifier, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nlptk.metrics import counts
from nlptk.metrics.bootstrap import bootstrap as run_bootstrap
from nlptk.metrics.bootstrap import percentile_interval
from nlptk.metrics.calibration import gap_sums
from nlptk.metrics.inputs import Batch, Floats, check_batch
from nlptk.metrics.ranking import ranking_figures, segments_of
from nlptk.task import Figure, LabelSpace

COUNTS_OF_LABELS = ("macro_labels", "roc_auc_labels", "average_precision_labels")
"""Over how many labels an average runs; reported only where it is not all of them."""


UNBOUNDED = ("log_loss", "brier")
"""What may be greater than 1."""


def classification_figures(
    probabilities: ArrayLike,
    references: ArrayLike,
    labels: LabelSpace,
    *,
    predictions: ArrayLike | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Figure]:
    """Accuracy, F1, ranking and calibration figures, each with a 95 % interval where `bootstrap` asks for it.

    probabilities: (rows, labels). references: (rows,) label ids, or (rows, labels) of 0 and 1 for a multi-label space;
    predictions like them, by default the most probable label, or every label with p >= 0.5.
    bootstrap: resamples of the rows, 0 for none; the intervals are the 2.5th and 97.5th percentile. Those of the
    calibration error, and of roc_auc and average_precision where a resample lacks a label that the figure covers, are
    moved to the figure's centre (see `percentile_interval`). The others are not corrected for bias: with many rare
    labels the interval of macro_f1 lies somewhat low around its figure.

    Figures, in [0, 1] and higher is better unless said otherwise:

    - accuracy (single-label); subset_accuracy (all labels of a row right) and hamming_loss (share of wrong decisions,
      lower is better) for multi-label.
    - macro_f1, micro_f1, weighted_f1, macro_precision, macro_recall. A macro average leaves out labels that are neither
      gold nor predicted, macro_recall also those without gold rows. A label that is gold and never predicted has
      precision 0.
    - mcc: Matthews correlation, in [-1, 1]; multi-label: of all decisions as one yes/no problem.
    - roc_auc, average_precision: of the second label where there are two, else the mean of one label against the rest.
      Labels where they are undefined (no positive row, for roc_auc no negative row either) are left out.
    - log_loss (natural logarithm, lower is better): of the right label, in multi-label the mean over decisions.
    - brier (lower is better): Brier 1950, sum over labels of squared differences, mean over rows, in [0, 2]; with two
      labels twice scikit-learn's binary `brier_score_loss`. Multi-label: mean squared difference of a decision, [0, 1].
    - ece (lower is better): expected calibration error, 15 bins, see `expected_calibration_error`.

    A figure that is undefined on these rows is absent. Where an average leaves labels out, macro_labels, roc_auc_labels
    or average_precision_labels says how many it covers. In a resample, what is undefined there is left out likewise.

    All resamples are exact: each figure is a function of sums over rows, and a resample only weights the rows, so the
    ranking figures need no new sort (see `nlptk.metrics.ranking`) and use all resamples too. Memory stays near
    100 MB plus the inputs.

    Raises:
        DataError: shapes, ids or probabilities that do not fit (see `check_batch`).
    """
    batch = check_batch(probabilities, references, labels, predictions=predictions)
    rows = len(batch.probabilities)
    measure = measure_of(batch)
    point = {name: float(values[0]) for name, values in measure(np.ones((rows, 1))).items()}
    samples = run_bootstrap(measure, rows, resamples=bootstrap, seed=seed) if bootstrap else {}
    figures: dict[str, Figure] = {}
    for name, value in point.items():
        if np.isnan(value):
            continue
        if name in COUNTS_OF_LABELS:
            if 0 < value < ranked_labels(name, labels):
                figures[name] = Figure(value)
            continue
        figures[name] = _figure(name, value, samples.get(name), centred=name == "ece" or _loses(name, point, samples))
    return figures


def ranked_labels(name: str, labels: LabelSpace) -> int:
    """How many labels the average behind this count would cover if all were defined."""
    binary = len(labels.names) == 2 and not labels.multi
    return 1 if binary and name != "macro_labels" else len(labels.names)


def _loses(name: str, point: Mapping[str, float], samples: Mapping[str, Floats]) -> bool:
    """Whether some resample of a ranking figure covers fewer labels than the figure does."""
    count = f"{name}_labels"
    return count in samples and bool((samples[count] < point[count]).any())


def _figure(name: str, value: float, samples: Floats | None, *, centred: bool) -> Figure:
    interval = None if samples is None else percentile_interval(samples, centre=value if centred else None)
    if interval is None:
        return Figure(value)
    floor, ceiling = -1.0 if name == "mcc" else 0.0, math.inf if name in UNBOUNDED else 1.0
    return Figure(value, max(floor, interval[0]), min(ceiling, interval[1]))


def measure_of(batch: Batch) -> Callable[[Floats], dict[str, Floats]]:
    """The batch as a function: weights (rows, resamples) -> figure -> (resamples,), NaN where undefined."""
    from scipy.sparse import csr_array

    gold_indicator, predicted_indicator = indicators(batch)
    gold: Any = csr_array(gold_indicator.T.astype(np.float64))
    predicted: Any = csr_array(predicted_indicator.T.astype(np.float64))
    correct: Any = csr_array((gold_indicator & predicted_indicator).T.astype(np.float64))
    means, gaps = row_losses(batch), gap_sums(batch)
    segments = segments_of(batch.probabilities, gold_indicator, multi=batch.multi)

    def measure(weights: Floats) -> dict[str, Floats]:
        rows = weights.sum(axis=0)
        figures = count_figures(gold @ weights, predicted @ weights, correct @ weights, rows, multi=batch.multi)
        figures |= ranking_figures(segments, weights)
        figures |= {name: values @ weights / rows for name, values in means.items()}
        return figures | {"ece": np.abs(gaps @ weights).sum(axis=0) / rows}

    return measure


def indicators(batch: Batch) -> tuple[Any, Any]:
    """References and predictions as (rows, labels) booleans."""
    if batch.multi:
        return batch.references.astype(bool), batch.predictions.astype(bool)
    names = np.arange(batch.probabilities.shape[1])
    return batch.references[:, None] == names, batch.predictions[:, None] == names


def count_figures(gold: Floats, predicted: Floats, correct: Floats, rows: Floats, *, multi: bool) -> dict[str, Floats]:
    """The figures that counts determine; gold, predicted, correct: (labels, resamples), rows: (resamples,)."""
    f1 = counts.f1(gold, predicted, correct)
    correlation = (
        counts.pooled_mcc(gold, predicted, correct, rows * len(gold)) if multi else counts.mcc(gold, predicted, correct)
    )
    return ({} if multi else {"accuracy": correct.sum(axis=0) / rows}) | {
        "macro_f1": counts.mean_of_defined(f1),
        "micro_f1": counts.ratio(2 * correct.sum(axis=0), gold.sum(axis=0) + predicted.sum(axis=0)),
        "weighted_f1": counts.weighted_f1(gold, predicted, correct),
        "macro_precision": counts.mean_of_defined(counts.precision(gold, predicted, correct)),
        "macro_recall": counts.mean_of_defined(counts.recall(gold, correct)),
        "macro_labels": (~np.isnan(f1)).sum(axis=0).astype(np.float64),
        "mcc": correlation,
    }


def row_losses(batch: Batch) -> dict[str, Floats]:
    """What each row adds to the figures that are means over rows: name -> (rows,)."""
    gold, predicted = indicators(batch)
    squared = (batch.probabilities - gold) ** 2
    if not batch.multi:
        right = np.clip(batch.probabilities[gold], batch.floor, 1.0)
        return {"log_loss": -np.log(right), "brier": squared.sum(axis=1)}
    clipped = np.clip(batch.probabilities, batch.floor, 1 - batch.floor)
    wrong = gold != predicted
    return {
        "log_loss": -np.log(np.where(gold, clipped, 1 - clipped)).mean(axis=1),
        "brier": squared.mean(axis=1),
        "subset_accuracy": (~wrong.any(axis=1)).astype(np.float64),
        "hamming_loss": wrong.mean(axis=1),
    }
