"""Rows that are the bare value of a nested column: the message says how to give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nlptk import registry
from nlptk.artifact import Manifest
from nlptk.errors import DataError
from nlptk.pipelines.artifact import Pipeline
from nlptk.task import Preprocessing

NOTHING: Any = None  # a row is refused before any model is asked


@pytest.mark.parametrize(
    ("name", "rows", "cure"),
    [
        ("ner", [["Ann", "lives", "here"]], "a row of tokens is given as {'tokens': [...]}"),
        ("generation", [{"role": "user", "content": "hi"}], "a row of messages is given as {'messages': [...]}"),
        ("generation", [[{"role": "user", "content": "hi"}]], "a row of messages is given as {'messages': [...]}"),
    ],
)
def test_a_bare_list_is_refused_with_how_to_wrap_it(name: str, rows: Any, cure: str) -> None:
    cls = registry.get_task(name)
    manifest = Manifest({"name": name, "options": {}}, Preprocessing(64), data={"roles": []})
    loaded = Pipeline(Path("model"), manifest, cls(cls.Options()), NOTHING, NOTHING, batch_size=1)
    with pytest.raises(DataError, match=r"row 0: ") as caught:
        loaded(rows)
    assert str(caught.value).endswith(cure)
