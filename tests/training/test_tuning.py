"""The search: trials on validation, a recipe that replays, test rows never looked at."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import BertModel

import nlptk
from nlptk.errors import MissingExtraError, RecipeError
from nlptk.training import progress, tuning
from nlptk.training.preparation import prepare
from nlptk.training.trainer import NlptkTrainer
from tests.training.runs import write_rows

SPACE = {
    "strategy": {"choices": ["full", "lora", "feature_extraction"]},
    "training.num_train_epochs": {"choices": [1, 2]},
    "training.per_device_train_batch_size": {"choices": [8]},
}


def _job(tiny: dict[str, Path], folder: Path, **keys: Any) -> dict[str, Any]:
    data = {name: write_rows(folder / f"{name}.jsonl", count) for name, count in (("train", 22), ("validation", 9))}
    return {
        "task": "classification",
        "model": tiny["bert"],
        "data": {**data, "test": "none", "duplicates": "keep"},
        "output": folder / "search",
        "bootstrap": 0,
        **keys,
    }


def test_the_best_recipe_is_written_and_replays(tiny: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    result = nlptk.tune(**_job(tiny, tmp_path), trials=3, space=SPACE)
    assert len(result.trials) == 3
    done = [trial["value"] for trial in result.trials if trial["state"] == "complete"]
    assert result.value == max(done)
    best = next(trial for trial in result.trials if trial["value"] == result.value)
    assert result.recipe.strategy["name"] == best["settings"]["strategy"]
    replayed = nlptk.train(result.path, output=tmp_path / "replayed")
    used = json.loads((replayed.artifact / "nlptk.json").read_text())["recipe"]
    assert used["training"] == result.recipe.training
    assert used["training"]["num_train_epochs"] == best["settings"]["training.num_train_epochs"]


def test_an_interrupted_search_leaves_the_trials_that_had_ended(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    original = tuning._suggest

    def interrupted(trial: Any, *args: Any) -> Any:
        if trial.number == 2:
            raise KeyboardInterrupt
        return original(trial, *args)

    monkeypatch.setattr(tuning, "_suggest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nlptk.tune(**_job(tiny, tmp_path), trials=4, space=SPACE)
    kept = json.loads((tmp_path / "search" / "trials.json").read_text())
    assert [trial["state"] for trial in kept] == ["complete", "complete"]
    assert all(isinstance(trial["value"], float) for trial in kept)


def test_test_rows_are_neither_tokenized_nor_run(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    job = _job(tiny, tmp_path)
    job["data"]["test"] = write_rows(tmp_path / "test.jsonl", 13)
    sizes = set()
    original = NlptkTrainer.run

    def looking(self: NlptkTrainer, rows: Any, *args: Any) -> Any:
        sizes.add(len(rows.rows))
        return original(self, rows, *args)

    prepared = []

    def preparing(recipe: Any, data: Any) -> Any:
        prepared.append(prepare(recipe, data))
        return prepared[-1]

    monkeypatch.setattr(NlptkTrainer, "run", looking)
    monkeypatch.setattr("nlptk.training.tuning.prepare", preparing)
    nlptk.tune(**job, trials=2, space=SPACE)
    assert sizes == {9}
    assert {split for found in prepared for split in found.splits} == {"train", "validation"}


def test_a_trial_starts_from_the_checkpoint_not_from_the_trial_before(tiny: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    still = {
        "training.num_train_epochs": {"choices": [1]},
        "training.per_device_train_batch_size": {"choices": [8]},
        "training.learning_rate": {"choices": [0.01]},
    }
    job = _job(tiny, tmp_path, strategy="full", training={"metric_for_best_model": "log_loss"})
    result = nlptk.tune(**job, trials=2, space=still)
    one, two = (trial["value"] for trial in result.trials)
    assert one == two
    assert result.metric == "log_loss"


def test_a_metric_that_falls_is_minimized(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    values = iter([0.0, 0.5, 0.2, 0.9])  # the first is of the evaluation that looks for the figure
    monkeypatch.setattr(NlptkTrainer, "_validate", lambda self: {"accuracy": 1.0, "brier": next(values), "loss": 1.0})
    space = {"training.num_train_epochs": {"choices": [1]}, "training.per_device_train_batch_size": {"choices": [8]}}
    result = nlptk.tune(**_job(tiny, tmp_path, training={"metric_for_best_model": "brier"}), trials=3, space=space)
    assert result.value == 0.2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training.learning_rat": [0.1, 0.2]}, "did you mean 'learning_rate'"),
        ({"training.learning_rate": [0.2, 0.1]}, r"expected \[low, high\]"),
        ({"strategy": {"choices": ["lorra"]}}, "did you mean 'lora'"),
        ({"head.norm": {"choices": ["batch"]}}, "only `strategy` and keys of `training`"),
    ],
)
def test_a_wrong_space_is_refused(tiny: dict[str, Path], tmp_path: Path, space: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        nlptk.tune(**_job(tiny, tmp_path), trials=1, space=space)


def test_without_optuna_the_extra_is_named(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else find(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r"nlptk-hf\[tune\]"):
        nlptk.tune(**_job(tiny, tmp_path), trials=1)


def test_without_validation_rows_it_is_refused(tiny: dict[str, Path], tmp_path: Path) -> None:
    job = _job(tiny, tmp_path)
    job["data"]["validation"] = "none"
    with pytest.raises(RecipeError, match=r"data\.validation: a search compares trials on it"):
        nlptk.tune(**job, trials=1)


def test_what_the_recipe_sets_is_not_searched(tiny: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    fixed = {"num_train_epochs": 1, "per_device_train_batch_size": 8}
    result = nlptk.tune(**_job(tiny, tmp_path, strategy="bitfit", training=fixed), trials=2)
    assert {key for trial in result.trials for key in trial["settings"]} == {"learning_rate_factor"}
    assert result.recipe.training["num_train_epochs"] == 1
    assert result.recipe.strategy["name"] == "bitfit"


def test_by_default_rate_epochs_batch_size_and_strategy_are_searched(tiny: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    result = nlptk.tune(**_job(tiny, tmp_path), trials=8)
    tried: dict[str, set[Any]] = {}
    for trial in result.trials:
        for key, value in trial["settings"].items():
            tried.setdefault(key, set()).add(value)
    assert {key for key, values in tried.items() if len(values) > 1} == {
        "learning_rate_factor",
        "training.num_train_epochs",
        "training.per_device_train_batch_size",
        "strategy",
    }


class Terminal(io.StringIO):
    """What a bar takes for a screen."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_many_trials_are_done(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(progress, "DELAY_S", 0)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    fixed = {"num_train_epochs": 1, "per_device_train_batch_size": 8}
    nlptk.tune(**_job(tiny, tmp_path, strategy="full", training=fixed), trials=2)
    shown = screen.getvalue()
    assert "| 0/2 [" in shown.partition("trials:")[2]
    assert "trials: 100%" in shown
    assert "| 2/2 [" in shown


def test_a_trial_counts_with_its_best_evaluation(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    values = iter([0.2, 0.9, 0.4])
    original = NlptkTrainer.evaluate

    def scripted(self: NlptkTrainer, *args: Any, **kwargs: Any) -> dict[str, float]:
        return {**original(self, *args, **kwargs), "eval_accuracy": next(values)}

    monkeypatch.setattr(NlptkTrainer, "evaluate", scripted)
    job = _job(tiny, tmp_path, training={"num_train_epochs": 3, "per_device_train_batch_size": 8})
    assert nlptk.tune(**job, trials=1).value == 0.9


def test_a_trial_of_feature_extraction_is_a_plain_run_on_the_stored_features(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, as there; the backbone meets each row once in all trials together."""
    pytest.importorskip("optuna")
    monkeypatch.setenv("NLPTK_CACHE", str(tmp_path / "cache"))
    seen: list[int] = []
    original = BertModel.forward

    def counting(self: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(input_ids))
        return original(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counting)
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 0.05}
    space = {f"training.{key}": {"choices": [value]} for key, value in settings.items()}
    selecting = {"metric_for_best_model": "log_loss", "gradient_checkpointing": True}
    job = _job(tiny, tmp_path, strategy="feature_extraction", training=selecting)
    result = nlptk.tune(**job, trials=2, space=space)
    assert sum(seen) == 22 + 9
    plain = nlptk.train(**{**job, "training": {**selecting, **settings}, "output": tmp_path / "plain"})
    assert [trial["value"] for trial in result.trials] == pytest.approx([plain.metrics["eval_log_loss"]] * 2, abs=1e-9)


def test_trials_of_other_strategies_see_the_backbone_again(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full trial after one on stored features ends as a full search's own."""
    pytest.importorskip("optuna")
    fixed = {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 0.01}
    space = {f"training.{key}": {"choices": [value]} for key, value in fixed.items()}
    job = _job(tiny, tmp_path, strategy="full", training={"metric_for_best_model": "log_loss"})
    alone = nlptk.tune(**{**job, "output": tmp_path / "alone"}, trials=1, space=space).value
    order = iter(["feature_extraction", "full", "feature_extraction", "full"])
    drawn: dict[int, str] = {}

    def strategy_of(trial: Any, *_: Any) -> str:
        if trial.number not in drawn:
            drawn[trial.number] = next(order)
        return drawn[trial.number]

    monkeypatch.setattr("nlptk.training.tuning._strategy_of", strategy_of)
    values = [trial["value"] for trial in nlptk.tune(**job, trials=4, space=space).trials]
    assert values[1] == values[3] == alone != values[0] == values[2]
    with pytest.raises(RecipeError, match=r"trials\.json holds an earlier search; give another output"):
        nlptk.tune(**job, trials=4, space=space)
