"""`evaluate.Metric` modules over scikit-learn: local, in memory, one result key named like the metric.

Two kinds. Decision metrics take `predictions` and `references`: label ids (rows,), or 0 and 1 (rows, labels) for
multi-label. Score metrics take `prediction_scores`, probabilities (rows, labels) or, with two labels, those of the
second one (rows,), and `references` as above. What is undefined on the rows given is None, never 0 or NaN.
"""

from __future__ import annotations

from typing import Any, Literal

import evaluate
import numpy as np
from datasets import Features, List, Value
from sklearn import metrics as sk

from nlptk.errors import DataError
from nlptk.metrics.calibration import expected_calibration_error
from nlptk.task import LabelSpace

Average = Literal["macro", "micro", "weighted", "binary"]
Result = dict[str, float | int | list[float | None] | None]

_ID, _SCORE = Value("int64"), Value("float64")
DECISIONS = [Features({"predictions": kind, "references": kind}) for kind in (List(_ID), _ID)]
SCORES = [
    Features({"prediction_scores": scores, "references": references})
    for scores, references in ((List(_SCORE), List(_ID)), (List(_SCORE), _ID), (_SCORE, _ID))
]


class LocalMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    """Base of the modules: kept in memory, and no cache folder is made."""

    summary: str
    options = ""
    inputs = DECISIONS

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        return ""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.summary,
            citation="",
            features=self.inputs,
            inputs_description=f"\n{self.summary} {self.options}\n",
        )


class Accuracy(LocalMetric):
    summary = "Share of rows whose predicted label is right; single-label."

    def _compute(self, *, predictions: list[int], references: list[int]) -> Result:
        if np.ndim(references) != 1:
            raise DataError("accuracy: multi-label rows; load 'subset_accuracy' or 'hamming_loss' instead")
        return {"accuracy": float(sk.accuracy_score(references, predictions))}


class SubsetAccuracy(LocalMetric):
    summary = "Share of rows with every label right; equals accuracy where a row has one label."

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> Result:
        return {"subset_accuracy": float(sk.accuracy_score(references, predictions))}


class HammingLoss(LocalMetric):
    summary = "Share of wrong decisions; multi-label: over rows x labels. Lower is better."

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> Result:
        return {"hamming_loss": float(sk.hamming_loss(references, predictions))}


class Jaccard(LocalMetric):
    summary = "Mean over rows of |gold and predicted| / |gold or predicted|; multi-label. Neither: 1."

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> Result:
        if np.ndim(references) != 2:
            raise DataError("jaccard: one label id a row; expected (rows, labels) of 0 and 1; load 'accuracy'")
        return {"jaccard": float(sk.jaccard_score(references, predictions, average="samples", zero_division=1.0))}


AVERAGES = (
    "average: 'macro' (the default), 'micro', 'weighted', 'binary' (label 1), or None for a list with one value "
    "for each label that occurs. Macro leaves out what is undefined."
)


class F1(LocalMetric):
    summary = "F1, 2 tp / (2 tp + fp + fn)."
    options = AVERAGES

    def _compute(self, *, predictions: list[Any], references: list[Any], average: Average | None = "macro") -> Result:
        return {"f1": _plain(sk.f1_score(references, predictions, average=average, zero_division=np.nan))}


class Precision(LocalMetric):
    summary = "Precision, tp / (tp + fp); 0 for a label that is gold and never predicted."
    options = AVERAGES

    def _compute(self, *, predictions: list[Any], references: list[Any], average: Average | None = "macro") -> Result:
        gold = np.asarray(references)
        if average in ("macro", None):
            # A label neither gold nor predicted is left out; one that is gold and never predicted counts as 0.
            each = sk.precision_score(references, predictions, average=None, zero_division=np.nan)
            present = gold.any(axis=0) if gold.ndim == 2 else np.isin(np.union1d(gold, predictions), gold)
            each = np.where(np.isnan(each) & present, 0.0, each)
            return {"precision": _plain(each if average is None else _mean(each))}
        return {"precision": _plain(sk.precision_score(references, predictions, average=average, zero_division=0.0))}


class Recall(LocalMetric):
    summary = "Recall, tp / (tp + fn)."
    options = AVERAGES

    def _compute(self, *, predictions: list[Any], references: list[Any], average: Average | None = "macro") -> Result:
        return {"recall": _plain(sk.recall_score(references, predictions, average=average, zero_division=np.nan))}


class Mcc(LocalMetric):
    summary = "Matthews correlation coefficient, in [-1, 1]; single-label. None where all references are one label."

    def _compute(self, *, predictions: list[int], references: list[int]) -> Result:
        if np.ndim(references) != 1:
            raise DataError("mcc: multi-label rows; expected one label id a row")
        defined = len(set(references)) > 1
        return {"mcc": float(sk.matthews_corrcoef(references, predictions)) if defined else None}


class RocAuc(LocalMetric):
    summary = (
        "Area under the ROC curve: of label 1, or the mean of one label against the rest. `labels` is how many labels "
        "are averaged: those with both positive and negative rows."
    )
    inputs = SCORES

    def _compute(self, *, prediction_scores: list[Any], references: list[Any]) -> Result:
        scores, gold = _one_against_rest(prediction_scores, references)
        ranked = [i for i in range(gold.shape[1]) if 0 < gold[:, i].sum() < len(gold)]
        values = [float(sk.roc_auc_score(gold[:, i], scores[:, i])) for i in ranked]
        return {"roc_auc": _mean(np.array(values)), "labels": len(values)}


class AveragePrecision(LocalMetric):
    summary = (
        "Average precision, sum_n (R_n - R_{n-1}) P_n: of label 1, or the mean of one label against the rest. `labels` "
        "is how many labels are averaged: those with positive rows."
    )
    inputs = SCORES

    def _compute(self, *, prediction_scores: list[Any], references: list[Any]) -> Result:
        scores, gold = _one_against_rest(prediction_scores, references)
        ranked = [i for i in range(gold.shape[1]) if gold[:, i].any()]
        values = [float(sk.average_precision_score(gold[:, i], scores[:, i])) for i in ranked]
        return {"average_precision": _mean(np.array(values)), "labels": len(values)}


class LogLoss(LocalMetric):
    summary = "Negative log-likelihood of the right label, natural logarithm; multi-label: mean over rows x labels."
    inputs = SCORES

    def _compute(self, *, prediction_scores: list[Any], references: list[Any]) -> Result:
        scores, gold, space = _probabilities(prediction_scores, references)
        if space.multi:
            return {"log_loss": float(sk.log_loss(gold.ravel(), scores.ravel(), labels=[0, 1]))}
        return {"log_loss": float(sk.log_loss(gold, scores, labels=list(range(len(space.names)))))}


class Brier(LocalMetric):
    summary = (
        "Brier score as in Brier 1950: sum over labels of squared differences, mean over rows, in [0, 2]; with two "
        "labels twice scikit-learn's binary score. Multi-label: mean squared difference of a decision, in [0, 1]."
    )
    inputs = SCORES

    def _compute(self, *, prediction_scores: list[Any], references: list[Any]) -> Result:
        scores, gold, space = _probabilities(prediction_scores, references)
        if space.multi:
            return {"brier": float(np.mean((scores - gold) ** 2))}
        return {"brier": float(np.mean(((scores - np.eye(scores.shape[1])[gold]) ** 2).sum(axis=1)))}


class Ece(LocalMetric):
    summary = "Expected calibration error (Guo et al. 2017) over equal-width bins, in [0, 1]."
    options = "bins: 15 by default."
    inputs = SCORES

    def _compute(self, *, prediction_scores: list[Any], references: list[Any], bins: int = 15) -> Result:
        scores, gold, space = _probabilities(prediction_scores, references)
        return {"ece": expected_calibration_error(scores, gold, space, bins=bins)}


def _probabilities(scores: list[Any], references: list[Any]) -> tuple[Any, Any, LabelSpace]:
    """Scores (rows, labels), references and the label space that their shapes imply."""
    array, gold = np.asarray(scores, dtype=np.float64), np.asarray(references)
    if array.ndim == 1:
        array = np.stack([1 - array, array], axis=1)
    return array, gold, LabelSpace(tuple(str(i) for i in range(array.shape[1])), multi=gold.ndim == 2)


def _one_against_rest(scores: list[Any], references: list[Any]) -> tuple[Any, Any]:
    """Scores and 0/1 references of the ranked labels, both (rows, ranked labels)."""
    array, gold = np.asarray(scores, dtype=np.float64), np.asarray(references)
    if gold.ndim == 2:
        return array, gold
    if array.ndim == 1 or array.shape[1] == 2:
        return (array if array.ndim == 1 else array[:, 1])[:, None], (gold == 1)[:, None].astype(int)
    return array, (gold[:, None] == np.arange(array.shape[1])).astype(int)


def _mean(values: Any) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _plain(value: Any) -> float | list[float | None] | None:
    """scikit-learn's answer as JSON-able numbers, NaN as None."""
    if value is None:
        return None
    if np.ndim(value):
        return [None if np.isnan(item) else float(item) for item in value]
    return None if np.isnan(value) else float(value)
