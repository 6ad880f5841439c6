"""Texts -> token windows that fit the model, with what was cut counted.

Built on the fast tokenizer's own encodings, so special tokens, token types and offsets are exactly what
`tokenizer(text)` gives for a text that fits.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlptk.errors import UnsupportedError
from nlptk.task import Preprocessing

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RowWindows:
    """The windows of one row. tokens: in the texts, special tokens not counted; lost: those that no window carries."""

    windows: list[Encoding]
    tokens: int
    lost: int


def window_rows(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    preprocessing: Preprocessing,
) -> list[RowWindows]:
    """Encode each text, or pair of texts, into one window or several of at most `max_length` tokens.

    A pair that does not fit loses tokens of its longer text first; its windows slide over the longer text and repeat
    the other one.
    """
    backend = _bare_backend(tokenizer)
    first = backend.encode_batch(list(texts), add_special_tokens=False)
    second = backend.encode_batch(list(pairs), add_special_tokens=False) if pairs is not None else [None] * len(first)
    room = preprocessing.max_length - backend.num_special_tokens_to_add(pairs is not None)
    if room < (1 if pairs is None else 2):
        raise UnsupportedError(
            f"preprocessing.max_length: {preprocessing.max_length} leaves no room for text beside the "
            f"{preprocessing.max_length - room} special tokens; give a larger one"
        )
    return [_windows(backend, a, b, room, preprocessing) for a, b in zip(first, second, strict=True)]


def _bare_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedError(
            f"tokenizer {type(tokenizer).__name__}: it has no fast (tokenizers) form, which nlptk needs to count and "
            "window tokens; convert it to a tokenizer.json"
        )
    bare: Tokenizer = copy.deepcopy(backend)
    bare.no_truncation()
    bare.no_padding()
    bare.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))
    return bare


def _windows(
    backend: Tokenizer, a: Encoding, b: Encoding | None, room: int, preprocessing: Preprocessing
) -> RowWindows:
    tokens = len(a) + (len(b) if b is not None else 0)
    if tokens <= room:
        return RowWindows([backend.post_process(a, b, True)], tokens, 0)
    if preprocessing.long_text == "window":
        return _slide(backend, a, b, room, preprocessing.stride, tokens)
    room_a, room_b = _share(len(a), len(b) if b is not None else 0, room)
    head_tail = preprocessing.long_text == "truncate_head_tail"
    a = _cut(a, room_a, head_tail)
    b = _cut(b, room_b, head_tail) if b is not None else None
    return RowWindows([backend.post_process(a, b, True)], tokens, tokens - room_a - room_b)


def _share(a: int, b: int, room: int) -> tuple[int, int]:
    """Lengths after the longer of the two gives up tokens until both fit."""
    shorter = min(a, b, room // 2)
    if a >= b:
        return min(a, room - shorter), shorter
    return shorter, min(b, room - shorter)


def _cut(encoding: Encoding, room: int, head_tail: bool) -> Encoding:
    """The first `room` tokens, or the first and last quarters-to-three-quarters of them (Sun et al. 2019, 5.3.1)."""
    from tokenizers import Encoding

    if len(encoding) <= room:
        return encoding
    head = copy.copy(encoding)
    if not head_tail:
        head.truncate(room)
        return head
    tail = copy.copy(encoding)
    head.truncate(max(1, room // 4))
    if room <= len(head):
        return head
    tail.truncate(room - len(head), direction="left")
    return Encoding.merge([head, tail], growing_offsets=False)


def _slide(backend: Tokenizer, a: Encoding, b: Encoding | None, room: int, stride: int, tokens: int) -> RowWindows:
    lost = 0
    slides_over_a = b is None or len(a) >= len(b)
    long, short = (a, b) if slides_over_a else (b, a)
    assert long is not None
    if short is not None and len(short) > room // 2:
        lost = len(short) - room // 2
        short = _cut(short, room // 2, head_tail=False)
    size = room - (len(short) if short is not None else 0)
    pieces = _pieces(long, size, min(stride, size - 1))
    pairs: list[tuple[Any, Any]] = [(piece, short) if slides_over_a else (short, piece) for piece in pieces]
    return RowWindows([backend.post_process(x, y, True) for x, y in pairs], tokens, lost)


def _pieces(encoding: Encoding, size: int, stride: int) -> list[Encoding]:
    whole = copy.copy(encoding)
    whole.truncate(size, stride=stride)
    return [whole, *whole.overflowing]
