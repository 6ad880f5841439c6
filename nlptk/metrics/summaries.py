"""Summaries: rouge-score's figures, lengths, novelty and compression."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from nlptk.errors import DataError
from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats
from nlptk.metrics.intervals import figures_of
from nlptk.metrics.rows import check_references, check_rows, check_texts
from nlptk.metrics.words import ngrams, words
from nlptk.task import Figure

ROUGE = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_l": "rougeL", "rouge_lsum": "rougeLsum"}
"""Figure -> rouge-score's name of it."""
NOVELTY_ORDERS = (1, 2, 3, 4)
RougeWords = Literal["latin", "any"]

SENTENCE_END = re.compile(
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’»)\]]))\s+|(?<=[。！？｡])(?![”’」』）])|(?<=[。！？｡][”’」』）])"
)


def summary_figures(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    sources: Sequence[str] | None = None,
    rouge_words: RougeWords = "latin",
    stemmer: bool = False,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Figure]:
    """ROUGE F-measures in [0, 1], lengths, and how the summaries relate to what they summarize.

    references: one text a row, or several. sources: the documents. bootstrap: resamples of the rows.

    - rouge1, rouge2, rouge_l, rouge_lsum: mean over rows of what `rouge_scores` says.
    - prediction_words, reference_words: mean words of a text (`words`), over a row's references too; length_ratio:
      the former by the latter.
    - novelty_1 ... novelty_4 (with sources): share of the predictions' n-grams that do not occur in their sources, all
      n-grams of all rows taken together; the higher, the less is copied (Narayan, Cohen and Lapata 2018, XSum).
    - compression (with sources): words of the sources by words of the predictions (Grusky, Naaman and Artzi 2018).

    A figure that is undefined on these rows is absent: ROUGE where no reference has a word, ratios without denominator.

    Raises:
        DataError: no rows, columns of different lengths, a row that is no text, a row without reference.
    """
    columns = {"predictions": predictions, "references": references}
    rows = check_rows(**columns) if sources is None else check_rows(**columns, sources=sources)
    rouge = rouge_scores(predictions, references, rouge_words=rouge_words, stemmer=stemmer)
    said = [words(text) for text in predictions]
    golds = [[len(words(text)) for text in row] for row in check_references(references)]
    sums = {"said": np.array([len(row) for row in said]), "gold": np.array([np.mean(row) for row in golds])}
    if sources is not None:
        sums |= novelty_counts(said, map(words, check_texts("sources", sources)))

    def measure(weights: Floats) -> dict[str, Floats]:
        drawn = weights.sum(axis=0)
        total = {name: values.astype(np.float64) @ weights for name, values in sums.items()}
        figures = {name: values @ weights / drawn for name, values in rouge.items()}
        figures |= {"prediction_words": total["said"] / drawn, "reference_words": total["gold"] / drawn}
        figures["length_ratio"] = ratio(total["said"], total["gold"])
        if sources is not None:
            figures |= {f"novelty_{n}": ratio(total[f"novel_{n}"], total[f"ngrams_{n}"]) for n in NOVELTY_ORDERS}
            figures["compression"] = ratio(total["source"], total["said"])
        return figures

    return figures_of(measure, rows, bootstrap=bootstrap, seed=seed)


def rouge_scores(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    rouge_words: RougeWords = "latin",
    stemmer: bool = False,
) -> dict[str, Floats]:
    """rouge-score's F-measures of each row: figure -> (rows,) in [0, 1]; NaN throughout where no reference has a word.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries". Of several references the one with the highest
    F-measure counts, for each figure by itself, as in rouge-score. A prediction without words scores 0.
    rouge_lsum: over sentences as `sentences` splits them.

    rouge_words: "latin" for rouge-score's own words, runs of a-z and 0-9, so that the figures compare with published
    ones; Chinese, Greek or Cyrillic text has none of these, and an accent splits a word. "any": words of any script
    (`words`). stemmer: Porter's, on Latin words longer than 3 letters.

    Raises:
        DataError: no rows, columns of different lengths, a row that is no text, a row without reference.
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # it ships no types

    rows = check_rows(predictions=predictions, references=references)
    guesses, golds = check_texts("predictions", predictions), check_references(references)
    tokenizer = rouge_tokenizer(rouge_words, stemmer=stemmer)
    if not any(tokenizer.tokenize(text) for row in golds for text in row):
        return {name: np.full(rows, np.nan) for name in ROUGE}
    scorer = RougeScorer(list(ROUGE.values()), tokenizer=tokenizer)
    scored = [
        scorer.score_multi(["\n".join(sentences(text)) for text in row], "\n".join(sentences(guess)))
        for guess, row in zip(guesses, golds, strict=True)
    ]
    return {name: np.array([row[theirs].fmeasure for row in scored]) for name, theirs in ROUGE.items()}


class WordTokenizer:
    """rouge-score's tokenizer protocol over `words`, with the stemmer where asked."""

    def __init__(self, stem: Any):
        self.stem = stem

    def tokenize(self, text: str) -> list[str]:
        return [self.stem(word) if self.stem and len(word) > 3 else word for word in words(text)]


def rouge_tokenizer(rouge_words: RougeWords, *, stemmer: bool) -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # type: ignore[import-untyped]  # it ships no types

    if rouge_words == "latin":
        return DefaultTokenizer(use_stemmer=stemmer)
    if rouge_words != "any":
        raise DataError(f"rouge: rouge_words {rouge_words!r}; expected 'latin' or 'any'")
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]  # it ships no types

    return WordTokenizer(PorterStemmer().stem if stemmer else None)


def sentences(text: str) -> list[str]:
    """The lines of a text or, where it has one, its sentences: cut after . ! ? … and white space, and after 。 ！ ？.

    A rule without data: "Dr. Who" is cut in two. Who knows the sentences gives them a line each, as rouge-score and the
    CNN/DailyMail files do. A closing quote or bracket stays with its sentence.

        >>> sentences("It rained. Did it? 雨。晴。")
        ['It rained.', 'Did it?', '雨。', '晴。']
    """
    lines = text.split("\n") if "\n" in text.strip() else SENTENCE_END.split(text)
    return [line.strip() for line in lines if line.strip()]


def novelty_counts(predictions: Sequence[Sequence[str]], sources: Iterable[Sequence[str]]) -> dict[str, Floats]:
    """Per row the words of its source (`source`), the n-grams of the prediction (`ngrams_n`), and those of them that
    the source lacks (`novel_n`), n = 1 ... 4. sources: the words of each, read one after the other."""
    names = ["source", *(f"{kind}_{n}" for kind in ("ngrams", "novel") for n in NOVELTY_ORDERS)]
    counts: dict[str, Floats] = {name: np.zeros(len(predictions)) for name in names}
    for row, (said, source) in enumerate(zip(predictions, sources, strict=True)):
        counts["source"][row] = len(source)
        for n in NOVELTY_ORDERS:
            grams, known = ngrams(said, n), set(ngrams(source, n))
            counts[f"ngrams_{n}"][row] = len(grams)
            counts[f"novel_{n}"][row] = sum(gram not in known for gram in grams)
    return counts
