"""What a run prints where no terminal can redraw a bar."""

from __future__ import annotations

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from nlptk.training.progress import Progress, shown


@pytest.mark.parametrize("asked", [True, False])
def test_a_log_has_a_line_a_minute_with_the_time_left(asked: bool, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    progress = Progress("accuracy", clock=lambda: now)
    args, control = TrainingArguments(disable_tqdm=not asked, report_to="none"), TrainerControl()
    state = TrainerState(max_steps=12, global_step=2)  # resumed
    progress.on_train_begin(args, state, control)
    for step in range(3, 13):
        now, state.global_step = now + 25.0, step
        progress.on_step_end(args, state, control)
    progress.on_train_end(args, state, control)
    said = [
        "goes on from step 2 of 12",
        "step 5 of 12, about 02:55 left",
        "step 8 of 12, about 01:40 left",
        "step 11 of 12, about 00:25 left",
    ]
    assert capsys.readouterr().err.splitlines() == said * asked


@pytest.mark.parametrize(
    ("primary", "said"), [("f1", "validation f1 0.5000, loss 0.2500"), ("loss", "validation loss 0.2500")]
)
def test_an_evaluation_says_its_loss_once(primary: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(primary)
    args, control, state = (
        TrainingArguments(disable_tqdm=False, report_to="none"),
        TrainerControl(),
        TrainerState(epoch=1.0),
    )
    progress.on_train_begin(args, state, control)
    progress.on_log(args, state, control, {"eval_f1": 0.5, "eval_loss": 0.25})
    progress.on_train_end(args, state, control)
    assert capsys.readouterr().err.splitlines() == [f"epoch 1.00: {said}"]


@pytest.mark.parametrize("hidden", [True, False])
def test_whatever_takes_long_has_a_line_a_minute_in_a_log(hidden: bool, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    for _ in shown(range(6), "episodes", hidden=hidden, clock=lambda: now[0]):
        now[0] += 40.0
    said = [
        "episodes: 2 of 6, about 02:40 left",
        "episodes: 4 of 6, about 01:20 left",
        "episodes: 6 of 6, about 00:00 left",
    ]
    assert capsys.readouterr().err.splitlines() == said * (not hidden)
