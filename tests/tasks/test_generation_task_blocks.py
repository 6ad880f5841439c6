"""Plain text in blocks: nothing is lost, and each text's windows are those of the text alone."""

from __future__ import annotations

import random

import pytest

from nlptk.batches import IGNORED
from nlptk.parts.blocks import Block, lay_out

START, END = 1, 2
Counted = dict[tuple[int, int], tuple[int, ...]]
"""(text, place of a label in it) -> all that its prediction sees."""


def _texts(seed: int, longest: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, 1000) for _ in range(draw.randrange(0, longest))] for _ in range(draw.randrange(1, 12))]


def _alone(texts: list[list[int]], length: int, shared: int) -> Counted:
    """The sliding window of transformers' page on perplexity of fixed-length models, text by text."""
    found: Counted = {}
    for number, text in enumerate(texts):
        ids, counted = [START, *text], 0
        for begin in range(0, len(ids), length - shared):
            end = min(begin + length, len(ids))
            for place in range(counted, end):
                found[number, place] = tuple(ids[begin : place + 1])
            counted = end
            if end == len(ids):
                break
    return found


def _in_blocks(blocks: list[Block]) -> tuple[Counted, dict[tuple[int, int], int]]:
    """What each counted label's prediction sees, and the label."""
    seen: Counted = {}
    labels: dict[tuple[int, int], int] = {}
    reached: dict[int, int] = {}
    for block in blocks:
        whole = [*block.context, *block.ids]
        known = [IGNORED] * len(block.context) + block.labels
        for window in block.windows:
            for place in range(window.scored, window.stop):
                at = window.text, reached.get(window.text, 0)
                assert at not in seen
                seen[at] = tuple(whole[window.begin : place + 1])
                labels[at] = known[place]
                reached[window.text] = at[1] + 1
    return seen, labels


@pytest.mark.parametrize("end", [END, START])
@pytest.mark.parametrize(("length", "shared"), [(8, 4), (8, 0), (8, 7), (5, 2), (64, 32), (1, 0)])
def test_every_token_counts_once_in_the_windows_of_its_text_alone(length: int, shared: int, end: int) -> None:
    for seed in range(20):
        texts = _texts(seed, 40)
        blocks = lay_out(texts, start=START, end=end, length=length, shared=shared)
        seen, labels = _in_blocks(blocks)
        assert seen == _alone(texts, length, shared)
        spelled = {(n, place): token for n, text in enumerate(texts) for place, token in enumerate([*text, end])}
        assert labels == spelled


@pytest.mark.parametrize("end", [END, START])
def test_blocks_hold_the_texts_end_to_end(end: int) -> None:
    texts = _texts(3, 30)
    blocks = lay_out(texts, start=START, end=end, length=7, shared=3)
    parts = [[START, *text] if end == START else [START, *text, END] for text in texts]
    assert [token for block in blocks for token in block.ids] == [token for part in parts for token in part]
    assert {len(block.ids) for block in blocks[:-1]} == {7}
    learnt = [label for block in blocks for label in block.labels if label != IGNORED]
    assert learnt == [token for text in texts for token in [*text, end]]


def test_one_very_long_text_takes_time_in_proportion_to_its_length() -> None:
    """A book in one row: windows are found by arithmetic, not by going through all of them for every block."""
    blocks = lay_out([list(range(3, 200_003))], start=START, end=END, length=32, shared=16)
    assert sum(window.stop - window.scored for block in blocks for window in block.windows) == 200_001
    assert max(len(block.windows) for block in blocks) <= 3
    assert max(len(block.context) for block in blocks) < 32
