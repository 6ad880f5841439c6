"""Packing on the architectures that people bring: the logits of their own attention, or a refusal that says why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from nlptk.batches import pad_batch
from nlptk.training import packing
from nlptk.training.readout import find_readout, placeholder_ids, reads_one_vector

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "num_labels": 3,
}
DECODER = {**SHAPE, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3}
WINDOW = {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 0}
PACKED: dict[str, dict[str, Any]] = {
    "bert": SHAPE,
    "camembert": SHAPE,
    "electra": {**SHAPE, "embedding_size": 16},
    "xlm-roberta": SHAPE,
    "modernbert": {**DECODER, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8},
    "gemma3_text": {**DECODER, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {**DECODER, "sliding_window": 4},
    "qwen2": {**DECODER, **WINDOW},
    "qwen3": {**DECODER, "eos_token_id": 1},
    "llama": {**DECODER, "eos_token_id": [2, 3]},
    "gpt_neox": DECODER,
}
"""Architecture -> its configuration. qwen3: texts end in the padding token; llama: several ends, as Llama 3 has."""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "deberta-v2": (
        {**SHAPE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
        "apart",
    ),
    "mpnet": (SHAPE, "apart"),
    "albert": ({**SHAPE, "embedding_size": 16}, "Albert"),
    "gemma2": ({**DECODER, "sliding_window": 4}, "Gemma2"),
    "gpt_oss": ({**DECODER, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4}, "GptOss"),
}


def _model(name: str, shape: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(name, **shape))  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():  # sinks and the like begin at zero, or at nothing
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def _rows() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(4, 64, (length,), generator=generator).tolist() for length in (21, 3, 12)]
    return [{"input_ids": [*row, 1]} for row in rows]


@torch.no_grad()
@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_have_the_logits_of_the_models_own_attention(name: str) -> None:
    model = _model(name, PACKED[name])
    rows = _rows() if name in ("qwen3", "llama") else [{"input_ids": row["input_ids"][:-1]} for row in _rows()]
    own = model(**pad_batch(rows, 1)).logits
    assert own.std() > 0.1
    packed, reason = packing.install(model)
    assert packed is not None, reason
    torch.testing.assert_close(model(**packed.collator()(rows)).logits, own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(**pad_batch(rows, 1)).logits, own, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_packed_is_padded_and_says_why(name: str) -> None:
    shape, said = REFUSED[name]
    model = _model(name, shape)
    before = model(**pad_batch(_rows(), 1)).logits
    packed, reason = packing.install(model.train())
    assert packed is None
    assert said in reason
    assert model.training
    torch.testing.assert_close(model.eval()(**pad_batch(_rows(), 1)).logits, before)


def test_a_head_that_is_not_called_apart_reads_no_one_vector() -> None:
    assert not reads_one_vector(_model("mpnet", SHAPE))


def test_a_model_with_several_ends_has_its_readout() -> None:
    model = _model("llama", PACKED["llama"])
    assert find_readout(model) == "last"
    assert not {1, 2, 3} & set(placeholder_ids(model, 2, 3).flatten().tolist())
