"""The one contract every task x family x strategy passes: it trains, it changes what it says, it comes back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import nlptk
from nlptk.training.run import TrainResult

RATES = {"feature_extraction": 0.05, "prompt_tuning": 0.05, "ia3": 0.05, "bitfit": 0.03}
"""Learning rates at which a few steps on a tiny random model show; the others take 0.01."""
ADAPTED = re.compile(r"(attn|attention|SelfAttention|EncDecAttention|mlp|DenseReluDense|intermediate|output)\b")
"""Modules inside layers that LoRA, DoRA and (IA)3 may change."""


@dataclass(frozen=True)
class Outcome:
    """A finished contract run: eval_loss before the first step and after the last, both on the same rows."""

    result: TrainResult
    loss_before: float
    loss_after: float


def train_tiny(
    checkpoint: Path, data: Path, output: Path, *, task: Mapping[str, Any], strategy: str, **keys: Any
) -> Outcome:
    """Train a tiny checkpoint on a few rows, and measure on the same rows."""
    result = nlptk.train(
        task=dict(task),
        model=checkpoint,
        data={"train": data, "validation": data, "duplicates": "keep"},
        strategy=strategy,
        training={
            "num_train_epochs": 8,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 64,  # as nlptk.evaluate, for losses that compare the rows of a batch
            "learning_rate": RATES.get(strategy, 0.01),
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
    """Parameters of a checkpoint without a head that differ in an artifact trained from it, by its names.

    In the artifact they have the same names behind the base's own, of an encoder-decoder warm start two of them; rows
    added to a matrix do not count. What the form does without (T5's decoder, of an encoder) is left out.
    """
    after = load_file(artifact / "model.safetensors")
    changed, found = [], 0
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        for other in (value for key, value in after.items() if f".{key}".endswith(f".{name}")):
            found += 1
            if not torch.equal(tensor, other[: len(tensor)]):
                changed.append(name)
    assert found, f"{artifact} holds nothing of {checkpoint}"
    return changed


def may_change(strategy: str, name: str) -> bool:
    """Whether a strategy may train a parameter of the base."""
    if strategy in ("full", "gradual_unfreezing", "lp_ft"):
        return True
    if strategy == "bitfit":
        return name.endswith("bias")
    if strategy in ("lora", "dora", "ia3"):
        return ADAPTED.search(name) is not None
    return False
