"""Spans of a context: windows over it, the tokens of an answer, the best spans of the logits, merged over windows.

A window has the question, then tokens of the context. Its first token stands for no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlptk.parts.answers import NOT_GIVEN, Gold
from nlptk.parts.windows import window_rows
from nlptk.task import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    import torch
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 32  # encodings of long contexts are large


def context_windows(
    questions: Sequence[str], contexts: Sequence[str], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
) -> Iterator[tuple[list[Encoding], int, int]]:
    """Each row's windows over its context, its tokens, and how many of them its question lost.

    The context is windowed whatever `long_text` says; windows share `stride` tokens, a quarter of `max_length` where
    that is 0. A question keeps at most half of a window.
    """
    length = preprocessing.max_length
    half = (length - tokenizer.num_special_tokens_to_add(pair=True)) // 2
    sliding = Preprocessing(length, "window", preprocessing.stride or length // 4)
    for first in range(0, len(questions), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        short, cut = short_questions(questions[part], tokenizer, half)
        # the question being no longer than half of the room, it is the context that the windows slide over
        found = window_rows(tokenizer, short, contexts[part], sliding)
        for row, lost in zip(found, cut, strict=True):
            yield row.windows, row.tokens + lost, row.lost + lost


def short_questions(
    questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, room: int
) -> tuple[list[str], list[int]]:
    """The questions, cut to so many tokens, and how many of them each lost."""
    found = window_rows(tokenizer, questions, None, Preprocessing(room + tokenizer.num_special_tokens_to_add()))
    ends = [max((end for _, end in row.windows[0].offsets), default=0) for row in found]
    cut = [text[:end] if row.lost else text for text, row, end in zip(questions, found, ends, strict=True)]
    return cut, [row.lost for row in found]


def context_tokens(window: Encoding) -> tuple[int, np.ndarray]:
    """A window's first context token, and the characters of its context tokens, (tokens, 2)."""
    import numpy as np

    of = window.sequence_ids
    begin, count = (of.index(1), of.count(1)) if 1 in of else (len(of), 0)
    return begin, np.array(window.offsets[begin : begin + count], dtype=np.int32).reshape(-1, 2)


def answer_tokens(offsets: np.ndarray, golds: Sequence[Gold], *, opens: bool, closes: bool) -> tuple[int, int] | None:
    """First and last token of the first gold answer; None where the window does not hold it whole.

    opens, closes: it is the context's first or last window. What no token stands for (white space, control characters)
    may come before its first token, or after its last.
    """
    import numpy as np

    if not golds or golds[0].start == NOT_GIVEN or not len(offsets):
        return None
    start, end = golds[0].start, golds[0].end
    if not (opens or offsets[0, 0] <= start) or not (closes or end <= offsets[-1, 1]):
        return None
    touched = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def inside_context(context: torch.Tensor, length: int) -> torch.Tensor:
    """(windows, length), True at the tokens of the context: from its first to one before context[:, 1]."""
    import torch

    places = torch.arange(length, device=context.device)
    inside: torch.Tensor = (places >= context[:, :1]) & (places < context[:, 1:2])
    return inside


def best_spans(
    start_logits: torch.Tensor, end_logits: torch.Tensor, context: torch.Tensor, *, longest: int, n_best: int
) -> torch.Tensor:
    """The best of all spans of at most `longest` tokens within the context, and no answer.

    start_logits, end_logits: (windows, tokens). context: (windows, 2 or more), first context token and one past the
    last. Returns: (windows, n_best + 1 at most, 3), float32: first and last token, counted in the context, and the
    summed logits, which are -inf where there are fewer spans. The first line is no answer: 0, 0 and its score, that of
    the window's first token.
    """
    import torch
    from torch.nn import functional

    length = start_logits.shape[1]
    longest = min(longest, length)
    outside = ~inside_context(context, length)
    starts, ends = (logits.float().masked_fill(outside, float("-inf")) for logits in (start_logits, end_logits))
    following = functional.pad(ends, (0, longest - 1), value=float("-inf")).unfold(1, longest, 1)
    best = (starts[:, :, None] + following).flatten(1).topk(min(n_best, length * longest))
    first = best.indices // longest - context[:, :1]
    spans = torch.stack([first, first + best.indices % longest, best.values], dim=2)
    none = torch.zeros_like(spans[:, :1])
    none[:, 0, 2] = start_logits[:, 0].float() + end_logits[:, 0].float()
    return torch.cat([none, spans], dim=1)


def span_loss(start_logits: torch.Tensor, end_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of the cross entropies of first and last token, summed over the windows, a scalar.

    start_logits, end_logits: (windows, tokens). targets: (windows, 4), first context token, one past the last, and the
    answer's first and last token, 0 and 0 for none. Only the context's tokens and the window's first one take part.
    """
    from torch.nn import functional

    asked = inside_context(targets, start_logits.shape[1])
    asked[:, 0] = True
    first, last = (
        functional.cross_entropy(logits.float().masked_fill(~asked, float("-inf")), target, reduction="sum")
        for logits, target in ((start_logits, targets[:, 2]), (end_logits, targets[:, 3]))
    )
    return (first + last) / 2


def in_characters(lines: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A window's lines of `best_spans`, with characters in place of tokens, end exclusive; those of no span left out.

    offsets: (tokens, 2), characters of the context tokens.
    """
    import numpy as np

    found: np.ndarray = lines[np.isfinite(lines[:, 2])].astype(np.float64)
    tokens = found[1:, :2].astype(np.int64)
    found[1:, 0], found[1:, 1] = offsets[tokens[:, 0], 0], offsets[tokens[:, 1], 1]
    return found


@dataclass(frozen=True)
class Spans:
    """What was found in one row, best first.

    places: (n, 2) characters of the context, end exclusive; scores: (n,) start and end logit, summed; none: the same
    sum for no answer, the least of all windows (Devlin et al. 2019, arXiv:1810.04805, section 4.3).
    """

    places: np.ndarray
    scores: np.ndarray
    none: float


def merged(windows: list[np.ndarray], n_best: int) -> Spans:
    """The best spans of a row's windows, as `in_characters` gives them; of a span that several see, its best score."""
    import numpy as np

    spans = np.concatenate([window[1:] for window in windows])
    spans = spans[np.argsort(-spans[:, 2], kind="stable")]
    _, first = np.unique(spans[:, :2], axis=0, return_index=True)
    spans = spans[np.sort(first)[:n_best]]
    return Spans(spans[:, :2].astype(np.int64), spans[:, 2], min(float(window[0, 2]) for window in windows))
