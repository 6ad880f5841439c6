"""The one contract every task x family x strategy passes: it trains, it changes what it says, it comes back equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

import nlptk
from nlptk.training.run import TrainResult

RATES = {"feature_extraction": 0.05, "prompt_tuning": 0.05, "ia3": 0.05, "bitfit": 0.03}
"""Learning rates at which forty steps on a tiny random model show; the others take 0.01."""


@dataclass(frozen=True)
class Outcome:
    """A finished contract run: eval_loss before the first step and after the last, both on the same rows."""

    result: TrainResult
    loss_before: float
    loss_after: float


def train_tiny(
    checkpoint: Path, data: Path, output: Path, *, task: str, strategy: Mapping[str, Any], **keys: Any
) -> Outcome:
    """Train a tiny checkpoint on rows a keyword tells apart, and measure on the same rows."""
    result = nlptk.train(
        task=task,
        model=checkpoint,
        data={"train": data, "validation": data, "duplicates": "keep"},
        strategy=dict(strategy),
        training={
            "num_train_epochs": 10,
            "per_device_train_batch_size": 8,
            "learning_rate": RATES.get(strategy["name"], 0.01),
            "eval_on_start": True,
            "eval_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
        },
        bootstrap=0,
        output=output,
        **keys,
    )
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    before = next(entry["eval_loss"] for entry in history if "eval_loss" in entry)
    return Outcome(result, before, result.metrics["eval_loss"])


def changed_parameters(checkpoint: Path, artifact: Path) -> list[str]:
    """Backbone parameters of an artifact that differ from the checkpoint it was trained from."""
    before = _backbone_state(checkpoint)
    after = _backbone_state(artifact)
    changed = []
    for name, tensor in before.items():
        other = after[name][: len(tensor)] if tensor.dim() else after[name]
        if not torch.equal(tensor, other):
            changed.append(name)
    return changed


def _backbone_state(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return dict(getattr(model, model.base_model_prefix).state_dict())
