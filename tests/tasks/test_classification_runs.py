"""The classification task in whole runs: special tokens in texts, imbalance, a head that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers import pipeline as transformers_pipeline

import nlptk
from nlptk.checkpoints import quiet
from tests.tiny_models import write_checkpoint

SPELLED = ["late [SEP] refund", "[PAD] late [PAD]", "late <|endoftext|>", "<|endoftext|>", "late [CLS] [MASK] refund"]
T5_ENDS = ["late </s> refund", "</s>", "</s></s> late", "late <pad>"]


def _write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def _train(
    model: Path,
    rows: Path,
    output: Path,
    *,
    epochs: int = 2,
    learning_rate: float = 0.01,
    batch_size: int = 4,
    **keys: Any,
) -> Any:
    training: dict[str, Any] = {"per_device_train_batch_size": batch_size, "learning_rate": learning_rate}
    training |= {"disable_tqdm": True, "save_strategy": "no"}
    data = {"train": rows, "validation": "none", "test": "none", "duplicates": "keep"}
    return nlptk.train(
        **{"task": "classification", "model": model, "data": data, "output": output, "bootstrap": 0, **keys},
        training={**training, "num_train_epochs": epochs},
    )


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("strategy", ["full", "feature_extraction", "prompt_tuning"])
def test_spelled_out_special_tokens_train_and_score_alike_everywhere(
    family: str, strategy: str, tmp_path: Path
) -> None:
    """In training (packed where it can be), in nlptk.pipeline and in transformers' own."""
    texts = [*SPELLED, *(T5_ENDS if family == "t5" else [])]
    rows = [(f"{text} {n}" if n % 2 else text, "odd" if n % 2 else "even") for n, text in enumerate(texts * 2)]
    model = write_checkpoint(family, tmp_path / family)
    result = _train(model, _write(tmp_path / "rows.jsonl", rows), tmp_path / "run", strategy=strategy)
    ours = nlptk.pipeline(result.artifact)(texts)
    assert [nlptk.pipeline(result.artifact)(text)["score"] for text in texts] == pytest.approx(
        [row["score"] for row in ours], abs=1e-5
    )
    with quiet():
        plain: Any = transformers_pipeline("text-classification", model=str(result.artifact), top_k=None)
    for text, row in zip(texts, ours, strict=True):
        if text in T5_ENDS:
            continue  # transformers' T5 takes these for the end of the text, whatever its tokenizer is told
        scores = {entry["label"]: entry["score"] for entry in plain([text])[0]}
        assert scores == pytest.approx(row["scores"], abs=1e-5), text


def test_reading_special_tokens_as_text_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    model = write_checkpoint("bert", tmp_path / "bert")
    rows = _write(tmp_path / "rows.jsonl", [(f"late {n}", str(n % 2)) for n in range(8)])
    result = _train(model, rows, tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(result.artifact)
    assert tokenizer("late [SEP]")["input_ids"].count(tokenizer.sep_token_id) == 1
    assert AutoTokenizer.from_pretrained(model)("late [SEP]")["input_ids"].count(tokenizer.sep_token_id) == 2


def test_balanced_weights_move_the_decision_to_the_rare_label(tmp_path: Path) -> None:
    """One text stands in 20 of 60 rows, in six of them as rare: the loss is least at 6/20 by count, and with the
    balanced weights 5 and 0.556 at 6 * 5 / (6 * 5 + 14 * 0.556) = 0.79.

    All rows in one batch: in smaller ones gradient clipping cuts the rare rows' large gradients more than the others'.
    """
    rows = [("screen freezes" if n < 20 else "late refund", "rare" if n < 6 else "usual") for n in range(60)]
    path = _write(tmp_path / "rows.jsonl", rows)
    model = write_checkpoint("bert", tmp_path / "bert")
    for weights, rare, labels in ((None, 0.3, ["usual", "usual"]), ("balanced", 0.79, ["rare", "usual"])):
        task = {"name": "classification", "class_weights": weights}
        result = _train(model, path, tmp_path / str(weights), task=task, epochs=300, learning_rate=0.003, batch_size=60)
        freezes, late = nlptk.pipeline(result.artifact)(["screen freezes", "late refund"])
        assert [freezes["label"], late["label"]] == labels
        assert freezes["scores"]["rare"] == pytest.approx(rare, abs=0.06)


def test_the_report_names_a_head_made_anew_for_other_labels(tmp_path: Path) -> None:
    model = write_checkpoint("bert", tmp_path / "bert")
    with quiet():
        AutoModelForSequenceClassification.from_pretrained(model, num_labels=5).save_pretrained(model)
    rows = _write(tmp_path / "rows.jsonl", [(f"late {n}", str(n % 2)) for n in range(8)])
    result = _train(model, rows, tmp_path / "run")
    report = json.loads((result.folder / "report.json").read_text())
    (facts,) = [part for part in report["sections"] if part["title"] == "Run"]
    assert "classifier.bias, classifier.weight" in json.dumps(facts)
