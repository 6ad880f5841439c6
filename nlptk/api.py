"""The Python door: train, evaluate, predict, inspect, tune, pretrain."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk import preflight, registry
from nlptk.errors import RecipeError
from nlptk.recipe import DataSettings, Recipe, given_values, make_recipe, plain_values, recipe_name

if TYPE_CHECKING:
    from nlptk.fewshot.comparison import Comparison
    from nlptk.pipelines.evaluation import EvaluationResult
    from nlptk.pipelines.files import PredictionResult
    from nlptk.text.pretraining import PretrainResult
    from nlptk.training.run import TrainResult
    from nlptk.training.tuning import TuneResult


def resolve_recipe(
    source: str | Path | Mapping[str, Any] | None = None, *, overrides: Sequence[str] = (), **keys: Any
) -> Recipe:
    """The checked recipe from a YAML file or a mapping, keys laid over it, then `key=value` overrides.

    Raises: RecipeError naming the key, what came and the cure.
    """
    return _checked(given_values(source, keys, overrides), recipe_name(source))


def _checked(values: Mapping[str, Any], where: str) -> Recipe:
    job = make_recipe(values, where=where)
    preflight.check_optimizer_name(job, where=where)
    return job


def train(
    source: str | Path | Mapping[str, Any] | None = None, *, overrides: Sequence[str] = (), **keys: Any
) -> TrainResult:
    """Train, measure, save and report one job.

    source: a recipe file or mapping, or none. keys: the recipe's own (`task`, `model`, `data`, `strategy`, `training`,
    `output`, ...), laid over it. overrides: `key=value` strings, laid over both.

        result = nlptk.train(task="classification", model="CHECKPOINT", data="rows.csv", strategy="lora")
        result.figures["test"]["accuracy"]

    Raises: NlptkError for whatever can be mended: bad rows, leakage, an unknown key, a pairing that does not work.
    """
    job = resolve_recipe(source, overrides=overrides, **keys)
    where = recipe_name(source)
    _before_torch(job.training)
    preflight.check(job, where=where)
    result: TrainResult = importlib.import_module(registry.get_task(job.task["name"]).job).run(job, where=where)
    return result


def pretrain(
    source: str | Path | Mapping[str, Any] | None = None, *, overrides: Sequence[str] = (), **keys: Any
) -> PretrainResult:
    """Train a tokenizer and a small model on text, or go on from a checkpoint; measure, save and report it.

    source: a pretraining recipe, file or mapping, or none. keys and overrides: laid over it, as for `train`.

        nlptk.pretrain(data="novels.txt.gz", model={"family": "bert", "size": "tiny"}, output="runs/tiny_bert")

    Raises: NlptkError for whatever can be mended.
    """
    from nlptk.text.recipe import resolve_recipe as resolve

    recipe = resolve(source, overrides=overrides, **keys)
    _before_torch(recipe.training)
    from nlptk.text.pretraining import run

    return run(recipe, where=recipe_name(source))


def tune(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    overrides: Sequence[str] = (),
    trials: int = 20,
    space: Mapping[str, Any] | None = None,
    **keys: Any,
) -> TuneResult:
    """Search for the best recipe with Optuna, on the validation split; the test split is never looked at.

    space: recipe key -> [low, high] (numbers; learning rates on a log scale) or {"choices": [...]}, laid over the
    default: learning rate around the recipe's, or that of optimizer and strategy; epochs, batch size and strategy where
    the recipe does not give them.

    Raises: NlptkError, MissingExtraError without Optuna.
    """
    values, where = given_values(source, keys, overrides), recipe_name(source)
    job = _checked(values, where)
    _before_torch(job.training)
    preflight.check(job, where=where)
    from nlptk.training.tuning import tune as search

    return search(job, trials=trials, space=space, strategy_given="strategy" in values)


EPISODES_OUTPUT = "runs/episodes"
"""Where `compare_methods` writes by default: not over the report of a model."""


def compare_methods(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    methods: Sequence[str] = (),
    ways: int = 5,
    shots: int | Sequence[int] = (1, 5),
    queries: int = 5,
    episodes: int = 600,
    replay: Sequence[str | Path] | None = None,
    overrides: Sequence[str] = (),
    **keys: Any,
) -> Comparison:
    """Few-shot methods on the same episodes of the rows of `data.train`: accuracies and paired differences.

    source, keys, overrides: a recipe, as for `train`; its task is few_shot. methods: names, the first of which the
    others are compared to; default: the recipe's own alone. ways, shots, queries: of an episode, a class. replay: saved
    lists of episodes, one for each of `shots`. `output` is `runs/episodes` by default. What was cut off goes on behind
    the last episode that was measured, when called again alike.

        nlptk.compare_methods(model="CHECKPOINT", data="test.jsonl", methods=["linear_probe", "prototypical"])

    Raises: NlptkError.
    """
    values = given_values(source, keys, overrides, task="few_shot", output=EPISODES_OUTPUT)
    job = _checked(values, recipe_name(source))
    if job.task["name"] != "few_shot":
        raise RecipeError(f"task: {job.task['name']}; episodes are for task few_shot")
    shots = [shots] if isinstance(shots, int) else list(shots)
    if len(set(shots)) < len(shots):
        raise RecipeError(f"shots: {', '.join(map(str, shots))}; give each number once")
    if not shots:
        raise RecipeError("shots: none given; give one number at least")
    if replay is not None and len(replay) != len(shots):
        raise RecipeError(f"replay: {len(replay)} lists of episodes for {len(shots)} numbers of shots; give one each")
    preflight.check(job, where=recipe_name(source))
    from nlptk.fewshot.comparison import compare, named_recipes
    from nlptk.fewshot.episodes import Protocol

    recipes = named_recipes(job, methods or [job.task["method"]["name"]], where=recipe_name(source))
    return compare(
        recipes,
        protocol=Protocol(ways, shots[0], queries, episodes, job.seed),
        shots=shots,
        output=Path(job.output),
        replay={k: Path(path) for k, path in zip(shots, replay or (), strict=False)},
        where=recipe_name(source),
    )


def evaluate(
    model: str | Path,
    data: str | Path | Mapping[str, Any],
    *,
    output: str | Path | None = None,
    batch_size: int = 64,
    bootstrap: int = 1000,
    seed: int = 0,
    out_of_scope: str | Path | None = None,
) -> EvaluationResult:
    """Measure an artifact on labelled rows, with intervals, and report it.

    output: folder for report.json and report.html; default: `evaluations/NAME` beside the model's folder. out_of_scope:
    a file of texts that a few-shot model should give no label: how well it tells them apart, and how many it rejects.

    Raises: NlptkError.
    """
    from nlptk.pipelines.evaluation import evaluate as measure

    return measure(
        model,
        data_settings(data),
        output=output,
        batch_size=batch_size,
        bootstrap=bootstrap,
        seed=seed,
        out_of_scope=None if out_of_scope is None else str(out_of_scope),
    )


def predict(
    model: str | Path,
    source: str | Path,
    target: str | Path,
    *,
    batch_size: int = 64,
    data: Mapping[str, Any] | None = None,
) -> PredictionResult:
    """Predict a file of rows into a file of predictions, in input order; interrupted, it goes on where it was.

    A row of the target has `row` (its place in its file, from 1), all columns of the source (as `input_NAME` where one
    of the other keys has the name) and the prediction. data: settings of the rows (`columns`, `encoding`, ...).

    Raises: NlptkError.
    """
    from nlptk.pipelines.files import predict as run

    settings = data_settings({"train": source, **(data or {})})
    return run(model, source, target, batch_size=batch_size, settings=settings)


def inspect(
    data: str | Path | Mapping[str, Any],
    *,
    task: str = "classification",
    tokenizer: str | None = None,
    max_length: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What is in the rows: columns, labels, lengths, duplicates, leakage, bad rows, what would be truncated or refused.

    task: whose columns are looked for, and which shows what stands inside them (types of entities, ...).
    tokenizer: checkpoint whose tokens are counted. Refuses nothing that can be reported. Raises: DataError.
    """
    if max_length is not None and tokenizer is None:
        raise RecipeError(f"max_length {max_length}: lengths are counted in tokens; give the checkpoint of a tokenizer")
    from nlptk.data import inspect_data

    loaded = None
    if tokenizer is not None:
        from nlptk.checkpoints import load_tokenizer

        loaded = load_tokenizer(tokenizer)
    kind = registry.get_task(task)
    settings = data_settings(data)
    return inspect_data(
        settings if kind.sets_aside else settings.whole(),
        kind.columns,
        seed=seed,
        tokenizer=loaded,
        max_length=max_length,
        rules=kind.rules(),
        task=kind,
    )


def _before_torch(training: Mapping[str, Any]) -> None:
    """What must be settled while oneDNN has not been used yet. training: the recipe's block."""
    from nlptk.training.cpu_bf16 import asks_for_bf16, cap_before_torch

    if asks_for_bf16(training) and "torch" not in sys.modules:
        cap_before_torch()


def is_main_process() -> bool:
    """Whether this process speaks for all of a distributed run."""
    return int(os.environ.get("RANK", "0")) == 0


def data_settings(data: str | Path | Mapping[str, Any]) -> DataSettings:
    """Checked data settings from a path or a mapping. Raises: RecipeError."""
    values = plain_values(data) if isinstance(data, Mapping) else {"train": str(data)}
    checked = make_recipe({"task": "classification", "model": "none", "data": values}, where="data")
    return checked.data
