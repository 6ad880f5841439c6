"""Generated text: likelihood of held-out text, diversity and repetition of what was generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nlptk.errors import DataError
from nlptk.metrics.bootstrap import CHUNK_CELLS
from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats
from nlptk.metrics.intervals import figures_of
from nlptk.metrics.rows import check_rows
from nlptk.metrics.words import ngrams, words
from nlptk.task import Figure

DISTINCT_ORDERS = (1, 2, 3)
REPETITION_ORDER = 4


def generation_figures(
    nll: ArrayLike | None = None,
    tokens: ArrayLike | None = None,
    text_bytes: ArrayLike | None = None,
    *,
    generated: Sequence[str | Sequence[int]] | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Figure]:
    """Likelihood figures of held-out rows, diversity figures of generated ones, or both. bootstrap: resamples of rows.

    nll: (rows,) negative log-likelihood of each row's text in nats, summed over its predicted tokens. tokens: (rows,)
    how many these are. text_bytes: (rows,) UTF-8 bytes of the text that they spell. generated: one text a row, or token
    ids; a text is split into `words`.

    - perplexity: exp(nll / tokens), sums over all rows; comparable between models with the same tokenizer alone.
    - bits_per_byte: nll / (ln 2 bytes), sums over all rows; comparable between tokenizers too.
    - distinct_1, distinct_2, distinct_3: different n-grams by words, over all generated rows together (Li et al. 2016,
      "A Diversity-Promoting Objective Function"). They fall as more text is generated: compare like amounts. Rows drawn
      twice bring nothing new, so that resampling lowers them: the intervals are moved to the figures.
    - seq_rep_4: 1 - different 4-grams / 4-grams of a row, mean over the rows that have any (Welleck et al. 2020,
      "Neural Text Generation with Unlikelihood Training"); 0 for no repetition, towards 1 for a loop.

    A figure that is undefined on these rows is absent (perplexity without tokens or past the largest float, distinct-n
    without words).

    Raises:
        DataError: nothing to measure, columns of different lengths, values that are negative or not finite.
    """
    figures: dict[str, Figure] = {}
    if nll is None and generated is None:
        raise DataError("generation: nothing to measure; give nll with tokens or text_bytes, or generated texts")
    if nll is not None:
        figures |= _likelihood_figures(nll, tokens, text_bytes, bootstrap=bootstrap, seed=seed)
    if generated is not None:
        figures |= _diversity_figures(generated, bootstrap=bootstrap, seed=seed)
    return figures


def _likelihood_figures(
    nll: ArrayLike, tokens: ArrayLike | None, text_bytes: ArrayLike | None, *, bootstrap: int, seed: int
) -> dict[str, Figure]:
    given = {"nll": nll, "tokens": tokens, "text_bytes": text_bytes}
    columns = {name: _checked(name, values) for name, values in given.items() if values is not None}
    if len(columns) == 1:
        raise DataError("generation: nll without tokens or text_bytes; expected one of them at least")
    rows = check_rows(**columns)

    def measure(weights: Floats) -> dict[str, Floats]:
        total = {name: values @ weights for name, values in columns.items()}
        figures: dict[str, Floats] = {}
        if "tokens" in total:
            with np.errstate(over="ignore"):
                perplexity = np.exp(ratio(total["nll"], total["tokens"]))
            figures["perplexity"] = np.where(np.isinf(perplexity), np.nan, perplexity)
        if "text_bytes" in total:
            figures["bits_per_byte"] = ratio(total["nll"], total["text_bytes"]) / np.log(2)
        return figures

    return figures_of(measure, rows, bootstrap=bootstrap, seed=seed)


def _checked(what: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(f"{what}: shape {array.shape}, or NaN, or below 0; expected (rows,) sums, one a row")
    return array


def _diversity_figures(generated: Sequence[str | Sequence[int]], *, bootstrap: int, seed: int) -> dict[str, Figure]:
    rows = check_rows(generated=generated)
    sequences: list[Sequence[Hashable]] = [words(row) if isinstance(row, str) else list(row) for row in generated]
    lengths = np.array([len(row) for row in sequences], dtype=np.float64)
    distinct = {n: DistinctRows([set(ngrams(row, n)) for row in sequences]) for n in DISTINCT_ORDERS}
    repeated = np.array([repetition(row) for row in sequences])
    known = ~np.isnan(repeated)

    def measure(weights: Floats) -> dict[str, Floats]:
        total = lengths @ weights
        figures = {f"distinct_{n}": ratio(grams.counts(weights), total) for n, grams in distinct.items()}
        share = ratio(np.where(known, repeated, 0.0) @ weights, known.astype(np.float64) @ weights)
        return figures | {f"seq_rep_{REPETITION_ORDER}": share}

    centred = [f"distinct_{n}" for n in DISTINCT_ORDERS]
    return figures_of(measure, rows, bootstrap=bootstrap, seed=seed, centred=centred)


def repetition(tokens: Sequence[Hashable], n: int = REPETITION_ORDER) -> float:
    """Share of a sequence's n-grams that repeat an earlier one, in [0, 1); NaN where it has none.

    >>> repetition("a b c d a b c d".split())
    0.2
    """
    grams = ngrams(tokens, n)
    return (len(grams) - len(set(grams))) / len(grams) if grams else float("nan")


class DistinctRows:
    """How many different items the drawn rows have together. items: one set a row.

    Items of one row alone, most n-grams by far, come and go with their row; only shared ones need a table.
    """

    def __init__(self, items: Sequence[set[Any]]):
        from scipy.sparse import csr_array

        rows_of = Counter(item for row in items for item in row)
        shared = {item: i for i, item in enumerate(item for item, rows in rows_of.items() if rows > 1)}
        self.own = np.array([sum(rows_of[item] == 1 for item in row) for row in items], dtype=np.float64)
        cells = [(shared[item], row) for row, found in enumerate(items) for item in found if item in shared]
        at = np.array(cells, dtype=np.int64).reshape(-1, 2).T
        self.table: Any = csr_array((np.ones(len(cells)), (at[0], at[1])), shape=(len(shared), len(items)))

    def counts(self, weights: Floats) -> Floats:
        """(resamples,) for weights (rows, resamples)."""
        drawn = (weights > 0).astype(np.float64)
        found = self.own @ drawn
        block = max(1, CHUNK_CELLS // drawn.shape[1])
        for start in range(0, self.table.shape[0], block):
            found = found + (self.table[start : start + block] @ drawn > 0).sum(axis=0)
        return found
