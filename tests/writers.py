"""A small task that writes text, and checkpoints of more families for it, for the tests of nlptk.parts.generating."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from nlptk.checkpoints import load_model, load_tokenizer, quiet
from nlptk.parts.generating import TextToText
from nlptk.parts.generation_settings import GenerationOptions
from nlptk.parts.prompts import Prompt
from nlptk.task import Column, Preprocessing, Scores
from tests.tiny_models import SPREAD, WORDS, write_checkpoint

ROWS = {
    "text": [" ".join(WORDS[start : start + count]) for start, count in ((0, 3), (4, 9), (10, 17), (3, 1))],
    "target": ["late refund", "quick answer", "thank you " * 10, "app"],
}
"""Sources and targets of different lengths."""
ROOMY = Preprocessing(100)


class Echo(TextToText):
    """Says what comes after "say: "."""

    name = "echo"
    summary = "for tests"
    pipeline_tag = "text-generation"
    quality = "exact"
    warm_start = True
    columns = (Column("text", "text", ("text",)), Column("target", "text", ("target",), target=True))

    def prompts(self, rows: Mapping[str, list[Any]]) -> list[Prompt]:
        return [Prompt("say: ", text, " now ") for text in rows["text"]]

    def score(self, *_: Any, **__: Any) -> Scores:
        return Scores({})


def write_bart(folder: Path) -> Path:
    """With the habits of facebook/bart-large-cnn: forced tokens, four beams, 56 tokens at least."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([" ".join(WORDS)], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)  # type: ignore[no-untyped-call]
    model = BartForConditionalGeneration(BartConfig(vocab_size=len(tokenizer), **_small()))
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # its constructor declares no types
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        decoder_start_token_id=2,
        forced_bos_token_id=0,
        num_beams=4,
        length_penalty=2.0,
        early_stopping=True,
        no_repeat_ngram_size=3,
        min_length=56,
        max_length=142,
    )
    return _save(model, tokenizer, folder)


def write_marian(folder: Path, t5: Path) -> Path:
    """With T5's tokenizer, for Marian's own has no fast form; its decoder begins with the padding."""
    tokenizer = load_tokenizer(str(t5))
    ends: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return _save(MarianMTModel(MarianConfig(vocab_size=len(tokenizer), **ends, **_small())), tokenizer, folder)


def _small() -> dict[str, Any]:
    torch.manual_seed(0)
    sizes = {
        f"{side}_{name}": n
        for side in ("encoder", "decoder")
        for name, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    return {"d_model": 32, "max_position_embeddings": 128, "init_std": SPREAD, **sizes}


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def write_any(family: str, folder: Path) -> Path:
    """A checkpoint of any family of tiny_models, bart or marian."""
    if family == "bart":
        return write_bart(folder / family)
    plain = write_checkpoint("t5" if family == "marian" else family, folder / "plain")
    if family == "marian":
        return write_marian(folder / family, plain)
    return _louder(plain) if family == "t5" else plain


def _louder(folder: Path) -> Path:
    """The same checkpoint with larger weights: what a random T5 writes hardly depends on what it reads."""
    file = folder / "model.safetensors"
    weights = {name: tensor * 3 if tensor.dim() > 1 else tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def loaded(task: TextToText, checkpoint: Path) -> PreTrainedModel:
    """The checkpoint with the task's head, ready to generate; the task has its tokenizer."""
    torch.manual_seed(0)  # a warm start makes weights of its own
    task.tokenizer = load_tokenizer(str(checkpoint))
    model = load_model(str(checkpoint), task, task.tokenizer).model
    model.train(False)
    return model


def echo(**options: Any) -> Echo:
    return Echo(GenerationOptions.model_validate({"max_new_tokens": 12, **options}))


def batch_of(task: TextToText, features: Mapping[str, list[Any]], *rows: int) -> dict[str, torch.Tensor]:
    """The batch of some features, or of all."""
    chosen = rows or range(len(features["row"]))
    names = [key for key in (*task.inputs, *task.measuring) if key in features]
    inputs = [{key: features[key][row] for key in names} for row in chosen]
    pad_id = task.tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    return task.collate(inputs, pad_id)
