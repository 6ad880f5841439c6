"""Embedding and search: exact, in order, bounded."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlptk
from nlptk.errors import DataError, UnsupportedError
from nlptk.pipelines import embedding
from nlptk.pipelines.embedding import nearest, unit_length
from tests.doors import train_tiny
from tests.tiny_models import WORDS, write_checkpoint

TEXTS = [" ".join(WORDS[(row * 7 + step * 3) % len(WORDS)] for step in range(1 + row % 9)) for row in range(60)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("search")
    rows = [{"sentence1": TEXTS[i], "sentence2": TEXTS[i + 1], "score": i % 5} for i in range(32)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = nlptk.train(
        task="similarity",
        model=write_checkpoint("bert", folder / "bert"),
        data={"train": folder / "rows.jsonl", "validation": "none", "test": "none"},
        training={"num_train_epochs": 1, "save_strategy": "no", "disable_tqdm": True},
        output=folder / "run",
        bootstrap=0,
    )
    return nlptk.pipeline(result.artifact, batch_size=8)


def _in_full(queries: np.ndarray, corpus: np.ndarray, top_k: int) -> list[list[tuple[int, float]]]:
    """By sorting everything, equal cosines by place."""
    cosines = (unit_length(queries.astype(np.float64)) @ unit_length(corpus.astype(np.float64)).T).astype(np.float32)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :top_k]
    return [[(int(place), float(row[place])) for place in places] for row, places in zip(cosines, order, strict=True)]


def _blocks(corpus: np.ndarray, size: int) -> Any:
    return ((first, corpus[first : first + size]) for first in range(0, len(corpus), size))


def test_embeddings_are_float32_rows_of_length_1_in_the_order_given(loaded: Any) -> None:
    found = loaded.embed(TEXTS)
    assert (found.shape, found.dtype) == ((60, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    for row in (0, 31, 59):
        np.testing.assert_allclose(loaded.embed(TEXTS[row]), found[row], atol=1e-6)
    raw = loaded.embed(TEXTS, normalize=False)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), found, atol=1e-6)
    assert abs(np.linalg.norm(raw[0]) - 1) > 1e-3


def test_texts_are_read_in_chunks_and_from_any_iterable(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = loaded.embed(TEXTS)
    monkeypatch.setattr(embedding, "CHUNK_TEXTS", 7)
    np.testing.assert_allclose(loaded.embed(iter(TEXTS)), wanted, atol=1e-6)
    assert loaded.embed([]).shape == (0, 32)


def test_equal_texts_of_a_call_have_equal_embeddings(loaded: Any) -> None:
    found = loaded.embed([TEXTS[3], *TEXTS, TEXTS[3]])
    assert (found[0] == found[4]).all()
    assert (found[0] == found[-1]).all()


@pytest.mark.parametrize(("texts", "said"), [(["late", " "], "text 1: empty"), (["late", None], "text 1: NoneType")])
def test_what_is_no_text_is_named(loaded: Any, texts: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        loaded.embed(texts)


def test_nothing_at_all_is_refused_by_the_name_of_its_argument(loaded: Any) -> None:
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("texts", lambda: loaded.embed(None)),
        ("queries", lambda: loaded.search(None, ["late"])),
        ("corpus", lambda: loaded.search("late", None)),
    ]
    for what, call in calls:
        with pytest.raises(DataError, match=f"{what}: None; expected a text or a list of texts"):
            call()


def test_a_task_that_embeds_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="classification: its models embed no texts"):
        nlptk.pipeline(train_tiny(tmp_path)).embed(["late"])


@pytest.mark.parametrize("size", [1, 7, 100, 500])
@pytest.mark.parametrize("top_k", [1, 5, 500])
def test_search_finds_what_sorting_everything_finds(size: int, top_k: int) -> None:
    generator = np.random.default_rng(0)
    corpus = generator.integers(-2, 3, (300, 3)).astype(np.float32)  # many equal cosines, rows of zeros among them
    queries = unit_length(generator.normal(size=(5, 3)))
    assert nearest(queries, _blocks(corpus, size), top_k=top_k) == _in_full(queries, corpus, top_k)


def test_more_queries_than_are_scored_at_once_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "CHUNK_QUERIES", 4)
    generator = np.random.default_rng(0)
    corpus, queries = generator.normal(size=(50, 6)), unit_length(generator.normal(size=(11, 6)))
    assert nearest(queries, _blocks(corpus, 20), top_k=3) == _in_full(queries, corpus, 3)


def test_equal_rows_come_by_their_place_in_whatever_block_they_lie() -> None:
    generator = np.random.default_rng(0)
    row = generator.normal(size=384).astype(np.float32)
    corpus = generator.normal(size=(1000, 384)).astype(np.float32)
    equal = [3, 64, 65, 500, 998, 999]
    corpus[equal] = row
    found = nearest(unit_length(row[None].astype(np.float64)), _blocks(corpus, 129), top_k=6)
    assert [place for place, _ in found[0]] == equal
    assert len({cosine for _, cosine in found[0]}) == 1


def test_a_corpus_of_texts_and_one_of_their_embeddings_give_the_same_hits(loaded: Any) -> None:
    distinct = list(dict.fromkeys(TEXTS))
    by_text = loaded.search(TEXTS[:3], distinct, top_k=4)
    vectors = loaded.embed(distinct, normalize=False)
    by_vector = loaded.search(TEXTS[:3], vectors, top_k=4)
    for one, other, text in zip(by_text, by_vector, TEXTS, strict=False):
        assert one[0]["text"] == text
        assert one[0]["score"] == pytest.approx(1.0, abs=1e-6)
        assert [hit["index"] for hit in one] == [hit["index"] for hit in other]
        assert [hit["text"] for hit in one] == [distinct[hit["index"]] for hit in one]
        assert "text" not in other[0]
    assert loaded.search(TEXTS[0], distinct, top_k=4) == by_text[0]
    assert loaded.search([], distinct) == []
    assert loaded.search(TEXTS[0], []) == []


def test_memory_does_not_grow_with_the_corpus(loaded: Any, tmp_path: Path) -> None:
    """A memory-mapped corpus of 100 MiB, read in blocks of half a MiB."""
    path = tmp_path / "corpus.npy"
    corpus = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(100 * 2**20 // 128, 32))
    corpus[:] = np.random.default_rng(0).normal(size=32)
    corpus.flush()
    queries = unit_length(loaded.embed(TEXTS[:4]).astype(np.float64))
    mapped = np.load(path, mmap_mode="r")
    tracemalloc.start()
    found = nearest(queries, embedding._blocks(mapped, 32), top_k=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
    assert [place for place, _ in found[0]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("corpus", "top_k", "said"),
    [
        (["late"], 0, "top_k: 0"),
        ("late", 1, "corpus: str"),
        (np.array(["late"]), 1, "corpus: ndarray"),
        (np.zeros((2, 31)), 1, r"\(2, 31\); expected \(texts, 32\)"),
        (np.zeros(32), 1, r"expected \(texts, 32\)"),
        (np.full((2, 32), np.nan), 1, "rows 0 to 1 hold NaN"),
    ],
)
def test_what_cannot_be_searched_is_refused(loaded: Any, corpus: Any, top_k: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        loaded.search("late", corpus, top_k=top_k)
