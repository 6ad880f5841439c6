"""Early stopping and the best checkpoint, by any figure that an evaluation reports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nlptk.errors import RecipeError
from nlptk.training.trainer import NlptkTrainer
from tests.training.runs import history, train, weights

STEPS_AN_EPOCH = 3


def _script(patch: pytest.MonkeyPatch, **figures: list[float]) -> None:
    """Let the n-th evaluation report the n-th of these values."""
    turns = iter(range(100))

    def scripted(self: NlptkTrainer) -> dict[str, float]:
        turn = next(turns)
        return {"loss": 1.0, "accuracy": 0.5, **{name: values[turn] for name, values in figures.items()}}

    patch.setattr(NlptkTrainer, "_validate", scripted)


def _stop(tiny: dict[str, Path], rows: Path, output: Path, metric: str | None, patience: int = 2) -> tuple[int, int]:
    """Epochs run, and the epoch whose weights the artifact has."""
    training = {"num_train_epochs": 8, "save_total_limit": 20}
    if metric:
        training["metric_for_best_model"] = metric  # type: ignore[assignment]
    result = train(
        tiny["bert"],
        rows,
        output,
        validation=rows,
        packing=False,
        early_stopping={"patience": patience},
        training=training,
    )
    epochs = sum("eval_runtime" in entry for entry in history(result))
    final = weights(result)
    same = [
        epoch
        for epoch in range(1, epochs + 1)
        if all(torch.equal(t, final[n]) for n, t in weights(output / f"checkpoint-{epoch * STEPS_AN_EPOCH}").items())
    ]
    assert len(same) == 1
    return epochs, same[0]


def test_early_stopping_restores_the_best_by_the_primary_metric(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _script(monkeypatch, accuracy=[0.5, 0.8, 0.7, 0.6, 0.9])
    assert _stop(tiny, rows, tmp_path / "run", None) == (4, 2)


def test_a_lower_is_better_metric_is_best_at_its_lowest(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the first value is of the evaluation that finds out whether there is such a figure
    _script(monkeypatch, brier=[0.0, 0.9, 0.5, 0.3, 0.6], accuracy=[0.0, 0.9, 0.8, 0.7, 0.6])
    assert _stop(tiny, rows, tmp_path / "run", "eval_brier", patience=1) == (4, 3)


def test_an_unknown_metric_is_refused_before_the_first_step(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no figure named 'macro_f2'.*did you mean 'macro_f1'"):
        train(tiny["bert"], rows, tmp_path / "run", validation=rows, training={"metric_for_best_model": "macro_f2"})
    assert list((tmp_path / "run").glob("checkpoint-*")) == []


@pytest.mark.parametrize("metric", ["macro_f1", "eval_log_loss", "loss"])
def test_a_metric_that_is_reported_is_taken(tiny: dict[str, Path], rows: Path, tmp_path: Path, metric: str) -> None:
    result = train(tiny["bert"], rows, tmp_path / "run", validation=rows, training={"metric_for_best_model": metric})
    assert result.metrics["eval_accuracy"] >= 0


@pytest.mark.parametrize(
    "training",
    [{"eval_strategy": "epoch"}, {"load_best_model_at_end": True}, {"metric_for_best_model": "accuracy"}],
    ids=str,
)
def test_what_needs_validation_rows_is_refused_without(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, training: dict[str, object]
) -> None:
    with pytest.raises(RecipeError, match=f"training.{next(iter(training))}: there are no validation rows"):
        train(tiny["bert"], rows, tmp_path / "run", training=training)


def test_early_stopping_without_validation_rows_is_refused(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="early_stopping: needs a validation split"):
        train(tiny["bert"], rows, tmp_path / "run", early_stopping={"patience": 1})


def test_evaluation_by_steps_saves_when_it_evaluates(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    result = train(
        tiny["bert"],
        rows,
        tmp_path / "run",
        validation=rows,
        training={"eval_strategy": "steps", "eval_steps": 2, "save_total_limit": 5},
    )
    assert [entry["step"] for entry in history(result) if "eval_accuracy" in entry] == [
        2,
        3,
    ]  # every second step, and the last
    assert (tmp_path / "run" / "checkpoint-2").is_dir()


def test_evaluation_by_steps_needs_no_further_setting(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    result = train(tiny["bert"], rows, tmp_path / "run", validation=rows, training={"eval_strategy": "steps"})
    assert any("eval_accuracy" in entry for entry in history(result))
