"""Tokens on disk: those of the tokenizer itself, made once, and made anew when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nlptk.errors import DataError
from nlptk.text.documents import find_corpus, is_held_out
from nlptk.text.objectives import NextToken
from nlptk.text.recipe import ObjectiveSettings
from nlptk.text.token_store import HELD_OUT, TRAIN, cached, check_parts, tokenize_corpus
from nlptk.text.tokenizer_training import train_tokenizer
from nlptk.text.windows import EpochWindows, Windows, held_out_windows, training_windows
from tests.text.samples import document, write_text

TEXTS = [document(seed) for seed in range(60)]
TOKENIZER = train_tokenizer(lambda: iter(TEXTS), family="gpt2", vocab_size=400).tokenizer
END = TOKENIZER.eos_token_id


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "text.txt")


def test_the_files_hold_what_the_tokenizer_says_in_order(text: Path) -> None:
    found = tokenize_corpus(find_corpus(text), TOKENIZER, separator=END, held_out=0.3)
    for part, held_out in ((TRAIN, False), (HELD_OUT, True)):
        mine = [document for document in TEXTS if is_held_out(document, 0.3) is held_out]
        wanted = [token for document in mine for token in [*TOKENIZER(document)["input_ids"], END]]
        assert found[part].ids.tolist() == wanted
        assert found[part].documents == len(mine) > 0
        assert found[part].size_bytes == sum(len(document.encode()) for document in mine)
        assert isinstance(found[part].ids, np.memmap)


def test_special_tokens_that_a_text_spells_out_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before <|endoftext|> after\n")
    ids = tokenize_corpus(find_corpus(path), TOKENIZER, separator=None, held_out=None)[TRAIN].ids
    assert END not in ids
    assert TOKENIZER.decode(ids.tolist()) == "before <|endoftext|> after"
    assert END in TOKENIZER("<|endoftext|>")["input_ids"]  # the tokenizer itself is as it was


def test_an_entry_is_written_once_and_anew_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLPTK_CACHE", str(tmp_path))
    calls = []

    def write(folder: Path) -> None:
        calls.append(folder)
        (folder / "a.bin").write_bytes(b"1234")

    place = cached("key", write)
    assert cached("key", write) == place
    assert len(calls) == 1
    (place / "a.bin").write_bytes(b"1235")
    assert (cached("key", write) / "a.bin").read_bytes() == b"1234"
    assert len(calls) == 2
    assert [path.name for path in place.parent.glob("*") if path.name.endswith(".partial")] == []


def test_each_epoch_has_every_window_once_in_another_order_with_other_noise(text: Path) -> None:
    objective = NextToken(TOKENIZER, ObjectiveSettings(), 16)
    tokens = tokenize_corpus(find_corpus(text), TOKENIZER, separator=END, held_out=None)[TRAIN]
    windows = training_windows(tokens, objective, seed=0)
    sampler = EpochWindows(len(windows), seed=0, batch_size=4)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == list(range(len(windows)))
    assert sorted(second) == list(range(len(windows), 2 * len(windows)))
    assert [number % len(windows) for number in second] != first
    labels = [label for number in sorted(first) for label in windows[number]["labels"].tolist()]
    assert labels == tokens.ids[1 : 1 + 16 * len(windows)].tolist()


def test_held_out_windows_are_spread_and_bounded(text: Path) -> None:
    objective = NextToken(TOKENIZER, ObjectiveSettings(), 16)
    tokens = tokenize_corpus(find_corpus(text), TOKENIZER, separator=END, held_out=None)[TRAIN]
    every = Windows(tokens, objective, seed=0)
    some = held_out_windows(tokens, objective, most_tokens=160)
    assert len(some) == 10
    assert some[0]["labels"].tolist() == every[0]["labels"].tolist()
    assert some[9]["labels"].tolist() == every[len(every) - 1]["labels"].tolist()
    assert len(held_out_windows(tokens, objective, most_tokens=10**9)) == len(every)


def test_too_little_text_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("hello\n")
    objective = NextToken(TOKENIZER, ObjectiveSettings(), 64)
    tokens = tokenize_corpus(find_corpus(path), TOKENIZER, separator=END, held_out=None)
    with pytest.raises(DataError, match=r"data.train: \d tokens in 1 documents, and one example takes 65"):
        training_windows(tokens[TRAIN], objective, seed=0)
    with pytest.raises(DataError, match=r"data.held_out: 0 tokens in 0 documents"):
        held_out_windows(tokens[HELD_OUT], objective, most_tokens=100)


@pytest.mark.parametrize(("share", "came"), [(0.0001, "none"), (0.9999, "all")])
def test_few_documents_on_one_side_are_refused_with_a_share_that_divides_them(
    tmp_path: Path, share: float, came: str
) -> None:
    corpus = find_corpus(write_text(tmp_path / "three.txt", 3))
    tokens = tokenize_corpus(corpus, TOKENIZER, separator=END, held_out=share)
    with pytest.raises(DataError, match=rf"holds out {came} of the documents, 3 in all") as caught:
        check_parts(tokens, corpus, share=share)
    better = float(str(caught.value).partition("give data.held_out=")[2].partition(",")[0])
    parts = tokenize_corpus(corpus, TOKENIZER, separator=END, held_out=better)
    assert (parts[TRAIN].documents, parts[HELD_OUT].documents) == (2, 1)


def test_a_single_document_cannot_be_divided_and_the_cure_says_so(tmp_path: Path) -> None:
    corpus = find_corpus(write_text(tmp_path / "one.txt", 1))
    tokens = tokenize_corpus(corpus, TOKENIZER, separator=END, held_out=0.01)
    with pytest.raises(DataError, match=r"give more text, or the same in smaller documents; or data\.held_out=none"):
        check_parts(tokens, corpus, share=0.01)


def test_many_lines_a_document_are_said_to_be_why_there_are_few(tmp_path: Path) -> None:
    corpus = find_corpus(write_text(tmp_path / "lines.txt", 20), lines_per_document=50)
    tokens = tokenize_corpus(corpus, TOKENIZER, separator=END, held_out=0.01)
    with pytest.raises(DataError, match=r"1 in all .* give a data\.lines_per_document smaller than 50; or more text"):
        check_parts(tokens, corpus, share=0.01)


def test_special_tokens_that_a_text_spells_out_are_text_for_a_list_of_pieces_too(tmp_path: Path) -> None:
    texts = [document(seed) for seed in range(20)]
    tokenizer = train_tokenizer(lambda: iter(texts), family="t5", vocab_size=400).tokenizer
    path = tmp_path / "text.txt"
    path.write_text("a </s> b <pad> c <extra_id_0> d\n")
    ids = tokenize_corpus(find_corpus(path), tokenizer, separator=None, held_out=None)[TRAIN].ids
    named = {tokenizer.convert_tokens_to_ids(token) for token in ("</s>", "<pad>", "<extra_id_0>")}
    assert not named & set(ids.tolist())
    assert "pad" in str(tokenizer.decode(ids.tolist()))
