"""What the tests of nlptk.data share: a cache of their own, columns, and the real data where it is at hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nlptk.task import Column

TEXT = Column("text", "text", ("text", "sentence", "review"))
LABEL = Column("label", "label", ("label", "labels", "class"), target=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts with an empty cache."""
    cache = tmp_path / "nlptk-cache"
    monkeypatch.setenv("NLPTK_CACHE", str(cache))
    return cache


@pytest.fixture
def columns() -> tuple[Column, ...]:
    return (TEXT, LABEL)


@pytest.fixture
def pair_columns() -> tuple[Column, ...]:
    return (
        Column("text", "text", ("text", "sentence1")),
        Column("text_pair", "text", ("text_pair", "sentence2")),
        LABEL,
    )


@pytest.fixture
def together_columns() -> tuple[Column, ...]:
    """Questions of which those on one context belong together."""
    return (
        Column("question", "text", ("question",)),
        Column("context", "text", ("context",), together=True),
    )


@pytest.fixture
def shared(shared_data: Path) -> Callable[[str], Path]:
    """The folder of a real data set; skips the test where it is absent."""

    def folder(name: str) -> Path:
        if not (shared_data / name).is_dir():
            pytest.skip(f"needs the data set {name!r}, which is not at {shared_data}")
        return shared_data / name

    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a small file into the test's own folder."""

    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file
