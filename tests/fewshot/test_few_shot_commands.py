"""Few-shot learning on the command line; with the real MiniLM on real intents, as a user would go about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import nlptk
from nlptk.training.run import TrainResult
from tests.doors import cli

INTENTS = ["book_flight", "pin_change", "play_music", "recipe", "weather"]
MUSIC = ["play the newest album", "put on some jazz", "play that song again", "i want to hear rock music"]


def test_methods_are_compared_on_the_command_line(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    words = [
        *("fewshot", "compare", "--methods", "prototypical, linear_probe", "--shots", "1", "--shots", "3"),
        *("--ways", "3", "--queries", "2", "--episodes", "9", f"model={checkpoints['bert']}", f"data={data['meta']}"),
        *("data.duplicates=drop", "training.disable_tqdm=true"),
    ]
    called = cli(*words, f"output={tmp_path / 'one'}", "--json")
    assert called.code == 0, called.err
    found = json.loads(called.out)
    accuracy = found["accuracy"]
    assert list(accuracy) == ["prototypical", "linear_probe"]
    assert found["differences"]["to"] == "prototypical"
    for shots in ("1", "3"):
        paired = found["differences"]["by_shots"][shots]["linear_probe"]
        expected = accuracy["linear_probe"][shots]["value"] - accuracy["prototypical"][shots]["value"]
        assert paired["value"] == pytest.approx(expected)
        assert paired["low"] <= paired["value"] <= paired["high"]
    plots = [
        part for part in json.loads((tmp_path / "one" / "report.json").read_text())["sections"] if "series" in part
    ]
    assert [part["x_label"] for part in plots] == ["shots"]
    for method, points in plots[0]["series"].items():
        figures = {shots: accuracy[method][shots] for shots in ("1", "3")}
        assert points == [[float(k), figure["value"], figure["low"], figure["high"]] for k, figure in figures.items()]

    each = json.loads((tmp_path / "one" / "results.json").read_text())["accuracy_by_episode"]
    assert len(each["linear_probe"]["3"]) == 9
    assert sum(each["linear_probe"]["3"]) / 9 == pytest.approx(accuracy["linear_probe"]["3"]["value"])

    lists = [found["episodes"][shots] for shots in ("1", "3")]
    again = cli(*words, f"output={tmp_path / 'two'}", "--replay", lists[0], "--replay", lists[1], "--json")
    assert json.loads(again.out)["accuracy"] == accuracy
    told = cli(*words, f"output={tmp_path / 'three'}")
    assert f"{accuracy['prototypical']['1']['value']:.3f}" in told.out
    refused = cli("fewshot", "compare", "--methods", "nearest", *words[4:], f"output={tmp_path / 'four'}")
    assert refused.code == 2
    assert "prototypical" in refused.err


def test_episodes_do_not_replace_the_report_of_a_model(
    trained: TrainResult, checkpoints: dict[str, Path], data: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"model={checkpoints['bert']}", f"data={data['meta']}", "data.duplicates=drop", "task.rejection=0.5"]
    how = ["fewshot", "evaluate", "--shots", "1", "--ways", "3", "--queries", "2", "--episodes", "3"]
    before = trained.report.read_text()
    refused = cli(*how, *words, f"output={trained.folder}")
    assert refused.code == 2
    assert f"{trained.folder} has a trained model with its report; give another folder" in refused.err
    assert trained.report.read_text() == before
    monkeypatch.chdir(trained.folder.parent)
    called = cli(*how, *words)
    assert called.code == 0, called.err
    assert "warning: task.rejection: not used" in called.out
    assert (trained.folder.parent / "runs" / "episodes" / "report.html").is_file()


def classes(model: Path) -> list[str]:
    task: Any = nlptk.pipeline(model).task
    return list(task.labels.names)


def test_classes_are_added_and_removed_on_the_command_line(trained: TrainResult, tmp_path: Path) -> None:
    names = classes(trained.artifact)
    texts = ["refund the parcel", "refund please"]
    added = cli("fewshot", "add-class", trained.artifact, "refund", *texts, "--output", tmp_path / "more", "--json")
    assert added.code == 0, added.err
    state = json.loads(added.out)
    assert state["classes"] == [*names, "refund"]
    assert state["version"] == 2
    found = nlptk.pipeline(tmp_path / "more")("refund the parcel")
    assert (found["label"], found["nearest"][0]["text"]) == ("refund", texts[0])
    assert classes(trained.artifact) == names  # the old one is as it was

    told = cli("fewshot", "remove-class", tmp_path / "more", names[0])
    assert told.code == 0, told.err
    assert f"version 3 with {len(names)} classes" in told.out
    assert classes(tmp_path / "more") == [*names[1:], "refund"]
    for command, name in (("add-class", "empty"), ("remove-class", names[0])):
        refused = cli("fewshot", command, tmp_path / "more", name)
        assert refused.code == 2
        assert name in refused.err


@pytest.fixture(scope="module")
def intents(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Eight rows of four intents each to learn from, others of the same to measure on, and texts of none."""
    folder = tmp_path_factory.mktemp("intents")

    def rows(name: str) -> list[dict[str, Any]]:
        lines = (shared_data / "clinc150" / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def write(name: str, found: Iterable[dict[str, Any]]) -> Path:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({key: row[key] for key in ("text", "label")}) + "\n" for row in found))
        return path

    def some(name: str, each: int, known: Callable[[str], bool]) -> list[dict[str, Any]]:
        by_label: dict[str, list[dict[str, Any]]] = {}
        for row in rows(name):
            if known(row["label"]):
                by_label.setdefault(row["label"], []).append(row)
        return [row for found in by_label.values() for row in found[:each]]

    learnt = set(INTENTS) - {"play_music"}
    return {
        "train": write("train", some("train", 8, learnt.__contains__)),
        "validation": write("validation", some("validation", 20, learnt.__contains__)),
        "test": write("test", some("test", 30, learnt.__contains__)),
        "music": write("music", some("test", 30, lambda label: label == "play_music")),
        "strangers": write("strangers", rows("validation_out_of_scope")[:80]),
        "others": write("others", rows("test_out_of_scope")[:200]),
        "meta": write("meta", some("train", 10, lambda label: label not in INTENTS)),
    }


@pytest.mark.slow
def test_a_users_way_with_minilm_on_real_intents(intents: dict[str, Path], minilm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    called = cli(
        *("train", "task=few_shot", "task.method=prototypical", f"model={minilm}", f"data.train={intents['train']}"),
        *(f"data.validation={intents['validation']}", f"data.test={intents['test']}", "task.rejection=tuned"),
        *(f"task.out_of_scope={intents['strangers']}", f"task.out_of_scope_test={intents['others']}"),
        *(f"output={run}", "--json"),
    )
    assert called.code == 0, called.err
    value = {name: figure["value"] for name, figure in json.loads(called.out)["figures"]["test"].items()}
    assert value["accuracy"] > 0.95
    assert value["out_of_scope_auroc"] > 0.95
    assert value["out_of_scope_rejected"] > 0.8
    assert value["rejected"] < 0.2
    again = cli("evaluate", run, intents["test"], "--out-of-scope", intents["others"], "--json")
    assert json.loads(again.out)["figures"]["out_of_scope_auroc"]["value"] == pytest.approx(value["out_of_scope_auroc"])

    music = [json.loads(line)["text"] for line in intents["music"].read_text().splitlines()]
    known = nlptk.pipeline(run)
    assert sum(found["label"] is None for found in known(music)) > 15
    added = cli("fewshot", "add-class", run, "play_music", *MUSIC)
    assert added.code == 0, added.err
    labels = [found["label"] for found in nlptk.pipeline(run)(music)]
    assert labels.count("play_music") > 24


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear_probe", "contrastive", "anil"])
def test_methods_with_minilm_on_real_intents(
    method: str, intents: dict[str, Path], minilm: Path, tmp_path: Path
) -> None:
    task: dict[str, Any] = {"name": "few_shot", "method": method}
    if method == "contrastive":
        task["method"] = {"name": method, "passes": 4}
    if method == "anil":
        task["meta"] = {"train": intents["meta"], "episodes": 40}
    result = nlptk.train(
        task=task,
        model=minilm,
        data={"train": intents["train"], "test": intents["test"]},
        training={"disable_tqdm": True, "save_strategy": "no"},
        output=tmp_path / "run",
    )
    assert result.figures["test"]["accuracy"].value > 0.95


def test_a_look_at_the_rows_sets_aside_none_of_a_support_set(data: dict[str, Path]) -> None:
    counted = len(data["support"].read_text().splitlines())
    assert nlptk.inspect(data["support"], task="few_shot")["report"]["rows"] == {"train": counted}
