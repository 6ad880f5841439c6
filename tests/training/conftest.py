"""Tiny checkpoints and rows that the tests of training share; nothing changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import FAMILIES, OTHER_FORMS, write_checkpoint
from tests.training.runs import write_rows


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> checkpoint."""
    folder = tmp_path_factory.mktemp("tiny")
    return {family: write_checkpoint(family, folder / family) for family in (*FAMILIES, *OTHER_FORMS)}


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 rows: two batches of 8 and one of 6."""
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 22)
