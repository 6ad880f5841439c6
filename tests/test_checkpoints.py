"""Checkpoints of every family: what they lack is filled in, what they cannot be is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    RobertaConfig,
    RobertaModel,
    XLNetConfig,
)

from nlptk import registry
from nlptk.checkpoints import default_max_length, load_config, load_model, load_tokenizer, of_body
from nlptk.errors import ArtifactError, UnsupportedError
from nlptk.task import LabelSpace, Task
from tests.tiny_models import FAMILIES, OTHER_FORMS, write_checkpoint


def _task(labels: int = 3) -> Task:
    cls = registry.get_task("classification")
    return cls(cls.Options(), labels=LabelSpace(tuple(f"label {i}" for i in range(labels))))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_missing_pad_token_becomes_the_end_of_text_token_in_tokenizer_and_model(family: str, tmp_path: Path) -> None:
    checkpoint = str(write_checkpoint(family, tmp_path / family))
    tokenizer = load_tokenizer(checkpoint)
    model = load_model(checkpoint, _task(), tokenizer).model
    assert tokenizer.pad_token == "<|endoftext|>"
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").pad_token == "<|endoftext|>"
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").config.pad_token_id == 0


def test_a_tokenizer_without_an_end_of_text_token_gets_a_pad_token_and_the_embeddings_grow(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("gpt2", tmp_path / "gpt2")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (file := checkpoint / name).is_file():
            config = json.loads(file.read_text())
            file.write_text(json.dumps({k: v for k, v in config.items() if k not in ("eos_token", "bos_token")}))
    before = AutoModel.from_pretrained(checkpoint).get_input_embeddings().weight
    tokenizer = load_tokenizer(str(checkpoint))
    assert tokenizer.pad_token == "[PAD]"
    model = load_model(str(checkpoint), _task(), tokenizer).model
    after: Any = model.get_input_embeddings().weight
    assert len(after) == len(before) + 1 == len(tokenizer)
    assert torch.equal(after[:-1], before)
    assert model.config.pad_token_id == len(before)


def test_a_half_precision_checkpoint_is_trained_in_single(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    AutoModel.from_pretrained(checkpoint).half().save_pretrained(checkpoint)
    assert json.loads((checkpoint / "config.json").read_text())["dtype"] == "float16"
    model = load_model(str(checkpoint), _task(), load_tokenizer(str(checkpoint))).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_head_for_another_number_of_labels_is_made_anew_and_named(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=5).save_pretrained(checkpoint)
    loaded = load_model(str(checkpoint), _task(3), load_tokenizer(str(checkpoint)))
    assert loaded.reshaped == ["classifier.bias", "classifier.weight"]
    assert loaded.new == loaded.reshaped
    assert loaded.model.get_parameter("classifier.weight").shape == (3, 32)


def test_a_head_for_the_same_labels_is_kept(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    given = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    given.save_pretrained(checkpoint)
    loaded = load_model(str(checkpoint), _task(3), load_tokenizer(str(checkpoint)))
    assert loaded.new == []
    assert torch.equal(loaded.model.get_parameter("classifier.weight"), given.classifier.weight)


@pytest.mark.parametrize("family", [*FAMILIES, *OTHER_FORMS])
def test_the_default_length_is_the_most_that_the_model_takes(family: str, tmp_path: Path) -> None:
    """The tiny forms have room for 128 tokens, for which RoBERTa's table has 129 rows; T5 has no limit."""
    checkpoint = write_checkpoint(family, tmp_path / family)
    tokenizer = load_tokenizer(str(checkpoint))
    model = load_model(str(checkpoint), _task(), tokenizer).model.train(False)
    tokenizer.model_max_length = 10**30
    length = default_max_length(tokenizer, model)
    assert length == (512 if family == "t5" else 128)
    ids = torch.full((1, length), 7)
    ids[0, -1] = 1  # T5's head reads the end of the text
    assert model(input_ids=ids).logits.isfinite().all()
    if family not in ("t5", "llama", "modernbert"):  # their positions are relative
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, length + 1), 7))


def test_the_tokenizers_own_limit_counts(tmp_path: Path) -> None:
    checkpoint = str(write_checkpoint("t5", tmp_path / "t5"))
    tokenizer = load_tokenizer(checkpoint)
    assert tokenizer.model_max_length == 128
    assert default_max_length(tokenizer, load_model(checkpoint, _task(), tokenizer).model) == 128


def test_a_pickled_checkpoint_is_refused_with_the_cure(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    torch.save(AutoModel.from_pretrained(checkpoint).state_dict(), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin: pickled weights.*convert"):
        load_model(str(checkpoint), _task(), load_tokenizer(str(checkpoint)))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    config = json.loads((checkpoint / "config.json").read_text())
    trap = tmp_path / "ran"
    config |= {"model_type": "trap", "auto_map": {"AutoConfig": "trap.TrapConfig"}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "trap.py").write_text(f"open({str(trap)!r}, 'w')\nclass TrapConfig: pass\n")
    with pytest.raises(ArtifactError):
        load_model(str(checkpoint), _task(), AutoTokenizer.from_pretrained(write_checkpoint("bert", tmp_path / "ok")))
    assert not trap.exists()


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "t5"])
def test_a_folder_without_tokenizer_files_is_refused_with_the_cure(family: str, tmp_path: Path) -> None:
    """transformers makes up a tokenizer to which every word is unknown."""
    checkpoint = write_checkpoint(family, tmp_path / family)
    for path in checkpoint.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(ArtifactError, match=r"no tokenizer files in it|cannot be loaded: .*tokenizer files"):
        load_tokenizer(str(checkpoint))


def test_weights_that_are_cut_short_are_refused_in_one_message(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    whole = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=r"cannot be loaded: .*incomplete"):
        load_model(str(checkpoint), _task(), load_tokenizer(str(checkpoint)))


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        load_tokenizer(str(tmp_path / "nowhere"))


def test_an_architecture_without_the_head_is_refused(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    config = CLIPTextConfig(vocab_size=200, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    CLIPTextModel(config).save_pretrained(tmp_path / "clip")
    with pytest.raises(UnsupportedError, match="no AutoModelForSequenceClassification for the clip_text_model"):
        load_model(str(tmp_path / "clip"), _task(), load_tokenizer(str(checkpoint)))


def test_a_hub_that_does_not_answer_is_asked_once_and_named_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody listens on port 9 (discard) of this machine."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("the request was tried again"))
    with pytest.raises(ArtifactError, match=r"google/bert_tiny: cannot be loaded.*needs the network"):
        load_tokenizer("google/bert_tiny")
    assert "Retrying" not in caplog.text


def test_offline_mode_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("huggingface_hub.get_session", lambda: asked.append("the Hub"))
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load_tokenizer("google/bert_tiny")
    assert asked == []


def test_positions_that_are_counted_from_another_padding_token_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("roberta", tmp_path / "roberta")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "pad_token_id": 4}))
    with pytest.raises(
        UnsupportedError, match=r"counted from its padding token, 4, .* pads with 0.*tokenizer.pad_token"
    ):
        load_model(str(checkpoint), _task(), load_tokenizer(str(checkpoint)))


def test_xlnet_is_refused_with_the_reason(tmp_path: Path) -> None:
    XLNetConfig(vocab_size=50, d_model=8, n_layer=1, n_head=2, d_inner=8).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match="XLNet reads a row's last place, padding or not"):
        load_config(str(tmp_path))


def _without(folder: Path, pattern: str) -> None:
    """Take weights out of a checkpoint."""
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if pattern not in k}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("family", "task", "lacking", "told"),
    [
        ("t5", "summarization", "decoder.", "decoder.block.0.layer.0.SelfAttention.q.weight"),
        ("bert", "classification", "layer.1.", "encoder.layer.1"),
        ("bert", "summarization", "layer.1.", "decoder.bert.encoder.layer.1"),
        ("bert", "classification", "pooler", None),
        ("bert", "summarization", "pooler", None),
        ("gpt2", "ner", "nothing", None),
        ("t5", "translation", "nothing", None),
    ],
)
def test_what_a_checkpoint_lacks_beside_its_head_is_known(
    family: str, task: str, lacking: str, told: str | None, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(family, tmp_path / family)
    _without(checkpoint, lacking)
    cls = registry.get_task(task)
    options = {"max_new_tokens": 8} if "max_new_tokens" in cls.Options.model_fields else {}
    made = cls(cls.Options.model_validate(options), labels=LabelSpace(("O", "B-x", "I-x")))
    made.tokenizer = load_tokenizer(str(checkpoint))
    loaded = load_model(str(checkpoint), made, made.tokenizer)
    found = of_body(loaded.model, loaded.new)
    assert any(told in name for name in found) if told else not found


def test_weights_of_another_size_than_the_configuration_says_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 7}))
    with pytest.raises(ArtifactError, match="is of another size in its weights than"):
        load_model(str(checkpoint), _task(), load_tokenizer(str(checkpoint)))


def test_token_types_that_a_model_has_not_are_not_given(tmp_path: Path) -> None:
    """As in klue/roberta: BERT's tokenizer beside a RoBERTa."""
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    tokenizer = load_tokenizer(str(checkpoint))
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    RobertaModel(config).save_pretrained(tmp_path / "klue")
    assert "token_type_ids" in tokenizer.model_input_names
    load_model(str(tmp_path / "klue"), _task(), tokenizer)
    assert "token_type_ids" not in tokenizer.model_input_names
