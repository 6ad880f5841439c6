"""Entity spans: seqeval's figures and partial overlap, from tag sequences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal, get_args

import numpy as np

from nlptk.errors import DataError
from nlptk.metrics.counts import ratio
from nlptk.metrics.inputs import Floats
from nlptk.metrics.intervals import Measure, figures_of, fixed_figures
from nlptk.metrics.rows import check_rows
from nlptk.metrics.tables import ClassFigures
from nlptk.task import Figure

Scheme = Literal["IOB1", "IOB2", "IOE2", "BIOES", "BILOU"]
Span = tuple[str, int, int]
"""Type, first token, one past the last token."""
Tags = Sequence[Sequence[str]]
"""One tag a token: `O`, or a prefix, a hyphen and a type (`B-PER`)."""

PREFIXES = {"IOB1": "IB", "IOB2": "IB", "IOE2": "IE", "BIOES": "BIES", "BILOU": "BILU", None: "BIES"}


def entity_figures(
    predictions: Tags, references: Tags, *, scheme: Scheme | None = None, bootstrap: int = 0, seed: int = 0
) -> dict[str, Figure]:
    """Entity precision, recall and F1 as seqeval has them, token accuracy and partial overlap; all in [0, 1].

    predictions and references: one tag a token, rows of equal lengths. scheme: None for seqeval's default mode (that of
    conlleval: malformed sequences are mended), a scheme for its strict mode. bootstrap: resamples of the rows.

    - precision, recall, f1: over all entities (micro); right means the same type and boundaries.
    - macro_*, weighted_*: mean over the types that are gold or predicted, plain or by gold counts. As in seqeval, a
      type that is never predicted counts with precision 0, one that is never gold with recall 0.
    - token_accuracy: share of tokens with the gold tag.
    - partial_precision, partial_recall, partial_f1: see `partial_credit`.
    - support: gold entities (no interval).

    A figure that is undefined on these rows is absent, also where seqeval says 0: precision without any predicted
    entity, recall without any gold one, F1 without either.

    Raises:
        DataError: no rows, rows of different lengths, or a tag that is none (of the scheme, where one is given).
    """
    rows = check_pair(predictions, references)
    guess, gold = entity_spans(predictions, scheme=scheme), entity_spans(references, scheme=scheme)
    figures = figures_of(
        measure_of(guess, gold, token_counts(predictions, references)), rows, bootstrap=bootstrap, seed=seed
    )
    return figures | fixed_figures({"support": float(sum(map(len, gold)))})


def per_type(predictions: Tags, references: Tags, *, scheme: Scheme | None = None) -> list[ClassFigures]:
    """Precision, recall, F1 and gold entities of each type that is gold or predicted, by name; None where undefined."""
    check_pair(predictions, references)
    types, tables = span_tables(entity_spans(predictions, scheme=scheme), entity_spans(references, scheme=scheme))
    gold, said, right = (np.asarray(table.sum(axis=1), dtype=np.float64) for table in tables)
    figures = {
        name: [None if np.isnan(v) else float(v) for v in row] for name, row in scores(gold, said, right).items()
    }
    return [
        {
            "label": name,
            "precision": figures["precision"][i],
            "recall": figures["recall"][i],
            "f1": figures["f1"][i],
            "support": int(gold[i]),
        }
        for i, name in enumerate(types)
    ]


def entity_spans(tags: Tags, *, scheme: Scheme | None = None) -> list[list[Span]]:
    """The entities of each row, in order, as seqeval reads them.

    scheme: None for its default mode, in which an entity may start with any prefix (`O I-PER` is one); with a scheme,
    its strict mode, in which only what the scheme allows is an entity.

        >>> entity_spans([["B-PER", "I-PER", "O", "I-LOC"]])
        [[('PER', 0, 2), ('LOC', 3, 4)]]
        >>> entity_spans([["B-PER", "I-PER", "O", "I-LOC"]], scheme="IOB2")
        [[('PER', 0, 2)]]

    Raises:
        DataError: an unknown scheme, or a tag that the mode does not know.
    """
    if scheme is not None and scheme not in get_args(Scheme):
        raise DataError(f"entities: scheme {scheme!r}; expected None or one of {', '.join(get_args(Scheme))}")
    rows = [list(row) for row in tags]
    check_tags(rows, scheme)
    return _lenient_spans(rows) if scheme is None else _strict_spans(rows, scheme)


def check_tags(rows: list[list[str]], scheme: Scheme | None) -> None:
    prefixes = PREFIXES[scheme]
    for tag in {tag for row in rows for tag in row}:
        if tag == "O" or (isinstance(tag, str) and tag[:1] in tuple(prefixes) and tag[1:2] in ("", "-")):
            continue
        row, token = next((i, row.index(tag)) for i, row in enumerate(rows) if tag in row)
        expected = f"O, or one of {', '.join(f'{prefix}-' for prefix in prefixes)} and a type"
        raise DataError(f"tags, row {row}, token {token}: {tag!r}; expected {expected}; give the scheme of these tags")


def _lenient_spans(rows: list[list[str]]) -> list[list[Span]]:
    from seqeval.metrics.sequence_labeling import get_entities

    # seqeval reads all rows as one sequence with an O after each; reading row by row would differ at untyped tags.
    starts = list(accumulate((len(row) + 1 for row in rows), initial=0))
    spans: list[list[Span]] = [[] for _ in rows]
    for name, first, last in get_entities(rows):
        row = bisect_right(starts, first) - 1
        spans[row].append((name, first - starts[row], last + 1 - starts[row]))
    return spans


def _strict_spans(rows: list[list[str]], scheme: Scheme) -> list[list[Span]]:
    from seqeval import scheme as schemes

    kind = getattr(schemes, "IOBES" if scheme == "BIOES" else scheme)
    return [[(found.tag, found.start, found.end) for found in schemes.Tokens(row, kind).entities] for row in rows]


def partial_credit(predicted: Sequence[Span], gold: Sequence[Span]) -> float:
    """How much of the gold entities of one row was found: 1 for each with the same boundaries, 1/2 for an overlap.

    The "partial" evaluation of SemEval-2013 task 9 (Segura-Bedmar, Martínez and Herrero-Zazo 2013, section 3.1, after
    MUC-5: COR + PAR / 2), whatever the types; precision divides the sum by the predicted entities, recall by the gold
    ones. Each entity is paired at most once. The pairs are taken from left to right, which gives as many as can be.

        >>> partial_credit([("LOC", 0, 2), ("PER", 3, 4)], [("PER", 0, 2), ("PER", 3, 6), ("PER", 6, 7)])
        1.5
    """
    credit, guesses = 0.0, sorted(predicted, key=lambda span: span[1:])
    remaining = iter(sorted(gold, key=lambda span: span[1:]))
    target = next(remaining, None)
    for _, start, end in guesses:
        while target is not None and target[2] <= start:
            target = next(remaining, None)
        if target is not None and target[1] < end:
            credit += 1.0 if target[1:] == (start, end) else 0.5
            target = next(remaining, None)
    return credit


def check_pair(predictions: Tags, references: Tags) -> int:
    rows = check_rows(predictions=predictions, references=references)
    for row, (guess, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(guess) != len(gold):
            raise DataError(f"tags, row {row}: {len(guess)} predicted, {len(gold)} gold; expected one a token in both")
    return rows


def token_counts(predictions: Tags, references: Tags) -> Floats:
    """(2, rows): tokens with the gold tag, and tokens."""
    pairs = list(zip(predictions, references, strict=True))
    right = [sum(a == b for a, b in zip(guess, gold, strict=True)) for guess, gold in pairs]
    return np.array([right, [len(gold) for _, gold in pairs]], dtype=np.float64)


def span_tables(predicted: list[list[Span]], gold: list[list[Span]]) -> tuple[list[str], tuple[Any, Any, Any]]:
    """The types, sorted, and three sparse (types, rows) tables: gold, predicted and right entities."""
    from scipy.sparse import coo_array

    types = sorted({name for rows in (predicted, gold) for row in rows for name, _, _ in row})
    index = {name: i for i, name in enumerate(types)}

    def table(rows: list[list[Span]]) -> Any:
        cells = [(index[name], row) for row, spans in enumerate(rows) for name, _, _ in spans]
        at = np.array(cells, dtype=np.int64).reshape(-1, 2).T
        return coo_array((np.ones(len(cells)), (at[0], at[1])), shape=(len(types), len(rows))).tocsr()

    right = [sorted(set(a) & set(b)) for a, b in zip(predicted, gold, strict=True)]
    return types, (table(gold), table(predicted), table(right))


def measure_of(predicted: list[list[Span]], gold: list[list[Span]], tokens: Floats) -> Measure:
    """The rows as a function of their weights; tokens: (2, rows) as `token_counts` gives them."""
    _, tables = span_tables(predicted, gold)
    credit = np.array([partial_credit(a, b) for a, b in zip(predicted, gold, strict=True)])

    def measure(weights: Floats) -> dict[str, Floats]:
        true, said, right = (np.asarray(table @ weights) for table in tables)
        totals = true.sum(axis=0), said.sum(axis=0)
        figures = scores(*totals, right.sum(axis=0)) | averages(true, said, right)
        figures["token_accuracy"] = ratio(tokens[0] @ weights, tokens[1] @ weights)
        return figures | {f"partial_{name}": values for name, values in scores(*totals, credit @ weights).items()}

    return measure


def scores(gold: Floats, said: Floats, right: Floats) -> dict[str, Floats]:
    """Precision, recall and F1 elementwise, NaN where undefined; F1 by seqeval's formula, so that it rounds alike."""
    precision, recall = ratio(right, said), ratio(right, gold)
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.nan_to_num(ratio(2 * p * r, p + r))
    return {"precision": precision, "recall": recall, "f1": np.where(gold + said > 0, f1, np.nan)}


def averages(gold: Floats, said: Floats, right: Floats) -> dict[str, Floats]:
    """Macro and weighted means over the types that occur, (types, resamples) -> (resamples,)."""
    types = (gold + said > 0).sum(axis=0).astype(np.float64)
    found: dict[str, Floats] = {}
    for name, values in scores(gold, said, right).items():
        # One resample a contiguous row: numpy then sums in the order in which seqeval's np.average does.
        each = np.ascontiguousarray(np.nan_to_num(values).T)
        found[f"macro_{name}"] = ratio(each.sum(axis=1), types)
        found[f"weighted_{name}"] = ratio((each * np.ascontiguousarray(gold.T)).sum(axis=1), gold.sum(axis=0))
    return found
