"""Runs started by accelerate and torchrun are those of the other doors: two processes make one artifact, one report."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nlptk
from tests.doors import ALONE, ROOT, python, torchrun, torchrun_each, write_rows
from tests.tiny_models import write_checkpoint

WHOLE_BATCH = {
    "per_device_train_batch_size": 24,
    "max_steps": 6,
    "learning_rate": 0.05,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "save_strategy": "no",
    "eval_strategy": "no",
    "use_cpu": True,
    "disable_tqdm": True,
}
EARLIER_BEST = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "metric_for_best_model": "loss",
    "greater_is_better": True,  # of a loss that falls: the first step's
    "per_device_eval_batch_size": 4,  # so that both processes measure
}
JOBS: dict[str, dict[str, Any]] = {
    "padded": {"packing": False},
    "packed": {"packing": True},
    "lora": {"strategy": "lora"},
    "gradual_unfreezing": {"strategy": "gradual_unfreezing"},
    "feature_extraction": {"strategy": "feature_extraction"},
    "best": {"training": EARLIER_BEST},
}


def _job(folder: Path, name: str, batch_size: int) -> dict[str, Any]:
    """Steps over all rows at once and no dropout, so that order and draws do not matter."""
    return {
        "task": "classification",
        "model": str(folder / "bert"),
        "data": {"train": str(folder / "rows.jsonl"), "validation": str(folder / "rows.jsonl"), "duplicates": "keep"},
        "optimizer": "sgd",
        "dropout": {"hidden": 0.0, "attention": 0.0, "head": 0.0},
        "bootstrap": 0,
        "output": str(folder / f"{name}-{batch_size}"),
        **JOBS[name],
        "training": {**WHOLE_BATCH, "per_device_train_batch_size": batch_size, **JOBS[name].get("training", {})},
    }


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every job done by two processes, 12 of the 24 rows a step each, from an empty cache."""
    folder = tmp_path_factory.mktemp("ranks")
    write_checkpoint("bert", folder / "bert")
    write_rows(folder / "rows.jsonl")
    for name in JOBS:
        (folder / f"{name}.yaml").write_text(json.dumps(_job(folder, name, 12)))
    called = torchrun_each([["train", f"{name}.yaml"] for name in JOBS], cwd=folder)
    assert called.code == 0, called.err[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_two_processes_make_the_model_of_one_with_the_same_rows_a_step(two_ranks: Path, name: str) -> None:
    alone = nlptk.train(_job(two_ranks, name, 24))
    before = load_file(two_ranks / "bert" / "model.safetensors")
    one = load_file(alone.artifact / "model.safetensors")
    two = load_file(two_ranks / f"{name}-12" / "model" / "model.safetensors")
    trained = one["classifier.weight"]
    assert trained.abs().max() > 0
    assert sorted(one) == sorted(two)
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, atol=1e-5, rtol=1e-4)
    if name in ("padded", "packed"):
        assert not torch.allclose(
            one["bert.embeddings.word_embeddings.weight"], before["embeddings.word_embeddings.weight"]
        )
    results = [json.loads((two_ranks / f"{name}-{n}" / "all_results.json").read_text()) for n in (12, 24)]
    assert results[0]["eval_loss"] == pytest.approx(results[1]["eval_loss"], abs=1e-5)
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], abs=1e-4)
    if name == "best":
        state = json.loads((alone.artifact.parent / "trainer_state.json").read_text())
        assert state["best_global_step"] < state["global_step"]


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_two_processes_leave_one_artifact_and_one_report_and_nothing_half_done(two_ranks: Path, name: str) -> None:
    run = two_ranks / f"{name}-12"
    nlptk.pipeline(run)("order 1 came late")
    visible = sorted(path.name for path in run.iterdir() if not path.name.startswith((".", "checkpoint-")))
    assert visible == ["all_results.json", "model", "report.html", "report.json", "trainer_state.json"]
    left = [
        path.name for path in two_ranks.rglob("*") if path.name.endswith((".partial", ".tmp")) or ".new-" in path.name
    ]
    assert left == []


@pytest.mark.slow
def test_accelerate_launch_makes_the_model_of_a_call(tmp_path: Path) -> None:
    """By the command that `pip install accelerate` puts beside Python; with dropout and shuffled batches."""
    write_checkpoint("bert", tmp_path / "bert")
    write_rows(tmp_path / "rows.jsonl")
    recipe = {**_job(tmp_path, "padded", 8), "dropout": {}, "output": str(tmp_path / "launched")}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    launcher = Path(sys.executable).with_name("accelerate")
    words = ["launch", "--cpu", "--num_processes", "1", "-m", "nlptk", "train", "recipe.yaml"]
    called = python(launcher, *words, cwd=tmp_path, path=[ROOT], env={**ALONE, "HF_HOME": str(tmp_path / "home")})
    assert called.code == 0, called.err[-3000:]
    alone = nlptk.train(tmp_path / "recipe.yaml", output=tmp_path / "called")
    one = load_file(alone.artifact / "model.safetensors")
    launched = load_file(tmp_path / "launched" / "model" / "model.safetensors")
    assert sorted(one) == sorted(launched)
    for key, tensor in one.items():
        torch.testing.assert_close(launched[key], tensor, atol=1e-6, rtol=0)
    assert not torch.equal(one["classifier.weight"], torch.zeros_like(one["classifier.weight"]))


@pytest.mark.slow
def test_processes_that_torchrun_starts_on_a_cpu_share_the_rows_and_speak_once_or_are_refused(tmp_path: Path) -> None:
    """Nothing in the environment says that it is to be the CPU: accelerate would have each train alone."""
    write_checkpoint("bert", tmp_path / "bert")
    write_rows(tmp_path / "rows.jsonl")
    words = ["train", "task=classification", "model=bert", "data.train=rows.jsonl", "data.test=none", "bootstrap=0"]
    words += ["data.validation=none", "training.num_train_epochs=1", "training.per_device_train_batch_size=4"]
    called = torchrun("-m", "nlptk", *words, "output=joined", "--json", cwd=tmp_path)
    assert called.code == 0, called.err[-3000:]
    assert json.loads(called.out[called.out.index("{") :])["artifact"] == "joined/model"
    state = json.loads((tmp_path / "joined" / "trainer_state.json").read_text())
    assert state["global_step"] == 24 / (4 * 2)
    called = torchrun("-m", "nlptk", *words, "training.use_cpu=false", "output=apart", cwd=tmp_path)
    assert called.code != 0
    assert "2 processes were started (WORLD_SIZE) and do not see each other on cpu" in called.err
    assert not (tmp_path / "apart").exists()


@pytest.mark.parametrize("file", sorted((ROOT / "tasks").glob("[!_]*.py")), ids=lambda file: file.stem)
def test_the_file_of_a_task_run_as_a_script_is_train_with_that_task(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", [str(file), "recipe.yaml", "task.seed=1"])
    monkeypatch.setattr("nlptk.__main__.main", calls.append)
    runpy.run_path(str(file), run_name="__main__")
    assert calls == [["train", "recipe.yaml", "task.seed=1", f"task.name={file.stem}"]]


@pytest.mark.slow
def test_a_task_as_a_script_trains_with_its_options(tmp_path: Path) -> None:
    write_checkpoint("bert", tmp_path / "bert")
    write_rows(tmp_path / "rows.jsonl")
    words = ["task.label_smoothing=0.1", "model=bert", "data=rows.jsonl", "output=run", "training.max_steps=1"]
    called = python(ROOT / "tasks" / "classification.py", *words, cwd=tmp_path, path=[ROOT], env=ALONE)
    assert called.code == 0, called.err[-3000:]
    manifest = json.loads((tmp_path / "run" / "model" / "nlptk.json").read_text())
    assert manifest["task"] == {
        "name": "classification",
        "options": {"label_smoothing": 0.1, "class_weights": None, "thresholds": "tuned"},
    }
