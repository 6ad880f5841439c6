"""nlptk's own artifacts in the restored pipelines: they write what nlptk writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

import nlptk
import nlptk.pipelines.restored  # registers the pipelines
from tests.tiny_models import WORDS, write_checkpoint

TEXTS = ["my parcel came late and broken", "the invoice shows the wrong amount"]
TASKS: list[tuple[str, dict[str, Any], tuple[str, str], str]] = [
    ("summarization", {"name": "summarization"}, ("document", "summary"), "summary_text"),
    ("translation", {"name": "translation"}, ("source", "target"), "translation_text"),
    (
        "translation_en_to_de",
        {"name": "translation", "source_lang": "en", "target_lang": "de"},
        ("source", "target"),
        "translation_text",
    ),
    ("text2text-generation", {"name": "generation"}, ("prompt", "completion"), "generated_text"),
]


@pytest.mark.parametrize(("pipeline", "task", "columns", "key"), TASKS, ids=[task[0] for task in TASKS])
def test_an_artifact_writes_the_same_in_transformers_pipeline(
    pipeline: str, task: dict[str, Any], columns: tuple[str, str], key: str, tmp_path: Path
) -> None:
    rows = [dict(zip(columns, (" ".join(WORDS[n : n + 5]), WORDS[n]), strict=True)) for n in range(16)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = nlptk.train(
        task={"max_new_tokens": 4, "num_beams": 1, **task},
        model=write_checkpoint("t5", tmp_path / "t5"),
        data={"train": tmp_path / "rows.jsonl", "validation": "none", "test": "none"},
        preprocessing={"max_length": 48},
        training={"max_steps": 1, "save_strategy": "no", "disable_tqdm": True},
        output=tmp_path / "run",
    )
    made: Any = transformers.pipeline(pipeline, model=str(result.artifact), device="cpu")  # type: ignore[call-overload]
    longer = [*TEXTS, " ".join(WORDS[:60]), " ".join(WORDS[10:90])]
    theirs = [row[key].strip() for row in made(longer, truncation=True)]
    ours = nlptk.pipeline(result.artifact, device="cpu")(longer)
    assert [next(iter(row.values())).strip() for row in ours] == theirs
    assert [row["truncated"] for row in ours] == [False, False, True, True]
    assert any(theirs)


def test_an_extractive_artifact_answers_the_same_in_transformers_pipeline(tmp_path: Path) -> None:
    texts = [" ".join(WORDS[n : n + 8]) for n in range(16)]
    rows = [
        {
            "question": f"which {WORDS[n]}",
            "context": text,
            "answer": WORDS[n + 3],
            "answer_start": text.index(WORDS[n + 3]),
        }
        for n, text in enumerate(texts)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = nlptk.train(
        task="qa",
        model=write_checkpoint("bert", tmp_path / "bert"),
        data={"train": tmp_path / "rows.jsonl", "validation": "none", "test": "none"},
        training={"max_steps": 20, "learning_rate": 5e-3, "save_strategy": "no", "disable_tqdm": True},
        output=tmp_path / "run",
    )
    made: Any = transformers.pipeline("question-answering", model=str(result.artifact), device="cpu")  # type: ignore[call-overload]
    asked = [{"question": row["question"], "context": row["context"]} for row in rows]
    theirs, ours = made(asked, align_to_words=False), nlptk.pipeline(result.artifact, device="cpu")(asked)
    assert [(row["answer"], row["start"], row["end"]) for row in theirs] == [
        (row["answer"], row["start"], row["end"]) for row in ours
    ]
    assert len({row["answer"] for row in ours}) > 3
