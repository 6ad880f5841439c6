"""How well a model predicts held-out text, and what a model without any context would reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlptk.text.objectives import Objective
from nlptk.text.token_store import Tokens
from nlptk.text.windows import Windows

TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Measure:
    """loss: nats a label, as in training; bits_per_byte: of the text that was to be predicted, whatever the tokenizer.

    bits_per_byte = nats / ln 2 / (predicted tokens of text * bytes a token); the last factor is the held-out part's.
    """

    loss: float
    bits_per_byte: float

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss) if self.loss < 700 else math.inf

    def figures(self) -> dict[str, float]:
        return {"loss": self.loss, "perplexity": self.perplexity, "bits_per_byte": self.bits_per_byte}


def unigram_baseline(train: Tokens, held_out: Windows, objective: Objective, *, vocabulary: int) -> Measure:
    """What the training part's token frequencies (plus one each) reach on the same labels, without any context.

    Sentinels and end tokens, which are no text, cost it nothing: the bar is rather too high than too low.
    """
    labels = np.concatenate([held_out[row]["labels"].numpy() for row in range(len(held_out))])
    free = sorted(objective.free)
    vocabulary = 1 + max(vocabulary - 1, int(train.ids.max()), int(labels.max()), *free)  # ids may have gaps
    counts = np.ones(vocabulary, dtype=np.int64)
    for first in range(0, len(train.ids), TOKENS_AT_ONCE):
        counts += np.bincount(train.ids[first : first + TOKENS_AT_ONCE], minlength=vocabulary)
    costs: npt.NDArray[np.float64] = -np.log(counts / counts.sum())
    costs[free] = 0.0
    nats = float(costs[labels].sum())
    text_bytes = objective.predicted * len(held_out) * held_out.bytes_per_token
    return Measure(loss=nats / len(labels), bits_per_byte=nats / math.log(2) / text_bytes)
