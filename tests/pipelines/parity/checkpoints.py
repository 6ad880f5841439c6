"""Small checkpoints that transformers 4.57 and 5 both read: random weights, wide enough that answers differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM, PreTrainedModel

from nlptk.checkpoints import quiet
from tests.tiny_models import WORDS, write_checkpoint

QA_FAMILIES = ("bert", "roberta", "gpt2", "t5")
LOGIT_SPREAD = 0.3
"""Of a random head's weights: answers' scores are neither all alike nor all 0 or 1."""
SPECIFIC: dict[str, dict[str, Any]] = {
    "summarization": {"prefix": "summarize: ", "max_length": 24, "min_length": 6, "num_beams": 3},
    "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 18, "num_beams": 2},
    "text2text-generation": {"min_length": 9},
}


def write_all(folder: Path, minilm: Path | None) -> None:
    """Every checkpoint of the comparison in a folder of its name under `folder`."""
    for family in QA_FAMILIES:
        write_reader(write_checkpoint(family, folder / "bodies" / family), folder / f"{family}-qa")
    shutil.copytree(folder / "bert-qa", folder / "left-qa")
    edit(folder / "left-qa" / "tokenizer_config.json", {"padding_side": "left"})
    if minilm is not None:
        write_reader(minilm, folder / "minilm-qa", spread=1.0)
    body = folder / "bodies" / "t5"
    write_writer(body, folder / "t5")
    write_writer(body, folder / "t5-specific", config={"task_specific_params": SPECIFIC})
    write_writer(body, folder / "t5-prefix", config={"prefix": "please reply: "})
    write_writer(body, folder / "t5-settings", generation={"num_beams": 2, "max_length": 13, "min_length": 3})
    write_bart(folder / "bart")
    write_m2m(folder / "m2m")


def write_reader(body: Path, folder: Path, *, spread: float = LOGIT_SPREAD) -> None:
    """An extractive question answering model: `body` with a random head."""
    torch.manual_seed(0)
    with quiet():
        model: PreTrainedModel = AutoModelForQuestionAnswering.from_pretrained(body)
        head: Any = model.qa_outputs
        start, end = torch.nn.init.normal_(head.weight, std=spread).data
        end.mul_(0.6).add_(0.8 * start)  # a token that may begin an answer may well end it
        model.save_pretrained(folder)
    _copy_tokenizer(body, folder)


def write_writer(
    body: Path, folder: Path, *, config: dict[str, Any] | None = None, generation: dict[str, Any] | None = None
) -> None:
    """A T5 that writes: random weights, with fields added to its config.json and generation_config.json."""
    torch.manual_seed(0)
    shape = AutoConfig.from_pretrained(body)
    shape.initializer_factor = 4.0
    _save(AutoModelForSeq2SeqLM.from_config(shape), folder)  # type: ignore[no-untyped-call]
    _copy_tokenizer(body, folder)
    edit(folder / "config.json", config or {})
    edit(folder / "generation_config.json", generation or {})


def write_bart(folder: Path) -> None:
    """BART: another family, with absolute positions, so that a text longer than 64 tokens does not fit."""
    torch.manual_seed(0)
    body = write_checkpoint("gpt2", folder.parent / "bodies" / "gpt2")
    size = json.loads((body / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    ends = {f"{name}_token_id": 0 for name in ("bos", "eos", "pad", "decoder_start", "forced_eos")}
    shape = _encoder_decoder("bart", size, **ends)
    _save(AutoModelForSeq2SeqLM.from_config(shape), folder)  # type: ignore[no-untyped-call]
    _copy_tokenizer(body, folder)
    edit(folder / "tokenizer_config.json", {"model_max_length": 64, "pad_token": "<|endoftext|>"})


def write_m2m(folder: Path) -> None:
    """M2M-100, whose tokenizer puts language codes into source and target."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    text = folder / "corpus.txt"
    text.write_text("\n".join(" ".join(WORDS[i : i + 9]) for i in range(len(WORDS))), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "sentencepiece.bpe"), vocab_size=80, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [piece for i in range(len(pieces)) if (piece := pieces.id_to_piece(i)) not in special]
    vocabulary = {piece: index for index, piece in enumerate([*special, *words])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    settings = {"tokenizer_class": "M2M100Tokenizer", "model_max_length": 64, "src_lang": "en", "tgt_lang": "fr"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    # 100 language codes and 8 words of padding follow the vocabulary
    shape = _encoder_decoder("m2m_100", len(vocabulary) + 108)
    _save(AutoModelForSeq2SeqLM.from_config(shape), folder)  # type: ignore[no-untyped-call]


def _encoder_decoder(kind: str, vocabulary: int, **more: Any) -> Any:
    small = {**more, "d_model": 32, "max_position_embeddings": 64, "init_std": 0.4}
    for side in ("encoder", "decoder"):
        small |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 64}
    return AutoConfig.for_model(kind, vocab_size=vocabulary, **small)


def _save(model: PreTrainedModel, folder: Path) -> None:
    with quiet():
        model.save_pretrained(folder)


def _copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer's files, under the class name that both versions know (5 writes `TokenizersBackend`)."""
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    path = folder / "tokenizer_config.json"
    if json.loads(path.read_text(encoding="utf-8"))["tokenizer_class"] == "TokenizersBackend":
        edit(path, {"tokenizer_class": "PreTrainedTokenizerFast"})


def edit(path: Path, fields: dict[str, Any]) -> None:
    """Set fields of a JSON file."""
    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(known | fields), encoding="utf-8")
