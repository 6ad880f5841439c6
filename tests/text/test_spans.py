"""Span corruption: lengths as in T5's paper, and nothing of the text lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptk.text.spans import corrupt, count_spans, fit_spans, hidden_mask

END = 1
SENTINELS = np.arange(32_099, 31_899, -1)


def test_lengths_are_those_of_t5() -> None:
    # "inputs of 512 tokens come from 568 tokens of text, targets are 114 long": T5's random_spans_helper
    found = fit_spans(512, noise=0.15, mean_span=3.0)
    assert (found.text, found.inputs, found.targets) == (568, 512, 114)


@pytest.mark.parametrize("inputs", [32, 100, 256, 512])
def test_no_longer_text_fits(inputs: int) -> None:
    found = fit_spans(inputs, noise=0.15, mean_span=3.0)
    assert found.inputs <= inputs < count_spans(found.text + 1, noise=0.15, mean_span=3.0).inputs


def restored(inputs: Sequence[int], targets: Sequence[int]) -> list[int]:
    """The text, by putting what follows each sentinel in the target in its place in the input."""
    spans: dict[int, list[int]] = {}
    for token in targets[:-1]:
        if token in SENTINELS:
            spans[token] = []
        else:
            spans[next(reversed(spans))].append(token)
    return [part for token in inputs[:-1] for part in spans.get(token, [token])]


@settings(max_examples=60, deadline=None)
@given(text=st.integers(8, 300), noise=st.floats(0.05, 0.5), mean=st.floats(1.0, 6.0), seed=st.integers(0, 2**32 - 1))
def test_input_and_target_together_are_the_text(text: int, noise: float, mean: float, seed: int) -> None:
    lengths = count_spans(text, noise=noise, mean_span=mean)
    ids = np.arange(100, 100 + text)
    inputs, targets = corrupt(ids, lengths, sentinels=SENTINELS, end=END, rng=np.random.default_rng(seed))
    assert restored(inputs.tolist(), targets.tolist()) == ids.tolist()
    assert (len(inputs), len(targets)) == (lengths.inputs, lengths.targets)
    assert [token for token in inputs if token in SENTINELS] == SENTINELS[: lengths.spans].tolist()
    assert inputs[-1] == targets[-1] == END


def test_inner_tokens_are_hidden_equally_often() -> None:
    lengths = count_spans(280, noise=0.15, mean_span=3.0)
    rng = np.random.default_rng(0)
    shares = np.mean([hidden_mask(lengths, rng) for _ in range(4000)], axis=0)
    # as T5's, a mask begins with a kept run and ends with a hidden one
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares.mean() == pytest.approx(0.15)
    assert np.ptp(shares[40:240]) < 0.05  # 0.14, give or take four standard errors of 0.0055
