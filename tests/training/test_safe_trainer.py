"""What the trainer says after it has read a checkpoint's weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, TrainingArguments

from nlptk.training.safe_trainer import SafeTrainer

TIED = {"gpt2": AutoModelForCausalLM, "t5": AutoModelForSeq2SeqLM}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What transformers logs, which it keeps from the root logger."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return caplog


def _loaded(model: Any, folder: Path, *, without: str | None = None) -> SafeTrainer:
    """A trainer whose model has just read what it saved, but for one tensor."""
    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    state.pop(without or "", None)
    trainer = SafeTrainer(model=model, args=TrainingArguments(str(folder), use_cpu=True, report_to="none"))
    trainer._issue_warnings_after_load(model.load_state_dict(state, strict=False))
    return trainer


@pytest.mark.parametrize("family", TIED)
def test_the_other_names_of_tied_weights_are_no_missing_keys(
    tiny: dict[str, Path], tmp_path: Path, family: str, said: pytest.LogCaptureFixture
) -> None:
    _loaded(TIED[family].from_pretrained(tiny[family]), tmp_path)
    assert [record.getMessage() for record in said.records if "missing keys" in record.getMessage()] == []


def test_weights_that_are_not_there_are_still_warned_of(
    tiny: dict[str, Path], tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    _loaded(AutoModelForCausalLM.from_pretrained(tiny["gpt2"]), tmp_path, without="transformer.ln_f.weight")
    warnings = [record.getMessage() for record in said.records if "missing keys" in record.getMessage()]
    assert [warning.partition("loaded: ")[2] for warning in warnings] == ["['transformer.ln_f.weight']."]
