"""Labelled rows: what episodes draw of them, and vectors that are computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

from nlptk import registry
from nlptk.fewshot.data import labelled_file, with_class_names
from nlptk.fewshot.episodes import Protocol
from nlptk.fewshot.rows import LabelledRows, frozen_vectors
from nlptk.recipe import DataSettings
from nlptk.task import Preprocessing
from tests.fewshot.few_shot_rows import write_classes
from tests.tiny_models import WORDS, write_checkpoint


@pytest.fixture
def rows(tmp_path: Path) -> LabelledRows:
    """Eight rows of each of six classes, and the classes' names."""
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    cls = registry.get_task("few_shot")
    task = cls(cls.Options.model_validate({"class_names": True}), decision={"pooling": "mean"})
    task.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    path = str(write_classes(tmp_path / "rows.jsonl", WORDS[20:26], 8))
    settings = DataSettings(train=path, duplicates="keep")
    found = labelled_file(path, settings, task, Preprocessing(32), where="rows", seed=0)
    return with_class_names(found, Preprocessing(32))


def test_the_rows_that_episodes_draw_are_the_same_texts(rows: LabelledRows) -> None:
    episodes = rows.pool.draw_all(Protocol(ways=2, shots=1, queries=2, episodes=3))
    fewer, placed = rows.drawn(episodes)
    assert len(fewer.rows) <= 3 * 2 * 3 + 6
    whole, part = np.array(rows.rows["text"][:]), np.array(fewer.rows["text"][:])
    for one, other in zip(episodes, placed, strict=True):
        assert (one.classes == other.classes).all()
        assert (whole[one.query] == part[other.query]).all()
        assert (whole[rows.learnt_from(one)] == part[fewer.learnt_from(other)]).all()


def test_a_frozen_encoder_runs_once(rows: LabelledRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLPTK_CACHE", str(tmp_path / "cache"))
    model = AutoModel.from_pretrained(tmp_path / "bert")
    first = frozen_vectors(rows, model, batch_size=4)
    np.testing.assert_allclose(first, rows.vectors(model, batch_size=64), atol=1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(LabelledRows, "vectors", None)
        assert (frozen_vectors(rows, model, batch_size=64) == first).all()
    rows.task.decision["pooling"] = "cls"
    assert (frozen_vectors(rows, model, batch_size=4) != first).any()
    rows.task.decision["pooling"] = "mean"
    heads = AutoModel.from_pretrained(tmp_path / "bert", num_attention_heads=1)  # with the same weights
    np.testing.assert_allclose(frozen_vectors(rows, heads, batch_size=4), rows.vectors(heads, batch_size=64), atol=1e-5)
    assert np.abs(frozen_vectors(rows, heads, batch_size=4) - first).max() > 1e-3
    next(model.parameters()).data[:] += 1
    assert (frozen_vectors(rows, model, batch_size=4) != first).any()
