"""Tiny random checkpoints of each family, with tokenizers trained on a few lines: for contracts, not for quality."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from nlptk.checkpoints import quiet

FAMILIES = ("bert", "gpt2", "t5")
SPREAD = 0.2
"""Of initial weights: ten times the usual, so that features of untrained models differ between texts."""
OTHER_FORMS = ("distilbert", "roberta", "modernbert", "llama")
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


def _word_pieces(*, types: bool = True) -> PreTrainedTokenizerFast:
    """types: token types are an input; a ModernBERT has none."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(set("".join(WORDS)))
    # the trainer numbers pieces like ##a in an order that changes from process to process, unless they are given
    alphabet = [*letters, *(f"##{letter}" for letter in letters)]
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator(_lines(), trainers.WordPieceTrainer(vocab_size=200, special_tokens=special + alphabet))
    backend = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(special)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor declares no types
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
    )


def _byte_pairs() -> PreTrainedTokenizerFast:
    """Without a pad token, as GPT-2's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    backend.train_from_iterator(_lines(), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor declares no types
        tokenizer_object=backend,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def _unigram() -> PreTrainedTokenizerFast:
    special = ["<pad>", "</s>", "<unk>"]
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>")
    trained.train_from_iterator(_lines(), trainer)
    # sums in another order give other last digits, and with them another order of pieces, from process to process
    pieces = [(piece, round(score, 3)) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    ordered = [*pieces[: len(special)], *sorted(pieces[len(special) :], key=lambda item: (-item[1], item[0]))]
    backend = Tokenizer(models.Unigram(ordered, unk_id=special.index("<unk>")))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(special)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor declares no types
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def sentencepiece_tokenizer(scheme: str) -> PreTrainedTokenizerFast:
    """As Llama 2's: the mark of a word's beginning before every text, by a normalizer or by Metaspace."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=pieces, show_progress=False)
    backend.train_from_iterator(["once upon a time there was a dog", "the dog ran there at that time"] * 9, trainer)
    if scheme == "normalizer":
        backend.pre_tokenizer = None
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")  # type: ignore[no-untyped-call]


def _config(family: str, size: int) -> PreTrainedConfig:
    bert: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    }
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    shapes: dict[str, dict[str, Any]] = {
        "bert": bert,
        # RoBERTa's positions begin after the padding index
        "roberta": {**bert, "max_position_embeddings": 129, "pad_token_id": 0},
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 128},
        "modernbert": {
            **bert,
            "pad_token_id": 0,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "local_attention": 16,
            "classifier_pooling": "mean",  # as the published ones
        },
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, **ends},
        "llama": {**bert, "num_key_value_heads": 2, **ends},
        "t5": {
            "d_model": 32,
            "d_kv": 8,
            "num_layers": 2,
            "num_heads": 4,
            "d_ff": 64,
            "decoder_start_token_id": 0,
        },
    }
    spread = {} if family == "t5" else {"initializer_range": SPREAD}
    made: PreTrainedConfig = AutoConfig.for_model(family, vocab_size=size, **spread, **shapes[family])
    return made


def write_checkpoint(family: str, folder: Path, *, seed: int = 0) -> Path:
    """A checkpoint without a head: two layers, hidden size 32, seeded."""
    torch.manual_seed(seed)
    made: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
        "gpt2": _byte_pairs,
        "llama": _byte_pairs,
        "t5": _unigram,
        "modernbert": partial(_word_pieces, types=False),
    }
    tokenizer = made.get(family, _word_pieces)()
    model: PreTrainedModel = AutoModel.from_config(_config(family, len(tokenizer)))  # type: ignore[no-untyped-call]
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
