"""Packed rows give the padded path's logits and gradients, and no row sees another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from nlptk.training import packing
from nlptk.training.collate import PaddingCollator
from tests.tiny_models import write_checkpoint

LENGTHS = (9, 3, 14, 1, 6)


def _model(family: str, folder: Path) -> PreTrainedModel:
    checkpoint = write_checkpoint(family, folder / family)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    model.config.pad_token_id = 0
    model.config.get_text_config().pad_token_id = 0
    model.train(False)
    return model


def _rows(labels: bool = True) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    rows: list[dict[str, object]] = []
    for index, length in enumerate(LENGTHS):
        row: dict[str, object] = {"input_ids": torch.randint(5, 60, (length,), generator=generator).tolist()}
        rows.append({**row, "labels": index % 3} if labels else row)
    return rows


def _gradients(model: PreTrainedModel, batch: Mapping[str, object]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2", "llama"])
def test_gradients_equal_the_padded_paths(family: str, tmp_path: Path) -> None:
    model = _model(family, tmp_path)
    padded = _gradients(model, dict(PaddingCollator(0)(_rows())))
    packed, reason = packing.install(model)
    assert packed is not None, reason
    found = _gradients(model, packed.collator()(_rows()))
    assert found.keys() == padded.keys()
    for name, gradient in padded.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_a_row_does_not_see_its_neighbours(tmp_path: Path) -> None:
    model = _model("gpt2", tmp_path)
    packed, _ = packing.install(model)
    assert packed is not None
    rows = _rows(labels=False)
    together = model(**packed.collator()(rows)).logits
    others = [{"input_ids": [7] * len(row["input_ids"])} for row in rows]  # type: ignore[arg-type]
    alone = model(**packed.collator()([*others[:2], rows[2], *others[3:]])).logits
    torch.testing.assert_close(alone[2], together[2], atol=1e-6, rtol=0)
    assert (alone[1] - together[1]).abs().max() > 1e-3


def test_t5_is_refused_with_the_reason(tmp_path: Path) -> None:
    packed, reason = packing.install(_model("t5", tmp_path))
    assert packed is None
    assert "relative position bias" in reason


def test_a_form_whose_packed_logits_differ_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing.Packing, "difference", lambda self: 0.5)
    model = _model("bert", tmp_path)
    packed, reason = packing.install(model)
    assert packed is None
    assert "differ by 5.0e-01" in reason
    assert model.config._attn_implementation != packing.ATTENTION


def test_a_removed_packing_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = _model("bert", tmp_path)
    before = model.config._attn_implementation
    packed, _ = packing.install(model)
    assert packed is not None
    packed.remove()
    assert model.config._attn_implementation == before
    base = model.get_submodule("bert")
    assert not base._forward_hooks
    assert not base._forward_pre_hooks


def test_real_minilm_packs(minilm: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=2).train(False)
    padded = _gradients(model, dict(PaddingCollator(0)([{**row, "labels": 1} for row in _rows()])))
    packed, reason = packing.install(model)
    assert packed is not None, reason
    found = _gradients(model, packed.collator()([{**row, "labels": 1} for row in _rows()]))
    worst = max(float((found[name] - gradient).abs().max()) for name, gradient in padded.items())
    assert worst < 1e-5
