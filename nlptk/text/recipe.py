"""One pretraining job as data: what text, which tokenizer, which model, how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nlptk.errors import RecipeError
from nlptk.faults import faults
from nlptk.recipe import Fraction, given_values, recipe_name

Family = Literal["bert", "modernbert", "gpt2", "llama", "t5"]
Kind = Literal["word", "character", "bpe", "wordpiece", "unigram"]
Size = Literal["tiny", "mini", "small"]

NATIVE_KIND: dict[Family, Kind] = {
    "bert": "wordpiece",
    "modernbert": "bpe",
    "gpt2": "bpe",
    "llama": "bpe",
    "t5": "unigram",
}
"""The kind of tokenizer each family is known with."""


SHOWN = 60
"""Characters of a name in a message."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSettings(_Strict):
    """Where the text is. A string or a list stands for `train`."""

    train: str | list[str] = Field(description="Files or globs: .txt, .jsonl, each also .gz")
    column: str = Field("text", description="Column of jsonl files that holds the document")
    lines_per_document: int = Field(
        1, ge=1, description="Of txt files: consecutive non-empty lines that make one document"
    )
    encoding: str = Field("utf-8", description="Of the files")
    max_documents: int | None = Field(None, gt=0, description="Read only so many documents (a trial run)")
    held_out: Fraction | Literal["none"] = Field(
        0.01, description="Share of the documents that is measured on and never trained on; chosen by their text"
    )
    held_out_tokens: int = Field(200_000, gt=0, description="At most so many of its tokens are measured on")

    @property
    def held_out_share(self) -> float:
        """Share of the documents that is never trained on; 0 for none."""
        return 0.0 if self.held_out == "none" else self.held_out


class TokenizerSettings(_Strict):
    """The tokenizer that is trained on the text, or the one that is taken. A string stands for `path`."""

    path: str | None = Field(None, description="Folder of a tokenizer to take instead of training one")
    kind: Kind | None = Field(None, description="Default: the family's own (wordpiece, bpe, unigram)")
    vocab_size: int = Field(8000, gt=0, description="Tokens, special ones included")
    lowercase: bool = Field(False, description="Fold case (and accents, with wordpiece)")
    min_frequency: int = Field(2, ge=1, description="Rarer words, characters or pairs make no token")


class ModelSettings(_Strict):
    """A model from scratch (family and size) or one to go on with (checkpoint). A string stands for `checkpoint`."""

    checkpoint: str | None = Field(None, description="Folder or Hub name to continue from, with its own tokenizer")
    family: Family | None = None
    size: Size | None = Field(None, description="Default: tiny")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Fields of the family's own configuration class, laid over the size"
    )
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="While pretraining; the saved model keeps its family's own")

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSettings:
        if self.checkpoint is None and self.family is None:
            raise ValueError("give family (bert, modernbert, gpt2, llama or t5) with size, or checkpoint")
        for name, value in (("family", self.family), ("size", self.size), ("config", self.config)):
            if self.checkpoint is not None and value:
                raise ValueError(f"checkpoint says {name} already; leave {name} out")
        return self


class ObjectiveSettings(_Strict):
    """What is hidden from the model: masked words (BERT) or spans (T5). A causal model predicts every token."""

    noise: Fraction = Field(0.15, description="Share of the tokens that is to be predicted")
    mean_span: float = Field(3.0, ge=1.0, description="Mean length of a hidden span in tokens (T5)")


class CardSettings(_Strict):
    """What the model card says beyond what was measured."""

    name: str | None = Field(None, description="Default: the family and size, or the checkpoint's name")
    license: str | None = Field(None, description="Identifier as the Hub knows it, such as apache-2.0")
    language: str | None = Field(None, description="Such as en")
    data: str | None = Field(None, description="A sentence or two on the text: where it comes from, its licence")


class PretrainRecipe(_Strict):
    """One pretraining job."""

    data: TextSettings
    model: ModelSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    block_length: int = Field(256, ge=8, description="Tokens of a training example, special ones included")
    optimizer: dict[str, Any] = Field(
        default_factory=lambda: {"name": "adamw"}, description="Optimizer name, or {name: ..., and its own settings}"
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Any field of transformers.TrainingArguments, by its own name"
    )
    save_dtype: Literal["float32", "float16"] = Field(
        "float32", description="Of the saved weights; half the size, and training from them is in float32 all the same"
    )
    card: CardSettings = CardSettings()
    seed: int = Field(0, ge=0, lt=2**32, description="Of initialization, order, noise and dropout")
    output: str = Field("runs/pretraining", description="Folder of the run: model/, report.html, checkpoints")

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthands(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        expanded = dict(values)
        for key, field in (("tokenizer", "path"), ("model", "checkpoint"), ("optimizer", "name")):
            if isinstance(expanded.get(key), str):
                expanded[key] = {field: expanded[key]}
        if isinstance(expanded.get("optimizer"), Mapping):
            expanded["optimizer"] = {"name": "adamw", **expanded["optimizer"]}
        if isinstance(expanded.get("data"), str | list):
            expanded["data"] = {"train": expanded["data"]}
        return expanded


def resolve_recipe(
    source: str | Path | Mapping[str, Any] | None = None, *, overrides: Sequence[str] = (), **keys: Any
) -> PretrainRecipe:
    """The checked recipe from a YAML file or a mapping, keys laid over it, then `key=value` overrides.

    Raises: RecipeError naming the key, what came and the cure.
    """
    where = recipe_name(source)
    own = given_values(source, {}, ())
    try:
        recipe = PretrainRecipe.model_validate(given_values(own, keys, overrides))
        _refuse_a_card_of_other_text(recipe, own, where=where)
    except ValidationError as error:
        raise RecipeError(faults(error, PretrainRecipe, where=where)) from None
    return recipe


def _refuse_a_card_of_other_text(recipe: PretrainRecipe, source: Mapping[str, Any], *, where: str) -> None:
    """A model card must not give the licence and origin of one text to another that was laid over it."""
    card, data = source.get("card"), source.get("data")
    text = data.get("train") if isinstance(data, Mapping) else data
    if card and text and recipe.data.train != text and recipe.card == CardSettings.model_validate(card):
        named = text if isinstance(text, str) else ", ".join(text)
        shown = named if len(named) <= SHOWN else f"{named[:SHOWN]}..."
        raise RecipeError(
            f"{where}: card: it speaks of {shown!r}, and data.train was replaced; give what is true of the new text "
            "(card.name, card.license, card.language, card.data), or card={} to say nothing"
        )


def to_yaml(recipe: PretrainRecipe) -> str:
    """The resolved recipe as YAML that `nlptk pretrain` accepts again."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
