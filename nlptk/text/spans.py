"""Span corruption, T5's objective: hidden spans are replaced by sentinels, and the target tells what they held.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 3.3:

    text    Thank you for inviting me to your party last week
    input   Thank you <X> me to your party <Y> week </s>
    target  <X> for inviting <Y> last </s>      (in the paper a last sentinel <Z> ends the target; in its code, </s>)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SpanLengths:
    """Of every example alike: tokens of text, hidden tokens, spans; input and target with sentinels and end token."""

    text: int
    hidden: int
    spans: int

    @property
    def inputs(self) -> int:
        return self.text - self.hidden + self.spans + 1

    @property
    def targets(self) -> int:
        return self.hidden + self.spans + 1


def count_spans(text: int, *, noise: float, mean_span: float) -> SpanLengths:
    """How many of `text` tokens are hidden, in how many spans.

    hidden = round(text * noise), spans = round(hidden / mean_span), both at least one, and between two spans, as
    before the first, at least one token stays.
    """
    hidden = min(max(round(text * noise), 1), text - 1)
    spans = min(max(round(hidden / mean_span), 1), hidden, text - hidden)
    return SpanLengths(text, hidden, spans)


def fit_spans(inputs: int, *, noise: float, mean_span: float) -> SpanLengths:
    """The longest text whose corrupted input has at most `inputs` tokens."""
    text = 2
    while count_spans(text + 1, noise=noise, mean_span=mean_span).inputs <= inputs:
        text += 1
    return count_spans(text, noise=noise, mean_span=mean_span)


def corrupt(ids: Ids, lengths: SpanLengths, *, sentinels: Ids, end: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """(text,) ids -> (inputs,) and (targets,) ids. sentinels: ids of <extra_id_0>, <extra_id_1>, ..."""
    hidden = hidden_mask(lengths, rng)
    first = hidden & ~np.roll(hidden, 1)  # of each span; the text begins with a kept token
    inputs = ids.copy()
    inputs[first] = sentinels[: lengths.spans]
    places = np.flatnonzero(first)
    targets = np.insert(ids, places, sentinels[: lengths.spans])[np.insert(hidden, places, True)]
    return np.append(inputs[~hidden | first], end), np.append(targets, end)


def hidden_mask(lengths: SpanLengths, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(text,) True where a token is hidden: kept and hidden runs take turns, each of a random length of at least 1."""
    kept = _partition(lengths.text - lengths.hidden, lengths.spans, rng)
    hidden = _partition(lengths.hidden, lengths.spans, rng)
    runs = np.stack([kept, hidden], axis=1).ravel()
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _partition(total: int, parts: int, rng: np.random.Generator) -> Ids:
    """(parts,) random whole numbers of at least 1 with that sum, every such partition as likely as any other."""
    cuts = np.sort(rng.choice(total - 1, size=parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
