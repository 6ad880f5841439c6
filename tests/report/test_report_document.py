"""report.json and report.html on disk: stable, complete, and written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlptk import report
from nlptk.errors import ArtifactError, NlptkError
from nlptk.report.page import RENDERERS
from nlptk.report.sections import KEYS
from nlptk.task import Figure, Ledger, Section

EVERY_KIND: list[Section] = [
    report.facts("Data set", {"rows": 12, "path": Path("a/b.csv"), "kept": True}, group="Data"),
    report.table("Per label", ["label", "F1"], [["a", np.float32(0.5)], ["b", None]], note="On the test split."),
    report.figures("Figures", {"accuracy": Figure(0.9, 0.8, 0.95), "log_loss": Figure(1.5)}),
    report.curves("Loss", {"train": [(0, 1.0), (1, float("nan")), (2, 0.5)]}, x_label="step", y_label="loss (nats)"),
    report.matrix("Confusion", np.array([[3, 1], [0, 2]]), row_labels=["a", "b"], column_labels=["a", "b"]),
    report.reliability(
        "Calibration", [{"confidence": 0.9, "accuracy": 0.8, "count": 5, "low": 0.6, "high": 0.9}], ece=0.1
    ),
    report.histogram("Length", {"train": [1, 2], "test": [0, 1]}, edges=[0, 8, 16], x_label="tokens", marks={"cut": 9}),
    report.bars("F1 by label", {"a": 0.5, "b": None}, x_label="F1"),
    report.code("Recipe", "task: ner\n", language="yaml"),
    report.examples("Hardest", [{"text": "so so", "gold": "a", "loss": 3.2}]),
    report.ledger("Lost", {"train": Ledger(rows=2, tokens=10, tokens_lost=1)}),
    report.checks("Checks", [("reload", "pass", "same logits")]),
]


def minimal(**more: Any) -> dict[str, Any]:
    return {"title": "T", "headline": {"accuracy": Figure(0.9, 0.8, 0.95)}, "primary": "accuracy", **more}


def test_every_kind_survives_the_round_trip_and_is_on_the_page(tmp_path: Path) -> None:
    paths = report.write_report(tmp_path / "new" / "folder", minimal(sections=EVERY_KIND, subtitle="S"))
    state = report.load_report(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["report.json", "report.html"]
    assert [section["title"] for section in state["sections"]] == [section["title"] for section in EVERY_KIND]
    assert {section["kind"] for section in state["sections"]} == set(KEYS) == set(RENDERERS)
    html = paths[1].read_text(encoding="utf-8")
    assert all(f"<h3>{section['title']}</h3>" in html for section in EVERY_KIND)
    assert state["sections"][10]["rows"] == [["train", 2, 10, 1, *[0] * 6, "10.00 %"]]


def test_a_loaded_report_can_be_written_again_to_the_same_bytes(tmp_path: Path) -> None:
    first = report.write_report(tmp_path / "a", minimal(sections=EVERY_KIND))
    second = report.write_report(tmp_path / "b", report.load_report(tmp_path / "a"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_json_is_versioned_ordered_and_holds_no_nan(tmp_path: Path) -> None:
    headline = {"mcc": Figure(float("nan")), "accuracy": {"value": np.float64(0.5)}, "roc_auc": None}
    path, _ = report.write_report(tmp_path, {"title": "T", "headline": headline, "context": {"loss": float("inf")}})
    state = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(state) == ["format", "title", "subtitle", "warnings", "primary", "headline", "context", "sections"]
    assert state["format"] == 1
    assert state["headline"]["mcc"] == state["headline"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert state["headline"]["accuracy"]["value"] == 0.5
    assert state["context"] == {"loss": None}


def test_a_text_with_a_lone_surrogate_is_written(tmp_path: Path) -> None:
    report.write_report(tmp_path, minimal(sections=[report.code("C", "a\ud800b", language="text")]))
    assert report.load_report(tmp_path)["sections"][0]["text"] == "a?b"


def test_a_failed_replacement_leaves_the_old_report_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report.write_report(tmp_path, minimal())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write_report(tmp_path, minimal(title="other"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_bad_section_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(NlptkError, match="kind 'tabel' is unknown; did you mean 'table'"):
        report.write_report(tmp_path / "r", minimal(sections=[{"kind": "tabel", "title": "X"}]))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "facts", "facts": {}}, "section 0: no title"),
        ({"kind": "facts", "title": "X"}, "facts without \\['facts'\\]"),
        (report.facts("X", {}) | {"gruop": "Data"}, "unknown key 'gruop'; did you mean 'group'"),
        (report.table("X", ["a"], [[1, 2]]), "row 0 has 2 items; expected 1"),
        (report.histogram("X", {"a": [1]}, edges=[0], x_label="x"), "series 'a' has 1 items; expected 0"),
        (report.matrix("X", [[1]], row_labels=["a", "b"], column_labels=["a"]), "values has 1 items; expected 2"),
        (report.facts("X", {"f": object()}), "sections\\[0\\].facts.f: a object has no JSON form"),
    ],
)
def test_a_section_that_cannot_be_drawn_says_where_and_why(tmp_path: Path, section: Section, message: str) -> None:
    with pytest.raises(NlptkError, match=message):
        report.write_report(tmp_path, minimal(sections=[section]))


def test_a_primary_figure_that_is_not_in_the_headline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NlptkError, match="did you mean 'accuracy'"):
        report.write_report(tmp_path, minimal() | {"primary": "acuracy"})


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ('{"format": 2}', "format 2; expected 1"), ("[]", "None")]
)
def test_a_broken_or_foreign_report_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        report.load_report(tmp_path)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no report here"):
        report.load_report(tmp_path)
