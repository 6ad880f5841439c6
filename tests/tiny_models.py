"""Tiny random checkpoints of each family, with tokenizers trained on a few lines: for contracts, not for quality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

FAMILIES = ("bert", "gpt2", "t5")
SPREAD = 0.2
"""Of initial weights: ten times the usual, so that features of untrained models differ between texts."""
OTHER_FORMS = ("distilbert", "roberta", "llama")
WORDS = [
    "the",
    "parcel",
    "came",
    "late",
    "and",
    "broken",
    "please",
    "refund",
    "my",
    "order",
    "invoice",
    "shows",
    "wrong",
    "amount",
    "charged",
    "twice",
    "card",
    "cannot",
    "log",
    "into",
    "account",
    "password",
    "reset",
    "link",
    "expired",
    "great",
    "service",
    "thank",
    "you",
    "very",
    "much",
    "quick",
    "answer",
    "screen",
    "freezes",
    "when",
    "app",
    "opens",
    "again",
    "after",
    "update",
    "where",
    "is",
    "it",
    "now",
    "still",
    "waiting",
    "for",
    "reply",
    "from",
    "support",
]


def _lines() -> Iterator[str]:
    for start in range(len(WORDS)):
        yield " ".join(WORDS[start : start + 9])


def _word_pieces() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(_lines(), trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _byte_pairs() -> PreTrainedTokenizerFast:
    """Without a pad token, as GPT-2's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    backend.train_from_iterator(_lines(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def _unigram() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>")
    backend.train_from_iterator(_lines(), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def write_checkpoint(family: str, folder: Path) -> Path:
    """A checkpoint without a head: two layers, hidden size 32, seeded."""
    torch.manual_seed(0)
    tokenizer = {"gpt2": _byte_pairs, "llama": _byte_pairs, "t5": _unigram}.get(family, _word_pieces)()
    size = len(tokenizer)
    bert = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "initializer_range": SPREAD,
    }
    if family == "bert":
        model = BertModel(BertConfig(**bert))
    elif family == "roberta":
        model = RobertaModel(RobertaConfig(**{**bert, "max_position_embeddings": 130, "pad_token_id": 0}))
    elif family == "distilbert":
        model = DistilBertModel(
            DistilBertConfig(
                vocab_size=size,
                dim=32,
                n_layers=2,
                n_heads=4,
                hidden_dim=64,
                max_position_embeddings=128,
                initializer_range=SPREAD,
            )
        )
    elif family == "gpt2":
        model = GPT2Model(
            GPT2Config(
                vocab_size=size,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=128,
                bos_token_id=0,
                eos_token_id=0,
                initializer_range=SPREAD,
            )
        )
    elif family == "llama":
        model = LlamaModel(LlamaConfig(**bert, num_key_value_heads=2, bos_token_id=0, eos_token_id=0))
    else:
        config = T5Config(
            vocab_size=size, d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=64, decoder_start_token_id=0
        )
        model = T5Model(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
