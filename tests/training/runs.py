"""Small runs for the tests of training: rows, a recipe without chance in it, and what a run left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import nlptk
from nlptk.training.run import TrainResult
from nlptk.training.trainer import NlptkTrainer
from tests.tiny_models import WORDS

STILL = {"t5": {"hidden": 0.0}, "llama": {}}
"""Dropout settings of the families that have not both; without dropout, two ways to one gradient can be compared."""
PLAIN_SGD = {
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "max_grad_norm": 0.0,
    "train_sampling_strategy": "random",
    "disable_tqdm": True,
}
"""Weights after a step are a linear function of the gradient, and the order of rows is that of the seed alone."""


def write_rows(path: Path, count: int, *, labels: Sequence[str] = ("bad", "good")) -> Path:
    """Rows of one to fourteen words, the last of which tells the label."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            words = [WORDS[(row * 7 + step * 3) % len(WORDS)] for step in range(1 + row * 5 % 13)]
            label = labels[row % len(labels)]
            file.write(json.dumps({"text": f"{' '.join(words)} {row} {label}", "label": label}) + "\n")
    return path


def train(
    model: Path,
    rows: Path,
    output: Path,
    *,
    validation: Path | str = "none",
    training: Mapping[str, Any] | None = None,
    **keys: Any,
) -> TrainResult:
    """One small run; `training` is laid over PLAIN_SGD."""
    return nlptk.train(
        task=keys.pop("task", "classification"),
        model=model,
        data={"train": rows, "validation": validation, "test": "none", "duplicates": "keep"},
        output=output,
        training={"num_train_epochs": 1, "per_device_train_batch_size": 8, **PLAIN_SGD, **(training or {})},
        **{
            "optimizer": "sgd",
            "dropout": STILL.get(model.name, {"hidden": 0.0, "attention": 0.0}),
            "bootstrap": 0,
            **keys,
        },
    )


def weights(result: TrainResult | Path) -> dict[str, torch.Tensor]:
    """The tensors of an artifact, or of any folder with model.safetensors."""
    folder = result if isinstance(result, Path) else result.artifact
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, atol: float) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=atol, rtol=0, msg=name)


def history(result: TrainResult) -> list[dict[str, Any]]:
    """What the run logged, in order."""
    found: list[dict[str, Any]] = json.loads((result.folder / "trainer_state.json").read_text())["log_history"]
    return found


def add_callback(callback: TrainerCallback, patch: pytest.MonkeyPatch) -> None:
    """Let every trainer made from now on call it too."""
    original = NlptkTrainer.__init__

    def extended(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.add_callback(callback)

    patch.setattr(NlptkTrainer, "__init__", extended)
