"""The qa task in whole runs of tiny models: it learns, comes back equal, and is a plain transformers folder."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    LlamaForCausalLM,
)

import nlptk
from nlptk import registry
from nlptk.checkpoints import load_model, load_tokenizer, quiet
from nlptk.errors import UnsupportedError
from tests.tiny_models import WORDS, write_checkpoint

QUESTION = "where is it"


def _rows(count: int) -> list[dict[str, Any]]:
    """The answer is the word after `answer`; in every fourth row there is neither. Contexts of 8 to 40 words."""
    chance = random.Random(0)
    found: list[dict[str, Any]] = []
    for row in range(count):
        words = [chance.choice([word for word in WORDS if word != "answer"]) for _ in range(chance.randint(8, 40))]
        if row % 4 == 3:
            found.append({"question": QUESTION, "context": " ".join(words), "text": "", "start": ""})
            continue
        place = chance.randrange(1, len(words) - 1)
        words[place] = "answer"
        start = len(" ".join(words[: place + 1])) + 1
        found.append({"question": QUESTION, "context": " ".join(words), "text": words[place + 1], "start": start})
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same rows as SQuAD json and as flat columns."""
    folder, rows = tmp_path_factory.mktemp("rows"), _rows(64)
    paragraphs = [
        {
            "context": row["context"],
            "qas": [
                {
                    "question": QUESTION,
                    "answers": [{"text": row["text"], "answer_start": row["start"]}] if row["text"] else [],
                }
            ],
        }
        for row in rows
    ]
    (folder / "squad.json").write_text(json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]}))
    with (folder / "flat.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context", "answer_text", "answer_start"])
        writer.writerows([QUESTION, row["context"], row["text"], row["start"]] for row in rows)
    return {"squad": folder / "squad.json", "flat": folder / "flat.csv"}


def _train(
    model: Path, rows: Path, output: Path, *, epochs: float = 2, max_length: int = 40, **task: Any
) -> nlptk.TrainResult:
    return nlptk.train(
        task={"name": "qa", **task},
        model=model,
        data={"train": rows, "validation": rows, "test": "none", "duplicates": "keep"},
        preprocessing={"max_length": max_length},
        training={
            "num_train_epochs": epochs,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.005,
            "eval_on_start": True,
            "eval_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
        },
        bootstrap=0,
        output=output,
    )


def _first_loss(result: nlptk.TrainResult) -> float:
    history = json.loads((result.folder / "trainer_state.json").read_text())["log_history"]
    return float(next(entry["eval_loss"] for entry in history if "eval_loss" in entry))


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "gpt2", "llama", "t5"])
def test_extraction_learns_and_is_a_plain_question_answering_model(
    family: str, data: dict[str, Path], tmp_path: Path
) -> None:
    model = write_checkpoint(family, tmp_path / family)
    windowed = _train(model, data["squad"], tmp_path / "windowed")
    assert windowed.metrics["eval_loss"] < 0.95 * _first_loss(windowed)
    result = _train(model, data["squad"], tmp_path / "run", max_length=128)

    again = nlptk.evaluate(result.artifact, data["squad"], bootstrap=0).figures
    assert again["loss"].value == pytest.approx(result.metrics["eval_loss"], abs=1e-5)
    assert again["f1"].value == result.metrics["eval_f1"]

    with quiet():
        plain, info = AutoModelForQuestionAnswering.from_pretrained(result.artifact, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = nlptk.pipeline(result.artifact)
    tokenizer = AutoTokenizer.from_pretrained(result.artifact)
    row = min(_rows(64), key=lambda row: len(tokenizer(row["context"])["input_ids"]))
    inputs = tokenizer(QUESTION, row["context"], return_tensors="pt")
    found = ours.task.featurize({"question": [QUESTION], "context": [row["context"]]}, tokenizer, _whole(128))
    assert found["input_ids"] == inputs["input_ids"].tolist()
    with torch.no_grad():
        outputs = plain(**inputs)
    kept = ours.task.outputs(outputs, {"labels": torch.tensor(found["labels"])})
    features = _features(found)
    (expected,) = ours.task.decode(ours.task.pool(kept, features), {"context": [row["context"]]}, features)
    assert ours({"question": QUESTION, "context": row["context"]}) == pytest.approx(expected, abs=1e-4)


def _whole(length: int) -> Any:
    from nlptk.task import Preprocessing

    return Preprocessing(length)


def _features(found: dict[str, list[Any]]) -> Any:
    from datasets import Dataset

    from nlptk.task import Features, Ledger

    return Features(Dataset.from_dict(found), Ledger())


def test_flat_columns_give_the_rows_that_squad_files_give(data: dict[str, Path], tmp_path: Path) -> None:
    model = write_checkpoint("bert", tmp_path / "bert")
    one, other = (_train(model, data[form], tmp_path / form, epochs=0.25) for form in ("squad", "flat"))
    same = ("eval_loss", "eval_f1", "eval_has_answer_rows", "eval_no_answer_rows", "train_loss")
    assert [one.metrics[name] for name in same] == [other.metrics[name] for name in same]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "auto"), [("gpt2", AutoModelForCausalLM), ("t5", AutoModelForSeq2SeqLM)])
def test_written_answers_are_learnt_and_generated_by_the_plain_model(
    family: str, auto: Any, data: dict[str, Path], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"method": "generative", "max_new_tokens": 6, "no_answer_threshold": "never"}
    model = write_checkpoint(family, tmp_path / family)
    result = _train(model, data["flat"], tmp_path / "run", max_length=128, **settings)
    assert result.metrics["eval_loss"] < 0.8 * _first_loss(result)
    assert nlptk.evaluate(result.artifact, data["flat"], bootstrap=0).figures["f1"].value == result.metrics["eval_f1"]

    ours, plain = nlptk.pipeline(result.artifact), auto.from_pretrained(result.artifact)
    tokenizer = AutoTokenizer.from_pretrained(result.artifact)
    short = [row for row in _rows(64) if len(row["context"].split()) < 10]
    for row, found in zip(short, ours([{"question": QUESTION, "context": r["context"]} for r in short]), strict=True):
        after = " answer:" if family == "gpt2" else ""
        inputs = tokenizer(f"question: {QUESTION} context: {row['context']}{after}", return_tensors="pt")
        written = plain.generate(**inputs)[0, inputs["input_ids"].shape[1] if family == "gpt2" else 0 :]
        text: Any = tokenizer.decode(written, skip_special_tokens=True)
        assert found["answer"] == text.strip()


def test_an_encoder_cannot_write(data: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="bert is an encoder alone"):
        _train(write_checkpoint("bert", tmp_path / "bert"), data["squad"], tmp_path / "run", method="generative")


def test_llamas_head_takes_the_backbone_of_a_causal_lm(tmp_path: Path) -> None:
    """transformers by itself finds none of its weights, for the two call the backbone by different names."""
    folder = write_checkpoint("llama", tmp_path / "llama")
    writer = LlamaForCausalLM(AutoConfig.from_pretrained(folder))
    with quiet():
        writer.save_pretrained(folder)
    cls = registry.get_task("qa")
    task = cls(cls.Options())
    task.tokenizer = load_tokenizer(str(folder))
    loaded = load_model(str(folder), task, task.tokenizer)
    assert loaded.new == ["qa_outputs.bias", "qa_outputs.weight"]
    expected = {name.removeprefix("model."): tensor for name, tensor in writer.state_dict().items()}
    for name, tensor in loaded.model.transformer.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(tensor, expected[name]), name

    with quiet():
        loaded.model.save_pretrained(tmp_path / "saved")
        _, info = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"]
    assert not any(name.startswith("model.") for name in load_file(tmp_path / "saved" / "model.safetensors"))
