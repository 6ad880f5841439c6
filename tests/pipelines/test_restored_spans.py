"""The best spans of a window, against a search of every pair of tokens."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax

from nlptk.pipelines.restored.spans import best_spans, probabilities

TOKENS = 24


def window(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of a start and of an end, and which tokens are the context's."""
    random = np.random.default_rng(seed)
    in_context = np.zeros(TOKENS, dtype=bool)
    in_context[6:-1] = True
    start, end = (softmax(random.normal(size=TOKENS)).astype(np.float32) for _ in range(2))
    return start, end, in_context


@pytest.mark.parametrize("max_tokens", [1, 4, TOKENS])
@pytest.mark.parametrize("count", [1, 5, 10_000])
def test_best_spans_are_those_of_a_search_of_every_pair(count: int, max_tokens: int) -> None:
    start, end, in_context = window(count + max_tokens)
    every = [
        (first, last, start[first] * end[last])
        for first in range(TOKENS)
        for last in range(first, min(TOKENS, first + max_tokens))
        if in_context[first] and in_context[last]
    ]
    best = sorted(every, key=lambda span: -span[2])[:count]
    found = best_spans(start, end, in_context, count=count, max_tokens=max_tokens)
    assert [(span.first, span.last) for span in found] == [(first, last) for first, last, _ in best]
    assert_allclose([span.score for span in found], [score for _, _, score in best], rtol=1e-6)


def test_probabilities_are_a_softmax_over_the_allowed_tokens() -> None:
    logits = np.random.default_rng(0).normal(scale=20, size=TOKENS).astype(np.float32)
    allowed = np.arange(TOKENS) % 3 > 0
    expected = np.zeros(TOKENS)
    expected[allowed] = softmax(logits[allowed].astype(np.float64))
    assert_allclose(probabilities(logits, allowed), expected, rtol=1e-5, atol=1e-12)


def test_a_window_without_context_has_no_span() -> None:
    nothing = np.zeros(TOKENS, dtype=bool)
    logits = np.ones(TOKENS, dtype=np.float32)
    none = probabilities(logits, nothing)
    assert not none.any()
    assert best_spans(none, none, nothing, count=3, max_tokens=5) == []
