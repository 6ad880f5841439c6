"""Learning-rate schedules of transformers, lengths of a run, and what is trainable when."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from transformers.trainer_utils import SchedulerType

from nlptk.errors import RecipeError
from nlptk.training.trainer import NlptkTrainer
from tests.training.runs import add_callback, history, train

NEEDS_SETTINGS = {
    "cosine_with_min_lr": {"min_lr": 1e-3},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-3},
    "warmup_stable_decay": {"num_decay_steps": 2},
}


@pytest.mark.parametrize("name", [kind.value for kind in SchedulerType])
def test_every_schedule_runs_or_says_what_it_needs(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, name: str
) -> None:
    training: dict[str, Any] = {"lr_scheduler_type": name, "logging_steps": 1}
    if name in NEEDS_SETTINGS:
        with pytest.raises(RecipeError, match=f"lr_scheduler_type: {name} cannot be made"):
            train(tiny["bert"], rows, tmp_path / "run", validation=rows, training=training)
        training["lr_scheduler_kwargs"] = NEEDS_SETTINGS[name]
    result = train(tiny["bert"], rows, tmp_path / "run", validation=rows, training=training)
    rates = [entry["learning_rate"] for entry in history(result) if "learning_rate" in entry]
    assert len(rates) == 3
    assert all(math.isfinite(rate) for rate in rates)


def test_the_linear_schedule_with_warmup_is_transformers_own(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    training = {"lr_scheduler_type": "linear", "warmup_steps": 2, "max_steps": 6, "logging_steps": 1}
    result = train(tiny["bert"], rows, tmp_path / "run", training=training)
    rates = [entry["learning_rate"] for entry in history(result) if "learning_rate" in entry]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.075, 0.05, 0.025])


def test_a_plateau_is_one_of_a_metric_that_should_rise(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = iter([0.5, 0.6, 0.7, 0.8])
    monkeypatch.setattr(NlptkTrainer, "_validate", lambda self: {"accuracy": next(accuracy), "loss": 1.0})
    training = {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0},
        "num_train_epochs": 4,
        "logging_steps": 1,
    }
    result = train(tiny["bert"], rows, tmp_path / "run", validation=rows, training=training)
    rates = {entry["learning_rate"] for entry in history(result) if "learning_rate" in entry}
    assert rates == {0.1}


@pytest.mark.parametrize(
    ("training", "steps"),
    [({"max_steps": 2}, 2), ({"num_train_epochs": 1.5}, 5), ({"num_train_epochs": 2}, 6)],
    ids=str,
)
def test_a_run_is_as_long_as_asked(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, training: dict[str, float], steps: int
) -> None:
    train(tiny["bert"], rows, tmp_path / "run", training=training)
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["global_step"] == steps


class Watch(TrainerCallback):
    """Notes at which step each parameter first differed from what it was."""

    def __init__(self) -> None:
        self.before: dict[str, torch.Tensor] = {}
        self.moved: dict[str, int] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = {name: p.detach().clone() for name, p in kwargs["model"].named_parameters()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for name, parameter in kwargs["model"].named_parameters():
            if name not in self.moved and not torch.equal(parameter, self.before[name]):
                self.moved[name] = state.global_step


class Stop(TrainerCallback):
    """Ends a run after a step, as a user who interrupts it."""

    def __init__(self, last: int | None) -> None:
        self._last = last

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self._last


def _began(result: Any) -> dict[str, int]:
    """Group -> the step that the report says it began with."""
    report = json.loads((result.folder / "report.json").read_text())
    (table,) = [part for part in report["sections"] if part["title"] == "Parameter groups"]
    return {row[0]: row[-1] for row in table["rows"]}


def _first_moves(result: Any, watch: Watch) -> dict[str, int]:
    """What the report says, checked against what the weights did."""
    began = _began(result)
    marks = {"head": "classifier.weight", "embeddings": "bert.embeddings.word_embeddings.weight"}
    for group, step in began.items():
        name = marks.get(group, f"bert.encoder.{group}.output.dense.weight")
        assert watch.moved[name] == step + 1, group
    return began


def test_gradual_unfreezing_moves_each_group_from_the_reported_step_on(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    add_callback(watch, monkeypatch)
    strategy = {"name": "gradual_unfreezing", "until_fraction": 0.5}
    result = train(tiny["bert"], rows, tmp_path / "run", strategy=strategy, training={"num_train_epochs": 4})
    assert _first_moves(result, watch) == {"head": 0, "layer.1": 2, "layer.0": 4, "embeddings": 6}


@pytest.mark.parametrize("training", [{"num_train_epochs": 2.5}, {"max_steps": 7}, {"num_train_epochs": 3}], ids=str)
def test_lp_ft_counts_epochs_whatever_the_length_of_the_run(
    tiny: dict[str, Path],
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    training: dict[str, float],
) -> None:
    watch = Watch()
    add_callback(watch, monkeypatch)
    strategy = {"name": "lp_ft", "head_epochs": 1.0}
    result = train(tiny["bert"], rows, tmp_path / "run", strategy=strategy, training=training)
    assert _first_moves(result, watch) == {"head": 0, "layer.1": 3, "layer.0": 3, "embeddings": 3}


@pytest.mark.parametrize("stop", [7, None], ids=["halfway", "done"])
@pytest.mark.parametrize(
    ("strategy", "began"),
    [
        ({"name": "gradual_unfreezing"}, {"head": 0, "layer.1": 2, "layer.0": 4, "embeddings": 6}),
        ({"name": "lp_ft", "head_epochs": 1.0}, {"head": 0, "layer.1": 3, "layer.0": 3, "embeddings": 3}),
    ],
    ids=["gradual_unfreezing", "lp_ft"],
)
def test_a_resumed_run_reports_the_steps_of_the_whole_run(
    tiny: dict[str, Path],
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: dict[str, Any],
    began: dict[str, int],
    stop: int | None,
) -> None:
    job: dict[str, Any] = {"num_train_epochs": 4, "save_strategy": "steps", "save_steps": 6 if stop else 12}
    with monkeypatch.context() as cut:
        add_callback(Stop(stop), cut)
        train(tiny["bert"], rows, tmp_path / "run", strategy=strategy, training=job)
    job["resume_from_checkpoint"] = True
    result = train(tiny["bert"], rows, tmp_path / "run", strategy=strategy, training=job)
    assert _began(result) == began


def test_a_batch_that_does_not_fit_is_made_smaller(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = NlptkTrainer.compute_loss

    def short_of_memory(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(inputs["labels"]))
        if len(inputs["labels"]) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(NlptkTrainer, "compute_loss", short_of_memory)
    train(
        tiny["bert"], rows, tmp_path / "run", training={"auto_find_batch_size": True, "per_device_train_batch_size": 5}
    )
    assert sizes == [5, 4, 4, 4, 4, 4, 2]
