"""Entity figures against seqeval, an optimal assignment, and worked examples."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import seqeval.metrics as seqeval
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from seqeval import scheme as schemes
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient
from seqeval.metrics.v1 import precision_recall_fscore_support as strict

from nlptk.errors import DataError
from nlptk.metrics import entity_figures, entity_spans, per_type
from nlptk.metrics.spans import PREFIXES, Scheme, Span, partial_credit
from tests.metrics.plain_bootstrap import check_intervals

Rows = list[list[str]]
TYPES = ("PER", "LOC", "work-of-art")


def seqeval_scores(guess: Rows, gold: Rows, scheme: Scheme | None, average: str | None) -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval says where it puts 0 for undefined
        if scheme is None:
            return tuple(lenient(gold, guess, average=average))
        kind = getattr(schemes, "IOBES" if scheme == "BIOES" else scheme)
        return tuple(strict(gold, guess, average=average, scheme=kind))


def assert_equals_seqeval(guess: Rows, gold: Rows, scheme: Scheme | None) -> None:
    """To the last bit; where seqeval puts 0 for what is undefined, the figure is absent."""
    table = per_type(guess, gold, scheme=scheme)
    if not table:
        assert "f1" not in entity_figures(guess, gold, scheme=scheme)
        return
    precision, recall, f1, support = seqeval_scores(guess, gold, scheme, None)
    assert [row["precision"] or 0.0 for row in table] == list(precision)
    assert [row["recall"] or 0.0 for row in table] == list(recall)
    assert [row["f1"] or 0.0 for row in table] == list(f1)
    assert [row["support"] for row in table] == list(support)
    figures = entity_figures(guess, gold, scheme=scheme)
    for average, prefix in (("micro", ""), ("macro", "macro_"), ("weighted", "weighted_")):
        *theirs, total = seqeval_scores(guess, gold, scheme, average)
        for name, value in zip(("precision", "recall", "f1"), theirs, strict=True):
            ours = figures[f"{prefix}{name}"].value if f"{prefix}{name}" in figures else 0.0
            assert ours == value, (average, name)
        assert figures["support"].value == total


def tag_rows(prefixes: str, *, bare: bool) -> st.SearchStrategy[tuple[Rows, Rows]]:
    """Predicted and gold rows of the same lengths: any tags in any order, malformed sequences included."""
    tags = ["O", "O", *(f"{prefix}-{name}" for prefix in prefixes for name in TYPES)] + list(prefixes) * bare
    row = st.lists(st.tuples(st.sampled_from(tags), st.sampled_from(tags)), max_size=12)
    return st.lists(row, min_size=1, max_size=5).map(
        lambda rows: ([[guess for guess, _ in row] for row in rows], [[gold for _, gold in row] for row in rows])
    )


@given(tag_rows("BIES", bare=True))
def test_default_mode_equals_seqeval_on_any_tags(rows: tuple[Rows, Rows]) -> None:
    assert_equals_seqeval(*rows, None)


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_strict_mode_equals_seqeval_on_any_tags(scheme: Scheme) -> None:
    @given(tag_rows(PREFIXES[scheme], bare=False))
    def check(rows: tuple[Rows, Rows]) -> None:
        assert_equals_seqeval(*rows, scheme)

    check()


@given(tag_rows("BI", bare=False))
def test_token_accuracy_equals_seqeval(rows: tuple[Rows, Rows]) -> None:
    guess, gold = rows
    figures = entity_figures(guess, gold)
    if any(gold):
        assert figures["token_accuracy"].value == seqeval.accuracy_score(gold, guess)
    else:
        assert "token_accuracy" not in figures


def noisy(gold: Rows, seed: int) -> Rows:
    """The rows with one tag in five drawn from all tags."""
    rng = np.random.default_rng(seed)
    tags = sorted({tag for row in gold for tag in row})
    return [[str(rng.choice(tags)) if rng.random() < 0.2 else tag for tag in row] for row in gold]


def many_types(rows: int, types: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    return [[f"B-{i:02}" if rng.random() < 0.5 else "O" for i in rng.integers(0, types, 8)] for _ in range(rows)]


def test_averages_over_many_types_equal_seqeval_to_the_last_bit() -> None:
    gold = many_types(150, 37)
    assert_equals_seqeval(noisy(gold, 1), gold, None)


def test_wnut17_with_noise_equals_seqeval_in_both_modes(shared_data: Path) -> None:
    text = (shared_data / "wnut17" / "test.conll").read_text(encoding="utf-8")
    gold = [[line.split("\t")[-1].strip() for line in block.splitlines()] for block in text.strip().split("\n\n")]
    guess = noisy(gold, 0)
    assert_equals_seqeval(guess, gold, None)
    assert_equals_seqeval(guess, gold, "IOB2")
    figures = entity_figures(guess, gold, scheme="IOB2")
    assert figures["support"].value == sum(tag.startswith("B-") for row in gold for tag in row)


def test_spans_by_mode() -> None:
    rows = [["I-PER", "I-PER", "O"], [], ["B-LOC", "I-PER"]]
    assert entity_spans(rows) == [[("PER", 0, 2)], [], [("LOC", 0, 1), ("PER", 1, 2)]]
    assert entity_spans(rows, scheme="IOB1") == [[("PER", 0, 2)], [], [("PER", 1, 2)]]  # B starts only after its own
    assert entity_spans(rows, scheme="IOB2") == [[], [], [("LOC", 0, 1)]]
    assert entity_spans([["B-PER", "E-PER", "S-LOC", "B-LOC"]], scheme="BIOES") == [[("PER", 0, 2), ("LOC", 2, 3)]]
    assert entity_spans([["B-PER", "L-PER", "U-LOC"]], scheme="BILOU") == [[("PER", 0, 2), ("LOC", 2, 3)]]


def test_partial_overlap_of_a_worked_example() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC", "O", "B-ORG"]]
    guess = [["B-LOC", "I-LOC", "O", "O", "B-LOC", "I-LOC", "B-PER", "O"]]
    # the first: same boundaries, another type: 1; the second: overlap: 1/2; the third on either side: nothing
    figures = entity_figures(guess, gold)
    assert figures["partial_precision"].value == pytest.approx(1.5 / 3)
    assert figures["partial_recall"].value == pytest.approx(1.5 / 3)
    assert figures["partial_f1"].value == pytest.approx(0.5)
    assert figures["f1"].value == 0.0


def test_one_prediction_over_two_entities_is_paired_with_one() -> None:
    gold = [["B-PER", "O", "B-PER", "O"]]
    figures = entity_figures([["B-PER", "I-PER", "I-PER", "I-PER"]], gold)
    assert figures["partial_precision"].value == 0.5
    assert figures["partial_recall"].value == 0.25


@given(tag_rows("BI", bare=False))
def test_partial_credit_is_that_of_the_best_assignment(rows: tuple[Rows, Rows]) -> None:
    for guess, gold in zip(*(entity_spans(part) for part in rows), strict=True):
        worth = np.array([[value_of_pair(a, b) for b in gold] for a in guess]).reshape(len(guess), len(gold))
        assert partial_credit(guess, gold) == worth[linear_sum_assignment(-worth)].sum()


def value_of_pair(a: Span, b: Span) -> float:
    overlap = min(a[2], b[2]) - max(a[1], b[1])
    return 1.0 if a[1:] == b[1:] else 0.5 if overlap > 0 else 0.0


@pytest.mark.parametrize("scheme", [None, "IOB2"])
def test_intervals_equal_a_plain_bootstrap_over_seqeval(scheme: Scheme | None) -> None:
    gold = [row.split() for row in ("B-0 I-0 O B-2 O", "O O B-1", "B-2 I-2", "B-0 O B-1 I-1")] * 6
    guess = noisy(gold, 3)
    figures = entity_figures(guess, gold, scheme=scheme, bootstrap=60, seed=4)

    def score(rows: list[int]) -> dict[str, float]:
        drawn = [guess[i] for i in rows], [gold[i] for i in rows]
        values: dict[str, float] = {"token_accuracy": seqeval.accuracy_score(drawn[1], drawn[0])}
        for average, prefix in (("micro", ""), ("macro", "macro_"), ("weighted", "weighted_")):
            found = seqeval_scores(*drawn, scheme, average)
            values |= {
                f"{prefix}{name}": value for name, value in zip(("precision", "recall", "f1"), found, strict=False)
            }
        return values

    check_intervals(figures, score, rows=len(gold), resamples=60, seed=4, exactly=["f1", "macro_f1", "weighted_f1"])


def test_what_is_undefined_is_absent() -> None:
    none_predicted = entity_figures([["O", "O"]], [["B-PER", "O"]], bootstrap=10)
    assert "precision" not in none_predicted
    assert (none_predicted["recall"].value, none_predicted["f1"].value) == (0.0, 0.0)
    nothing = entity_figures([["O"]], [["O"]])
    assert set(nothing) == {"token_accuracy", "support"}
    assert per_type([["B-PER"]], [["O"]]) == [
        {"label": "PER", "precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    ]


@pytest.mark.parametrize(
    ("guess", "gold", "scheme", "message"),
    [
        ([["O"]], [["O"], ["O"]], None, "predictions 1, references 2"),
        ([], [], None, "no rows to measure"),
        ([["O", "O"]], [["O"]], None, "row 0: 2 predicted, 1 gold"),
        ([["O"], ["O", "L-PER"]], [["O"], ["O", "O"]], None, "row 1, token 1: 'L-PER'; expected O, or one of B-, I-"),
        ([["E-PER"]], [["O"]], "IOB2", "row 0, token 0: 'E-PER'"),
        ([["PERSON"]], [["O"]], None, "'PERSON'"),
        ([["O"]], [["O"]], "IOBES", "scheme 'IOBES'; expected None or one of IOB1, IOB2, IOE2, BIOES, BILOU"),
    ],
)
def test_bad_tags_are_refused_with_their_place(guess: Rows, gold: Rows, scheme: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        entity_figures(guess, gold, scheme=scheme)
