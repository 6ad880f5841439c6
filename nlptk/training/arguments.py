"""A recipe's `training:` block -> transformers.TrainingArguments: every field by its own name, checked before use."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nlptk.errors import RecipeError
from nlptk.nearest import did_you_mean
from nlptk.training.cpu_bf16 import asks_for_bf16, prepare_cpu_bf16

_ELSEWHERE = {
    "output_dir": "is `output` of the recipe",
    "seed": "is `seed` of the recipe",
    "data_seed": "is `seed` of the recipe",
    "label_smoothing_factor": "is `task.label_smoothing`",
    "optim": "is `optimizer` of the recipe (see nlptk optimizers)",
    "optim_args": "is `optimizer` of the recipe, by the optimizer's own argument names",
    "optim_target_modules": "belongs to optimizers that nlptk does not offer",
    "adam_beta1": "is `optimizer.betas`",
    "adam_beta2": "is `optimizer.betas`",
    "adam_epsilon": "is `optimizer.eps`",
    "remove_unused_columns": "is nlptk's own: the collator takes what the model needs",
    "label_names": "is nlptk's own",
    "hub_token": "must not stand in a file; set the environment variable HF_TOKEN",
    "prediction_loss_only": "is nlptk's own: evaluation always measures",
}
_RENAMED = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}
"""Deprecated names of transformers 5; versions before have only the old ones."""
_WATCHING = ("reduce_lr_on_plateau", "greedy")
"""Schedules that look at a metric of the validation rows, with torch's default that lower is better."""


def check_training(block: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The block with every value of its field's type. Raises: RecipeError with the nearest name or the type wanted."""
    from transformers import TrainingArguments

    hints = get_type_hints(TrainingArguments)
    known = [f.name for f in dataclasses.fields(TrainingArguments) if f.init]
    checked: dict[str, Any] = {}
    for key, value in block.items():
        if key in _ELSEWHERE:
            raise RecipeError(f"{where}: training.{key}: {_ELSEWHERE[key]}")
        if key not in known:
            raise RecipeError(
                f"{where}: training.{key}: unknown key, not a field of TrainingArguments{did_you_mean(key, known)}"
            )
        checked[key] = _typed(key, value, hints[key], where)
    return checked


def _typed(key: str, value: Any, hint: Any, where: str) -> Any:
    if key == "resume_from_checkpoint" and value is True:
        return True  # the last checkpoint of the output folder, as in Trainer.train
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        wanted = getattr(hint, "__name__", str(hint).replace("typing.", ""))
        reason = error.errors()[0]["msg"].lower()
        raise RecipeError(f"{where}: training.{key}: expected {wanted}, got {value!r} ({reason})") from None


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What the defaults of a run depend on.

    learning_rate, weight_decay: the optimizer's defaults; primary: the metric that model selection uses by default;
    packed: batches have no padding, so rows need not be grouped by length; scheduled: what trains changes on the way.
    """

    output: str
    seed: int
    learning_rate: float
    weight_decay: float
    primary: str
    lower_is_better: frozenset[str]
    has_validation: bool
    packed: bool
    scheduled: bool
    early_stopping: bool = False


def training_arguments(block: Mapping[str, Any], facts: RunFacts, *, where: str) -> Any:
    """TrainingArguments from nlptk's defaults and, above them, the recipe's block.

    Raises: RecipeError for what TrainingArguments, or the data at hand, do not allow.
    """
    import torch
    from transformers import TrainingArguments

    given = _present_names(check_training(block, where=where))
    merged = {**_defaults(given, facts), **given}
    if not facts.has_validation:
        _refuse_validation(given, where)
    if merged["load_best_model_at_end"]:
        merged.setdefault("metric_for_best_model", facts.primary)
        _align_saving(merged, given)
    if facts.has_validation:
        _set_direction(merged, facts)
    if facts.early_stopping and not merged["load_best_model_at_end"]:
        raise RecipeError(
            f"{where}: early_stopping: needs a validation split, evaluations and checkpoints to restore the best one; "
            "set data.validation, and leave eval_strategy, save_strategy and load_best_model_at_end to their defaults"
        )
    if _on_cpu(merged):
        if asked := asks_for_bf16(merged):
            prepare_cpu_bf16(asked)
        # transformers takes bf16 on a CPU, and accelerate joins processes there, only where the CPU was asked for
        merged.setdefault("use_cpu", not torch.accelerator.is_available())
    try:
        made = TrainingArguments(
            output_dir=facts.output,
            seed=facts.seed,
            data_seed=facts.seed,
            remove_unused_columns=False,
            label_names=["labels"],
            **merged,
        )
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{where}: training: {' '.join(str(error).split())}") from error
    _refuse_strangers(made, where)
    return made


def _refuse_strangers(args: Any, where: str) -> None:
    """Processes that were started as one run, and each would train alone and replace what the others write."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and args.world_size == 1:
        raise RecipeError(
            f"{where}: {started} processes were started (WORLD_SIZE) and do not see each other on {args.device}; start "
            "one, or set training.use_cpu=true to train in all of them on the CPU"
        )


def _present_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without the names that transformers deprecated, where it has the new ones."""
    from transformers import TrainingArguments

    known = {f.name for f in dataclasses.fields(TrainingArguments)}
    return {new if (new := _RENAMED.get(key, key)) in known else key: value for key, value in given.items()}


def _defaults(given: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
    import torch

    checkpointing = next((key for key in (*_RENAMED.values(), *_RENAMED) if given.get(key) is True), None)
    return {
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 64,
        "num_train_epochs": 3.0,
        "learning_rate": facts.learning_rate,
        "weight_decay": facts.weight_decay,
        "warmup_steps": 0.06,
        "logging_steps": 0.02,
        "eval_strategy": "epoch" if facts.has_validation else "no",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": facts.has_validation,
        "train_sampling_strategy": "random" if facts.packed else "group_by_length",
        "bf16": not (given.get("fp16") or _on_cpu(given)) and _gpu_has_bf16(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": facts.scheduled,
        "report_to": "none",
        **({f"{checkpointing}_kwargs": {"use_reentrant": False}} if checkpointing else {}),
    }


def _refuse_validation(given: Mapping[str, Any], where: str) -> None:
    """Refuse what only makes sense with validation rows."""
    for key in ("eval_strategy", "load_best_model_at_end", "metric_for_best_model", "eval_on_start", "do_eval"):
        if given.get(key) not in (None, False, "no"):
            raise RecipeError(f"{where}: training.{key}: there are no validation rows; set data.validation")


def _set_direction(merged: dict[str, Any], facts: RunFacts) -> None:
    """Whether the selecting metric is to rise or to fall, for model selection and for the schedules that watch it."""
    watching = merged.get("lr_scheduler_type") in _WATCHING
    if watching:
        merged.setdefault("metric_for_best_model", facts.primary)
    metric = merged.get("metric_for_best_model")
    if metric is None:
        return
    rises = merged.setdefault("greater_is_better", metric.removeprefix("eval_") not in facts.lower_is_better)
    kwargs = merged.get("lr_scheduler_kwargs") or {}
    if watching and isinstance(kwargs, Mapping):
        merged["lr_scheduler_kwargs"] = {"mode": "max" if rises else "min", **kwargs}


def _align_saving(merged: dict[str, Any], given: Mapping[str, Any]) -> None:
    """The best checkpoint can be restored only if checkpoints are written when evaluations happen."""
    if "save_strategy" in given:
        if given["save_strategy"] == "no" and "load_best_model_at_end" not in given:
            merged["load_best_model_at_end"] = False
        elif given["save_strategy"] in ("steps", "epoch") and "eval_strategy" not in given:
            merged["eval_strategy"] = given["save_strategy"]
            if merged["eval_strategy"] == "steps" and "save_steps" in given:
                merged.setdefault("eval_steps", given["save_steps"])
        return
    merged["save_strategy"] = merged["eval_strategy"]
    if merged["eval_strategy"] == "steps":
        merged["eval_steps"] = merged.get("eval_steps") or merged["logging_steps"]
        merged.setdefault("save_steps", merged["eval_steps"])
    if merged["eval_strategy"] == "no":
        merged["load_best_model_at_end"] = False


@contextmanager
def whole_steps(args: Any, max_steps: int) -> Iterator[None]:
    """Within it, intervals given as fractions of the run are the steps that transformers makes of them."""
    given = {key: getattr(args, key) for key in ("logging_steps", "eval_steps", "save_steps")}
    try:
        for key, value in given.items():
            if value is not None and 0 < value < 1:
                setattr(args, key, math.ceil(max_steps * value))
        yield
    finally:
        for key, value in given.items():  # another run of the same trainer may have another length
            setattr(args, key, value)


def _on_cpu(training: Mapping[str, Any]) -> bool:
    """Whether the run is one on the CPU, for want of a GPU or as `training` or `accelerate launch --cpu` says."""
    import torch
    from accelerate.utils import parse_flag_from_env

    asked = training.get("use_cpu") or parse_flag_from_env("ACCELERATE_USE_CPU")
    return bool(asked) or not torch.cuda.is_available()


def _gpu_has_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
