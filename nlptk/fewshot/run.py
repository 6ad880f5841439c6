"""One few-shot job from a recipe to a measured artifact."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import PreTrainedModel, TrainingArguments

from nlptk import registry
from nlptk.environment import Watch
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.fewshot.contract import Learner, Lesson, Material, Method
from nlptk.fewshot.data import (
    meta_rows,
    refuse_shared_texts,
    split_rows,
    support_settings,
    with_class_names,
)
from nlptk.fewshot.episodes import Protocol, check_disjoint
from nlptk.fewshot.evaluation import adapted_accuracies, frozen_accuracies
from nlptk.fewshot.methods import make_method
from nlptk.fewshot.rejection import measure_rejection, out_of_scope_rows, tune_rejection
from nlptk.fewshot.reporting import write_few_shot_report
from nlptk.fewshot.rows import LabelledRows, frozen_vectors
from nlptk.fewshot.training import LessonTrainer, Validate
from nlptk.parts.support import Support
from nlptk.recipe import Recipe
from nlptk.task import Scores
from nlptk.training.arguments import RunFacts, training_arguments
from nlptk.training.checkpointing import last_checkpoint
from nlptk.training.identity import run_identity
from nlptk.training.occupation import sole_run
from nlptk.training.optimizers import default_learning_rate, default_weight_decay
from nlptk.training.preparation import Prepared, caveats, load_data, prepare
from nlptk.training.reporting import warnings_of
from nlptk.training.run import TrainResult, flat, retire_evaluations, save_artifact, write_metrics
from nlptk.training.trainer import Optimization

BATCH = 32
_META_OWN = ("per_device_train_batch_size", "gradient_accumulation_steps")


@dataclass(frozen=True)
class Taught:
    """What there is after training. model: plain; learned: what is not in its weights; trainer: None where none ran;
    frozen: the encoder is as it came."""

    model: PreTrainedModel
    learned: Mapping[str, np.ndarray]
    trainer: LessonTrainer | None
    metrics: Mapping[str, float]
    frozen: bool


def run(recipe: Recipe, *, where: str = "recipe") -> TrainResult:
    """Train, measure, save and report. Raises: NlptkError for whatever the user can mend."""
    with sole_run(Path(recipe.output), where=where):
        return _run(settled(recipe, where), where)


def settled(recipe: Recipe, where: str) -> Recipe:
    """The recipe with what the method decides of it."""
    method, meta = recipe.task["method"], recipe.task["meta"]
    made = make_method_of(recipe)
    if method["name"] == "cloze" and method["tuning"] == "few" and recipe.strategy["name"] == "full":
        options = registry.get_strategy("lora").Options().model_dump(mode="json")
        recipe = recipe.model_copy(update={"strategy": {"name": "lora", **options}})
    if made.needs_meta and meta is None:
        raise RecipeError(
            f"{where}: task.meta: missing; {method['name']} learns its start from rows of other classes: give "
            "task.meta.train=FILE (and task.meta.validation=FILE)"
        )
    if meta is not None and made.trains != "meta":
        raise RecipeError(f"{where}: task.meta: method {method['name']} does not meta-train; leave task.meta out")
    adapters = registry.get_strategy(recipe.strategy["name"]).lr_kind == "adapter"
    if made.needs_meta and recipe.strategy["name"] != "full" and not adapters:
        raise RecipeError(
            f"{where}: strategy: {recipe.strategy['name']}: the inner steps of method {method['name']} move adapters, "
            "or nothing of the encoder; use lora, dora or ia3, or leave strategy out"
        )
    if recipe.strategy["name"] != "full" and not trains(recipe):
        raise RecipeError(
            f"{where}: strategy: {recipe.strategy['name']}: with method {method['name']} the encoder stays as it is"
            f"{' without task.meta' if made.trains == 'meta' and not made.needs_meta else ''}; leave strategy out"
        )
    return recipe.model_copy(update={"data": support_settings(recipe.data)})


def learner_of(prepared: Prepared) -> Learner:
    """The model in training."""
    return Learner(prepared.task, prepared.tokenizer, prepared.model, prepared.trained, prepared.groups)


def trains(recipe: Recipe) -> bool:
    """Whether anything of the encoder or of a start is trained, so that a strategy says what."""
    kind = make_method_of(recipe).trains
    return kind == "support" or (kind == "meta" and recipe.task["meta"] is not None)


def check_head(prepared: Prepared, method: Method, where: str) -> None:
    """Refuse a checkpoint without the output layer that a method reads and never trains. Raises: UnsupportedError."""
    if method.reads_head and method.trains == "nothing" and (new := prepared.loaded.new):
        raise UnsupportedError(
            f"{where}: task.method.tuning: none, and the checkpoint has no {new[0]}, which would stay random: give a "
            "checkpoint with its language model's output layer, or tuning=full"
        )


def make_method_of(recipe: Recipe) -> Method:
    """The method that a recipe names."""
    options = {key: value for key, value in recipe.task.items() if key != "name"}
    settings: Any = registry.get_task(recipe.task["name"]).Options.model_validate(options)
    return make_method(settings.method)


def _run(recipe: Recipe, where: str) -> TrainResult:
    watch = Watch()
    prepared = prepare(recipe, load_data(recipe))
    task: Any = prepared.task
    method = make_method(task.settings.method)
    check_head(prepared, method, where)
    args = lesson_arguments(recipe, prepared, None, where, validated=False)
    prepared.trained.to(args.device)
    watch.lap("data and model")
    support = with_class_names(split_rows(prepared, "train"), prepared.preprocessing)
    on_support = trains(recipe) and (method.trains == "support" or method.settles(learner_of(prepared)))
    strangers = out_of_scope_rows(prepared, recipe.data, on_support=on_support)
    taught = taught_by(recipe, prepared, method, where, support=support)
    watch.lap("training")
    size = args.per_device_eval_batch_size
    see = partial(frozen_vectors if taught.frozen else LabelledRows.vectors, model=taught.model, batch_size=size)
    vectors = {split: see(support if split == "train" else split_rows(prepared, split)) for split in prepared.splits}
    material = Material(
        vectors["train"],
        support.labels,
        support.names,
        taught.model,
        prepared.tokenizer,
        learned=taught.learned,
        seed=recipe.seed,
    )
    head = method.head(material)
    task.support = Support(tuple(support.rows["text"]), support.labels, vectors["train"], head, taught.learned)
    unfamiliar = {split: task.familiarity(see(rows)) for split, rows in strangers.items()}
    told = tune_rejection(task, vectors.get("validation"), unfamiliar.get("validation"))
    scores = _measure(recipe, prepared, vectors)
    measure_rejection(task, scores, vectors, unfamiliar)
    watch.lap("measuring")
    output = Path(recipe.output)
    metrics = {**taught.metrics, **flat(scores)}
    main = taught.trainer is None or taught.trainer.is_world_process_zero()
    warnings = [*retire_evaluations(output, main=main), *caveats(prepared), *told, *warnings_of(scores)]
    if main:
        _save(recipe, prepared, taught, scores, metrics, warnings, watch)
    if taught.trainer is not None:
        taught.trainer.accelerator.wait_for_everyone()
    return TrainResult(
        artifact=output / "model",
        report=output / "report.html",
        folder=output,
        rows=prepared.data.report.rows,
        figures={split: found.figures for split, found in scores.items()},
        metrics=metrics,
        parameters=prepared.parameters if taught.trainer is not None else _nothing(prepared),
        warnings=warnings,
    )


def taught_by(
    recipe: Recipe,
    prepared: Prepared,
    method: Method,
    where: str,
    *,
    support: LabelledRows | None = None,
    apart_from: LabelledRows | None = None,
    whole: bool = True,
) -> Taught:
    """The model after its lesson, if it has one.

    support: what a method trains on that trains on the support set, and what a meta-trained encoder is moved to in the
    end, where the method has it so. apart_from: rows none of whose classes may be meta-trained on. whole: adapters are
    merged into the model, and are no longer there.
    """
    learner = learner_of(prepared)
    lesson, validate = _lesson(recipe, prepared, method, learner, support=support, apart_from=apart_from)
    if lesson is None:
        return Taught(prepared.model, {}, None, {}, frozen=True)
    args = lesson_arguments(recipe, prepared, lesson, where, validated=validate is not None)
    options = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    trainer = LessonTrainer(
        lesson,
        args,
        task=prepared.task,
        strategy=prepared.strategy,
        optimization=Optimization(recipe.optimizer["name"], options, lesson.groups),
        validate=validate,
    )
    trainer.identity = run_identity(recipe, prepared, args)
    done = trainer.train(resume_from_checkpoint=last_checkpoint(args, where, trainer.identity))
    if support is not None and method.trains == "meta" and method.settles(learner):
        method.settle(learner, support, lesson.learned())
    model = prepared.strategy.merge(prepared.trained) if whole else prepared.model
    return Taught(model, lesson.learned(), trainer, done.metrics, frozen=not method.moves_encoder(learner))


def _lesson(
    recipe: Recipe,
    prepared: Prepared,
    method: Method,
    learner: Learner,
    *,
    support: LabelledRows | None,
    apart_from: LabelledRows | None,
) -> tuple[Lesson | None, Validate | None]:
    meta = prepared.task.options.meta  # type: ignore[attr-defined]  # of the few-shot task
    if method.trains == "support":
        assert support is not None
        size = int(recipe.training.get("per_device_train_batch_size", BATCH))
        return method.support_lesson(learner, support, batch_size=size, seed=recipe.seed), None
    if method.trains == "nothing" or meta is None:
        return None, None
    found = meta_rows(recipe, prepared)
    for split in ("validation", "test"):
        if split in prepared.splits:
            refuse_shared_texts(found.values(), split_rows(prepared, split))
    if apart_from is not None:
        check_disjoint([*(rows.pool for rows in found.values()), apart_from.pool])
    lesson = method.meta_lesson(learner, found["train"], meta, seed=recipe.seed)
    held_out, state = found.get("validation"), PartialState()
    if held_out is None:
        return lesson, None
    if len(held_out.names) < 2:
        raise DataError(f"{held_out.where}: rows of one class; give two or more, or leave task.meta.validation out")
    ways = min(meta.ways, len(held_out.names))
    protocol = Protocol(ways, meta.shots, meta.queries, meta.validation_episodes, recipe.seed)
    drawn, episodes = held_out.drawn(held_out.pool.draw_all(protocol))
    still = None if method.moves_encoder(learner) else frozen_vectors(drawn, learner.trained, batch_size=64)

    def validate() -> float:
        material = empty_material(learner, learned=lesson.learned())
        if method.settles(learner):
            found = adapted_accuracies(
                method,
                learner,
                drawn,
                episodes,
                adapt=lambda rows: method.settle(learner, rows, material.learned),
                material=material,
                hidden=True,
            )
            return float(found.mean())
        vectors = still
        if vectors is None:
            shared = {"rank": state.process_index, "world_size": state.num_processes}
            vectors = drawn.vectors(learner.trained, batch_size=64, **shared)
        return float(frozen_accuracies(method, vectors, drawn, episodes, material=material).mean())

    return lesson, validate


def empty_material(learner: Learner, *, learned: Mapping[str, np.ndarray], seed: int = 0) -> Material:
    """Material without a support set, for episodes to fill in."""
    nothing = np.zeros((0, 0), dtype=np.float32)
    labels = np.zeros(0, dtype=np.int64)
    return Material(nothing, labels, (), learner.model, learner.tokenizer, learned=learned, seed=seed)


def lesson_arguments(
    recipe: Recipe, prepared: Prepared, lesson: Lesson | None, where: str, *, validated: bool
) -> TrainingArguments:
    """The recipe's training block over a lesson's defaults."""
    block = dict(recipe.training)
    meta = prepared.task.options.meta is not None  # type: ignore[attr-defined]  # of the few-shot task
    if meta and (given := [key for key in _META_OWN if key in block]):
        raise RecipeError(
            f"{where}: training.{given[0]}: in meta-training a batch is an episode; set task.meta.episodes_per_step"
        )
    block.pop("per_device_train_batch_size", None)
    optimizer = recipe.optimizer["name"]
    rate = default_learning_rate(optimizer, prepared.strategy.lr_kind)
    watched = {"eval_strategy": "steps", "eval_steps": 0.1, "save_strategy": "steps", "save_steps": 0.1}
    own = {
        "num_train_epochs": lesson.epochs if lesson is not None else 1.0,
        "per_device_train_batch_size": 1,  # an item is a whole batch
        **(watched if validated else {"eval_strategy": "no"}),
    }
    facts = RunFacts(
        output=recipe.output,
        seed=recipe.seed,
        learning_rate=rate if lesson is None or lesson.learning_rate is None else lesson.learning_rate,
        weight_decay=default_weight_decay(optimizer),
        primary="accuracy",
        lower_is_better=prepared.task.lower_is_better,
        has_validation=validated,
        packed=True,
        scheduled=True,  # a loss on vectors leaves poolers and output layers without gradients
    )
    args: TrainingArguments = training_arguments({**own, **block}, facts, where=where)
    if lesson is not None and lesson.per_step > 1:
        if lesson.per_step % args.world_size:
            raise RecipeError(
                f"{where}: task.meta.episodes_per_step: {lesson.per_step} cannot be shared by {args.world_size} "
                "processes; give a multiple of their number"
            )
        args.gradient_accumulation_steps = lesson.per_step // args.world_size
    return args


def _measure(recipe: Recipe, prepared: Prepared, vectors: Mapping[str, np.ndarray]) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for split in ("validation", "test"):
        if split in vectors:
            rows = prepared.splits[split].rows
            pooled = list(vectors[split])
            found[split] = prepared.task.score(
                pooled, rows, bootstrap=recipe.bootstrap, sections=True, seed=recipe.seed
            )
    return found


def _nothing(prepared: Prepared) -> dict[str, Any]:
    return {**prepared.parameters, "trainable": 0, "percent": 0.0, "groups": []}


def _save(
    recipe: Recipe,
    prepared: Prepared,
    taught: Taught,
    scores: Mapping[str, Scores],
    metrics: Mapping[str, Any],
    warnings: Sequence[str],
    watch: Watch,
) -> None:
    output = Path(recipe.output)
    with tempfile.TemporaryDirectory(prefix="nlptk-") as scratch:
        adapter = Path(scratch) / "adapter"
        save_artifact(recipe, prepared, taught.model, scores, adapter)
    watch.lap("saving")
    write_metrics(output, taught.trainer, metrics)
    write_few_shot_report(output, recipe, prepared, taught.trainer, scores, warnings=warnings, watch=watch)
