"""Text classification: single-label, multi-label, and sentence pairs; BERT, GPT and T5 forms.

    nlptk train task=classification model=CHECKPOINT data=rows.csv output=runs/reviews

Rows have `text` (or `sentence`), or `sentence1` and `sentence2`, and `label` (a name or an integer) or `labels` (a list
of them: multi-label).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from nlptk import task
from nlptk.errors import RecipeError
from nlptk.parts.labelled import label_warnings, labelled_sections
from nlptk.parts.windows import window_rows
from nlptk.task import Column, Features, Figure, LabelSpace, Prediction, Preprocessing, Scores, Section

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


Weight = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class ClassificationOptions(task.TaskOptions):
    """Settings of the classification task."""

    class_weights: Literal["balanced"] | dict[str, Weight] | None = Field(
        None, description="Weight of each label in the loss; balanced: inverse to its frequency in training"
    )
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Share of the target spread over all labels")
    thresholds: Literal["tuned"] | float = Field(
        "tuned", description="Multi-label decisions: tuned per label on validation, or one probability for all"
    )


class Classification(task.Task):
    """One label, or any number of labels, for a text or a pair of texts."""

    name = "classification"
    summary = "one or several labels for a text or a pair of texts"
    pipeline_tag = "text-classification"
    Options: ClassVar[type[task.TaskOptions]] = ClassificationOptions
    columns = (
        Column("text", "text", ("text", "sentence", "sentence1", "question1", "premise")),
        Column("text_pair", "text", ("text_pair", "sentence2", "question2", "hypothesis"), required=False),
        Column("label", "label", ("label", "labels"), target=True),
    )

    changeable = frozenset({"thresholds"})
    headline = ("macro_f1", "micro_f1", "mcc", "roc_auc", "log_loss", "ece")
    lower_is_better = frozenset({"loss", "log_loss", "brier", "ece", "hamming_loss"})

    def __init__(
        self,
        options: task.TaskOptions,
        labels: LabelSpace | None = None,
        decision: Mapping[str, Any] | None = None,
    ):
        super().__init__(options, labels, decision)
        assert isinstance(options, ClassificationOptions)
        self.settings = options
        self._weights: list[float] | None = None

    @property
    def space(self) -> LabelSpace:
        if self.labels is None:
            raise RecipeError("classification: the rows have no label column; name it with data.columns.label")
        return self.labels

    def primary(self) -> str:
        return "macro_f1" if self.space.multi else "accuracy"

    def auto_class(self, config: PreTrainedConfig) -> str:
        return "AutoModelForSequenceClassification"

    def config_overrides(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.space.names),
            "id2label": self.space.id2label,
            "label2id": self.space.label2id,
            "problem_type": "multi_label_classification" if self.space.multi else "single_label_classification",
        }

    def fit(self, train: Dataset) -> None:
        weights = self.settings.class_weights
        if weights is None:
            return
        if weights == "balanced":
            self._weights = _balanced(train["label"], self.space)
            return
        unknown = sorted(set(weights) - set(self.space.names))
        missing = sorted(set(self.space.names) - set(weights))
        if unknown or missing:
            raise RecipeError(
                f"task.class_weights: unknown labels {unknown}, labels without a weight {missing}; give one weight for "
                f"each of {list(self.space.names)}"
            )
        self._weights = [weights[name] for name in self.space.names]

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        encoded = window_rows(tokenizer, rows["text"], rows.get("text_pair"), preprocessing)
        types = "token_type_ids" in tokenizer.model_input_names
        features: dict[str, list[Any]] = {key: [] for key in ("input_ids", "row", "length", "lost", "tokens")}
        if types:
            features["token_type_ids"] = []
        if "label" in rows:
            features["labels"] = []
        for index, row in enumerate(encoded):
            for position, window in enumerate(row.windows):
                features["input_ids"].append(window.ids)
                features["row"].append(index)
                features["length"].append(len(window.ids))
                features["lost"].append(row.lost if position == 0 else 0)
                features["tokens"].append(row.tokens if position == 0 else 0)
                if types:
                    features["token_type_ids"].append(window.type_ids)
                if "label" in rows:
                    features["labels"].append(self._target(rows["label"][index]))
        return features

    def _target(self, label: Any) -> int | list[float]:
        if not self.space.multi:
            return int(label)
        chosen = set(label)
        return [float(index in chosen) for index in range(len(self.space.names))]

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional

        logits = outputs.logits.float()
        weights = torch.tensor(self._weights, device=logits.device) if self._weights else None
        smoothing = self.settings.label_smoothing
        if not self.space.multi:
            return functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="sum")
        targets = labels.float() * (1 - smoothing) + smoothing / 2
        summed = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="sum")
        mean: torch.Tensor = summed / logits.shape[1]
        return mean

    def outputs(self, outputs: Any, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        return list(outputs.logits.float().cpu().numpy())

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """Mean of the logits of a row's windows, shape (rows, labels)."""
        import numpy as np

        rows = np.asarray(features.dataset["row"])
        logits = np.asarray(outputs, dtype=np.float64).reshape(len(rows), len(self.space.names))
        count = np.bincount(rows)
        summed = np.zeros((len(count), logits.shape[1]))
        np.add.at(summed, rows, logits)
        return list(summed / count[:, None])

    def tune(self, pooled: Sequence[Any], rows: Dataset) -> None:
        if not self.space.multi or self.settings.thresholds != "tuned":
            return
        from nlptk.metrics import tune_thresholds

        thresholds = tune_thresholds(self.probabilities(pooled), self._references(rows))
        self.decision["thresholds"] = [float(value) for value in thresholds]

    def probabilities(self, pooled: Sequence[Any]) -> np.ndarray:
        """Softmax over the labels, or a sigmoid each for multi-label; shape (rows, labels)."""
        import numpy as np
        from scipy.special import expit, softmax

        logits = np.asarray(pooled)
        result: np.ndarray = expit(logits) if self.space.multi else softmax(logits, axis=1)
        return result

    def thresholds(self) -> list[float]:
        """One decision threshold a label: those tuned on validation, else the fixed one."""
        if self.settings.thresholds != "tuned":
            return [self.settings.thresholds] * len(self.space.names)
        tuned: list[float] = self.decision.get("thresholds", [0.5] * len(self.space.names))
        return tuned

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """`label` and `score`, or `labels` for multi-label; `scores` of every label; `truncated`."""
        lost = {row for row, n in zip(features.dataset["row"], features.dataset["lost"], strict=True) if n > 0}
        names = self.space.names
        predictions: list[Prediction] = []
        for row, probabilities in enumerate(self.probabilities(pooled)):
            scores = {name: float(p) for name, p in zip(names, probabilities, strict=True)}
            if self.space.multi:
                chosen = [n for n, t in zip(names, self.thresholds(), strict=True) if scores[n] >= t]
                prediction: Prediction = {"labels": chosen}
            else:
                best = names[int(probabilities.argmax())]
                prediction = {"label": best, "score": scores[best]}
            predictions.append({**prediction, "scores": scores, "truncated": row in lost})
        return predictions

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        import numpy as np

        from nlptk.metrics import classification_figures

        probabilities = self.probabilities(pooled)
        references = self._references(rows)
        decided = self._decide(probabilities)
        figures = classification_figures(
            probabilities, references, self.space, predictions=decided, bootstrap=bootstrap, seed=seed
        )
        if self.space.multi and "thresholds" in self.decision:
            at_half = classification_figures(
                probabilities, references, self.space, predictions=(probabilities >= 0.5).astype(np.int64)
            )
            figures["macro_f1_at_0.5"] = at_half["macro_f1"]
        if not self.space.multi:
            # what always naming the most frequent label of these rows would score
            figures["majority_accuracy"] = Figure(float(np.bincount(references).max() / len(references)))
        parts: list[Section] = []
        if sections:
            limits = self.thresholds() if self.space.multi else ()
            parts = labelled_sections(probabilities, decided, references, rows, self.space, thresholds=limits)
        return Scores(figures, parts, label_warnings(decided, references, self.space))

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        import numpy as np

        if not self.space.multi:
            best: np.ndarray = probabilities.argmax(axis=1)
            return best
        return (probabilities >= np.asarray(self.thresholds())).astype(np.int64)

    def _references(self, rows: Dataset) -> np.ndarray:
        import numpy as np

        labels = rows["label"]
        if not self.space.multi:
            return np.asarray(labels, dtype=np.int64)
        references = np.zeros((len(rows), len(self.space.names)), dtype=np.int64)
        for row, chosen in enumerate(labels):
            references[row, list(chosen)] = 1
        return references


def _balanced(labels: Sequence[Any], space: LabelSpace) -> list[float]:
    """Single-label: rows / (labels * count), as scikit-learn's `balanced`. Multi-label: negatives / positives."""
    counts = [0] * len(space.names)
    for label in labels:
        for index in label if space.multi else [label]:
            counts[index] += 1
    rows = len(labels)
    if space.multi:
        return [(rows - count) / max(count, 1) for count in counts]
    return [rows / (len(counts) * max(count, 1)) for count in counts]


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(Classification.name)
