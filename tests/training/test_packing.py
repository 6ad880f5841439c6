"""Packed rows give the padded path's logits and gradients, and no row sees another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from nlptk.batches import pad_batch
from nlptk.training import packing
from tests.tiny_models import write_checkpoint

LENGTHS = (9, 3, 14, 1, 6)


def _model(form: str, folder: Path) -> PreTrainedModel:
    """form: a family, with `-cls` one whose classifier reads the first token."""
    family, _, pooling = form.partition("-")
    checkpoint = write_checkpoint(family, folder / family)
    own = {"classifier_pooling": pooling} if pooling else {}
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3, **own)
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


@pytest.fixture(params=[128, 4], ids=["one block", "four blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 14 down to 1 token in one block, and in four."""
    monkeypatch.setattr(packing, "SHORT", request.param)
    assert len(packing.blocks_of(LENGTHS)) == {128: 1, 4: 4}[request.param]


@pytest.mark.parametrize(
    "lengths", [LENGTHS, (1,), (128,), (384, 383, 128, 129, 1, 272), tuple(range(1, 513, 7)), (300,) * 5]
)
def test_blocks_hold_every_row_once_and_no_long_row_costs_more_than_twice_itself(lengths: tuple[int, ...]) -> None:
    found = packing.blocks_of(lengths)
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    for rows in found:
        assert rows == sorted(rows)
        longest = max(lengths[row] for row in rows)
        assert all(longest**2 <= 2 * max(lengths[row], packing.SHORT) ** 2 for row in rows)
    shorter = [min(lengths[row] for row in rows) for rows in found]
    assert shorter == sorted(shorter, reverse=True)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "modernbert-cls", "gpt2", "llama"])
def test_gradients_equal_the_padded_paths(family: str, tmp_path: Path) -> None:
    model = _model(family, tmp_path)
    padded = _gradients(model, dict(pad_batch(_rows(), 0)))
    packed, reason = packing.install(model)
    assert packed is not None, reason
    found = _gradients(model, packed.collator()(_rows()))
    assert found.keys() == padded.keys()
    for name, gradient in padded.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=0, msg=name)


TOKEN_HEADS = {
    "AutoModelForTokenClassification": ("bert", "distilbert", "roberta", "modernbert", "gpt2", "llama"),
    "AutoModelForQuestionAnswering": ("bert", "roberta", "modernbert", "gpt2", "llama"),
    "AutoModelForCausalLM": ("gpt2", "llama"),
}


def _span_gradients(model: PreTrainedModel, batch: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Of a loss over the rows' own tokens; transformers' own takes the padding for possible answers too."""
    model.zero_grad()
    inside = torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]
    logits = model(**{key: value for key, value in batch.items() if key != "labels"})
    spans: torch.Tensor = batch["labels"]  # type: ignore[assignment]
    losses = [
        torch.nn.functional.cross_entropy(each.masked_fill(~inside, -1e9), ends)
        for each, ends in zip((logits.start_logits, logits.end_logits), spans.unbind(1), strict=True)
    ]
    torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("head", "family"), [(head, family) for head, found in TOKEN_HEADS.items() for family in found]
)
def test_heads_that_read_every_token_get_padded_rows_and_give_their_gradients(
    head: str, family: str, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(family, tmp_path / family)
    model = getattr(transformers, head).from_pretrained(checkpoint)
    model.config.pad_token_id = 0
    model.train(False)
    rows = _rows(labels=False)
    for row in rows:
        ids: list[int] = row["input_ids"]  # type: ignore[assignment]
        row["labels"] = {
            "AutoModelForTokenClassification": [token % 2 for token in ids],
            "AutoModelForQuestionAnswering": [0, len(ids) - 1],
            "AutoModelForCausalLM": ids,
        }[head]
    padded = pad_batch(rows, 0)
    packed, reason = packing.install(model)
    assert packed is not None, reason
    together = packed.collator()(rows)
    assert torch.equal(together["labels"], padded["labels"])  # type: ignore[arg-type]
    step = _span_gradients if head == "AutoModelForQuestionAnswering" else _gradients
    wanted, found = step(model, padded), step(model, together)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=0, msg=name)


@pytest.mark.usefixtures("blocks")
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
    monkeypatch.setattr(packing.Packing, "difference", lambda *_: 0.5)
    model = _model("bert", tmp_path)
    packed, reason = packing.install(model)
    assert packed is None
    assert "differ by 5.0e-01" in reason
    assert model.config._attn_implementation != packing.ATTENTION


def test_a_window_that_the_layers_do_not_pass_is_noticed(tmp_path: Path) -> None:
    model = _model("modernbert", tmp_path)
    base: Any = model.get_submodule("model")
    for layer in base.layers:
        layer.attn.sliding_window = None  # the mask of padded rows has it all the same
    packed, reason = packing.install(model)
    assert packed is None
    assert "differ by" in reason


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
    padded = _gradients(model, dict(pad_batch([{**row, "labels": 1} for row in _rows()], 0)))
    packed, reason = packing.install(model)
    assert packed is not None, reason
    found = _gradients(model, packed.collator()([{**row, "labels": 1} for row in _rows()]))
    worst = max(float((found[name] - gradient).abs().max()) for name, gradient in padded.items())
    assert worst < 1e-5
