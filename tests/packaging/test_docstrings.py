"""The examples in docstrings run and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.packaging.test_imports import MODULES

WITH_EXAMPLES = [name for name, path in MODULES if ">>>" in Path(path).read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
