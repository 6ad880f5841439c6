"""Ways to the same gradient: accumulated, packed, recomputed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.bert.modeling_bert import BertIntermediate

from tests.training.runs import assert_same_weights, train, weights

WEIGHTED = {"name": "classification", "class_weights": {"bad": 3.0, "good": 0.5}}


@pytest.mark.parametrize("packing", ["auto", False], ids=["packed", "padded"])
def test_an_accumulated_batch_is_the_whole_batch(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, packing: Any
) -> None:
    """Over three steps, the last one of an incomplete accumulation: 22 rows are 2 x 8 and 6."""
    whole = train(tiny["bert"], rows, tmp_path / "whole", task=WEIGHTED, packing=packing)
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    accumulated = train(tiny["bert"], rows, tmp_path / "parts", task=WEIGHTED, packing=packing, training=parts)
    assert_same_weights(weights(whole), weights(accumulated), atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "gpt2", "llama"])
def test_a_packed_step_is_a_padded_step(tiny: dict[str, Path], rows: Path, tmp_path: Path, family: str) -> None:
    once = {"max_steps": 1}
    packed = train(tiny[family], rows, tmp_path / "packed", packing=True, training=once)
    padded = train(tiny[family], rows, tmp_path / "padded", packing=False, training=once)
    assert_same_weights(weights(packed), weights(padded), atol=1e-6)
    assert not _equal(weights(packed), weights(tiny[family]))


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    shared = [name for name in one if name.split(".", 1)[-1] in other]
    assert shared
    return all(torch.equal(one[name], other[name.split(".", 1)[-1]]) for name in shared)


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("bert", {"packing": False}),
        ("bert", {"packing": True}),
        ("gpt2", {"packing": True}),
        ("t5", {}),
        ("bert", {"packing": True, "strategy": "lora"}),
        ("gpt2", {"packing": True, "strategy": "lora"}),
        ("t5", {"strategy": "lora"}),
        ("bert", {"strategy": "gradual_unfreezing"}),
    ],
    ids=str,
)
def test_gradient_checkpointing_does_not_change_a_step(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, family: str, keys: dict[str, Any]
) -> None:
    plain = train(tiny[family], rows, tmp_path / "plain", **keys)
    recomputed = train(tiny[family], rows, tmp_path / "saved", training={"gradient_checkpointing": True}, **keys)
    assert_same_weights(weights(plain), weights(recomputed), atol=1e-6)


def test_gradient_checkpointing_recomputes_the_layers(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = BertIntermediate.forward

    def counting(self: Any, states: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return original(self, states)

    monkeypatch.setattr(BertIntermediate, "forward", counting)
    train(tiny["bert"], rows, tmp_path / "plain", training={"max_steps": 1})
    once = len(calls)
    train(tiny["bert"], rows, tmp_path / "saved", training={"max_steps": 1, "gradient_checkpointing": True})
    assert len(calls) - once == once + 2  # two layers, one step
