"""Texts longer than the model: what a task cannot do with them is refused, and what is cut off is warned of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import nlptk
from nlptk import artifact, registry
from nlptk.checkpoints import load_tokenizer
from nlptk.errors import RecipeError
from nlptk.task import Ledger, Preprocessing
from nlptk.training.features import cut_warnings
from tests.tiny_models import WORDS

ROWS: dict[str, dict[str, Any]] = {
    "qa": {"question": "where is it", "context": "it is late", "answers": {"text": ["late"], "answer_start": [6]}},
    "ner": {"tokens": ["parcel", "late"], "tags": ["O", "B-X"]},
    "summarization": {"document": " ".join(WORDS), "summary": "late"},
    "translation": {"source": "late", "target": "parcel"},
    "generation": {"prompt": "late", "completion": "parcel"},
}


def _train(task: str | dict[str, Any], model: Path, folder: Path, **preprocessing: Any) -> nlptk.TrainResult:
    name = task if isinstance(task, str) else task["name"]
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(ROWS[name]) + "\n" for _ in range(4)))
    return nlptk.train(
        task=task,
        model=model,
        data={"train": file, "validation": "none", "test": "none"},
        preprocessing=preprocessing,
        training={"max_steps": 1, "warmup_steps": 0, "save_strategy": "no", "disable_tqdm": True},
        output=folder / "run",
    )


def _ledger(run: Path) -> dict[str, dict[str, int]]:
    found = json.loads((run / "report.json").read_text())["sections"]
    ledger = next(section for section in found if section["title"] == "Truncation ledger")
    return {row[0]: dict(zip(ledger["columns"], row, strict=True)) for row in ledger["rows"]}


@pytest.mark.parametrize(
    ("task", "family", "wanted", "cure"),
    [
        ("summarization", "t5", "window", r"truncate_tail or truncate_head_tail.*task\.long_text=map_reduce"),
        ("translation", "t5", "window", "truncate_tail or truncate_head_tail"),
        ("generation", "gpt2", "window", "truncate_tail or truncate_head_tail"),
        ("ner", "bert", "truncate_tail", "give window, or leave it out"),
        ("qa", "bert", "truncate_head_tail", "give window, or leave it out"),
        ({"name": "qa", "method": "generative"}, "t5", "truncate_tail", "give window, or leave it out"),
    ],
)
def test_what_a_task_cannot_do_with_long_texts_is_refused_with_what_it_can(
    task: Any, family: str, wanted: str, cure: str, tiny: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"preprocessing\.long_text: {wanted}: .*{cure}"):
        _train(task, tiny[family], tmp_path, long_text=wanted)


def test_the_artifact_keeps_what_the_task_does_where_the_recipe_leaves_it_open(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    result = _train("qa", tiny["bert"], tmp_path, max_length=32)
    assert artifact.load_manifest(result.artifact)[1].preprocessing == Preprocessing(32, "window", 0)


def test_a_split_that_loses_many_tokens_is_warned_of_by_the_run(tiny: dict[str, Path], tmp_path: Path) -> None:
    (warning,) = _train("summarization", tiny["t5"], tmp_path, max_length=24).warnings
    prefix = load_tokenizer(str(tiny["t5"]))("summarize: " + " ".join(WORDS), add_special_tokens=False)["input_ids"]
    lost = (len(prefix) - 23) / len(prefix)  # the end of text has one place
    assert warning.startswith(f"train: {lost:.0%} of the tokens were cut off")
    assert warning.endswith("give a larger preprocessing.max_length or task.long_text=map_reduce")


def test_what_map_reduce_reads_is_not_called_lost(tiny: dict[str, Path], tmp_path: Path) -> None:
    reduced = {"name": "summarization", "long_text": "map_reduce", "max_new_tokens": 4}
    (warning,) = _train(reduced, tiny["t5"], tmp_path, max_length=24).warnings
    assert "tokens are not trained on" in warning
    (counts,) = _ledger(tmp_path / "run").values()
    assert counts["tokens lost"] == 0 < counts["tokens untrained"] < counts["tokens"]
    assert counts["rows truncated"] == 0


@pytest.mark.parametrize(("lost", "warned"), [(5, False), (6, True)])
def test_more_than_a_twentieth_of_the_tokens_is_warned_of(lost: int, warned: bool) -> None:
    cls = registry.get_task("classification")
    found = cut_warnings({"test": Ledger(rows=9, tokens=100, tokens_lost=lost)}, cls(cls.Options()))
    assert (
        found
        == [
            "test: 6% of the tokens were cut off, unread; give a larger preprocessing.max_length or "
            "preprocessing.long_text=window"
        ]
        * warned
    )


@pytest.mark.parametrize("task", ["generation", "summarization", "translation"])
def test_targets_that_are_cut_are_warned_of(task: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    source, target = {
        "generation": ("prompt", "completion"),
        "summarization": ("document", "summary"),
        "translation": ("source", "target"),
    }[task]
    rows = tmp_path / "rows.jsonl"
    texts = [{source: f"go {n}", target: "one two three four five"} for n in range(8)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in texts))
    result = nlptk.train(
        task={"name": task, "max_new_tokens": 3},
        model=tiny["t5"],
        data={"train": rows, "validation": 0.25},
        training={"max_steps": 1, "warmup_steps": 0, "disable_tqdm": True},
        output=tmp_path / "run",
    )
    for split, said in (("train", "training leaves them out"), ("validation", "loss and perplexity leave them out")):
        (warning,) = (w for w in result.warnings if w.startswith(f"{split}: ") and "of the targets" in w)
        assert f"{said}; give a larger task.max_new_tokens" in warning
        share = int(re.search(r"(\d+)%", warning)[1])  # type: ignore[index]
        counts = _ledger(tmp_path / "run")[split]
        assert share == round(100 * counts["target tokens lost"] / counts["target tokens"]) > 5
        assert counts["tokens lost"] == 0


def test_windows_are_not_recommended_to_who_has_them() -> None:
    cls = registry.get_task("classification")
    lost = {"test": Ledger(rows=9, tokens=100, tokens_lost=9)}
    (found,) = cut_warnings(lost, cls(cls.Options()), long_text="window")
    assert found == "test: 9% of the tokens were cut off, unread; give a larger preprocessing.max_length"
