"""The best recipe by Optuna, through the Trainer's own hyperparameter search.

Every trial is a whole run on the training rows, measured on the validation rows; the test rows are never looked at.
Trials that fall behind the median of the earlier ones are stopped.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from nlptk import registry
from nlptk.data import Splits
from nlptk.errors import MissingExtraError, RecipeError
from nlptk.recipe import Recipe, make_recipe, to_yaml
from nlptk.task import Task
from nlptk.training.arguments import RunFacts, check_training, training_arguments
from nlptk.training.occupation import sole_run
from nlptk.training.optimizers import default_learning_rate, default_weight_decay
from nlptk.training.preparation import (
    Batching,
    Prepared,
    load_data,
    make_strategy,
    make_task,
    prepare,
    stored_batching,
    token_batching,
)
from nlptk.training.progress import trial_bar
from nlptk.training.readout import stored_backbone
from nlptk.training.trainer import NlptkTrainer, Optimization

DEFAULT_SPACE: dict[str, Any] = {
    "strategy": {"choices": ["full", "gradual_unfreezing", "lora"]},  # those that no pairing of task and model refuses
    "training.num_train_epochs": {"choices": [1, 2, 3, 4]},
    "training.per_device_train_batch_size": {"choices": [16, 32]},
}
RATE_FACTORS = (0.2, 5.0)
"""Range of the learning rate, as factors on the default of the trial's strategy, where the space does not name it."""

TRIALS = "trials.json"


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    recipe: the best, written to `path`; value: its primary metric on validation; trials: settings, value and state of
    every one, in order.
    """

    recipe: Recipe
    path: Path
    metric: str
    value: float
    trials: list[dict[str, Any]]


class _TuneTrainer(NlptkTrainer):
    """Builds model, strategy and batches anew for every trial."""

    def __init__(self, recipe: Recipe, data: Splits, space: Mapping[str, Any], args: TrainingArguments):
        self._recipe, self._data, self._space, self._arguments = recipe, data, space, args
        names = ("activation_checkpointing", "gradient_checkpointing")
        self._checkpointing = {name: getattr(args, name) for name in names if hasattr(args, name)}
        self._best: float | None = None
        self._without_backbone = ExitStack()
        built = self._build(recipe)
        super().__init__(
            None,
            args,
            task=built["task"],
            strategy=built["strategy"],
            optimization=built["optimization"],
            train_dataset=built["batching"].train,
            collator=built["batching"].collator,
            validation=built["batching"].evaluation["validation"],
            model_init=lambda trial: built["trained"],
        )

    def _build(self, recipe: Recipe) -> dict[str, Any]:
        prepared = prepare(recipe, self._data)
        options = {key: value for key, value in recipe.optimizer.items() if key != "name"}
        return {
            "task": prepared.task,
            "strategy": prepared.strategy,
            "trained": prepared.trained,
            "optimization": Optimization(recipe.optimizer["name"], options, prepared.groups),
            "batching": self._batching(prepared, recipe),
        }

    def _batching(self, prepared: Prepared, recipe: Recipe) -> Batching:
        """Tokens, or the features of a backbone that is run once, in all trials together."""
        args, once = self._arguments, prepared.backbone_once
        for name, wanted in self._checkpointing.items():
            setattr(args, name, wanted and not once)  # a head has no layers to run again
        self._without_backbone.close()
        if not once:
            return token_batching(prepared, wanted=recipe.packing, data_parallel=False)
        torch.nn.Module.to(prepared.model, args.device)
        batching = stored_batching(prepared, batch_size=args.per_device_eval_batch_size)
        self._without_backbone.enter_context(stored_backbone(prepared.model))
        return batching

    def best_so_far(self, value: float, *, lower: bool) -> float:
        """The best evaluation of the trial: what a run that restores its best checkpoint would end with."""
        if self._best is None or (value < self._best if lower else value > self._best):
            self._best = value
        return self._best

    def call_model_init(self, trial: Any = None) -> Any:
        if trial is None:
            return super().call_model_init(trial)
        self._best = None
        built = self._build(_with_strategy(self._recipe, _strategy_of(trial, self._space, self._recipe)))
        self.adopt(built["task"], built["strategy"], built["optimization"])
        batching = built["batching"]
        self.train_dataset, self.data_collator = batching.train, batching.collator
        self._validation = batching.evaluation["validation"]
        set_seed(self.args.seed)  # as a run's own trainer does, so that dropout falls as it would there
        return built["trained"]


def tune(
    recipe: Recipe,
    *,
    trials: int,
    space: Mapping[str, Any] | None,
    strategy_given: bool,
    where: str = "recipe",
) -> TuneResult:
    """Search, and write `best_recipe.yaml` and `trials.json` into the output folder.

    space: recipe key -> [low, high] or {"choices": [...]}; keys are `strategy` and those of `training`. What the recipe
    itself sets under `training` leaves the default space, and so does its strategy where
    strategy_given; but a learning rate that it sets is what the rates of its strategy are searched around. A trial
    counts with the best of its evaluations, as a run that restores its best checkpoint does.
    Raises: NlptkError; MissingExtraError without Optuna.
    """
    if importlib.util.find_spec("optuna") is None:
        raise MissingExtraError('nlptk tune: needs Optuna; pip install "nlptk-hf[tune]"')

    pinned = {f"training.{key}" for key in recipe.training} | ({"strategy"} if strategy_given else set())
    searched = {key: values for key, values in DEFAULT_SPACE.items() if key not in pinned}
    chosen = _checked_space({**searched, **(space or {})}, where)
    output = Path(recipe.output)
    if (output / TRIALS).exists():
        raise RecipeError(
            f"{where}: output: {output / TRIALS} holds an earlier search; give another output, or remove it"
        )
    with sole_run(output, where=where):
        data = replace(load_data(recipe), test=None)
        if data.validation is None:
            raise RecipeError(f"{where}: data.validation: a search compares trials on it; give a file or a fraction")
        args = _trial_arguments(recipe, make_task(recipe, data), where)
        trainer = _TuneTrainer(recipe, data, chosen, args)
        trainer.check_metric(where)
        metric = (args.metric_for_best_model or trainer.task.primary()).removeprefix("eval_")
        study = _search(recipe, trainer, chosen, trials=trials, metric=metric)
        best = _best_recipe(recipe, study.best_trial.params)
        found = _write_trials(output, study)
        path = output / "best_recipe.yaml"
        path.write_text(to_yaml(best), encoding="utf-8")
    return TuneResult(best, path, metric, float(study.best_value), found)


def _write_trials(output: Path, study: Any) -> list[dict[str, Any]]:
    """The trials that have ended, as `trials.json` has them."""
    ended = [trial for trial in study.trials if trial.state.is_finished()]
    found = [{"settings": t.params, "value": t.value, "state": t.state.name.lower()} for t in ended]
    (output / TRIALS).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def _search(recipe: Recipe, trainer: _TuneTrainer, space: Mapping[str, Any], *, trials: int, metric: str) -> Any:
    """Optuna's study after all trials."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # of an interruption it would show the traceback
    storage = optuna.storages.InMemoryStorage()
    lower = metric in trainer.task.lower_is_better
    with trial_bar(trials, disable=trainer.args.disable_tqdm) as begun:

        def suggest(trial: Any) -> dict[str, Any]:
            begun(trial.number)
            if trial.number:
                _write_trials(Path(recipe.output), trial.study)  # what is known so far survives an interruption
            return _suggest(trial, space, recipe)

        trainer.hyperparameter_search(
            hp_space=suggest,
            compute_objective=lambda metrics: trainer.best_so_far(metrics[f"eval_{metric}"], lower=lower),
            n_trials=trials,
            direction="minimize" if lower else "maximize",
            backend="optuna",
            sampler=optuna.samplers.TPESampler(seed=recipe.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
            storage=storage,
            study_name="nlptk",
        )
    return optuna.load_study(study_name="nlptk", storage=storage)


def _trial_arguments(recipe: Recipe, task: Task, where: str) -> TrainingArguments:
    """Evaluation every epoch, so that bad trials can be stopped; no checkpoints: only settings are kept."""
    strategy = make_strategy(recipe.strategy)
    facts = RunFacts(
        output=str(Path(recipe.output) / "trials"),
        seed=recipe.seed,
        learning_rate=default_learning_rate(recipe.optimizer["name"], strategy.lr_kind),
        weight_decay=default_weight_decay(recipe.optimizer["name"]),
        primary=task.primary(),
        lower_is_better=task.lower_is_better,
        has_validation=True,
        packed=False,
        scheduled=True,
    )
    block = {**recipe.training, "save_strategy": "no", "load_best_model_at_end": False}
    arguments: TrainingArguments = training_arguments(block, facts, where=where)
    return arguments


def _checked_space(space: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key, values in space.items():
        is_range = isinstance(values, list | tuple) and len(values) == 2 and values[0] < values[1]
        is_choice = isinstance(values, Mapping) and set(values) == {"choices"} and values["choices"]
        if not (is_choice or (is_range and key != "strategy")):
            raise RecipeError(f"{where}: space.{key}: expected [low, high] or {{choices: [...]}}, got {values!r}")
        tried = values["choices"] if isinstance(values, Mapping) else values
        if key == "strategy":
            for name in tried:
                registry.get_strategy(name)
        elif key.startswith("training."):
            for value in tried:
                check_training({key.removeprefix("training."): value}, where=f"{where}: space")
        else:
            raise RecipeError(f"{where}: space.{key}: only `strategy` and keys of `training` can be searched")
    return dict(space)


def _suggest(trial: Any, space: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """TrainingArguments fields of a trial; the strategy is suggested with them and read by `call_model_init`."""
    fields: dict[str, Any] = {}
    for key, values in space.items():
        field = key.removeprefix("training.")
        if key == "strategy":
            continue
        if isinstance(values, Mapping):
            fields[field] = trial.suggest_categorical(key, list(values["choices"]))
        elif all(isinstance(value, int) for value in values):
            fields[field] = trial.suggest_int(key, *values)
        else:
            fields[field] = trial.suggest_float(key, *values, log=field == "learning_rate")
    if "learning_rate" not in fields:
        factor = trial.suggest_float("learning_rate_factor", *RATE_FACTORS, log=True)
        fields["learning_rate"] = factor * _base_rate(recipe, _strategy_of(trial, space, recipe))
    return fields


def _strategy_of(trial: Any, space: Mapping[str, Any], recipe: Recipe) -> str:
    if "strategy" not in space:
        return str(recipe.strategy["name"])
    return str(trial.suggest_categorical("strategy", list(space["strategy"]["choices"])))


def _base_rate(recipe: Recipe, strategy: str) -> float:
    if strategy == recipe.strategy["name"] and "learning_rate" in recipe.training:
        return float(recipe.training["learning_rate"])
    return default_learning_rate(recipe.optimizer["name"], registry.get_strategy(strategy).lr_kind)


def _with_strategy(recipe: Recipe, name: str) -> Recipe:
    if name == recipe.strategy["name"]:
        return recipe
    return make_recipe({**recipe.model_dump(mode="json"), "strategy": name})


def _best_recipe(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    strategy = str(settings.get("strategy", recipe.strategy["name"]))
    training = {key.removeprefix("training."): v for key, v in settings.items() if key.startswith("training.")}
    if "learning_rate_factor" in settings:
        training["learning_rate"] = settings["learning_rate_factor"] * _base_rate(recipe, strategy)
    found = _with_strategy(recipe, strategy)
    update = {"training": {**recipe.training, **training}, "output": str(Path(recipe.output) / "best")}
    return found.model_copy(update=update)
