"""What a run says at its end and in its report: test first, validation marked, warnings where they are seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertForMaskedLM

import nlptk
from nlptk.training.run import TrainResult
from tests.doors import Called, cli
from tests.training.runs import write_rows


def _words(tiny: dict[str, Path], folder: Path, *more: str) -> list[str]:
    for name, count in (("train", 16), ("validation", 9), ("test", 10)):
        write_rows(folder / f"{name}.jsonl", count)
    data = [f"data.{name}={folder / name}.jsonl" for name in ("train", "validation", "test")]
    settings = ["data.duplicates=keep", "bootstrap=0", "training.max_steps=1", "training.disable_tqdm=true", *more]
    return ["train", "task=classification", f"model={tiny['bert']}", *data, f"output={folder / 'run'}", *settings]


def _report(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return state


def test_the_test_split_comes_first_and_validation_is_marked(tiny: dict[str, Path], tmp_path: Path) -> None:
    called = cli(*_words(tiny, tmp_path, "strategy=gradual_unfreezing"))
    assert called.code == 0, called.err
    heads = [line for line in called.out.splitlines() if "95 % interval" in line]
    assert heads == [
        "test, 10 rows (value and 95 % interval)",
        "validation, 9 rows (value and 95 % interval; what selection used)",
    ]
    assert "(up to 100.00 %, in stages)" in called.out
    found = _report(tmp_path / "run")["sections"]
    figures = [section for section in found if section["title"].startswith("Figures on")]
    assert [section["title"] for section in figures] == ["Figures on test", "Figures on validation"]
    assert "note" not in figures[0]
    assert figures[1]["note"].startswith("What selection used")
    matrix = next(section for section in found if section["kind"] == "matrix")
    assert sum(map(sum, matrix["values"])) == 10  # the test rows, not the 9 of validation
    run = next(section for section in found if section["title"] == "Run")
    assert run["facts"]["trainable parameters"].endswith("(up to 100.00 %, in stages)")


def test_a_model_that_is_replaced_is_told_and_its_evaluations_are_kept_apart(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for _ in range(3):
        called = cli(*_words(tiny, tmp_path, "task.label_smoothing=0.1"))
        assert called.code == 0, called.err
        nlptk.evaluate(run, tmp_path / "test.jsonl", bootstrap=0)
    told = f"nlptk: warning: replaces the model of an earlier run in {run}, whose evaluations are now in "
    assert f"{told}{run / 'evaluations.2'}" in called.err
    assert sorted(path.name for path in run.glob("evaluations*")) == ["evaluations", "evaluations.1", "evaluations.2"]
    assert all((path / "test" / "report.json").is_file() for path in run.glob("evaluations*"))


def test_a_run_without_a_step_says_so(tiny: dict[str, Path], tmp_path: Path) -> None:
    called = cli(*_words(tiny, tmp_path, "training.num_train_epochs=0", "training.max_steps=-1"))
    assert called.code == 0, called.err
    assert "nlptk: warning: no training step was taken" in called.err


@pytest.mark.parametrize(("warmup", "idle"), [("0.06", True), ("0", False)])
def test_a_run_whose_one_step_has_no_learning_rate_says_so(
    warmup: str, idle: bool, tiny: dict[str, Path], tmp_path: Path
) -> None:
    called = cli(*_words(tiny, tmp_path, "training.max_steps=1", f"training.warmup_steps={warmup}"))
    assert called.code == 0, called.err
    before, after = load_file(tiny["bert"] / "model.safetensors"), load_file(tmp_path / "run/model/model.safetensors")
    still = all(torch.equal(tensor, after[f"bert.{name}"]) for name, tensor in before.items() if "pooler" not in name)
    assert still is idle
    assert ("nlptk: warning: the one optimizer step was the warm-up's first" in called.err) is idle


def test_rows_that_all_have_one_label_are_warned_of(tiny: dict[str, Path], tmp_path: Path) -> None:
    assert cli(*_words(tiny, tmp_path)).code == 0
    write_rows(tmp_path / "some.jsonl", 10)
    lines = [line for line in (tmp_path / "some.jsonl").read_text().split("\n") if '"good"' in line]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    result = nlptk.evaluate(tmp_path / "run", tmp_path / "some.jsonl", bootstrap=0)
    assert result.warnings == ["every row has 'good': the figures say nothing of other labels"]


@pytest.fixture
def collapsed(tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Called:
    """A run that ends with a head that names `good` whatever it reads."""
    from nlptk.training import run as module

    original = module._measure

    def measure(recipe: Any, trainer: Any, model: Any, batching: Any) -> Any:
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
        return original(recipe, trainer, model, batching)

    monkeypatch.setattr(module, "_measure", measure)
    return cli(*_words(tiny, tmp_path, "training.warmup_steps=0"))


def test_a_collapsed_model_is_warned_of_after_training_and_evaluation(collapsed: Called, tmp_path: Path) -> None:
    said = "predicts only 'good': no better than always naming it"
    warned = [line for line in collapsed.err.splitlines() if "warning" in line]
    assert warned == [f"nlptk: warning: {split}: {said}" for split in ("test", "validation")]
    assert _report(tmp_path / "run")["warnings"] == [f"{split}: {said}" for split in ("test", "validation")]
    called = cli("evaluate", tmp_path / "run", tmp_path / "test.jsonl", "--output", tmp_path / "measured", "--json")
    assert [line for line in called.err.splitlines() if "warning" in line] == [f"nlptk: warning: {said}"]
    assert json.loads(called.out)["warnings"] == [said] == _report(tmp_path / "measured")["warnings"]
    result: TrainResult | Any = nlptk.evaluate(tmp_path / "run", tmp_path / "test.jsonl", bootstrap=0)
    assert result.warnings == [said]


@pytest.mark.parametrize(("strategy", "warned"), [("lora", True), ("bitfit", True), ("full", False)])
def test_parameters_that_stay_random_are_warned_of(
    strategy: str, warned: bool, tiny: dict[str, Path], tmp_path: Path
) -> None:
    """A masked language model's checkpoint has no pooler; a classifier reads through one."""
    checkpoint = tmp_path / "masked"
    BertForMaskedLM.from_pretrained(tiny["bert"]).save_pretrained(checkpoint)
    AutoTokenizer.from_pretrained(tiny["bert"]).save_pretrained(checkpoint)
    called = cli(*_words({"bert": checkpoint}, tmp_path, f"strategy={strategy}"))
    assert called.code == 0, called.err
    said = "bert.pooler.dense.weight: not in the checkpoint"
    assert (said in called.err) is warned
    assert any(said in warning for warning in _report(tmp_path / "run")["warnings"]) is warned


def test_a_whole_checkpoint_leaves_nothing_random(tiny: dict[str, Path], tmp_path: Path) -> None:
    called = cli(*_words(tiny, tmp_path, "strategy=lora"))
    assert "not in the checkpoint" not in called.err
