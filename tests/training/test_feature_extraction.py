"""The frozen backbone runs once over the rows; its features are kept, checked, and never met by another model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

from nlptk.data import cache_dir
from nlptk.training import stored_features
from nlptk.training.run import TrainResult
from nlptk.training.trainer import NlptkTrainer
from tests.tiny_models import write_checkpoint
from tests.training.runs import assert_same_weights, train, weights, write_rows


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLPTK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every computation of features."""
    counts: list[int] = []
    original = stored_features._compute

    def counting(model: object, features: object, *args: object, **kwargs: object) -> None:
        counts.append(features.ledger.rows)  # type: ignore[attr-defined]
        original(model, features, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(stored_features, "_compute", counting)
    return counts


def _extract(checkpoint: Path, rows: Path, output: Path, **keys: object) -> TrainResult:
    training = {"num_train_epochs": 3, "learning_rate": 0.05}
    return train(checkpoint, rows, output, strategy="feature_extraction", training=training, **keys)  # type: ignore[arg-type]


def test_the_backbone_sees_every_row_once_in_all_epochs(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = BertModel.forward

    def counting(self: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(input_ids))
        return original(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counting)
    _extract(tiny["bert"], rows, tmp_path / "run")
    assert sum(seen) == 22


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert", "gpt2", "llama", "t5"])
def test_the_artifacts_logits_are_the_heads_on_the_features(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """What training measured on stored features, against the saved model run by transformers alone."""
    measured: list[list[np.ndarray]] = []
    original = NlptkTrainer.run

    def keeping(self: object, *args: object) -> object:
        pooled, loss = original(self, *args)  # type: ignore[arg-type]
        measured.append(list(pooled))
        return pooled, loss

    monkeypatch.setattr(NlptkTrainer, "run", keeping)
    result = _extract(tiny[family], rows, tmp_path / "run", validation=rows)
    model = AutoModelForSequenceClassification.from_pretrained(result.artifact).train(False)
    tokenizer = AutoTokenizer.from_pretrained(result.artifact)
    texts = [json.loads(line)["text"] for line in rows.read_text().splitlines()]
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
    np.testing.assert_allclose(np.asarray(measured[-1]), np.asarray(logits), atol=1e-5)


def test_a_second_run_finds_the_features(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, computed: list[int]
) -> None:
    first = _extract(tiny["bert"], rows, tmp_path / "one")
    second = _extract(tiny["bert"], rows, tmp_path / "two")
    assert computed == [22]
    assert_same_weights(weights(first), weights(second), atol=0)


def test_other_weights_rows_or_tokens_do_not_meet_the_features(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, computed: list[int]
) -> None:
    _extract(tiny["bert"], rows, tmp_path / "run")
    other = write_checkpoint("bert", tmp_path / "bert")
    model = AutoModelForSequenceClassification.from_pretrained(other)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias[0] += 1e-3
    model.bert.save_pretrained(other)
    _extract(other, rows, tmp_path / "other weights")
    _extract(tiny["bert"], write_rows(tmp_path / "rows.jsonl", 23), tmp_path / "other rows")
    retokenized = write_checkpoint("bert", tmp_path / "retokenized")
    tokenizer = json.loads((retokenized / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, two = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (retokenized / "tokenizer.json").write_text(json.dumps(tokenizer))
    _extract(retokenized, rows, tmp_path / "other tokens")
    assert computed == [22, 22, 23, 22]


@pytest.mark.parametrize("damage", ["cut short", "one bit"])
def test_damaged_features_are_made_again(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, computed: list[int], damage: str
) -> None:
    first = _extract(tiny["bert"], rows, tmp_path / "one")
    (file,) = (cache_dir() / "backbone").glob("*.npy")
    data = bytearray(file.read_bytes())
    if damage == "cut short":
        data = data[: len(data) // 2]
    else:
        data[-5] ^= 1
    file.write_bytes(data)
    second = _extract(tiny["bert"], rows, tmp_path / "two")
    assert computed == [22, 22]
    assert_same_weights(weights(first), weights(second), atol=0)


@pytest.mark.slow
def test_two_processes_at_once_make_one_file(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    def start(name: str) -> subprocess.Popen[bytes]:
        words = ["task=classification", f"model={tiny['bert']}", f"data.train={rows}", "data.validation=none"]
        words += ["data.test=none", "strategy=feature_extraction", f"output={tmp_path / name}", "bootstrap=0"]
        return subprocess.Popen([sys.executable, "-m", "nlptk", "train", *words], stderr=subprocess.PIPE)

    both = [start("one"), start("two")]
    messages = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], messages
    names = [path.name for path in (cache_dir() / "backbone").iterdir()]
    assert len(names) == 1
    assert_same_weights(weights(tmp_path / "one" / "model"), weights(tmp_path / "two" / "model"), atol=0)
