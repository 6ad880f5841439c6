"""Metric name -> local `evaluate` module."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nlptk.errors import RecipeError
from nlptk.nearest import did_you_mean

if TYPE_CHECKING:
    import evaluate

CLASSES = {
    "accuracy": "modules.Accuracy",
    "average_precision": "modules.AveragePrecision",
    "brier": "modules.Brier",
    "chrf": "task_modules.Chrf",
    "distinct": "task_modules.Distinct",
    "ece": "modules.Ece",
    "f1": "modules.F1",
    "hamming_loss": "modules.HammingLoss",
    "jaccard": "modules.Jaccard",
    "log_loss": "modules.LogLoss",
    "mcc": "modules.Mcc",
    "novelty": "task_modules.Novelty",
    "partial_f1": "task_modules.PartialF1",
    "pearsonr": "task_modules.Pearsonr",
    "perplexity": "task_modules.Perplexity",
    "precision": "modules.Precision",
    "recall": "modules.Recall",
    "roc_auc": "modules.RocAuc",
    "rouge": "task_modules.Rouge",
    "sacrebleu": "task_modules.Sacrebleu",
    "seq_rep_4": "task_modules.SeqRep4",
    "seqeval": "task_modules.Seqeval",
    "spearmanr": "task_modules.Spearmanr",
    "squad_v2": "task_modules.SquadV2",
    "subset_accuracy": "modules.SubsetAccuracy",
}
"""Name -> module here and class."""


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
    if name not in CLASSES:
        hint = did_you_mean(name, CLASSES)
        raise RecipeError(f"metric {name!r}: unknown{hint}; expected one of {', '.join(names())}")
    module, _, kind = CLASSES[name].partition(".")
    metric: evaluate.Metric = getattr(import_module(f"nlptk.metrics.{module}"), kind)()
    return metric
