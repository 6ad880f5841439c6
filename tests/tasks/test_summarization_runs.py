"""Summarization in whole runs: what is saved is a plain transformers checkpoint that writes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import nlptk
from nlptk.checkpoints import quiet
from tests.tiny_models import WORDS, write_checkpoint


def _rows(path: Path, count: int = 24) -> list[str]:
    """The first two words are the summary."""
    documents = [" ".join(WORDS[(n * 7 + i * 3) % len(WORDS)] for i in range(4 + n % 9)) for n in range(count)]
    rows = [{"document": text, "summary": " ".join(text.split()[:2])} for text in documents]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return documents


@pytest.mark.parametrize("family", ["t5", "gpt2", "bert"])
def test_a_run_saves_a_model_that_writes_the_same_without_nlptk(family: str, tmp_path: Path) -> None:
    documents = _rows(tmp_path / "rows.jsonl")
    result = nlptk.train(
        task={"name": "summarization", "max_new_tokens": 8, "num_beams": 2, "generate_in_training": True},
        model=write_checkpoint(family, tmp_path / family),
        data={"train": tmp_path / "rows.jsonl", "validation": tmp_path / "rows.jsonl", "duplicates": "keep"},
        output=tmp_path / "run",
        training={"num_train_epochs": 3, "per_device_train_batch_size": 8, "learning_rate": 0.01, "disable_tqdm": True},
        bootstrap=0,
    )
    assert {"eval_rouge_l", "eval_loss", "eval_prediction_words"} <= set(result.metrics)
    history = json.loads((result.folder / "trainer_state.json").read_text())["log_history"]
    assert sum("eval_rouge_l" in entry for entry in history) == 3, "scored after every epoch"
    how = next(s for s in json.loads((result.folder / "report.json").read_text())["sections"] if s["title"] == "Run")
    assert ("packed" in how["facts"]["batches"].split("(")[0]) == (family == "gpt2")

    ours = nlptk.pipeline(result.artifact)(documents[:6])
    assert [set(row) for row in ours] == [{"summary", "truncated"}] * 6
    config = AutoConfig.from_pretrained(result.artifact)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with quiet():
        plain = auto.from_pretrained(result.artifact)
    tokenizer = AutoTokenizer.from_pretrained(result.artifact)
    for document, row in zip(documents[:6], ours, strict=True):
        prefix = config.task_specific_params["summarization"]["prefix"] if config.is_encoder_decoder else ""
        prompt = f"{prefix}{document}" if config.is_encoder_decoder else f"{document}\nTL;DR:"
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        written = plain.generate(**inputs)[0]
        written = written if config.is_encoder_decoder else written[inputs["input_ids"].shape[1] :]
        assert str(tokenizer.decode(written, skip_special_tokens=True)).strip() == row["summary"]

    again = nlptk.evaluate(result.artifact, tmp_path / "rows.jsonl", bootstrap=0)
    assert again.figures["loss"].value == pytest.approx(result.metrics["eval_loss"], abs=1e-5)
    assert again.figures["rouge_l"].value == pytest.approx(result.metrics["eval_rouge_l"], abs=1e-9)


def test_an_encoder_decoder_made_of_an_encoder_is_trained_on(tmp_path: Path) -> None:
    _rows(tmp_path / "rows.jsonl", 16)
    keys: dict[str, Any] = {
        "task": {"name": "summarization", "max_new_tokens": 8},
        "data": {"train": tmp_path / "rows.jsonl", "validation": tmp_path / "rows.jsonl", "duplicates": "keep"},
        "training": {"num_train_epochs": 4, "learning_rate": 0.01, "disable_tqdm": True, "save_strategy": "no"},
        "bootstrap": 0,
    }
    first = nlptk.train(model=write_checkpoint("bert", tmp_path / "bert"), output=tmp_path / "first", **keys)
    second = nlptk.train(model=first.artifact, output=tmp_path / "second", strategy="prompt_tuning", **keys)
    assert second.metrics["eval_loss"] < first.metrics["eval_loss"] * 1.5, "it goes on from what was learnt"
    assert len(nlptk.pipeline(second.artifact)(["the parcel came late"])) == 1
