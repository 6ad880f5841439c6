"""Few-shot classification: new classes from one to sixteen examples; BERT, GPT and T5 forms.

    nlptk train task=few_shot task.method=contrastive model=CHECKPOINT data=eight-per-class.jsonl output=runs/intents

Rows have `text` and `label`: they are the support set. `task.method` says what is made of it:

- `linear_probe`: frozen features and logistic regression, the baseline;
- `prototypical`: the nearest class mean, in the checkpoint's own space or in one meta-trained for it (`task.meta`);
- `contrastive`: pairs of the support set fine-tune the encoder, logistic regression follows;
- `maml`, `fomaml`, `anil`, `reptile`: a start meta-trained for a few gradient steps (`task.meta`);
- `cloze`: a template with a mask, and words that stand for the labels.

A class is added to the finished model, or removed from it, without training: see `nlptk.pipelines.few_shot`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from nlptk import task
from nlptk.errors import RecipeError
from nlptk.parts.cloze import answer_states, cloze_ids, language_model_class, mask_token, model_inputs
from nlptk.parts.embeddings import Pooling, embedding_class, pool_tokens, usual_pooling
from nlptk.parts.labelled import label_warnings, labelled_sections
from nlptk.parts.methods import METHODS, ClozeOptions, MetaOptions, MethodOptions
from nlptk.parts.sentence_models import checkpoint_pooling, write_sentence_model
from nlptk.parts.support import Support, load_support, save_support, unit
from nlptk.parts.windows import window_rows
from nlptk.task import Column, Features, LabelSpace, Prediction, Preprocessing, Scores

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

NEAREST = 3


class FewShotOptions(task.TaskOptions):
    """Settings of the few-shot task."""

    method: MethodOptions = Field(description=f"One of {', '.join(METHODS)}, or {{name: ..., and its own settings}}")
    meta: MetaOptions | None = Field(None, description="Rows of other classes to meta-train on, and how")
    pooling: Pooling | None = Field(
        None,
        description="Tokens that an embedding is made of; default: as a sentence-transformers checkpoint says, else "
        "the mean for encoders and the last token for decoders",
    )
    class_names: bool | dict[str, str] = Field(
        False,
        description="true: the words of a class's name count as one more example of it; or {label: its words}, where "
        "the names of some say too little",
    )
    rejection: Literal["off", "tuned"] | float = Field(
        "off",
        description="Inputs whose greatest cosine to a class mean is below it get no label; tuned: on held-out rows",
    )
    out_of_scope: str | None = Field(None, description="Held-out texts of no class, to tune rejection on")
    out_of_scope_test: str | None = Field(None, description="Others of them, to measure rejection on")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("method", "prototypical"), str):
            return {**values, "method": {"name": values.get("method", "prototypical")}}
        return values

    @field_validator("rejection")
    @classmethod
    def _is_a_cosine(cls, value: Any) -> Any:
        if isinstance(value, float) and not -1.0 <= value <= 1.0:
            raise ValueError("expected a cosine, from -1 to 1")
        return value

    @field_validator("rejection", mode="before")
    @classmethod
    def _is_no_boolean(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("expected tuned, off or a cosine")
        return "off" if value is False else value

    @model_validator(mode="after")
    def _belong_together(self) -> FewShotOptions:
        if isinstance(self.method, ClozeOptions) and self.pooling is not None:
            raise ValueError("method cloze reads the mask and pools nothing; leave pooling out")
        if isinstance(self.method, ClozeOptions) and self.class_names:
            raise ValueError("method cloze has words for its classes, label_words; leave class_names out")
        return self


class Read(NamedTuple):
    """A batch through the model. vectors: (features, dim) float32."""

    vectors: torch.Tensor


class FewShot(task.Task):
    """A class for a text, from a few examples of each."""

    name = "few_shot"
    summary = "new classes from a few examples; add and remove them without training"
    pipeline_tag = "few-shot-classification"
    job = "nlptk.fewshot.run"
    Options: ClassVar[type[task.TaskOptions]] = FewShotOptions
    columns = (
        Column("text", "text", ("text", "sentence")),
        Column("label", "label", ("label", "intent", "category"), target=True),
    )
    inputs = ("input_ids", "token_type_ids", "position", "labels")
    sets_aside = False
    headline = ("accuracy_with_rejection", "macro_f1", "out_of_scope_auroc", "log_loss", "ece")
    lower_is_better = frozenset({"loss", "log_loss", "brier", "ece"})
    changeable = frozenset({"rejection"})

    support: Support | None = None
    """What it decides by; set by training, or read from the artifact."""

    @property
    def settings(self) -> FewShotOptions:
        assert isinstance(self.options, FewShotOptions)
        return self.options

    @property
    def space(self) -> LabelSpace:
        if self.labels is None:
            raise RecipeError("few_shot: the rows have no label column; name it with data.columns.label")
        if self.labels.multi:
            raise RecipeError("few_shot: rows with several labels; expected one a row: use task=classification")
        return self.labels

    @property
    def cloze(self) -> ClozeOptions | None:
        return self.settings.method if isinstance(self.settings.method, ClozeOptions) else None

    def primary(self) -> str:
        return "accuracy"

    def auto_class(self, config: PreTrainedConfig) -> str:
        return embedding_class(config) if self.cloze is None else language_model_class(config)

    def config_overrides(self) -> dict[str, Any]:
        # transformers' own names of no class: a head that it draws at random must not answer with those of real ones
        return {"id2label": {0: "LABEL_0", 1: "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}

    def prepare_model(self, model: PreTrainedModel) -> None:
        if self.cloze is not None:
            start = model.config.decoder_start_token_id if model.config.is_encoder_decoder else None
            self.decision |= {"mask": mask_token(self.tokenizer, self.auto_class(model.config)), "start": start}
        elif "pooling" not in self.decision:
            self.decision["pooling"] = self.settings.pooling or checkpoint_pooling(model) or usual_pooling(model)

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        found = self._filled(rows["text"], preprocessing) if self.cloze else self._windows(rows["text"], preprocessing)
        if "label" in rows:
            found["labels"] = [int(rows["label"][row]) for row in found["row"]]
        return found

    def _filled(self, texts: Sequence[str], preprocessing: Preprocessing) -> dict[str, list[Any]]:
        """One feature a text: the template filled with it."""
        assert self.cloze is not None
        read = cloze_ids(
            self.tokenizer,
            self.cloze.template,
            texts,
            mask=self.decision["mask"],
            max_length=preprocessing.max_length,
            head_tail=preprocessing.long_text == "truncate_head_tail",
        )
        return {
            "input_ids": [row.ids for row in read],
            "position": [row.position for row in read],
            "row": list(range(len(read))),
            "length": [len(row.ids) for row in read],
            "lost": [row.lost for row in read],
            "tokens": [row.tokens for row in read],
        }

    def _windows(self, texts: Sequence[str], preprocessing: Preprocessing) -> dict[str, list[Any]]:
        types = "token_type_ids" in self.tokenizer.model_input_names
        names = ("input_ids", *(("token_type_ids",) if types else ()), "row", "length", "lost", "tokens")
        found: dict[str, list[Any]] = {name: [] for name in names}
        for index, row in enumerate(window_rows(self.tokenizer, texts, None, preprocessing)):
            for position, window in enumerate(row.windows):
                found["input_ids"].append(window.ids)
                if types:
                    found["token_type_ids"].append(window.type_ids)
                found["row"].append(index)
                found["length"].append(len(window.ids))
                found["lost"].append(row.lost if position == 0 else 0)
                found["tokens"].append(row.tokens if position == 0 else 0)
        return found

    def forward(self, model: torch.nn.Module, batch: Mapping[str, Any]) -> Read:
        """A vector a feature: the pooled tokens, or what the output layer reads at the mask."""
        if self.cloze is None:
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            hidden = model(**inputs).last_hidden_state.float()
            return Read(pool_tokens(hidden, batch["attention_mask"], self.decision["pooling"]))
        from accelerate.utils import extract_model_from_parallel

        inputs, positions = model_inputs(batch, start=self.decision["start"], mask=self.decision["mask"])
        with answer_states(extract_model_from_parallel(model), positions) as caught:
            model(**inputs)
        return Read(caught[0].float())

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy of the head, summed; the training of a method has a loss of its own."""
        import torch
        from torch.nn import functional

        head = self._support().head
        vectors = functional.normalize(outputs.vectors, dim=1) if head.unit_length else outputs.vectors
        weight, bias = (torch.from_numpy(value).to(vectors) for value in (head.weight, head.bias))
        return functional.cross_entropy(vectors @ weight.T + bias, labels, reduction="sum")

    def outputs(self, outputs: Any, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        return list(outputs.vectors.float().cpu().numpy())

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> task.Inferred:
        """The vectors; a loss only where there is a head to have one."""
        if self.support is not None:
            return super().infer(model, batch)
        return task.Inferred(self.outputs(self.forward(model, batch), batch))

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        """The mean vector of a row's windows, shape (rows, dim)."""
        return list(mean_by_row(outputs, features.dataset["row"]))

    def _support(self) -> Support:
        assert self.support is not None, "trained, or loaded from an artifact"
        return self.support

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(rows, classes)."""
        from scipy.special import softmax

        found: np.ndarray = softmax(self._support().head.logits(vectors).astype("float64"), axis=1)
        return found

    def familiarity(self, vectors: np.ndarray) -> np.ndarray:
        """(rows,): the greatest cosine to a class mean; low for what is out of scope."""
        found: np.ndarray = (unit(vectors) @ self._support().class_directions.T).max(axis=1)
        return found

    @property
    def threshold(self) -> float | None:
        """Familiarity from which a text gets a label; None: every one does."""
        if self.settings.rejection == "off":
            return None
        if isinstance(self.settings.rejection, float):
            return self.settings.rejection
        found: float = self.decision["rejection_threshold"]
        return found

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """`label` and `score` (None and the greatest probability for what is rejected), `scores` of every class,
        `nearest`: support examples with their cosines, `truncated`; with rejection `familiarity` too."""
        import numpy as np

        if not len(pooled):
            return []
        vectors, support, names = np.asarray(pooled), self._support(), self.space.names
        lost = {row for row, n in zip(features.dataset["row"], features.dataset["lost"], strict=True) if n > 0}
        places, cosines = support.nearest(vectors, NEAREST)
        known = None if self.threshold is None else self.familiarity(vectors)
        rejected = np.zeros(len(vectors), dtype=bool) if known is None else known < self.threshold
        found: list[Prediction] = []
        for row, probabilities in enumerate(self.probabilities(vectors)):
            best = int(probabilities.argmax())
            near = zip(places[row].tolist(), cosines[row].tolist(), strict=True)
            found.append(
                {
                    "label": None if rejected[row] else names[best],
                    "score": float(probabilities[best]),
                    "scores": {name: float(p) for name, p in zip(names, probabilities, strict=True)},
                    "nearest": [
                        {"text": support.texts[place], "label": names[support.labels[place]], "cosine": cosine}
                        for place, cosine in near
                    ],
                    **({} if known is None else {"familiarity": float(known[row])}),
                    "truncated": row in lost,
                }
            )
        return found

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        import numpy as np

        from nlptk.metrics import classification_figures, rejection_figures

        vectors, references = np.asarray(pooled), np.asarray(rows["label"], dtype=np.int64)
        probabilities = self.probabilities(vectors)
        decided = probabilities.argmax(axis=1)
        figures = classification_figures(
            probabilities, references, self.space, predictions=decided, bootstrap=bootstrap, seed=seed
        )
        if self.threshold is not None:
            withheld = self.familiarity(vectors) < self.threshold
            figures |= rejection_figures(decided == references, withheld, bootstrap=bootstrap, seed=seed)
        parts = labelled_sections(probabilities, decided, references, rows, self.space) if sections else []
        return Scores(figures, parts, label_warnings(decided, references, self.space))

    def save_extra(self, folder: Path, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
        save_support(self._support(), folder, self.space.names)
        if self.cloze is None:
            dim = model.config.get_text_config().hidden_size
            write_sentence_model(folder, pooling=self.decision["pooling"], dim=dim, max_length=preprocessing.max_length)

    def load_extra(self, folder: Path) -> None:
        self.support = load_support(folder)


def mean_by_row(outputs: Sequence[np.ndarray], rows: Sequence[int]) -> np.ndarray:
    """(features, dim) and the row of each, ascending from 0 -> (rows, dim) float32, each the mean of its features."""
    import numpy as np

    place = np.asarray(rows)
    counts = np.bincount(place)
    summed = np.zeros((len(counts), np.asarray(outputs).shape[1]), dtype=np.float64)
    np.add.at(summed, place, np.asarray(outputs, dtype=np.float64))
    means: np.ndarray = (summed / counts[:, None]).astype(np.float32)
    return means


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(FewShot.name)
