"""Rows that are dropped are told of, with counts and places, wherever rows go in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nlptk
from nlptk.report import load_report
from tests.doors import cli, rows, train_tiny, write_rows
from tests.tiny_models import write_checkpoint

BAD = {"text": "", "label": "good"}
STRANGE = {"text": "something else", "label": "never seen"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """Eight good rows, with an empty text as the third and a label that training never saw as the last."""
    found: list[dict[str, Any]] = rows(8)
    write_rows(tmp_path / "spoiled.jsonl", [*found[:2], BAD, *found[2:], STRANGE])
    return tmp_path / "spoiled.jsonl"


def test_an_evaluation_says_which_rows_it_left_out(artifact: Path, spoiled: Path, tmp_path: Path) -> None:
    data = {"train": str(spoiled), "bad_rows": "drop", "unseen_labels": "drop"}
    result = nlptk.evaluate(artifact, data, output=tmp_path / "evaluation", bootstrap=0)
    assert result.rows == 8
    assert [(item["reason"], item["count"], item["rows"][0]["row"]) for item in result.data.dropped] == [
        ("bad row", 1, 3),
        ("label that the model does not know", 1, 10),
    ]
    assert any("1 row left out: bad row" in line and "row 3" in line for line in result.warnings)
    titles = {section["title"]: section for section in load_report(tmp_path / "evaluation")["sections"]}
    found = {row[0]: row[1] for row in titles["What was found in the rows"]["rows"]}
    assert found["dropped from rows: bad row"] == found["dropped from rows: label that the model does not know"] == 1
    assert found["repeated texts within rows"] == found["equal texts with different labels"] == 0
    assert sum(row[1] for row in titles["Labels"]["rows"]) == 8
    assert "task:" in titles["Recipe of the model"]["text"]


def test_what_was_left_out_is_told_when_the_rows_come_from_the_cache(artifact: Path, spoiled: Path) -> None:
    data = {"train": str(spoiled), "bad_rows": "drop", "unseen_labels": "drop"}
    first, second = (nlptk.evaluate(artifact, data, bootstrap=0) for _ in range(2))
    assert first.data.dropped == second.data.dropped != []


def test_a_prediction_says_which_rows_it_left_out(artifact: Path, spoiled: Path, tmp_path: Path) -> None:
    done = cli("predict", str(artifact), str(spoiled), str(tmp_path / "out.jsonl"), "bad_rows=drop", "--json")
    state = json.loads(done.out)
    assert state["rows"] == 9
    assert state["dropped"][0]["rows"] == [{"row": 3, "reason": "text is empty"}]
    assert "nlptk: warning: rows: 1 row left out: bad row" in done.err


def test_training_warns_of_rows_left_out_and_of_conflicts(tmp_path: Path) -> None:
    names = sorted({row["label"] for row in rows(24)})
    clash = [{"text": "one and the same", "label": name} for name in names[:2]]
    write_rows(tmp_path / "rows.jsonl", [*rows(24), BAD, *clash])
    result = nlptk.train(
        task="classification",
        model=write_checkpoint("bert", tmp_path / "bert"),
        data={"train": str(tmp_path / "rows.jsonl"), "validation": "none", "test": "none", "bad_rows": "drop"},
        training={"num_train_epochs": 1, "disable_tqdm": True},
        output=tmp_path / "run",
    )
    assert any("train: 1 row left out: bad row" in line and "row 25" in line for line in result.warnings)
    assert any("1 text comes with different labels, on 2 rows" in line for line in result.warnings)


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(artifact: Path, tmp_path: Path) -> None:
    place = write_rows(tmp_path / "rows.jsonl")
    for output in (place, place / "inner"):
        said = cli("evaluate", str(artifact), str(place), "--output", str(output))
        assert said.code == 2
        assert "cannot be written" in said.err
    said = cli("predict", str(artifact), str(place), str(place / "out.jsonl"))
    assert said.code == 2
    assert "cannot be written" in said.err
