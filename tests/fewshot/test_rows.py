"""Labelled rows: what episodes draw of them, and vectors that are computed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from nlptk import registry
from nlptk.fewshot.data import labelled_file, with_class_names
from nlptk.fewshot.episodes import Protocol
from nlptk.fewshot.rows import LabelledRows, frozen_vectors, row_vectors
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


def test_a_batch_read_in_parts_of_like_length_gives_the_vectors_and_gradients_of_each_row_alone(
    rows: LabelledRows, tmp_path: Path
) -> None:
    """Texts of one to 33 words, some in two windows."""
    path = tmp_path / "mixed.jsonl"
    texts = [" ".join(WORDS[: 1 + (7 * place) % 33]) for place in range(40)]
    path.write_text("".join(json.dumps({"text": text, "label": str(len(text) % 2)}) + "\n" for text in texts))
    how = Preprocessing(32, "window", 4)
    mixed = labelled_file(str(path), DataSettings(train=str(path)), rows.task, how, where="mixed", seed=0)
    model = AutoModel.from_pretrained(tmp_path / "bert").eval()
    read: list[int] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True)

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        found: Any = torch.autograd.grad(loss, list(model.encoder.parameters()))
        return list(found)

    chosen = [*range(39, -1, -1)]
    batch = mixed.batch(chosen)
    together = row_vectors(mixed.task, model, batch)
    assert len(read) > 1
    assert len(set(batch["place"].tolist())) < len(batch["place"])
    assert sum(read) < 0.8 * batch["input_ids"].numel()
    alone = torch.cat([row_vectors(mixed.task, model, mixed.batch([row])) for row in chosen])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    weights = torch.randn(together.shape, generator=torch.Generator().manual_seed(0))
    pairs = zip(gradients((weights * together).sum()), gradients((weights * alone).sum()), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
