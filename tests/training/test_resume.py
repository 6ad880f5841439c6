"""Interrupted runs: resumed bit by bit, or refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

import nlptk
from nlptk.errors import ArtifactError, RecipeError
from nlptk.training import trainer as trainer_module
from tests.tiny_models import write_checkpoint


class InterruptionError(Exception):
    pass


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("job")
    rows = [{"text": f"row {i} says {'good' if i % 2 else 'bad'} things", "label": i % 2} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": "classification",
        "model": write_checkpoint("bert", folder / "bert"),
        "data": {"train": folder / "rows.jsonl", "validation": "none", "test": "none"},
        "bootstrap": 0,
    }


def _train(job: dict[str, Any], output: Path, **training: Any) -> dict[str, Any]:
    block = {"num_train_epochs": 3, "per_device_train_batch_size": 8, "save_strategy": "steps", "save_steps": 4}
    nlptk.train(**job, output=output, training={**block, "save_total_limit": 9, **training})
    return dict(load_file(output / "model" / "model.safetensors"))


class Watcher(TrainerCallback):
    """Notes every step a run takes, and interrupts it after one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self.steps: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(state.global_step)
        if state.global_step == self.last:
            raise InterruptionError


def _watch(watcher: Watcher, patch: pytest.MonkeyPatch) -> None:
    original = trainer_module.NlptkTrainer.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.add_callback(watcher)

    patch.setattr(trainer_module.NlptkTrainer, "__init__", watched)


def _cut_and_resume(job: dict[str, Any], output: Path, patch: pytest.MonkeyPatch, *, at: int) -> dict[str, Any]:
    """Interrupt a run after step `at`, resume it from the checkpoint before that, and make sure it did."""
    with patch.context() as cut:
        _watch(Watcher(at), cut)
        with pytest.raises(InterruptionError):
            _train(job, output)
    assert not (output / "model").exists()
    watcher = Watcher()
    _watch(watcher, patch)
    resumed = _train(job, output, resume_from_checkpoint=True)
    assert watcher.steps == list(range(at // 4 * 4 + 1, 16))
    return resumed


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("step", [5, 9], ids=["mid-epoch", "next epoch"])
def test_a_resumed_run_ends_with_the_very_same_weights(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, packing: bool
) -> None:
    whole = _train({**job, "packing": packing}, tmp_path / "whole")
    resumed = _cut_and_resume({**job, "packing": packing}, tmp_path / "cut", monkeypatch, at=step)
    assert all((resumed[name] == tensor).all() for name, tensor in whole.items())


@pytest.mark.parametrize("strategy", ["lora", "gradual_unfreezing", "feature_extraction"])
def test_resuming_is_exact_for_strategies_that_wrap_schedule_or_store(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    whole = _train({**job, "strategy": strategy}, tmp_path / "whole")
    resumed = _cut_and_resume({**job, "strategy": strategy}, tmp_path / "cut", monkeypatch, at=6)
    assert all((resumed[name] == tensor).all() for name, tensor in whole.items())


@pytest.mark.parametrize("name", ["optimizer.safetensors", "model.safetensors", "random-0.json"])
def test_a_damaged_or_incomplete_checkpoint_is_refused(job: dict[str, Any], tmp_path: Path, name: str) -> None:
    _train(job, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint-15" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="altered or damaged"):
        _train(job, tmp_path / "run", resume_from_checkpoint=True)
    file.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        _train(job, tmp_path / "run", resume_from_checkpoint=True)


def test_resuming_where_there_is_no_checkpoint_is_refused(job: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no checkpoint"):
        _train(job, tmp_path / "run", resume_from_checkpoint=True)


@pytest.mark.parametrize("block", [{}, {"max_steps": 5, "save_steps": 5}], ids=["whole epochs", "within an epoch"])
def test_auto_starts_anew_where_there_is_no_checkpoint_and_resumes_where_there_is(
    block: dict[str, int], job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _train(job, tmp_path / "run", resume_from_checkpoint="auto", **block)
    watcher = Watcher()
    _watch(watcher, monkeypatch)
    again = _train(job, tmp_path / "run", resume_from_checkpoint="auto", **block)
    assert watcher.steps == []
    assert all((again[name] == tensor).all() for name, tensor in first.items())


def test_no_pickle_is_written(job: dict[str, Any], tmp_path: Path) -> None:
    _train(job, tmp_path / "run")
    names = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert names
    assert [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))] == []


def test_a_run_resumed_as_it_was_begun_warns_of_no_changed_argument(
    job: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fractions of the run, nlptk's default for logging, against the steps that the checkpoint's state holds."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    _train(job, tmp_path / "run")
    logged = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["logging_steps"]
    assert logged == 1  # 2 % of 15 steps, rounded up
    _train(job, tmp_path / "run", resume_from_checkpoint=True)
    assert "do not match" not in caplog.text
    _train(job, tmp_path / "run", resume_from_checkpoint=True, logging_steps=7)
    assert "logging_steps: 7 (from args) != 1 (from trainer_state.json)" in caplog.text


def test_a_checkpoint_of_another_run_is_refused(job: dict[str, Any], tmp_path: Path) -> None:
    """Its weights have learnt other rows, perhaps those that the new split tests on."""
    _train(job, tmp_path / "run")
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    rows = [{"text": f"other {i} says {'good' if i % 2 else 'bad'} things", "label": i % 2} for i in range(40)]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others: dict[str, dict[str, Any]] = {
        "seed": {"seed": 7},
        "data": {"data": {**job["data"], "train": tmp_path / "other.jsonl"}},
        "strategy": {"strategy": "lora"},
        "optimizer": {"optimizer": "sgd"},
        "task": {"task": {"name": "classification", "label_smoothing": 0.1}},
        "model": {"model": write_checkpoint("bert", tmp_path / "bert", seed=1)},
        "preprocessing": {"preprocessing": {"max_length": 8}},
        "head": {"head": {"norm": "batch"}},
        "dropout": {"dropout": {"hidden": 0.5}},
        "packing": {"packing": False},
    }
    for name, keys in others.items():
        with pytest.raises(RecipeError, match=f"was trained with other {name}; give another output"):
            _train({**job, **keys}, tmp_path / "run", resume_from_checkpoint="auto")
    with pytest.raises(RecipeError, match=r"was trained with other training\.learning_rate"):
        _train(job, tmp_path / "run", resume_from_checkpoint="auto", learning_rate=0.01)
    with pytest.raises(RecipeError, match=r"was trained with other training\.per_device_train_batch_size"):
        _train(job, tmp_path / "run", resume_from_checkpoint="auto", per_device_train_batch_size=4)
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before
    _train(job, tmp_path / "run", resume_from_checkpoint="auto", num_train_epochs=4)
