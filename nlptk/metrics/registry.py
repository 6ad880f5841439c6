"""Metric name -> local `evaluate` module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlptk.errors import RecipeError
from nlptk.nearest import did_you_mean

if TYPE_CHECKING:
    import evaluate

CLASSES = {
    "accuracy": "Accuracy",
    "average_precision": "AveragePrecision",
    "brier": "Brier",
    "ece": "Ece",
    "f1": "F1",
    "hamming_loss": "HammingLoss",
    "jaccard": "Jaccard",
    "log_loss": "LogLoss",
    "mcc": "Mcc",
    "precision": "Precision",
    "recall": "Recall",
    "roc_auc": "RocAuc",
    "subset_accuracy": "SubsetAccuracy",
}


def names() -> tuple[str, ...]:
    """The metrics that `load` knows, sorted."""
    return tuple(sorted(CLASSES))


def load(name: str) -> evaluate.Metric:
    """A local metric, to be used as `evaluate.load(name)` would be: no network, nothing written to disk.

        >>> load("f1").compute(predictions=[0, 1, 1], references=[0, 1, 0], average="micro")
        {'f1': 0.6666666666666666}

    Raises:
        RecipeError: the name is not known; the message gives the nearest one.
    """
    from nlptk.metrics import modules

    if name not in CLASSES:
        hint = did_you_mean(name, CLASSES)
        raise RecipeError(f"metric {name!r}: unknown{hint}; expected one of {', '.join(names())}")
    module: evaluate.Metric = getattr(modules, CLASSES[name])()
    return module
