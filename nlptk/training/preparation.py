"""Everything between a recipe and the first training step: rows, tokenizer, model, strategy, features, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from nlptk import registry
from nlptk.checkpoints import (
    LoadedModel,
    default_max_length,
    load_config,
    load_model,
    load_tokenizer,
    model_limit,
    of_body,
)
from nlptk.data import Splits, fingerprint, load_splits
from nlptk.data.problems import REMEMBERED, conflict_lines, dropped_entry, dropped_lines
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.recipe import PreprocessingSettings, Recipe
from nlptk.strategies.contract import Group, Strategy
from nlptk.strategies.trainable import parameter_report
from nlptk.task import Features, LongText, Preprocessing, Task
from nlptk.training import packing, stored_features
from nlptk.training.dropout import override_dropout, without_dropout
from nlptk.training.features import cut_warnings, features_key, make_features
from nlptk.training.head import add_head_norm
from nlptk.training.readout import reads_one_vector
from nlptk.training.trainer import EvaluationSet


@dataclass(frozen=True)
class TokenizedSplit:
    """One split's rows and features. key: name of the features in the cache."""

    rows: Dataset
    features: Features
    key: str


@dataclass(frozen=True)
class Prepared:
    """A model ready to train. model: the plain transformers model; trained: it, or what the strategy wrapped it in.

    new: parameters not in the checkpoint; reshaped: those of another shape. backbone_once: the strategy freezes the
    backbone and the head reads one vector of it a feature, so that its features are computed once and kept.
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
    backbone_once: bool


def make_task(recipe: Recipe, data: Splits) -> Task:
    """The recipe's task with the labels of the training rows, its loss fitted to them."""
    options = dict(recipe.task)
    cls = registry.get_task(options.pop("name"))
    task = cls(cls.Options.model_validate(options), labels=data.labels)
    assert data.train is not None
    task.fit(data.train)
    for split, rows in present(data).items():
        known, dropped = usable_rows(task, rows, split, how=recipe.data.unseen_labels)
        if dropped:
            setattr(data, split, known)
            data.report.fingerprints[split], data.report.rows[split] = fingerprint(known), len(known)
            data.report.dropped.extend(dropped)
    return task


def usable_rows(
    task: Task, rows: Dataset, split: str, *, how: Literal["refuse", "drop", "keep"]
) -> tuple[Dataset, list[dict[str, Any]]]:
    """The rows that a task can learn from or be measured on, and those left out as in `DataReport.dropped`.

    how: with the rows whose labels the task never saw. Raises: DataError naming them, to refuse; for rows that the task
    cannot take at all.
    """
    task.check_rows(rows, split)
    unseen = task.unseen(rows) if how != "keep" else []
    if not unseen:
        return rows, []
    if how == "refuse":
        raise DataError(f"{split}: labels that no training row has: {_unseen_listed(unseen, rows)}")
    without = {index for index, _ in unseen}
    if len(without) == len(rows):
        raise DataError(f"{split}: no row is left without labels that training never saw; give other rows")
    first = [rows[index] for index in sorted(without)[:REMEMBERED]]
    places = [{"file": row["source_file"], "row": row["source_row"]} for row in first]
    kept = rows.select([index for index in range(len(rows)) if index not in without])
    return kept, [dropped_entry(split, None, "label not in training", len(without), places)]


def _unseen_listed(unseen: Sequence[tuple[int, str]], rows: Dataset) -> str:
    by_label: dict[str, list[int]] = {}
    for index, label in unseen:
        by_label.setdefault(label, []).append(index)
    said = []
    for label, indices in list(by_label.items())[:5]:
        first = rows[indices[0]]
        more = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
        said.append(f"{label!r} ({first['source_file']}, row {first['source_row']}{more})")
    rest = f" and {len(by_label) - 5} more labels" if len(by_label) > 5 else ""
    cure = "correct them, add training rows, or set data.unseen_labels=drop (the rows) or keep (as what is not found)"
    return f"{'; '.join(said)}{rest}; {cure}"


def make_strategy(settings: Mapping[str, Any]) -> Strategy:
    """The recipe's strategy."""
    options = dict(settings)
    cls = registry.get_strategy(options.pop("name"))
    return cls(cls.Options.model_validate(options))


def load_data(recipe: Recipe) -> Splits:
    """The recipe's rows, checked and split. Raises: DataError."""
    task = registry.get_task(recipe.task["name"])
    return load_splits(recipe.data, task.columns, seed=recipe.seed, rules=task.rules())


def prepare(recipe: Recipe, data: Splits) -> Prepared:
    """Load, wrap and tokenize. Raises: NlptkError for whatever does not fit together."""
    task = make_task(recipe, data)
    strategy = make_strategy(recipe.strategy)
    task.tokenizer = tokenizer = strategy.prepare_tokenizer(load_tokenizer(recipe.model, recipe.model_revision))
    config = load_config(recipe.model, recipe.model_revision)
    dropout = override_dropout(
        config, hidden=recipe.dropout.hidden, attention=recipe.dropout.attention, head=recipe.dropout.head
    )
    set_seed(recipe.seed)
    loaded = load_model(recipe.model, task, tokenizer, config=config, revision=recipe.model_revision)
    if recipe.head.norm == "batch":
        add_head_norm(loaded.model)
    preprocessing = make_preprocessing(recipe.preprocessing, task, tokenizer, loaded.model)
    once = strategy.runs_backbone_once and reads_one_vector(loaded.model)
    if once and recipe.dropout.head is None:
        without_dropout(loaded.model)
        dropout = {**dropout, "on stored features": 0.0}
    trained = strategy.prepare(loaded.model, tokenizer)  # a refusal comes before the wait for the tokens
    groups = strategy.groups(trained)
    splits = {name: tokenize(task, rows, tokenizer, preprocessing, data) for name, rows in present(data).items()}
    strategy.check_feature(splits["train"].features.dataset[0], tokenizer)
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
        parameters=parameter_report(trained, groups, staged=strategy.scheduled()),
        backbone_once=once,
    )


def caveats(prepared: Prepared) -> list[str]:
    """Warnings of what is known before anything is measured."""
    ledgers = {name: split.features.ledger for name, split in prepared.splits.items()}
    own = prepared.task.caveats(prepared.preprocessing)
    found = prepared.data.report
    return [
        *dropped_lines(found.dropped),
        *conflict_lines(found.conflicts),
        *found.notes,
        *made_anew(prepared),
        *left_random(prepared),
        *cut_warnings(ledgers, prepared.task, long_text=prepared.preprocessing.long_text),
        *own,
    ]


def made_anew(prepared: Prepared) -> list[str]:
    """A warning of parameters that a checkpoint of this form has, and this one had not."""
    if not (names := of_body(prepared.model, prepared.loaded.new)):
        return []
    return [
        f"{_listed(names)}: not in the checkpoint, so made at random: it is of another form than its config.json says, "
        "or incomplete"
    ]


def left_random(prepared: Prepared) -> list[str]:
    """A warning of parameters that the checkpoint did not have and that the strategy never trains, if there are any."""
    training = [item for group in prepared.groups for item in group.parameters]
    trained = {name.removeprefix("base_model.model.").replace(".modules_to_save.default.", ".") for name, _ in training}
    trains = {id(parameter) for _, parameter in training}
    same = {
        name for name, p in prepared.model.named_parameters(remove_duplicate=False) if id(p) in trains
    }  # a tied parameter has several names
    names = [name for name in prepared.loaded.new if name not in trained | same]
    if not names:
        return []
    return [
        f"{_listed(names)}: not in the checkpoint, so made at random, and never trained by strategy "
        f"{prepared.strategy.name}; use strategy=full, or a checkpoint that has them"
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def present(data: Splits) -> dict[str, Dataset]:
    """The splits that the data have, by name."""
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: rows for name, rows in named.items() if rows is not None}


def tokenize(
    task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing, data: Splits
) -> TokenizedSplit:
    """Features of one split, from the cache where they are in it."""
    name = next(name for name, split in present(data).items() if split is rows)
    found = data.report.fingerprints[name]
    features = make_features(task, rows, tokenizer, preprocessing, rows_fingerprint=found)
    return TokenizedSplit(rows, features, features_key(task, found, tokenizer, preprocessing))


def make_preprocessing(
    settings: PreprocessingSettings, task: Task, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> Preprocessing:
    """The recipe's preprocessing with what it leaves open resolved.

    Raises: UnsupportedError past the model's positions. RecipeError for what the task cannot do with long texts.
    """
    limit = model_limit(model)
    length = settings.max_length or default_max_length(tokenizer, model)
    if limit is not None and length > limit:
        raise UnsupportedError(
            f"preprocessing.max_length: {length} is more than the {limit} positions of the model; "
            f"give at most that{', with long_text=window for longer texts' * ('window' in task.long_texts)}"
        )
    if settings.stride >= length:
        raise RecipeError(f"preprocessing.stride: {settings.stride} is not less than max_length {length}")
    return Preprocessing(length, _long_text(task, settings.long_text), settings.stride)


def _long_text(task: Task, wanted: LongText | None) -> LongText:
    """What happens to long texts: as wanted, else the task's default."""
    if wanted is None:
        return task.long_texts[0]
    if wanted not in task.long_texts:
        more = f", or set {task.long_text_cure}" if task.long_text_cure else ""
        raise RecipeError(
            f"preprocessing.long_text: {wanted}: task {task.name} cannot do this; give "
            f"{' or '.join(task.long_texts)}, or leave it out{more}"
        )
    return wanted


@dataclass(frozen=True)
class Batching:
    """How the trainer gets its batches. how: one line for the report; packed: a packing to remove in the end."""

    train: Any
    collator: Any
    evaluation: Mapping[str, EvaluationSet]
    how: str
    packed: packing.Packing | None = None


def token_fetch(task: Task, features: Features, pad_id: int) -> Any:
    """Feature indices -> a padded batch, to measure with."""
    inputs = model_inputs(task, features, measuring=True)

    def fetch(indices: list[int]) -> dict[str, torch.Tensor]:
        return task.collate(inputs.__getitems__(indices), pad_id)

    return fetch


def model_inputs(task: Task, features: Features, *, measuring: bool = False) -> Dataset:
    """The columns of the features that a batch is made of, to train on or to measure with."""
    wanted = [*task.inputs, *task.measuring] if measuring else task.inputs
    return features.dataset.select_columns([c for c in wanted if c in features.dataset.column_names])


def evaluation_set(task: Task, split: TokenizedSplit, pad_id: int) -> EvaluationSet:
    """A split to be run from its tokens."""
    lengths = split.features.dataset["length"][:]
    return EvaluationSet(split.rows, split.features, lengths, token_fetch(task, split.features, pad_id))


def token_batching(prepared: Prepared, *, wanted: bool | str, data_parallel: bool) -> Batching:
    """Batches of tokens: packed where wanted and possible, else padded and grouped by length.

    wanted: the recipe's `packing`; data_parallel: several GPUs in one process, among which a packed row cannot be cut.
    Raises: UnsupportedError where packing was asked for and the model form does not allow it.
    """
    task, pad_id = prepared.task, prepared.tokenizer.pad_token_id
    evaluation = {
        name: evaluation_set(task, split, pad_id) for name, split in prepared.splits.items() if name != "train"
    }
    train = prepared.splits["train"].features
    packed, reason = (None, "padded, rows of like length together")
    if wanted is not False:
        packed, reason = _pack(prepared, data_parallel=data_parallel)
        if packed is None and wanted is True:
            raise UnsupportedError(f"packing: {reason}; set packing=auto or packing=false")
    if packed is not None:
        return Batching(model_inputs(task, train), packed.collator(), evaluation, reason, packed)
    columns = model_inputs(task, train).column_names
    how = reason if wanted is False else f"padded, rows of like length together ({reason})"
    collator = partial(task.collate, pad_id=pad_id)
    return Batching(train.dataset.select_columns([*columns, "length"]), collator, evaluation, how)


def _pack(prepared: Prepared, *, data_parallel: bool) -> tuple[packing.Packing | None, str]:
    if data_parallel:
        return None, "one process drives several GPUs"
    if type(prepared.task).collate is not Task.collate or type(prepared.task).forward is not Task.forward:
        return None, f"the {prepared.task.name} task makes batches of its own"
    return packing.install(prepared.model)


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
