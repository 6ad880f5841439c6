"""Everything between a recipe and the first training step: rows, tokenizer, model, strategy, features, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from nlptk import registry
from nlptk.checkpoints import LoadedModel, default_max_length, load_config, load_model, load_tokenizer, model_limit
from nlptk.data import Splits, load_splits
from nlptk.errors import RecipeError, UnsupportedError
from nlptk.recipe import PreprocessingSettings, Recipe
from nlptk.strategies.contract import Group, Strategy
from nlptk.strategies.trainable import parameter_report
from nlptk.task import Features, Preprocessing, Task
from nlptk.training import packing, stored_features
from nlptk.training.collate import PaddingCollator
from nlptk.training.dropout import override_dropout
from nlptk.training.features import features_key, make_features
from nlptk.training.head import add_head_norm
from nlptk.training.trainer import EvaluationSet

MODEL_INPUTS = ("input_ids", "token_type_ids", "labels")


@dataclass(frozen=True)
class TokenizedSplit:
    """One split's rows and features. key: name of the features in the cache."""

    rows: Dataset
    features: Features
    key: str


@dataclass(frozen=True)
class Prepared:
    """A model ready to train. model: the plain transformers model; trained: it, or what the strategy wrapped it in.

    new: parameters not in the checkpoint; reshaped: those of another shape; batching: how batches are made, and why.
    """

    task: Task
    strategy: Strategy
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    trained: torch.nn.Module
    groups: Sequence[Group]
    preprocessing: Preprocessing
    splits: Mapping[str, TokenizedSplit]
    data: Splits
    loaded: LoadedModel
    dropout: Mapping[str, float]
    parameters: dict[str, Any]


def make_task(recipe: Recipe, data: Splits) -> Task:
    """The recipe's task with the labels of the training rows, its loss fitted to them."""
    options = dict(recipe.task)
    cls = registry.get_task(options.pop("name"))
    task = cls(cls.Options.model_validate(options), labels=data.labels)
    assert data.train is not None
    task.fit(data.train)
    return task


def make_strategy(settings: Mapping[str, Any]) -> Strategy:
    """The recipe's strategy."""
    options = dict(settings)
    cls = registry.get_strategy(options.pop("name"))
    return cls(cls.Options.model_validate(options))


def load_data(recipe: Recipe) -> Splits:
    """The recipe's rows, checked and split. Raises: DataError."""
    columns = registry.get_task(recipe.task["name"]).columns
    if recipe.data.train is None:
        raise RecipeError("data.train: missing; give the file with the labelled rows (data=rows.csv)")
    return load_splits(recipe.data, columns, seed=recipe.seed)


def prepare(recipe: Recipe, data: Splits) -> Prepared:
    """Load, wrap and tokenize. Raises: NlptkError for whatever does not fit together."""
    task = make_task(recipe, data)
    strategy = make_strategy(recipe.strategy)
    tokenizer = strategy.prepare_tokenizer(load_tokenizer(recipe.model, recipe.model_revision))
    config = load_config(recipe.model, recipe.model_revision)
    dropout = override_dropout(
        config, hidden=recipe.dropout.hidden, attention=recipe.dropout.attention, head=recipe.dropout.head
    )
    set_seed(recipe.seed)
    loaded = load_model(recipe.model, task, tokenizer, config=config, revision=recipe.model_revision)
    if recipe.head.norm == "batch":
        add_head_norm(loaded.model)
    preprocessing = make_preprocessing(recipe.preprocessing, tokenizer, loaded.model)
    splits = {name: tokenize(task, rows, tokenizer, preprocessing, data) for name, rows in present(data).items()}
    trained = strategy.prepare(loaded.model, tokenizer)
    groups = strategy.groups(trained)
    return Prepared(
        task=task,
        strategy=strategy,
        tokenizer=tokenizer,
        model=loaded.model,
        trained=trained,
        groups=groups,
        preprocessing=preprocessing,
        splits=splits,
        data=data,
        loaded=loaded,
        dropout=dropout,
        parameters=parameter_report(trained, groups),
    )


def present(data: Splits) -> dict[str, Dataset]:
    """The splits that the data have, by name."""
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: rows for name, rows in named.items() if rows is not None}


def tokenize(
    task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing, data: Splits
) -> TokenizedSplit:
    """Features of one split, from the cache where they are in it."""
    name = next(name for name, split in present(data).items() if split is rows)
    fingerprint = data.report.fingerprints[name]
    features = make_features(task, rows, tokenizer, preprocessing, rows_fingerprint=fingerprint)
    return TokenizedSplit(rows, features, features_key(task, fingerprint, tokenizer, preprocessing))


def make_preprocessing(
    settings: PreprocessingSettings, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> Preprocessing:
    """The recipe's preprocessing with its length resolved. Raises: UnsupportedError past the model's positions."""
    limit = model_limit(model)
    length = settings.max_length or default_max_length(tokenizer, model)
    if limit is not None and length > limit:
        raise UnsupportedError(
            f"preprocessing.max_length: {length} is more than the {limit} positions of the model; "
            "give at most that, with long_text=window for longer texts"
        )
    if settings.stride >= length:
        raise RecipeError(f"preprocessing.stride: {settings.stride} is not less than max_length {length}")
    return Preprocessing(length, settings.long_text, settings.stride)


@dataclass(frozen=True)
class Batching:
    """How the trainer gets its batches. how: one line for the report; packed: a packing to remove in the end."""

    train: Any
    collator: Any
    evaluation: Mapping[str, EvaluationSet]
    how: str
    packed: packing.Packing | None = None


def token_fetch(features: Features, pad_id: int) -> Any:
    """Feature indices -> a padded batch."""
    collate = PaddingCollator(pad_id)
    inputs = model_inputs(features)

    def fetch(indices: list[int]) -> dict[str, torch.Tensor]:
        return collate(inputs.__getitems__(indices))

    return fetch


def model_inputs(features: Features) -> Dataset:
    """The columns of the features that a batch is made of."""
    return features.dataset.select_columns([c for c in MODEL_INPUTS if c in features.dataset.column_names])


def evaluation_set(split: TokenizedSplit, pad_id: int) -> EvaluationSet:
    """A split to be run from its tokens."""
    lengths = split.features.dataset["length"][:]
    return EvaluationSet(split.rows, split.features, lengths, token_fetch(split.features, pad_id))


def token_batching(prepared: Prepared, *, wanted: bool | str, data_parallel: bool) -> Batching:
    """Batches of tokens: packed where wanted and possible, else padded and grouped by length.

    wanted: the recipe's `packing`; data_parallel: several GPUs in one process, among which a packed row cannot be cut.
    Raises: UnsupportedError where packing was asked for and the model form does not allow it.
    """
    pad_id = prepared.tokenizer.pad_token_id
    evaluation = {name: evaluation_set(split, pad_id) for name, split in prepared.splits.items() if name != "train"}
    train = prepared.splits["train"].features
    packed, reason = (None, "padded, rows of like length together")
    if wanted is not False:
        packed, reason = (None, "one process drives several GPUs") if data_parallel else packing.install(prepared.model)
        if packed is None and wanted is True:
            raise UnsupportedError(f"packing: {reason}; set packing=auto or packing=false")
    if packed is not None:
        return Batching(model_inputs(train), packed.collator(), evaluation, reason, packed)
    columns = model_inputs(train).column_names
    how = reason if wanted is False else f"padded, rows of like length together ({reason})"
    return Batching(train.dataset.select_columns([*columns, "length"]), PaddingCollator(pad_id), evaluation, how)


def stored_batching(prepared: Prepared, *, batch_size: int) -> Batching:
    """Batches of the frozen backbone's features, computed once and kept on disk."""
    pad_id = prepared.tokenizer.pad_token_id
    stored = {
        name: stored_features.store_features(
            prepared.model, split.features, key=split.key, pad_id=pad_id, batch_size=batch_size
        )
        for name, split in prepared.splits.items()
    }
    evaluation = {
        name: EvaluationSet(split.rows, split.features, [1] * len(stored[name]), stored[name].__getitems__)
        for name, split in prepared.splits.items()
        if name != "train"
    }
    how = "the frozen backbone was run once, in eval mode; the head trained on its stored features"
    return Batching(stored["train"], stored_features.whole_batch, evaluation, how)
