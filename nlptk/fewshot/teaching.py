"""A lesson from a recipe, and the model after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from accelerate import PartialState
from transformers import PreTrainedModel, TrainerState, TrainingArguments

from nlptk.data import fingerprint
from nlptk.errors import DataError, RecipeError
from nlptk.fewshot.contract import Learner, Lesson, Material, Method
from nlptk.fewshot.data import meta_rows, refuse_shared_texts, refuse_unknown_names, split_rows
from nlptk.fewshot.episodes import Protocol, check_disjoint
from nlptk.fewshot.evaluation import adapted_accuracies, frozen_accuracies
from nlptk.fewshot.rows import LabelledRows, frozen_vectors
from nlptk.fewshot.settings import make_method_of
from nlptk.fewshot.sharing import Share
from nlptk.fewshot.training import LessonTrainer, Validate
from nlptk.parts.methods import MetaOptions
from nlptk.recipe import Recipe
from nlptk.training.arguments import RunFacts, training_arguments
from nlptk.training.checkpointing import last_checkpoint
from nlptk.training.identity import run_identity
from nlptk.training.optimizers import default_learning_rate, default_weight_decay
from nlptk.training.preparation import Prepared
from nlptk.training.run import stopping
from nlptk.training.trainer import Optimization

logger = logging.getLogger(__name__)

BATCH = 32
META_OWN = ("per_device_train_batch_size", "gradient_accumulation_steps")
"""Of the training block, what meta-training takes from `task.meta`."""


@dataclass(frozen=True)
class Taught:
    """What there is after training. model: plain; learned: what is not in its weights; trainer: None where none ran;
    frozen: the encoder is as it came; warnings: of what makes its figures doubtful."""

    model: PreTrainedModel
    learned: Mapping[str, np.ndarray]
    trainer: LessonTrainer | None
    metrics: Mapping[str, float]
    frozen: bool
    warnings: Sequence[str] = ()


def learner_of(prepared: Prepared) -> Learner:
    """The model in training."""
    return Learner(prepared.task, prepared.tokenizer, prepared.model, prepared.trained, prepared.groups)


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
    end, where the method has it so. apart_from: rows none of whose classes and texts may be meta-trained on. whole:
    adapters are merged into the model, and are no longer there.
    """
    learner = learner_of(prepared)
    plan = _plan(recipe, prepared, method, learner, support=support, apart_from=apart_from)
    if plan is None:
        return Taught(prepared.model, {}, None, {}, frozen=True)
    lesson = plan.lesson
    args = lesson_arguments(recipe, prepared, where, lesson=lesson)
    options = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    trainer = LessonTrainer(
        lesson,
        args,
        task=prepared.task,
        strategy=prepared.strategy,
        optimization=Optimization(recipe.optimizer["name"], options, lesson.groups),
        validate=plan.validate,
        callbacks=stopping(recipe),
    )
    trainer.identity = {**run_identity(recipe, prepared, args), **plan.data}
    before = plan.validate() if plan.validate is not None else None
    done = trainer.train(resume_from_checkpoint=last_checkpoint(args, where, trainer.identity))
    trainer.leave_mixed_precision()
    if support is not None and method.trains == "meta" and method.settles(learner):
        method.settle(learner, support, lesson.learned())
    model = prepared.strategy.merge(prepared.trained) if whole else prepared.model
    frozen = not method.moves_encoder(learner)
    warnings = [*plan.warnings, *_no_better(before, trainer.state)]
    metrics = dict(done.metrics)
    metrics.pop("train_samples_per_second", None)  # items, which are batches here
    return Taught(model, lesson.learned(), trainer, metrics, frozen=frozen, warnings=warnings)


@dataclass(frozen=True)
class _Plan:
    """A lesson; validate: accuracy on held-out episodes; data: what a resumed run shares with the one it goes on with,
    beside what is in its recipe; warnings: as of `Taught`."""

    lesson: Lesson
    validate: Validate | None
    data: Mapping[str, Any]
    warnings: Sequence[str] = ()


def _plan(
    recipe: Recipe,
    prepared: Prepared,
    method: Method,
    learner: Learner,
    *,
    support: LabelledRows | None,
    apart_from: LabelledRows | None,
) -> _Plan | None:
    meta = prepared.task.options.meta  # type: ignore[attr-defined]  # of the few-shot task
    if method.trains == "support":
        assert support is not None
        size = int(recipe.training.get("per_device_train_batch_size", BATCH))
        state = PartialState()
        share = Share(state.process_index, state.num_processes)
        lesson = method.support_lesson(learner, support, batch_size=size, seed=recipe.seed, share=share)
        return _Plan(lesson, None, {"examples of a batch": size})
    if method.trains == "nothing" or meta is None:
        return None
    found = meta_rows(recipe, prepared)
    _check_meta(found, prepared, apart_from)
    lesson = method.meta_lesson(learner, found["train"], meta, seed=recipe.seed)
    held_out = found.get("validation")
    data = {f"task.meta.{split}": fingerprint(rows.rows) for split, rows in found.items()}
    validate = None if held_out is None else _validation(method, learner, lesson, held_out, meta, seed=recipe.seed)
    return _Plan(lesson, validate, data, _shared_classes(found, split_rows(prepared, "train")))


def _no_better(before: float | None, state: TrainerState) -> list[str]:
    """A warning where accuracy on the held-out episodes is no higher than without meta-training."""
    after = state.best_metric
    if before is None or after is None or after > before:
        return []
    return [
        f"task.meta: on the validation classes {after:.1%} are right after meta-training and {before:.1%} before: it "
        f"did not help, and the model of step {state.best_global_step} of {state.global_step} is kept; give it more "
        "classes or a smaller training.learning_rate, or take a method that does without"
    ]


def _shared_classes(found: Mapping[str, LabelledRows], own: LabelledRows) -> list[str]:
    """A warning of classes that are meta-trained on and learnt from the support set too."""
    shared = sorted(set(own.names) & {name for rows in found.values() for name in rows.names})
    if not shared:
        return []
    return [
        f"task.meta: {len(shared)} of the classes of {own.where} are meta-trained on too, such as {shared[0]!r}: "
        "figures of them do not say how well a new class is learnt"
    ]


def _check_meta(found: Mapping[str, LabelledRows], prepared: Prepared, apart_from: LabelledRows | None) -> None:
    """Refuse meta-training on what is measured, and words for classes that there are not."""
    own = split_rows(prepared, "train") if apart_from is None else apart_from
    refuse_unknown_names(prepared.task, [*found.values(), own])
    measured = [split_rows(prepared, split) for split in ("validation", "test") if split in prepared.splits]
    if apart_from is not None:
        check_disjoint([*(rows.pool for rows in found.values()), apart_from.pool])
        measured.append(apart_from)
    for rows in measured:
        refuse_shared_texts(found.values(), rows)


def _validation(
    method: Method, learner: Learner, lesson: Lesson, held_out: LabelledRows, meta: MetaOptions, *, seed: int
) -> Validate:
    """Accuracy on the same held-out episodes each time, of what has been learnt so far."""
    if len(held_out.names) < 2:
        raise DataError(f"{held_out.where}: rows of one class; give two or more, or leave task.meta.validation out")
    ways = min(meta.ways, len(held_out.names))
    protocol = Protocol(ways, meta.shots, meta.queries, meta.validation_episodes, seed)
    drawn, episodes = held_out.drawn(held_out.pool.draw_all(protocol))
    still = None if method.moves_encoder(learner) else frozen_vectors(drawn, learner.trained, batch_size=64)
    state = PartialState()

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

    return validate


def empty_material(learner: Learner, *, learned: Mapping[str, np.ndarray], seed: int = 0) -> Material:
    """Material without a support set, for episodes to fill in."""
    nothing = np.zeros((0, 0), dtype=np.float32)
    labels = np.zeros(0, dtype=np.int64)
    return Material(nothing, labels, (), learner.model, learner.tokenizer, learned=learned, seed=seed)


def lesson_arguments(
    recipe: Recipe, prepared: Prepared, where: str, *, lesson: Lesson | None = None
) -> TrainingArguments:
    """The recipe's training block over a lesson's defaults. Without the lesson, only for what does not depend on it."""
    block = dict(recipe.training)
    meta: MetaOptions | None = prepared.task.options.meta  # type: ignore[attr-defined]  # of the few-shot task
    if meta is not None and (given := [key for key in META_OWN if key in block]):
        raise RecipeError(
            f"{where}: training.{given[0]}: in meta-training a batch is an episode; set task.meta.episodes_per_step"
        )
    block.pop("per_device_train_batch_size", None)
    optimizer = recipe.optimizer["name"]
    rate = default_learning_rate(optimizer, prepared.strategy.lr_kind)
    own = {
        "num_train_epochs": make_method_of(recipe).epochs,
        "per_device_train_batch_size": 1,  # an item is a whole batch
        **_watching(block, meta),
    }
    facts = RunFacts(
        output=recipe.output,
        seed=recipe.seed,
        learning_rate=rate if lesson is None or lesson.learning_rate is None else lesson.learning_rate,
        weight_decay=default_weight_decay(optimizer),
        primary="accuracy",
        lower_is_better=prepared.task.lower_is_better,
        has_validation=meta is not None and meta.validation is not None,
        packed=True,
        scheduled=True,  # a loss on vectors leaves poolers and output layers without gradients
        early_stopping=recipe.early_stopping is not None,
    )
    args: TrainingArguments = training_arguments({**own, **block}, facts, where=where)
    # processes may read a batch in different numbers of parts, and meet at what every part would send
    args.ddp_broadcast_buffers = False
    _use_one_gpu(args)
    if lesson is None:
        return args
    if args.gradient_checkpointing and not hasattr(lesson.module, "gradient_checkpointing_enable"):
        raise RecipeError(
            f"{where}: training.gradient_checkpointing: method {recipe.task['method']['name']} keeps the activations "
            "of its inner steps; leave it out, or give fewer task.meta.shots or queries"
        )
    if lesson.per_step is not None:
        if lesson.per_step % args.world_size:
            raise RecipeError(
                f"{where}: task.meta.episodes_per_step: {lesson.per_step} cannot be shared by {args.world_size} "
                "processes; give a multiple of their number"
            )
        episodes = len(cast(Sized, lesson.batches))
        if episodes % args.world_size:
            raise RecipeError(
                f"{where}: task.meta.episodes: {episodes} cannot be shared by {args.world_size} processes; "
                "give a multiple of their number"
            )
        args.gradient_accumulation_steps = lesson.per_step // args.world_size
    return args


def _watching(block: Mapping[str, Any], meta: MetaOptions | None) -> dict[str, Any]:
    """When to evaluate and to save, as far as the training block does not say it: ten times in meta-training. Training
    on a support set is short, and only saves where asked to."""
    if meta is None:
        return {"save_strategy": "steps" if "save_steps" in block else "no"}
    if meta.validation is None:
        return {"save_strategy": "steps", "save_steps": 0.1}
    saving = block.get("save_strategy")  # evaluations go with it
    kind = saving if saving in ("steps", "epoch") else "steps"
    return {"eval_strategy": kind, "eval_steps": block.get("save_steps", 0.1)}


def _use_one_gpu(args: TrainingArguments) -> None:
    """An episode, or pairs of a batch, cannot be cut into parts as one process does for several GPUs."""
    if args.n_gpu > 1:
        logger.warning("one process trains on one of %d GPUs; accelerate launch takes them all", args.n_gpu)
        args._n_gpu = 1
