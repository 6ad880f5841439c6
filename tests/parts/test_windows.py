"""A text that fits is what the tokenizer gives; what does not fit is cut as transformers cuts it, and counted."""

from __future__ import annotations

import copy
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nlptk.checkpoints import load_tokenizer
from nlptk.errors import UnsupportedError
from nlptk.parts import windows
from nlptk.parts.windows import RowWindows, window_rows
from nlptk.strategies.prompt_tokens import with_prompt_tokens
from nlptk.task import Preprocessing
from tests.tiny_models import FAMILIES, OTHER_FORMS, WORDS, write_checkpoint

ALL = (*FAMILIES, *OTHER_FORMS)
EVERY_KIND = ("truncate_tail", "truncate_head_tail", "window")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: load_tokenizer(str(write_checkpoint(family, folder / family))) for family in ALL}


def _texts(count: int, *, seed: int = 0) -> list[str]:
    random_words = random.Random(seed)
    return [" ".join(random_words.choices(WORDS, k=random_words.randint(1, 30))) for _ in range(count)]


def _one(tokenizer: Any, text: str, pair: str | None, *settings: Any) -> RowWindows:
    return window_rows(tokenizer, [text], None if pair is None else [pair], Preprocessing(*settings))[0]


def _bare(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_text_that_fits_is_what_the_tokenizer_gives(tokenizers: dict[str, Any], family: str, kind: str) -> None:
    tokenizer = tokenizers[family]
    first, second = _texts(20), _texts(20, seed=1)
    for pairs in (None, second):
        theirs = tokenizer(first, pairs)
        for index, row in enumerate(window_rows(tokenizer, first, pairs, Preprocessing(1000, kind))):  # type: ignore[arg-type]
            (window,) = row.windows
            assert window.ids == theirs["input_ids"][index]
            assert window.offsets == theirs.encodings[index].offsets
            assert window.sequence_ids == theirs.encodings[index].sequence_ids
            if "token_type_ids" in theirs:
                assert window.type_ids == theirs["token_type_ids"][index]


@pytest.mark.parametrize("family", ALL)
def test_truncation_keeps_the_tokens_that_transformers_keeps(tokenizers: dict[str, Any], family: str) -> None:
    tokenizer = tokenizers[family]
    for length, text in enumerate(_texts(60), start=4):
        ours = _one(tokenizer, text, None, length)
        assert ours.windows[0].ids == tokenizer(text, truncation=True, max_length=length)["input_ids"]


@pytest.mark.parametrize("family", ALL)
def test_a_pair_is_cut_longest_first_as_transformers_does(tokenizers: dict[str, Any], family: str) -> None:
    tokenizer = tokenizers[family]
    for length, (text, pair) in enumerate(pairwise(_texts(60)), start=6):
        ours = _one(tokenizer, text, pair, length)
        theirs = tokenizer(text, pair, truncation="longest_first", max_length=length)
        assert ours.windows[0].ids == theirs["input_ids"]


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("stride", [0, 3])
def test_windows_are_those_of_transformers_overflowing_tokens(
    tokenizers: dict[str, Any], family: str, stride: int
) -> None:
    tokenizer = tokenizers[family]
    for text in _texts(20):
        ours = _one(tokenizer, text, None, 12, "window", stride)
        theirs = tokenizer(text, truncation=True, max_length=12, stride=stride, return_overflowing_tokens=True)
        assert [window.ids for window in ours.windows] == theirs["input_ids"]


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("stride", [0, 2])
def test_windows_lose_no_token(tokenizers: dict[str, Any], family: str, stride: int) -> None:
    tokenizer = tokenizers[family]
    for text in _texts(20):
        row = _one(tokenizer, text, None, 9, "window", stride)
        joined: list[int] = []
        for window in row.windows:
            kept = [i for i, special in zip(window.ids, window.special_tokens_mask, strict=True) if not special]
            joined += kept[stride:] if joined else kept
        assert joined == _bare(tokenizer, text)
        assert row.lost == 0


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("paired", [False, True])
def test_kept_and_lost_tokens_add_up(tokenizers: dict[str, Any], kind: str, paired: bool) -> None:
    tokenizer = tokenizers["bert"]
    for text, pair in pairwise(_texts(40)):
        row = _one(tokenizer, text, pair if paired else None, 20, kind)
        kept = {
            (sequence, offset)
            for window in row.windows
            for sequence, offset in zip(window.sequence_ids, window.offsets, strict=True)
            if sequence is not None
        }
        assert len(kept) + row.lost == row.tokens
        assert row.tokens == len(_bare(tokenizer, text)) + (len(_bare(tokenizer, pair)) if paired else 0)


def test_head_and_tail_are_the_first_quarter_and_the_last_three(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["bert"]
    text = " ".join(WORDS)
    ids = _bare(tokenizer, text)
    row = _one(tokenizer, text, None, 18, "truncate_head_tail")
    assert row.windows[0].ids[1:-1] == [*ids[:4], *ids[-12:]]
    assert row.lost == len(ids) - 16


def test_a_pairs_windows_repeat_the_shorter_text(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["bert"]
    short, long = "late refund", " ".join(WORDS)
    row = _one(tokenizer, short, long, 30, "window")
    assert len(row.windows) > 1
    for window in row.windows:
        first = [i for i, sequence in zip(window.ids, window.sequence_ids, strict=True) if sequence == 0]
        assert first == _bare(tokenizer, short)


def test_virtual_tokens_take_their_room_in_every_window(tokenizers: dict[str, Any]) -> None:
    tokenizer = with_prompt_tokens(tokenizers["bert"], 5)
    tokenizer.split_special_tokens = True
    row = _one(tokenizer, " ".join(WORDS), None, 20, "window")
    assert all(len(window.ids) <= 20 for window in row.windows)
    assert all(sum(window.special_tokens_mask) == 7 for window in row.windows)
    assert row.tokens == len(_bare(tokenizers["bert"], " ".join(WORDS)))


def test_a_length_without_room_for_text_is_refused(tokenizers: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="leaves no room for text beside the 2 special tokens"):
        _one(tokenizers["bert"], "late", None, 2)
    with pytest.raises(UnsupportedError, match="3 special tokens"):
        _one(tokenizers["bert"], "late", "refund", 4)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_pair_of_long_texts_does_not_pair_all_their_slices(tokenizers: dict[str, Any], kind: str) -> None:
    text = " ".join(WORDS[:5] * 200)  # at ten times this, pairing all slices of one with all of the other took minutes
    row = _one(tokenizers["bert"], text, text, 128, kind)
    assert all(len(window.ids) <= 128 and not window.overflowing for window in row.windows)


def test_settings_that_a_call_of_the_tokenizer_left_behind_do_not_count(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["bert"]
    text = " ".join(WORDS)
    tokenizer(text, truncation=True, max_length=8, padding="max_length")
    assert _one(tokenizer, text, None, 1000).windows[0].ids == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("spelled", ["[SEP]", "[PAD]", "</s>", "<pad>", "<|endoftext|>"])
def test_a_special_token_spelled_out_in_a_text_is_text(tokenizers: dict[str, Any], family: str, spelled: str) -> None:
    tokenizer = tokenizers[family]
    row = _one(tokenizer, f"late {spelled} refund {spelled}", None, 1000)
    (window,) = row.windows
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    text = [i for i, mask in zip(window.ids, window.special_tokens_mask, strict=True) if not mask]
    assert special.isdisjoint(text)
    assert [window.ids.count(i) for i in special] == [tokenizer("late")["input_ids"].count(i) for i in special]


def test_the_stand_in_keeps_offsets_into_the_text(tokenizers: dict[str, Any]) -> None:
    text = "late </s> refund"
    row = _one(tokenizers["t5"], text, None, 1000)
    last = row.windows[0].offsets[-2]
    assert text[last[0] : last[1]] == text[-(last[1] - last[0]) :]


def test_an_ordinary_added_token_is_still_found(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(write_checkpoint("bert", tmp_path / "bert")))
    tokenizer.add_tokens(["[TITLE]"])
    row = _one(tokenizer, "[TITLE] late", None, 1000)
    assert row.windows[0].ids[1] == tokenizer.convert_tokens_to_ids("[TITLE]")


def test_a_text_that_several_rows_share_is_encoded_once_and_gives_each_what_it_gives_alone(
    tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, how = tokenizers["bert"], Preprocessing(16, "window", 4)
    context = " ".join(WORDS)
    questions, contexts = ["where is it", "late", "where is it"], [context, context, "late"]
    encoded: list[str] = []
    original = windows.encode_each

    def counted(*args: Any) -> Any:
        encoded.extend(args[1])
        return original(*args)

    monkeypatch.setattr(windows, "encode_each", counted)
    together = window_rows(tokenizer, questions, contexts, how)
    assert encoded == ["where is it", "late", context, "late"]
    for question, text, row in zip(questions, contexts, together, strict=True):
        (alone,) = window_rows(tokenizer, [question], [text], how)
        for ours, theirs in zip(row.windows, alone.windows, strict=True):
            assert (ours.ids, ours.offsets, ours.sequence_ids) == (theirs.ids, theirs.offsets, theirs.sequence_ids)


def test_an_unknown_token_that_ends_texts_is_special_all_the_same(tokenizers: dict[str, Any]) -> None:
    """GPT-2's unknown token is its end."""
    tokenizer = copy.deepcopy(tokenizers["gpt2"])
    tokenizer.unk_token = tokenizer.eos_token
    assert windows.special_tokens(tokenizer) == {tokenizer.eos_token_id: tokenizer.eos_token}
    (row,) = window_rows(tokenizer, [f"say {tokenizer.eos_token} now"], None, Preprocessing(64))
    assert tokenizer.eos_token_id not in row.windows[0].ids
    assert tokenizers["bert"].unk_token_id not in windows.special_tokens(tokenizers["bert"])
