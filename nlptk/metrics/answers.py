"""Question answering: exact match and F1 by the definition of SQuAD 2.0's evaluation script."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlptk.errors import DataError
from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats, Ints
from nlptk.metrics.intervals import Measure, figures_of, fixed_figures
from nlptk.metrics.rows import check_references, check_rows, check_texts
from nlptk.task import Figure

Flags = NDArray[np.bool_]

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class AnswerScores:
    """Scored rows. exact_match and f1: (rows,) in [0, 1]; has_answer: (rows,) bool."""

    exact_match: Floats
    f1: Floats
    has_answer: Flags


def answer_figures(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    no_answer_scores: ArrayLike | None = None,
    threshold: float | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Figure]:
    """Exact match and F1 of answers, in [0, 1] (the official script prints them times 100).

    predictions: one text a row, "" for no answer. references: the gold answers of each row, none (or "") where the
    question has no answer. no_answer_scores: (rows,) the higher, the less probable an answer; predictions then are the
    best answers regardless of it, and become "" where the score is above `threshold` (None: nowhere).
    bootstrap: resamples of the rows.

    - exact_match, f1: over all rows, the best over a row's gold answers, after `normalized`. F1 is that of the bags of
      words. A row without answer scores 1 for "" (or what is normalized to it) and 0 for all else.
    - has_answer_exact_match, has_answer_f1, no_answer_exact_match: over the rows with and without gold answers.
    - has_answer_rows, no_answer_rows: how many these are (no intervals).
    - with no_answer_scores: best_exact_match, best_f1 and the thresholds at which they are reached (no intervals), see
      `best_threshold`. Their intervals choose the threshold anew in every resample.

    A figure that is undefined on these rows is absent. Rajpurkar, Jia and Liang 2018, "Know What You Don't Know".

    Words are separated by white space, and punctuation is ASCII's: in Chinese or Japanese text an answer is one word,
    so that F1 equals exact match, and "。" counts as a part of it.

    Raises:
        DataError: no rows, columns of different lengths, a row that is no text, scores that are not numbers.
    """
    raw = score_answers(predictions, references)
    rows = len(raw.f1)
    final = raw
    order: NoAnswerOrder | None = None
    if no_answer_scores is not None:
        order = NoAnswerOrder(checked_scores(no_answer_scores, rows))
        if threshold is not None:
            final = withheld(raw, order.scores > threshold)
    elif threshold is not None:
        raise DataError("answers: a threshold without no_answer_scores; give the scores that it is to cut")
    figures = figures_of(measure_of(final, raw, order), rows, bootstrap=bootstrap, seed=seed)
    answerable = int(raw.has_answer.sum())
    fixed: dict[str, float | None] = {"has_answer_rows": answerable, "no_answer_rows": rows - answerable}
    if order is not None:
        fixed["best_exact_match_threshold"] = order.best(raw.exact_match, raw)[1]
        fixed["best_f1_threshold"] = order.best(raw.f1, raw)[1]
    return figures | fixed_figures(fixed)


def best_threshold(
    predictions: Sequence[str], references: Sequence[str | Sequence[str]], no_answer_scores: ArrayLike
) -> tuple[float, float]:
    """The best F1 that withholding answers can reach, and the threshold: answers with a higher score are withheld.

    Inputs as in `answer_figures`. As in the official script, the candidates are the scores themselves and, for no
    answer at all, 0 (or just below the lowest score, where that is not positive); the lowest of equally good ones wins.
    Rows with the same score are withheld together: the script takes them one by one, and with ties may report a figure
    that no threshold reaches. A row without gold answers is right when withheld and keeps its own score otherwise.
    """
    raw = score_answers(predictions, references)
    return NoAnswerOrder(checked_scores(no_answer_scores, len(raw.f1))).best(raw.f1, raw)


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation and the words a, an, the; single spaces. In this order.

    >>> normalized("The  Beatles' 'Help!'")
    'beatles help'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def word_f1(prediction: str, gold: str) -> float:
    """F1 of the bags of normalized words; where one of them is empty, 1 if both are, else 0."""
    said, true = normalized(prediction).split(), normalized(gold).split()
    if not said or not true:
        return float(said == true)
    common = sum((Counter(said) & Counter(true)).values())
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(true)
    return 2 * precision * recall / (precision + recall)


def score_answers(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> AnswerScores:
    """Each row's exact match and F1: the best over its gold answers, without those that are normalized to nothing.

    Raises:
        DataError: no rows, columns of different lengths, a row that is no text.
    """
    check_rows(predictions=predictions, references=references)
    guesses, golds = check_texts("predictions", predictions), check_references(references, empty=True)
    targets = [[gold for gold in row if normalized(gold)] or [""] for row in golds]
    pairs = list(zip(guesses, targets, strict=True))
    return AnswerScores(
        exact_match=np.array([float(normalized(text) in map(normalized, row)) for text, row in pairs]),
        f1=np.array([max(word_f1(text, gold) for gold in row) for text, row in pairs]),
        has_answer=np.array([any(row) for row in golds]),
    )


def withheld(scores: AnswerScores, where: Flags) -> AnswerScores:
    """The scores after the answers of these rows are withheld: right where the row has no answer."""
    right = ~scores.has_answer
    exact_match, f1 = (np.where(where, right, values) for values in (scores.exact_match, scores.f1))
    return AnswerScores(exact_match, f1, scores.has_answer)


def checked_scores(scores: ArrayLike, rows: int) -> Floats:
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (rows,) or not np.isfinite(array).all():
        raise DataError(f"no_answer_scores: shape {array.shape}, or NaN; expected ({rows},) finite numbers, one a row")
    return array


class NoAnswerOrder:
    """Rows from the lowest no-answer score to the highest: each cut withholds the answers after it."""

    def __init__(self, scores: Floats):
        self.scores = scores
        self.order: Ints = np.argsort(scores, kind="stable").astype(np.int64)
        ordered = scores[self.order]
        self.cuts: Ints = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)).astype(np.int64)
        self.none = float(min(0.0, np.nextafter(ordered[0], -np.inf)))
        self.thresholds = np.append(self.none, ordered[self.cuts])

    def totals(self, values: Floats, scores: AnswerScores, weights: Floats) -> Floats:
        """(cuts + 1, resamples): the weighted sum of the values at each threshold, from no answer at all to all.

        values: (rows,) the rows' scores when answered; withheld, a row scores 1 if it has no answer, else 0.
        """
        right = (~scores.has_answer).astype(np.float64)
        gain = (values - right)[self.order, None] * weights[self.order]
        gains = np.cumsum(gain, axis=0)[self.cuts]
        return np.concatenate([np.zeros((1, weights.shape[1])), gains]) + right @ weights

    def best(self, values: Floats, scores: AnswerScores) -> tuple[float, float]:
        """The best mean of the values and its threshold."""
        totals = self.totals(values, scores, np.ones((len(values), 1)))[:, 0]
        at = int(np.argmax(totals >= totals.max() - 1e-9 * len(values)))
        return float(totals[at] / len(values)), float(self.thresholds[at])


def measure_of(final: AnswerScores, raw: AnswerScores, order: NoAnswerOrder | None) -> Measure:
    """The rows as a function of their weights; raw: the scores before answers were withheld."""
    answerable = final.has_answer.astype(np.float64)

    def measure(weights: Floats) -> dict[str, Floats]:
        rows = weights.sum(axis=0)
        having, lacking = answerable @ weights, (1 - answerable) @ weights
        figures = {
            "exact_match": final.exact_match @ weights / rows,
            "f1": final.f1 @ weights / rows,
            "has_answer_exact_match": ratio((final.exact_match * answerable) @ weights, having),
            "has_answer_f1": ratio((final.f1 * answerable) @ weights, having),
            "no_answer_exact_match": ratio((final.exact_match * (1 - answerable)) @ weights, lacking),
        }
        if order is not None:
            figures["best_exact_match"] = order.totals(raw.exact_match, raw, weights).max(axis=0) / rows
            figures["best_f1"] = order.totals(raw.f1, raw, weights).max(axis=0) / rows
        return figures

    return measure
