"""Writing on the architectures that people bring: transformers' own loss and its own words, packed or padded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from nlptk.batches import IGNORED
from nlptk.checkpoints import quiet
from nlptk.training import packing
from tests.tiny_models import write_checkpoint
from tests.writers import ROOMY, ROWS, batch_of, echo, loaded

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
WINDOW = {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 0}
LAYERED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
ROTARY = {key: value for key, value in SHAPE.items() if key not in ("num_key_value_heads", "head_dim")}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": SHAPE,
    "mistral": {**SHAPE, "sliding_window": 4},
    "qwen2": {**SHAPE, **WINDOW},
    "qwen3": SHAPE,
    "gemma2": {**SHAPE, **LAYERED, "query_pre_attn_scalar": 8},
    "gemma3_text": {**SHAPE, **LAYERED, "query_pre_attn_scalar": 8},
    "phi": ROTARY,
    "phi3": {**SHAPE, "original_max_position_embeddings": 128},
    "gpt_neox": ROTARY,
    "stablelm": SHAPE,
    "olmo2": SHAPE,
    "granite": {**SHAPE, "logits_scaling": 2.0, "embedding_multiplier": 2.0},
    "cohere": SHAPE,
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "opt": {**ROTARY, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
        "max_position_embeddings": 128,
    },
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 128},
    "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 128},
}
"""Architecture -> its configuration."""
SIDES = {
    "d_model": 32,
    "max_position_embeddings": 128,
    "max_encoder_position_embeddings": 128,
    "max_decoder_position_embeddings": 128,
    **{
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
    },
}
T5 = {"d_model": 32, "d_kv": 8, "num_layers": 2, "num_heads": 4, "d_ff": 48}
ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "umt5": T5,
    "longt5": {**T5, "encoder_attention_type": "transient-global", "local_radius": 7, "global_block_size": 4},
    "bart": SIDES,
    "mbart": {**SIDES, "scale_embedding": True},
    "pegasus": SIDES,
    "blenderbot": SIDES,
    "m2m_100": SIDES,
}
UNPACKED = {
    **dict.fromkeys(("bloom", "falcon", "gptj", "codegen", "opt"), "its head cannot be called apart from its backbone"),
    **dict.fromkeys(("stablelm", "gpt_neo"), "packed and padded logits of"),
    "gemma2": "does not support `softcap`",
}
"""Architecture -> what the reason says why its rows are padded."""


def _write(name: str, folder: Path) -> Path:
    """A whole random model of an architecture, with a tiny tokenizer."""
    decoder = name in DECODERS
    plain = write_checkpoint("gpt2" if decoder else "t5", folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(plain)
    ends: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0 if decoder else 1}
    shape = DECODERS[name] if decoder else {**ENCODER_DECODERS[name], "decoder_start_token_id": 0}
    config = AutoConfig.for_model(name, vocab_size=len(tokenizer), **ends, **shape)
    auto: Any = AutoModelForCausalLM if decoder else AutoModelForSeq2SeqLM
    model = auto.from_config(config)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():  # so that what is written depends on what is read
        if parameter.dim() > 1:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    with quiet():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder / name


@torch.no_grad()
@pytest.mark.parametrize("name", [*DECODERS, *ENCODER_DECODERS])
def test_losses_and_words_are_transformers_own(name: str, tmp_path: Path) -> None:
    checkpoint = _write(name, tmp_path)
    task = echo(num_beams=1)
    model: Any = loaded(task, checkpoint)
    auto: Any = AutoModelForCausalLM if name in DECODERS else AutoModelForSeq2SeqLM
    plain = auto.from_pretrained(checkpoint).eval()
    features = task.featurize(ROWS, task.tokenizer, ROOMY)
    batch = batch_of(task, features)
    ours = task.loss(task.forward(model, batch), batch["labels"])
    inferred = task.infer(model, batch)
    theirs, written = 0.0, []
    for text, target in zip(ROWS["text"], ROWS["target"], strict=True):
        said = f"say: {text} now"
        if name in DECODERS:
            prompt = task.tokenizer(said)["input_ids"]
            labels = [*task.tokenizer(f" {target}")["input_ids"], task.tokenizer.eos_token_id][:12]
            ids = torch.tensor([prompt + labels])
            found = plain(input_ids=ids, labels=torch.tensor([[IGNORED] * len(prompt) + labels])).loss
        else:
            prompt = task.tokenizer(f"{said} ")["input_ids"]
            labels = task.tokenizer(text_target=target)["input_ids"][:12]
            found = plain(input_ids=torch.tensor([prompt]), labels=torch.tensor([labels])).loss
        theirs += float(found) * len(labels)
        new = plain.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, num_beams=1)[0]
        written.append(new[len(prompt) if name in DECODERS else 1 :].tolist())
    if name != "mbart":  # whose own shift of labels begins with their last token, a language's; not what generate does
        assert float(ours) == pytest.approx(theirs, rel=1e-4)
    assert len(set(map(tuple, written))) > 1, "what is written does not depend on what is read"
    end = task.tokenizer.eos_token_id
    assert [_until(end, kept.tolist()) for kept in inferred.kept] == [_until(end, ids) for ids in written]


def _until(end: int, ids: list[int]) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
def test_packed_rows_have_the_loss_of_padded_ones_or_are_padded(name: str, tmp_path: Path) -> None:
    task = echo()
    model = loaded(task, _write(name, tmp_path))
    features = task.featurize(ROWS, task.tokenizer, ROOMY)
    padded = batch_of(task, features)
    expected = task.loss(task.forward(model, padded), padded["labels"])
    packed, reason = packing.install(model)
    if name in UNPACKED:
        assert packed is None
        assert UNPACKED[name] in reason
        return
    assert packed is not None, reason
    batch: Any = packed.collator()([{key: features[key][row] for key in ("input_ids", "labels")} for row in range(4)])
    torch.testing.assert_close(task.loss(task.forward(model, batch), batch["labels"]), expected, rtol=1e-4, atol=1e-3)
