"""Text similarity: how alike two texts are, as a score or as a label; BERT, GPT and T5 forms.

    nlptk train task=similarity model=CHECKPOINT data=pairs.jsonl output=runs/alike

Rows have `sentence1` and `sentence2`, and `score` (a number on any scale, more for more alike) or `label` (of two
names, one for pairs that belong together). Where rows have both, the score counts.

A bi-encoder embeds each text by itself and compares by cosine: a corpus is embedded once and searched
(`nlptk.pipeline(DIR).embed` and `.search`), and sentence-transformers loads the artifact. A cross-encoder reads both
texts at once: more exact, and slower where many texts are compared with many.

The windows of a long text (`preprocessing.long_text=window`) are averaged: a bi-encoder's embeddings, a cross-
encoder's logits; in training each window has the label of its pair. Pearson and Spearman are those of the
similarities; the scores predicted are on the scale of the data and cut off at the ends of its range. The losses
`cosent` and `in_batch_negatives` compare the pairs of a batch with each other, so that the loss of an evaluation
depends on its batch size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from nlptk import task
from nlptk.batches import label_batch, pad_batch
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.parts.embeddings import (
    MARGIN,
    Pooling,
    contrastive,
    cosent,
    embedding_class,
    in_batch_negatives,
    pool_tokens,
    usual_pooling,
)
from nlptk.parts.pairs import (
    decision_figures,
    decision_sections,
    merged_windows,
    pair_features,
    positive_name,
    score_sections,
)
from nlptk.parts.sentence_models import checkpoint_pooling, write_sentence_model
from nlptk.parts.windows import window_rows
from nlptk.task import Column, Features, Figure, Prediction, Preprocessing, Scores

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

LEAST_SPREAD = 1e-6  # of cosines that a line is fitted to


class SimilarityOptions(task.TaskOptions):
    """Settings of the similarity task."""

    form: Literal["bi_encoder", "cross_encoder"] = Field(
        "bi_encoder", description="Embed each text by itself, or read both at once"
    )
    pooling: Pooling | None = Field(
        None,
        description="Tokens that an embedding is made of; default: as a sentence-transformers checkpoint says, else "
        "the mean for encoders and the last token for decoders",
    )
    loss: Literal["cosent", "mse", "contrastive", "in_batch_negatives"] | None = Field(
        None, description="Of a bi-encoder; default: cosent for scores, contrastive for labels"
    )
    score_range: tuple[float, float] | None = Field(
        None, description="Least and greatest score; default: those of the training rows"
    )
    positive_label: str | None = Field(
        None, description="Label of the pairs that belong together; needed only where the names do not tell"
    )
    threshold: Literal["tuned"] | float = Field(
        "tuned", description="Similarity from which a pair gets that label; tuned: the best F1 on validation"
    )

    @field_validator("pooling", "loss")
    @classmethod
    def _of_a_bi_encoder(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("form") == "cross_encoder":
            raise ValueError("only a bi_encoder has it; leave it out")
        return value

    @field_validator("score_range")
    @classmethod
    def _from_less_to_more(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("expected the least score before the greatest")
        return value


class Embedded(NamedTuple):
    """A batch through a bi-encoder. vectors: (rows, sides, dim) float32; ids: (rows, sides, tokens), as they went in.

    Sides are the two texts of a pair, or the one of a text to embed.
    """

    vectors: torch.Tensor
    ids: torch.Tensor


class Similarity(task.Task):
    """How alike two texts are."""

    name = "similarity"
    summary = "how alike two texts are, as a score or a label; embeddings and search"
    pipeline_tag = "feature-extraction"
    Options: ClassVar[type[task.TaskOptions]] = SimilarityOptions
    columns = (
        Column("sentence1", "text", ("sentence1", "text1", "text", "question1", "anchor", "query", "premise")),
        Column("sentence2", "text", ("sentence2", "text2", "text_pair", "question2", "positive", "hypothesis")),
        Column("score", "number", ("score", "similarity", "similarity_score"), required=False, target=True),
        Column("label", "label", ("label", "is_duplicate"), required=False, target=True),
    )
    forms = (("score",), ("label",))
    changeable = frozenset({"threshold"})
    headline = ("pearson", "f1", "accuracy", "roc_auc")

    @property
    def settings(self) -> SimilarityOptions:
        assert isinstance(self.options, SimilarityOptions)
        return self.options

    @property
    def reads_pairs(self) -> bool:
        """Whether it is a cross-encoder."""
        return self.settings.form == "cross_encoder"

    @property
    def scored(self) -> bool:
        """Whether the gold similarities are scores."""
        return "score_range" in self.decision

    @property
    def target(self) -> str:
        return "score" if self.scored else "label"

    @property
    def span(self) -> tuple[float, float]:
        """Least and greatest gold similarity."""
        low, high = self.decision.get("score_range", (0.0, 1.0))
        return low, high

    @property
    def objective(self) -> str:
        """The name of the loss."""
        if self.reads_pairs:
            return "cross_entropy"
        return self.settings.loss or ("cosent" if self.scored else "contrastive")

    def primary(self) -> str:
        return "spearman" if self.scored else "average_precision"

    def auto_class(self, config: PreTrainedConfig) -> str:
        return "AutoModelForSequenceClassification" if self.reads_pairs else embedding_class(config)

    def config_overrides(self) -> dict[str, Any]:
        if not self.reads_pairs:
            return {}
        names = {"id2label": {0: "similarity"}, "label2id": {"similarity": 0}}
        # one label of several possible ones, to transformers: a sigmoid of its logit, and cross-entropy
        return {"num_labels": 1, **names, "problem_type": "multi_label_classification"}

    def prepare_model(self, model: PreTrainedModel) -> None:
        if not self.reads_pairs and "pooling" not in self.decision:
            self.decision["pooling"] = self.settings.pooling or checkpoint_pooling(model) or usual_pooling(model)

    def fit(self, train: Dataset) -> None:
        given = train["score"][:] if "score" in train.column_names else []
        scores = [score for score in given if score is not None]
        if not scores:
            self._names()  # refuses what is no pair of labels
            return
        if self.settings.loss in ("contrastive", "in_batch_negatives"):
            raise RecipeError(f"task.loss: {self.settings.loss} learns from labels; for scores give cosent or mse")
        low, high = self.settings.score_range or (min(scores), max(scores))
        if min(scores) < low or max(scores) > high:
            raise RecipeError(
                f"task.score_range: {low:g} to {high:g}, but the training scores go from {min(scores):g} to "
                f"{max(scores):g}; give a range that holds them"
            )
        if low == high:
            raise DataError(f"train: every pair has the score {low:g}; expected at least two scores to learn from")
        self.decision["score_range"] = [low, high]

    def _names(self) -> tuple[str, str]:
        """The labels of pairs that do not belong together, and of those that do."""
        if self.labels is None:
            raise RecipeError("similarity: the rows have neither score nor label; name one with data.columns.score")
        if self.labels.multi or len(self.labels.names) != 2:
            raise RecipeError(f"similarity: the labels are {list(self.labels.names)}; expected two, one label a pair")
        positive = self.settings.positive_label or positive_name(self.labels.names)
        if positive not in self.labels.names:
            raise RecipeError(f"task.positive_label: {positive!r}; expected one of {list(self.labels.names)}")
        return next(name for name in self.labels.names if name != positive), positive

    def _gold(self, values: Sequence[Any]) -> list[float]:
        """Targets as numbers: scores as they stand, 1 for the positive label and 0 for the other."""
        if self.scored:
            return [float(value) for value in values]
        names, (_, positive) = self.labels, self._names()
        assert names is not None
        return [float(value == names.label2id[positive]) for value in values]

    def _references(self, rows: Dataset) -> np.ndarray:
        import numpy as np

        if self.target not in rows.column_names:
            raise DataError(f"rows: no {self.target}; this model learns from {self.target}s: give rows with one")
        return np.asarray(self._gold(rows[self.target][:]))

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """A bi-encoder's `input_ids` are two lists, one a side; see `pair_features`."""
        sides = [rows["sentence1"], rows["sentence2"]]
        if self.reads_pairs:
            encoded = [window_rows(tokenizer, sides[0], sides[1], preprocessing)]
        else:
            encoded = [window_rows(tokenizer, texts, None, preprocessing) for texts in sides]
        features = pair_features(encoded, types="token_type_ids" in tokenizer.model_input_names)
        if self.reads_pairs:
            for name in ("input_ids", "token_type_ids", "fresh"):
                if name in features:
                    features[name] = [side for (side,) in features[name]]
        if self.target in rows:
            for first, second, value in zip(*sides, rows[self.target], strict=True):
                if value is None:
                    pair = f"{first[:40]!r} and {second[:40]!r}"
                    raise DataError(f"the pair {pair}: no {self.target}; give one, or drop the row")
            gold = self._gold(rows[self.target])
            features["labels"] = [gold[row] for row in features["row"]]
        return features

    def collate(self, features: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
        """A bi-encoder's batch: tensors of shape (rows, sides, tokens)."""
        if self.reads_pairs:
            return super().collate(features, pad_id)
        names = [name for name in ("input_ids", "token_type_ids") if name in features[0]]
        sides = len(features[0]["input_ids"])
        texts = [{name: feature[name][side] for name in names} for feature in features for side in range(sides)]
        padded = pad_batch(texts, pad_id)
        batch = {name: value.view(len(features), sides, -1) for name, value in padded.items()}
        if "labels" in features[0]:
            batch["labels"] = label_batch([feature["labels"] for feature in features])
        return batch

    def forward(self, model: torch.nn.Module, batch: Mapping[str, Any]) -> Any:
        """Logits, or `Embedded`; both sides go through a bi-encoder in one call."""
        if self.reads_pairs:
            return super().forward(model, batch)
        ids = batch["input_ids"]
        flat = {name: value.flatten(0, 1) for name, value in batch.items() if name != "labels"}
        hidden = model(**flat).last_hidden_state.float()
        vectors = pool_tokens(hidden, flat["attention_mask"], self.decision["pooling"])
        return Embedded(vectors.view(*ids.shape[:2], -1), ids)

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        low, high = self.span
        gold = ((labels.float() - low) / (high - low)).clamp(0, 1)
        if self.reads_pairs:
            return functional.binary_cross_entropy_with_logits(outputs.logits.float()[:, 0], gold, reduction="sum")
        first, second = outputs.vectors.unbind(1)
        if self.objective == "in_batch_negatives":
            return in_batch_negatives(first, second, gold > 0, ids=outputs.ids)
        cosines = functional.cosine_similarity(first, second)
        if self.objective == "cosent":
            return cosent(cosines, gold) * len(gold)
        if self.objective == "contrastive":
            return contrastive(cosines, gold)
        return functional.mse_loss(cosines, gold, reduction="sum")

    def loss_items(self, labels: torch.Tensor) -> int:
        if self.objective == "in_batch_negatives":
            return int((labels > 0).sum())
        return super().loss_items(labels)

    def outputs(self, outputs: Any, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        """Vectors, (sides, dim), or a logit, (1,)."""
        kept = outputs.logits if self.reads_pairs else outputs.vectors
        return list(kept.float().cpu().numpy())

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """Similarities, (rows,): cosines in [-1, 1], or a cross-encoder's probabilities."""
        import numpy as np
        from scipy.special import expit

        merged = merged_windows(outputs, features).astype(np.float64)
        if self.reads_pairs:
            return list(expit(merged[:, 0]))
        lengths = np.maximum(np.linalg.norm(merged, axis=2), np.finfo(np.float64).tiny)
        cosines = np.einsum("rd,rd->r", *(merged / lengths[:, :, None]).swapaxes(0, 1))
        return list(np.clip(cosines, -1.0, 1.0))

    def tune(self, pooled: Sequence[Any], rows: Dataset) -> None:
        """The threshold of labels; for scores the line from cosines, which `cosent` only ranks, to scores."""
        import numpy as np

        gold = self._references(rows)
        if self.scored:
            self.decision.pop("line", None)
            if self.objective == "cosent" and np.ptp(pooled) > LEAST_SPREAD:
                slope, start = np.polyfit(pooled, gold, 1)
                if slope > 0:
                    self.decision["line"] = [float(slope), float(start)]
        elif self.settings.threshold == "tuned":
            from nlptk.metrics import similarity_figures

            found = similarity_figures(pooled, gold, labelled=True).get("best_f1_threshold")
            if found is not None:
                self.decision["threshold"] = found.value

    def _scores(self, pooled: Sequence[Any]) -> np.ndarray:
        """Similarities on the scale of the data, within its range."""
        import numpy as np

        low, high = self.span
        slope, start = self.decision.get("line", (high - low, low))
        scores: np.ndarray = np.clip(start + slope * np.asarray(pooled), low, high)
        return scores

    def threshold(self) -> float:
        """The least similarity of pairs that belong together: tuned on validation, else given, else halfway."""
        if self.settings.threshold != "tuned":
            return self.settings.threshold
        halfway = 1 - MARGIN / 2 if self.objective == "contrastive" else 0.5
        tuned: float = self.decision.get("threshold", halfway)
        return tuned

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """`score` on the scale of the data, or `label` with the similarity as its `score`; `truncated`."""
        lost = {row for row, n in zip(features.dataset["row"], features.dataset["lost"], strict=True) if n > 0}
        if self.scored:
            return [{"score": float(s), "truncated": row in lost} for row, s in enumerate(self._scores(pooled))]
        names = self._names()
        return [
            {"label": names[bool(s >= self.threshold())], "score": float(s), "truncated": row in lost}
            for row, s in enumerate(pooled)
        ]

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        import numpy as np

        from nlptk.metrics import similarity_figures

        gold = self._references(rows)
        figures = similarity_figures(pooled, gold, labelled=not self.scored, bootstrap=bootstrap, seed=seed)
        warnings = []
        if self.primary() not in figures:
            figures[self.primary()] = Figure(0.0)
            warnings.append(
                f"{self.primary()} is undefined, and given as 0: the pairs, or the predictions, are all alike"
            )
        if self.scored:
            parts = score_sections(self._scores(pooled), gold, rows, span=self.span) if sections else []
            return Scores(figures, parts, warnings)
        similar, threshold = np.asarray(pooled), self.threshold()
        figures |= decision_figures(similar >= threshold, gold, bootstrap=bootstrap, seed=seed)
        parts = decision_sections(similar, gold, rows, names=self._names(), threshold=threshold) if sections else []
        return Scores(figures, parts, warnings)

    def text_features(
        self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """Features of single texts, to be embedded. Raises: UnsupportedError for a cross-encoder."""
        if self.reads_pairs:
            raise UnsupportedError(
                "similarity: a cross_encoder reads both texts at once and embeds none; train with task.form=bi_encoder"
            )
        encoded = window_rows(tokenizer, texts, None, preprocessing)
        return pair_features([encoded], types="token_type_ids" in tokenizer.model_input_names)

    def text_embeddings(self, outputs: Sequence[np.ndarray], features: Features) -> np.ndarray:
        """(texts, dim) float32, of any length: a text's windows are averaged."""
        return merged_windows(outputs, features)[:, 0]

    def caveats(self, preprocessing: Preprocessing) -> list[str]:
        if self.reads_pairs or preprocessing.long_text == "truncate_tail":
            return []
        return [
            f"sentence-transformers embeds a text of more than {preprocessing.max_length} tokens otherwise than nlptk: "
            f"it cuts off the end, where nlptk has preprocessing.long_text={preprocessing.long_text}; embed long texts "
            "with nlptk.pipeline(...).embed, or train with long_text=truncate_tail"
        ]

    def save_extra(self, folder: Path, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
        if not self.reads_pairs:
            dim = model.config.get_text_config().hidden_size
            pooling = self.decision["pooling"]
            write_sentence_model(folder, pooling=pooling, dim=dim, max_length=preprocessing.max_length)


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(Similarity.name)
