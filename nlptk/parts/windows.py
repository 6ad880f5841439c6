"""Texts -> token windows that fit the model, with what was cut counted.

Built on the fast tokenizer's own encodings, so special tokens, token types and offsets are exactly what
`tokenizer(text)` gives for a text that fits.

Special tokens that a text spells out ("[SEP]", "</s>") are text: where the tokenizer's `split_special_tokens` is on, as
nlptk sets it for every checkpoint and saves it, no row can forge the end of a text or the start of its second one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlptk.errors import UnsupportedError
from nlptk.task import Preprocessing

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from tokenizers.processors import PostProcessor
    from transformers import PreTrainedTokenizerBase

TRIMS = b'"trim_offsets":true'
STAND_IN = "‹"
"""For the first character of a special token that the model's own vocabulary holds; the length of the text stays."""


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

    A pair that does not fit loses tokens of its longer text first, as transformers' `longest_first`; its windows slide
    over the longer text and repeat the other one.

    Raises: UnsupportedError for a tokenizer without a fast form, or a length that leaves no room for text.
    """
    backend = _bare_backend(tokenizer)
    special = special_tokens(tokenizer) if backend.encode_special_tokens else {}
    first = _encode(backend, texts, special)
    second = _second(_encode(backend, pairs, special)) if pairs is not None else [None] * len(first)
    room = preprocessing.max_length - backend.num_special_tokens_to_add(pairs is not None)
    if room < (1 if pairs is None else 2):
        raise UnsupportedError(
            f"preprocessing.max_length: {preprocessing.max_length} leaves no room for text beside the "
            f"{preprocessing.max_length - room} special tokens; give a larger one"
        )
    return [_windows(backend, a, b, room, preprocessing) for a, b in zip(first, second, strict=True)]


def _bare_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The tokenizer's own backend, without what its last call left set: transformers sets it anew at each call."""
    backend: Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedError(
            f"tokenizer {type(tokenizer).__name__}: it has no fast (tokenizers) form, which nlptk needs to count and "
            "window tokens; convert it to a tokenizer.json"
        )
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    plain = bool(getattr(tokenizer, "split_special_tokens", False))
    if backend.encode_special_tokens != plain:
        backend.encode_special_tokens = plain
    return backend


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id -> string of the special tokens but the unknown one, which a text may well give; GPT-2's is its end, too, and
    counts as that."""
    found = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    found |= {index: str(token) for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id, tokenizer.cls_token_id}
    unknown = {tokenizer.unk_token_id} - ends
    return {index: token for index, token in found.items() if index not in unknown}


def _encode(backend: Tokenizer, texts: Sequence[str], special: dict[int, str]) -> list[Encoding]:
    """Encodings without special tokens; equal texts, such as the context of several questions, share one."""
    different = list(dict.fromkeys(texts))
    encodings = dict(zip(different, encode_each(backend, different, special), strict=True))
    return [encodings[text] for text in texts]


def encode_each(backend: Tokenizer, texts: Sequence[str], special: dict[int, str]) -> list[Encoding]:
    """Encodings without special tokens.

    `split_special_tokens` keeps special tokens from being found before the model sees the text; T5's model, a list of
    pieces, has them among its own. Such a text is encoded again with a stand-in for their first characters.
    """
    encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    for index, encoding in enumerate(encodings):
        if special.keys().isdisjoint(encoding.ids):
            continue
        text = without_special(texts[index], special.values())
        encodings[index] = backend.encode(text, add_special_tokens=False)
    return encodings


def without_special(text: str, names: Iterable[str]) -> str:
    """A text of the same length in which no special token is spelled: each has a stand-in for its first character."""
    pattern = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)")
    return pattern.sub(lambda found: STAND_IN + found[0][1:], text)


def _second(encodings: list[Encoding]) -> Sequence[Encoding]:
    """Encodings without the claim to be the first text, which each one has and no call takes back but slicing."""
    return [_pieces(encoding, len(encoding))[0] if len(encoding) else encoding for encoding in encodings]


def _windows(
    backend: Tokenizer, a: Encoding, b: Encoding | None, room: int, preprocessing: Preprocessing
) -> RowWindows:
    tokens = len(a) + (len(b) if b is not None else 0)
    if tokens <= room:
        return RowWindows([_finished(backend, a, b)], tokens, 0)
    if preprocessing.long_text == "window":
        return _slide(backend, a, b, room, preprocessing.stride, tokens)
    room_a, room_b = _share(len(a), len(b) if b is not None else 0, room)
    head_tail = preprocessing.long_text == "truncate_head_tail"
    a = _cut(a, room_a, head_tail)
    b = _cut(b, room_b, head_tail) if b is not None else None
    return RowWindows([_finished(backend, a, b)], tokens, tokens - room_a - room_b)


def _finished(backend: Tokenizer, a: Encoding, b: Encoding | None) -> Encoding:
    """With special tokens, and `sequence_ids` that say which text a token is of."""
    a.set_sequence_id(0)
    if b is not None:
        b.set_sequence_id(1)
    processor = backend.post_processor
    if processor is None or TRIMS not in processor.__getstate__():
        return backend.post_process(a, b, True)
    # GPT-2's and RoBERTa's trim spaces off the offsets: that was done when the texts were encoded, and counts once
    return _without_trimming(processor.__getstate__()).process(a, b, True)


def _without_trimming(state: bytes) -> PostProcessor:
    from tokenizers.processors import ByteLevel

    processor: PostProcessor = ByteLevel()
    processor.__setstate__(state.replace(TRIMS, b'"trim_offsets":false'))
    return processor


def _share(a: int, b: int, room: int) -> tuple[int, int]:
    """Lengths after the longer of the two gives up tokens until both fit; of two halves the second is the larger."""
    shorter = min(a, b, room // 2)
    if a > b:
        return min(a, room - shorter), shorter
    return shorter, min(b, room - shorter)


def _cut(encoding: Encoding, room: int, head_tail: bool) -> Encoding:
    """The first `room` tokens, or a quarter of them from the head and the rest from the tail (Sun et al. 2019, 5.3.1).

    Paper: arXiv:1905.05583, which keeps 128 tokens of the head and 382 of the tail.
    """
    from tokenizers import Encoding

    if len(encoding) <= room:
        return encoding
    if not head_tail or room < 2:
        return _pieces(encoding, room)[0]
    head = max(1, room // 4)
    tail = room - head
    ending = _pieces(encoding, tail, shift=-len(encoding) % tail)[-1]
    return Encoding.merge([_pieces(encoding, head)[0], ending], growing_offsets=False)


def _slide(backend: Tokenizer, a: Encoding, b: Encoding | None, room: int, stride: int, tokens: int) -> RowWindows:
    """Windows over the longer text, each with the other text beside it, which may take half of the room."""
    if b is None:
        pieces = _pieces(a, room, stride=min(stride, room - 1))
        return RowWindows([_finished(backend, piece, None) for piece in pieces], tokens, 0)
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    kept = _cut(short, room // 2, head_tail=False)
    size = room - len(kept)
    pieces = _pieces(long, size, stride=min(stride, size - 1))
    pairs = [(piece, kept) if long is a else (kept, piece) for piece in pieces]
    return RowWindows([_finished(backend, x, y) for x, y in pairs], tokens, len(short) - len(kept))


def _pieces(encoding: Encoding, size: int, *, stride: int = 0, shift: int = 0) -> list[Encoding]:
    """Slices of `size` tokens, every one starting `size - stride` after the one before; the last may be shorter.

    shift: how many tokens of the first slice are filler. `truncate` leaves its first slice carrying all others, and
    post-processing such slices of two texts pairs all with all; so the slice that carries is one of filler, left out.
    """
    from tokenizers import Encoding

    filler = Encoding()
    filler.pad(size - stride + shift)
    whole = Encoding.merge([filler, encoding], growing_offsets=False)
    whole.truncate(size, stride=stride)
    return whole.overflowing
