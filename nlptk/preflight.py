"""What a run can be refused for before anything long begins: rows are read and tokenized only after this."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptk import artifact, hub, registry
from nlptk.errors import ArtifactError, MissingExtraError, RecipeError
from nlptk.recipe import Recipe
from nlptk.task import Task

_AT_LEAST_ONE = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
_NOT_NEGATIVE = ("learning_rate", "weight_decay", "max_grad_norm", "num_train_epochs")


def check(recipe: Recipe, *, where: str) -> None:
    """Refuse an output that cannot be written, rows or a checkpoint that are missing, and arguments that Trainer or
    optimizer refuse; what needs no torch first.

    Raises: RecipeError, DataError, ArtifactError, MissingExtraError.
    """
    artifact.check_place(Path(recipe.output) / "model")
    _writable(Path(recipe.output))
    _rows(recipe)
    _checkpoint(recipe)
    training = _training(recipe, where)
    _optimizer(recipe, training, where)


def check_optimizer_name(recipe: Recipe, *, where: str) -> None:
    """Refuse an optimizer that is not in the table, without loading torch. Raises: RecipeError."""
    from nlptk.training.optimizers import default_weight_decay

    try:
        default_weight_decay(recipe.optimizer["name"])
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def _writable(output: Path) -> None:
    place = next(place for place in (output, *output.absolute().parents) if place.exists())
    try:
        Path(tempfile.mkdtemp(prefix=".nlptk-", dir=place)).rmdir()
    except OSError as error:
        raise RecipeError(f"output: {output}: {place} cannot be written: {error.strerror}; give another") from error


def _rows(recipe: Recipe) -> None:
    from nlptk.data.loading import glance

    if recipe.data.train is None:
        raise RecipeError("data.train: missing; give the file with the labelled rows (data=rows.csv)")
    task = registry.get_task(recipe.task["name"])
    glance(recipe.data, task.columns, rules=task.rules())


def _checkpoint(recipe: Recipe) -> None:
    from nlptk.checkpoints import load_config

    folder = Path(recipe.model)
    if folder.is_file():
        raise ArtifactError(f"model: {folder}: a file; give the folder with config.json and model.safetensors")
    if folder.is_dir() and not (folder / "config.json").is_file():
        if (folder / "model" / "config.json").is_file():
            raise ArtifactError(f"model: {folder}: the folder of a run; give that of its model, {folder / 'model'}")
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise ArtifactError(
            f"model: {folder}: no config.json in it (it holds {inside}); give a folder with config.json, "
            "model.safetensors and tokenizer files, or a Hub name"
        )
    load_config(recipe.model, recipe.model_revision)


def _training(recipe: Recipe, where: str) -> dict[str, Any]:
    """The training block, its values typed. What it does not say is nlptk's own and known to work."""
    from nlptk.training.arguments import RunFacts, check_training, training_arguments

    block = check_training(recipe.training, where=where)
    for key, least in (*((key, 1) for key in _AT_LEAST_ONE), *((key, 0) for key in _NOT_NEGATIVE)):
        value = block.get(key)
        if isinstance(value, int | float) and not value >= least:
            raise RecipeError(f"{where}: training.{key}: {value} is too small; give at least {least}")
    _integrations(block, where)
    if block.get("push_to_hub") and (reason := hub.cannot_push()):
        raise RecipeError(f"{where}: training.push_to_hub: {reason}; or set it to false")
    if block.get("fsdp") and "RANK" not in os.environ:
        raise RecipeError(
            f"{where}: training.fsdp: needs several processes; start it with torchrun or accelerate launch"
        )
    facts = RunFacts(
        output=recipe.output,
        seed=recipe.seed,
        learning_rate=1e-3,
        weight_decay=0.0,
        primary="loss",
        lower_is_better=frozenset({"loss"}),
        # a job of a task's own may have rows to validate on from elsewhere, and says itself where there are none
        has_validation=recipe.data.validation != "none" or registry.get_task(recipe.task["name"]).job != Task.job,
        packed=True,
        scheduled=False,
        early_stopping=recipe.early_stopping is not None,
    )
    try:
        training_arguments(recipe.training, facts, where=where)
    except ImportError as error:  # a library that a field needs, such as deepspeed
        raise MissingExtraError(f"{where}: training: {' '.join(str(error).split())}") from error
    except OSError as error:  # a file that a field names
        raise RecipeError(f"{where}: training: {error}") from error
    return block


def _integrations(block: Mapping[str, Any], where: str) -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK as KNOWN
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    from nlptk.nearest import did_you_mean

    given = block.get("report_to") or []
    here = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    for name in [given] if isinstance(given, str) else given:
        if name in ("none", "all") or name in here:
            continue
        if name not in KNOWN:
            raise RecipeError(f"{where}: training.report_to: no tracker named {name!r}{did_you_mean(name, KNOWN)}")
        raise MissingExtraError(f"{where}: training.report_to: {name} is not installed; pip install {name}")


def _optimizer(recipe: Recipe, training: Mapping[str, Any], where: str) -> None:
    """Make the optimizer once for a single weight: torch itself checks names and values of its options."""
    import torch

    from nlptk.strategies.contract import Group
    from nlptk.training.optimizers import build_optimizer

    options = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    for key, value in options.items():
        if any(not isinstance(item, int | float | None) for item in (value if isinstance(value, list) else [value])):
            raise RecipeError(
                f"{where}: optimizer.{key}: expected a number, true or false, or a list of them, got {value!r}"
            )
    group = Group("weight", (("weight", torch.nn.Parameter(torch.zeros(1, 1))),))
    try:
        build_optimizer(
            recipe.optimizer["name"],
            [group],
            learning_rate=training.get("learning_rate", 1e-3),
            weight_decay=training.get("weight_decay", 0.0),
            options=options,
        )
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
