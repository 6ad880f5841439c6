"""Translations: sacrebleu's corpus BLEU, chrF and chrF++, with its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from nlptk.errors import DataError
from nlptk.metrics.inputs import Floats
from nlptk.metrics.intervals import figures_of
from nlptk.metrics.rows import check_references, check_rows, check_texts
from nlptk.task import Figure

BleuTokens = Literal["13a", "intl", "zh", "char", "none"]
"""sacrebleu's tokenizers that need neither a download nor another package."""


def translation_figures(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    tokenize: BleuTokens = "13a",
    lowercase: bool = False,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Figure]:
    """Corpus bleu, chrf and chrf++, in [0, 100] as sacrebleu has them; `translation_signatures` says how it made them.

    references: one text a row, or several; rows may have different numbers. tokenize: of BLEU alone; "13a" splits at
    spaces, so take "zh" for Chinese and "char" for Japanese, Thai and the like. chrF needs no words.
    bootstrap: resamples of the rows.

    BLEU: Papineni et al. 2002, 4-grams, exponential smoothing; chrF and chrF++: Popović 2015 and 2017, beta 2. An empty
    prediction is a sentence without matches; where all references are empty, all figures are absent.

    sacrebleu sums each sentence's statistics over the corpus before it takes ratios; a resample weights that sum, so
    that every bootstrap value is sacrebleu's score of the resampled corpus, and no text is read twice.

    Raises:
        DataError: no rows, columns of different lengths, a row that is no text, a row without reference.
    """
    rows = check_rows(predictions=predictions, references=references)
    guesses, golds = check_texts("predictions", predictions), check_references(references)
    metrics = corpus_metrics(tokenize, lowercase=lowercase)
    statistics = {name: sentence_statistics(metric, guesses, golds) for name, metric in metrics.items()}

    def measure(weights: Floats) -> dict[str, Floats]:
        if not measurable(golds):
            return {name: np.full(weights.shape[1], np.nan) for name in metrics}
        return {name: corpus_scores(metric, statistics[name], weights) for name, metric in metrics.items()}

    return figures_of(measure, rows, bootstrap=bootstrap, seed=seed)


def chrf_scores(
    predictions: Sequence[str], references: Sequence[str | Sequence[str]], *, lowercase: bool = False
) -> Floats:
    """(rows,): sacrebleu's sentence chrF of each, in [0, 100]; 0 where a reference says nothing."""
    check_rows(predictions=predictions, references=references)
    metric = corpus_metrics("none", lowercase=lowercase)["chrf"]
    statistics = sentence_statistics(metric, check_texts("predictions", predictions), check_references(references))
    return np.array([metric._compute_score_from_stats(row.tolist()).score for row in statistics])


def measurable(references: Sequence[str | Sequence[str]]) -> bool:
    """Whether any reference has a character to be matched."""
    return any(text.strip() for row in check_references(references) for text in row)


def translation_signatures(
    references: Sequence[str | Sequence[str]], *, tokenize: BleuTokens = "13a", lowercase: bool = False
) -> dict[str, str]:
    """Figure -> the signature that sacrebleu prints beside it: references, case, tokenizer, smoothing, version.

    >>> translation_signatures(["a b", "c"])["bleu"].rpartition("|version:")[0]
    'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp'
    """
    check_rows(references=references)
    first, *others = sorted({len(row) for row in check_references(references)})
    metrics = corpus_metrics(tokenize, lowercase=lowercase)
    for metric in metrics.values():
        metric.num_refs = -1 if others else first  # as sacrebleu sets it when it reads the references
    return {name: str(metric.get_signature()) for name, metric in metrics.items()}


def corpus_metrics(tokenize: BleuTokens, *, lowercase: bool) -> dict[str, Any]:
    """Figure -> sacrebleu's metric."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if tokenize not in get_args(BleuTokens):
        raise DataError(f"bleu: tokenize {tokenize!r}; expected one of {', '.join(get_args(BleuTokens))}")
    return {
        "bleu": BLEU(tokenize=tokenize, lowercase=lowercase),
        "chrf": CHRF(lowercase=lowercase),
        "chrf++": CHRF(word_order=2, lowercase=lowercase),
    }


def sentence_statistics(metric: Any, predictions: list[str], references: list[list[str]]) -> Floats:
    """(rows, statistics): what each sentence adds to the sums from which sacrebleu makes the corpus score."""
    most = max(map(len, references))
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    return np.array(metric._extract_corpus_statistics(predictions, streams), dtype=np.float64)


def corpus_scores(metric: Any, statistics: Floats, weights: Floats) -> Floats:
    """(resamples,): sacrebleu's scores of the corpora in which row i occurs weights[i] times."""
    sums = (statistics.T @ weights).T
    return np.array([metric._compute_score_from_stats(row.tolist()).score for row in sums])
