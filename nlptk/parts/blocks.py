"""Texts laid end to end in blocks, for training, and the windows that each text is measured in, alone.

A block goes on where the one before it ended, so no token is lost and only the last one of all is short. What a text's
likelihood is must not depend on its neighbours: it is computed over the text alone, in windows of a block's length, of
which each begins `length - shared` tokens after the one before and counts what that one did not. So each token counts
once, and sees the `shared` tokens before it at least, or its text from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlptk.batches import IGNORED


@dataclass(frozen=True)
class Window:
    """Places in a block with its context before it: tokens from `begin` to `stop` are read, those from `scored` count.

    text: place among all texts of the one that is measured; first: whether that begins here.
    """

    text: int
    begin: int
    scored: int
    stop: int
    first: bool


@dataclass
class Block:
    """`length` tokens of the texts, or what is left in the last one.

    text: place of the first one among all texts. labels: the token that each place is to predict, -100 where nothing is
    asked. context: what the windows of the first text read of it before the block.
    """

    text: int
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    context: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)


def lay_out(texts: Sequence[Sequence[int]], *, start: int, end: int, length: int, shared: int) -> list[Block]:
    """Blocks of at most `length` tokens of the texts' token ids, in their order.

    Each text is read after `start` and is followed by `end`, one token where they are the same; the end is a label like
    the text's own tokens, the start of the next text is none.
    """
    blocks = [Block(0)]
    for index, text in enumerate(texts):
        ids, labels = [start, *text], [*text, end]
        if start != end:
            ids, labels = [*ids, end], [*labels, IGNORED]
        done = 0
        while done < len(ids):
            if len(blocks[-1].ids) == length:
                blocks.append(Block(index))
            block = blocks[-1]
            stop = min(len(ids), done + length - len(block.ids))
            found = list(spans(len(text) + 1, done, stop, length=length, shared=shared))
            if done and found:
                block.context = ids[found[0][0] : done]
            shift = len(block.context) + len(block.ids) - done
            block.windows += [Window(index, b + shift, s + shift, e + shift, first=s == 0) for b, s, e in found]
            block.ids += ids[done:stop]
            block.labels += labels[done:stop]
            done = stop
    return blocks


def spans(size: int, done: int, stop: int, *, length: int, shared: int) -> Iterator[tuple[int, int, int]]:
    """The windows of a text of `size` places that count any from `done` to `stop`: begin, first counted, end."""
    step = length - shared
    number = 0 if done < length else (done - length) // step + 1
    while True:
        begin = number * step
        scored = begin - step + length if number else 0
        if scored >= min(stop, size):
            return
        yield begin, max(scored, done), min(begin + length, size, stop)
        number += 1


def block_features(blocks: Sequence[Block], texts: Sequence[str], ids: Sequence[Sequence[int]]) -> dict[str, list[Any]]:
    """What a batch and `pool` need of each block; its texts' tokens are counted where they begin."""
    begun = [[window.text for window in block.windows if window.first] for block in blocks]
    return {
        "input_ids": [block.ids for block in blocks],
        "labels": [block.labels for block in blocks],
        "context": [block.context for block in blocks],
        "windows": [[n for w in block.windows for n in (w.begin, w.scored, w.stop)] for block in blocks],
        "spans": [
            [n for w in block.windows for n in (w.text - block.text, len(texts[w.text].encode()) if w.first else 0)]
            for block in blocks
        ],
        "row": [block.text for block in blocks],
        "length": [len(block.ids) for block in blocks],
        "lost": [0] * len(blocks),
        "tokens": [sum(len(ids[text]) for text in found) for found in begun],
    }
