"""Rejection of what is in no class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nlptk
import nlptk.pipelines
from nlptk.errors import DataError
from nlptk.fewshot.rejection import choose_threshold
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


def test_the_threshold_is_the_best_of_all() -> None:
    apart = choose_threshold(np.array([0.8, 0.9]), np.array([0.1, 0.2]))
    assert 0.2 < apart < 0.8
    assert choose_threshold(np.array([0.1, 0.2]), np.array([0.8, 0.9])) <= 0.1  # rejecting anything only does harm
    assert choose_threshold(np.arange(100) / 100, None) == pytest.approx(0.0495)
