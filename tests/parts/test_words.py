"""Words of texts, and the tokens they are read at, with the tokenizers of every family."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from nlptk.checkpoints import load_tokenizer
from nlptk.parts.windows import window_rows
from nlptk.parts.words import Tokens, word_places
from nlptk.task import Preprocessing
from tests.tiny_models import FAMILIES, write_checkpoint

TEXTS = [
    "the parcel came late, and broken!",
    " two  spaces\tand\na line's end ",
    "zürich 日本語 e\u0301cole हिन्दी 7pm don't U.S.A. 🙂🙂 #tag",
    "a\u200bb \x01 c\u00a0d \ufeff e",
    "supercalifragilistic " * 3,
]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreTrainedTokenizerBase]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: load_tokenizer(str(write_checkpoint(family, folder / family))) for family in FAMILIES}


def _words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_places(text).tolist()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop_it, U.S. 7pm!", ["Don", "'", "t", "stop_it", ",", "U", ".", "S", ".", "7pm", "!"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("東京タワーtower", ["東", "京", "タ", "ワ", "ー", "tower"]),
        ("한국어를 씁니다", ["한국어를", "씁니다"]),
        (" \n\t", []),
        ("🙂a", ["🙂", "a"]),
    ],
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    assert _words(text) == words


@pytest.mark.parametrize("text", [*TEXTS, string.printable])
def test_every_character_but_white_space_is_in_one_word(text: str) -> None:
    assert "".join(_words(text)) == "".join(text.split())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_word_is_read_at_the_first_token_that_has_a_character_of_it(
    family: str, text: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    windows = window_rows(tokenizers[family], [text], None, Preprocessing(200, "window"))[0].windows
    places = word_places(text)
    reads = Tokens.of(windows, 0).reads(places)
    offsets = [windows[0].offsets[i] for i, special in enumerate(windows[0].special_tokens_mask) if not special]
    expected: dict[int, list[int]] = {}
    for word, (start, end) in enumerate(places.tolist()):
        token = next((i for i, (a, b) in enumerate(offsets) if a < b and a < end and b > start), None)
        if token is not None:
            expected.setdefault(token, []).append(word)
    assert reads.token.tolist() == list(expected)
    assert [list(range(a, b)) for a, b in zip(reads.first, reads.end, strict=True)] == list(expected.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stride", [0, 1, 3, 5, 9])
def test_each_token_is_read_in_the_window_where_it_is_farthest_from_an_edge(
    family: str, stride: int, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    tokenizer, text = tokenizers[family], " ".join(TEXTS)
    whole = window_rows(tokenizer, [text], None, Preprocessing(10_000, "window"))[0].windows[0]
    windows = window_rows(tokenizer, [text], None, Preprocessing(12, "window", stride))[0].windows
    tokens = Tokens.of(windows, stride)
    real = np.flatnonzero(np.asarray(whole.special_tokens_mask) == 0)
    read = [windows[w].ids[p] for w, p in zip(tokens.window, tokens.position, strict=True)]
    assert read == [whole.ids[i] for i in real]
    assert tokens.offsets.tolist() == [list(whole.offsets[i]) for i in real]
    if stride == 0:
        return
    room = {len(window.ids) - sum(window.special_tokens_mask) for window in windows[:-1]}.pop()
    for token, (chosen, position) in enumerate(zip(tokens.window, tokens.position, strict=True)):
        context = []
        for number, window in enumerate(windows):
            inside = [i for i, special in enumerate(window.special_tokens_mask) if not special]
            at = token - number * max(1, room - stride)
            context.append(min(at, len(inside) - 1 - at) if 0 <= at < len(inside) else -1)
        assert context[chosen] == max(context)
        assert windows[chosen].special_tokens_mask[position] == 0


def test_words_that_begin_in_one_token_are_read_together(shared_data: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    folder = shared_data / "tokenizers" / "gpt2"
    backend = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    text = "Ann's dog isn't"
    encoding = backend.encode(text)
    assert encoding.tokens == ["Ann", "'s", "Ġdog", "Ġisn", "'t"]
    reads = Tokens.of([encoding], 0).reads(word_places(text))  # Ann ' s dog isn ' t
    assert (reads.first.tolist(), reads.end.tolist()) == ([0, 1, 3, 4, 5], [1, 3, 4, 5, 7])
