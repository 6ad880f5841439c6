"""Rejection of what is in no class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlptk
import nlptk.pipelines
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.fewshot.rejection import choose_threshold, leave_one_out
from nlptk.parts.support import Support, euclidean_head
from tests.fewshot.few_shot_rows import META, train


def test_rejection_counts_in_what_is_measured(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    figures = train(checkpoints["bert"], data, tmp_path / "run", "prototypical", rejection=1.0).figures["test"]
    assert figures["rejected"].value == 1
    assert figures["accuracy_with_rejection"].value == 0
    assert "accuracy_of_kept" not in figures
    with pytest.raises(DataError, match="nothing in scope to tell it from"):
        nlptk.train(
            task={"name": "few_shot", "rejection": "tuned", "out_of_scope_test": str(data["meta"])},
            model=checkpoints["bert"],
            data={"train": data["support"], "duplicates": "keep"},
            output=tmp_path / "alone",
        )


@pytest.mark.parametrize("method", ["contrastive", "fomaml"])
def test_rejection_is_not_tuned_on_what_the_encoder_trained_on(
    method: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta = {"meta": {"train": str(data["meta"]), **META}} if method == "fomaml" else {}
    with pytest.raises(DataError, match="trains on its support set"):
        train(checkpoints["bert"], data, tmp_path / "run", method, strategy="lora", rejection="tuned", **meta)


def test_an_example_is_compared_with_the_mean_of_the_others_of_its_class() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], dtype=np.float32)
    labels = np.array([0, 0, 0, 1])
    support = Support(("a", "b", "c", "d"), labels, vectors, euclidean_head(vectors, labels, 2, scale=1))
    found = leave_one_out(support)
    mean = (vectors[1] + vectors[2]) / np.linalg.norm(vectors[1] + vectors[2])
    assert found[0] == pytest.approx(vectors[0] @ mean, abs=1e-6)
    whole = vectors[:3].sum(axis=0) / np.linalg.norm(vectors[:3].sum(axis=0))
    assert found[3] == pytest.approx(vectors[3] @ whole, abs=1e-6)  # the only one of its class: the nearest other


def test_a_threshold_from_the_support_set_follows_its_changes_and_another_is_told_to_be_old(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = train(checkpoints["bert"], data, tmp_path / "alone", "prototypical", rejection="tuned")
    nlptk.pipeline(alone.artifact).add_class("praise", ["great service"], output=tmp_path / "more")
    task: Any = nlptk.pipeline(tmp_path / "more").task
    assert task.threshold == pytest.approx(choose_threshold(leave_one_out(task.support), None))
    before: Any = nlptk.pipeline(alone.artifact).task
    assert task.threshold != before.threshold
    assert not caplog.messages
    strangers = {"rejection": "tuned", "out_of_scope": str(data["meta"])}
    told = train(checkpoints["bert"], data, tmp_path / "told", "prototypical", **strangers)
    nlptk.pipeline(told.artifact).add_class("praise", ["great service"], output=tmp_path / "other")
    assert [message for message in caplog.messages if "tuned on held-out rows" in message]


def test_the_threshold_can_be_changed_when_a_model_is_loaded(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    strangers = {"rejection": "tuned", "out_of_scope": str(data["meta"])}
    trained = train(checkpoints["bert"], data, tmp_path / "run", "prototypical", **strangers).artifact
    for rejection, kept in ((1.0, False), (-1.0, True), ("off", True)):
        changed = nlptk.pipeline(trained, options={"rejection": rejection})
        assert (changed("it came late")["label"] is not None) == kept
    changed.add_class("praise", ["great service"], output=tmp_path / "more")
    task: Any = nlptk.pipeline(tmp_path / "more").task
    assert task.settings.rejection == "tuned"  # as it was trained: what is changed in loading is not saved
    with pytest.raises(RecipeError, match=r"task\.out_of_scope: is for rejection; set task\.rejection=tuned"):
        train(checkpoints["bert"], data, tmp_path / "off", "prototypical", out_of_scope=str(data["meta"]))


def test_the_threshold_is_the_best_of_all() -> None:
    apart = choose_threshold(np.array([0.8, 0.9]), np.array([0.1, 0.2]))
    assert 0.2 < apart < 0.8
    assert choose_threshold(np.array([0.1, 0.2]), np.array([0.8, 0.9])) <= 0.1  # rejecting anything only does harm
    assert choose_threshold(np.arange(100) / 100, None) == pytest.approx(0.0495)


def test_a_finished_model_is_measured_as_in_training(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    names = ("out_of_scope_auroc", "false_rejection_at_95", "out_of_scope_rejected")
    strangers: dict[str, Any] = {"rejection": 0.9, "out_of_scope_test": str(data["held_out"])}
    trained = train(checkpoints["bert"], data, tmp_path / "run", "prototypical", **strangers)
    found = nlptk.evaluate(trained.artifact, data["test"], bootstrap=0, out_of_scope=data["held_out"])
    for name in names:
        assert found.figures[name].value == pytest.approx(trained.figures["test"][name].value)
    with pytest.raises(DataError, match="texts stand in the rows too"):
        nlptk.evaluate(trained.artifact, data["test"], bootstrap=0, out_of_scope=data["test"])
    other = nlptk.train(
        task="classification",
        model=checkpoints["bert"],
        data={"train": data["support"], "test": data["test"], "duplicates": "drop"},
        strategy="feature_extraction",
        training={"num_train_epochs": 1},
        output=tmp_path / "other",
        bootstrap=0,
    )
    with pytest.raises(UnsupportedError, match="out_of_scope: a classification model gives every row its answer"):
        nlptk.evaluate(other.artifact, data["test"], bootstrap=0, out_of_scope=data["held_out"])
