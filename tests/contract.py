"""The one contract every task x family x strategy passes: it trains, it changes what it says, it comes back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase, TrainerCallback

import nlptk
from nlptk.task import Preprocessing, Task
from nlptk.training import run
from nlptk.training.preparation import Prepared
from nlptk.training.run import TrainResult
from tests.training.runs import add_callback

RATES = {"feature_extraction": 0.05, "prompt_tuning": 0.05, "ia3": 0.05, "bitfit": 0.03}
"""Learning rates at which a few steps on a tiny random model show; the others take 0.01."""
ADAPTED = re.compile(r"(attn|attention|SelfAttention|EncDecAttention|mlp|DenseReluDense|intermediate|output)\b")
"""Modules inside layers that LoRA, DoRA and (IA)3 may change."""


class Witness(TrainerCallback):
    """Sees a run from within: every parameter that it moves, and what the model says that is about to be saved.

    moved: group -> scalars that moved; still: group -> parameter that did not -> its scalars; strayed: how many of
    no group moved; said: what `task.infer` keeps of each validation row.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        add_callback(self, patch)
        self._save = run.save_artifact
        patch.setattr(run, "save_artifact", self._saving)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._before = [(parameter, parameter.detach().clone()) for parameter in kwargs["model"].parameters()]

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._moved = {id(parameter) for parameter, before in self._before if not torch.equal(parameter, before)}

    def _saving(self, recipe: Any, prepared: Prepared, model: Any, *rest: Any) -> None:
        self.moved = {g.name: sum(p.numel() for _, p in g.parameters if id(p) in self._moved) for g in prepared.groups}
        self.still = {
            g.name: {n: p.numel() for n, p in g.parameters if id(p) not in self._moved} for g in prepared.groups
        }
        self.strayed = len(self._moved - {id(p) for group in prepared.groups for _, p in group.parameters})
        self.rows = prepared.splits["validation"].rows
        self.said = said(prepared.task, model, prepared.tokenizer, prepared.preprocessing, self.rows)
        self._save(recipe, prepared, model, *rest)


def said(
    task: Task, model: Any, tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing, rows: Dataset
) -> list[np.ndarray]:
    """What `task.infer` keeps of labelled rows, all in one batch."""
    roles = [column.role for column in task.columns if column.role in rows.column_names]
    found = task.featurize({role: rows[role][:] for role in roles}, tokenizer, preprocessing)
    inputs = [key for key in (*task.inputs, *task.measuring) if key in found]
    pad_id: Any = tokenizer.pad_token_id
    batch = task.collate([{key: found[key][i] for key in inputs} for i in range(len(found["row"]))], pad_id)
    model.train(False)
    with torch.inference_mode():
        return task.infer(model, {key: torch.as_tensor(v).to(model.device) for key, v in batch.items()}).kept


@dataclass(frozen=True)
class Outcome:
    """A finished contract run: eval_loss before the first step and after the last, both on the same rows."""

    result: TrainResult
    loss_before: float
    loss_after: float
    witness: Witness


def train_tiny(
    checkpoint: Path, data: Path, output: Path, *, task: Mapping[str, Any], strategy: str, **keys: Any
) -> Outcome:
    """Train a tiny checkpoint on a few rows, and measure on the same rows."""
    training = {
        "num_train_epochs": 8,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 64,  # as nlptk.evaluate, for losses that compare the rows of a batch
        "learning_rate": RATES.get(strategy, 0.01),
        "eval_on_start": True,
        "eval_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        witness = Witness(patch)
        result = nlptk.train(
            task=dict(task),
            model=checkpoint,
            data={"train": data, "validation": data, "duplicates": "keep"},
            strategy=strategy,
            training=training,
            bootstrap=0,
            output=output,
            **keys,
        )
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    before = next(entry["eval_loss"] for entry in history if "eval_loss" in entry)
    return Outcome(result, before, result.metrics["eval_loss"], witness)


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
