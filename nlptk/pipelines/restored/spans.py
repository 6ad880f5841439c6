"""From the logits of one window to its best spans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Span(NamedTuple):
    """The first and the last token of an answer, counted within the window, and its probability."""

    first: int
    last: int
    score: float


def probabilities(logits: Floats, allowed: Flags) -> Floats:
    """Softmax over the allowed tokens; 0 elsewhere. Both [tokens]."""
    found = np.zeros_like(logits)
    if allowed.any():
        powers = np.exp(logits[allowed] - logits[allowed].max())
        found[allowed] = powers / powers.sum()
    return found


def best_spans(start: Floats, end: Floats, in_context: Flags, *, count: int, max_tokens: int) -> list[Span]:
    """The `count` most probable spans of the context of at most `max_tokens` tokens, the best first.

    start, end: probability of each token to begin, or to end, the answer; [tokens]. A span's is their product.
    """
    tokens = np.flatnonzero(in_context)
    first, last = np.nonzero(_band(tokens, max_tokens))
    first, last = tokens[first], tokens[last]
    scores = start[first] * end[last]
    if len(scores) > count:
        chosen = np.argpartition(-scores, count - 1)[:count]
        first, last, scores = first[chosen], last[chosen], scores[chosen]
    order = np.argsort(-scores, kind="stable")
    return [Span(int(first[i]), int(last[i]), float(scores[i])) for i in order]


def _band(tokens: NDArray[np.intp], max_tokens: int) -> Flags:
    """Which pairs of tokens are a first and a last one of at most `max_tokens`; [tokens, tokens]."""
    distance = tokens[None, :] - tokens[:, None]
    band: Flags = (distance >= 0) & (distance < max_tokens)
    return band
