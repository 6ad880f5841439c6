"""What a run must share with the one it resumes: a checkpoint of another run would end as neither."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainingArguments

from nlptk.recipe import Recipe

if TYPE_CHECKING:
    from nlptk.training.preparation import Prepared

SHAPING = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "bf16",
    "fp16",
    "neftune_noise_alpha",
    "train_sampling_strategy",
)
"""The arguments that decide what a training step does."""
_FIRST = 256


def run_identity(recipe: Recipe, prepared: Prepared, args: TrainingArguments) -> dict[str, Any]:
    """What a resumed run shares with the one it goes on with; length, logs and checkpoints may change."""
    parts = recipe.model_dump(mode="json", include={"task", "strategy", "optimizer", "head", "dropout", "packing"})
    return {
        **parts,
        "seed": recipe.seed,
        "data": prepared.data.report.fingerprint,
        "model": first_weights(prepared.trained),
        "preprocessing": asdict(prepared.preprocessing),
        **shaping(args),
    }


def shaping(args: TrainingArguments) -> dict[str, Any]:
    """The arguments that decide what a training step does, by the recipe's names."""
    return {f"training.{name}": getattr(args, name) for name in SHAPING if hasattr(args, name)}


def first_weights(module: torch.nn.Module) -> str:
    """sha256 of the first values of every parameter, with its name and shape; the same seed makes the same new ones."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        values = parameter.detach().flatten()[:_FIRST].float().cpu().numpy().tobytes()
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + values)
    return digest.hexdigest()
