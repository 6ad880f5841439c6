"""A tiny checkpoint of every family, and rows of a few classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlptk.training.run import TrainResult
from tests.contract_cases import KEYWORDS
from tests.fewshot.few_shot_rows import train, write_classes
from tests.tiny_models import FAMILIES, WORDS, write_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: write_checkpoint(family, folder / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {
        "support": write_classes(folder / "support.jsonl", KEYWORDS, 6),
        "test": write_classes(folder / "test.jsonl", KEYWORDS, 9),
        "meta": write_classes(folder / "meta.jsonl", WORDS[20:26], 8),
        "held_out": write_classes(folder / "held_out.jsonl", WORDS[30:34], 8),
    }


@pytest.fixture(scope="session")
def trained(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    return train(checkpoints["bert"], data, tmp_path_factory.mktemp("trained") / "run", "prototypical")
