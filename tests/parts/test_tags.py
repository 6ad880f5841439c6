"""Tag schemes against seqeval, and Viterbi against trying every sequence."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, IOBES, Tokens

from nlptk.parts.tags import TagScheme, read_tags, spans_of, tag_marks, tag_notes, tags_of, transitions, viterbi

SCHEMES: tuple[TagScheme, ...] = ("IOB2", "BIOES")
SPANS = [("PER", 0, 2), ("PER", 2, 3), ("LOC", 5, 8), ("ORG", 8, 9)]


def _names(scheme: TagScheme, types: str) -> list[str]:
    prefixes = "BI" if scheme == "IOB2" else "BIES"
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in prefixes)]


def test_any_sequence_of_tags_is_read_as_seqeval_reads_it() -> None:
    rng = random.Random(0)
    names = ["O", *(f"{prefix}-{name}" for prefix in "BIES" for name in ("PER", "creative-work"))]
    for _ in range(2000):
        tags = rng.choices(names, k=rng.randint(1, 9))
        expected = [(name, first, last + 1) for name, first, last in get_entities(tags)]
        assert spans_of(tags) == expected == read_tags(tags)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param("I-PER I-PER B-PER O O I-LOC I-LOC I-LOC I-ORG", id="IOB1"),
        pytest.param("B-PER I-PER B-PER O O B-LOC I-LOC I-LOC B-ORG", id="IOB2"),
        pytest.param("B-PER E-PER S-PER O O B-LOC I-LOC E-LOC S-ORG", id="BIOES"),
        pytest.param("B-PER L-PER U-PER O O B-LOC I-LOC L-LOC U-ORG", id="BILOU"),
        pytest.param("I-PER E-PER E-PER O O I-LOC I-LOC E-LOC E-ORG", id="IOE2"),
    ],
)
def test_all_schemes_stand_for_the_same_spans(tags: str) -> None:
    assert read_tags(tags.split()) == SPANS


def test_types_alone_are_spans_of_equal_neighbours() -> None:
    assert read_tags(["PER", "PER", "O", "creative-work", "creative-work", "LOC"]) == [
        ("PER", 0, 2),
        ("creative-work", 3, 5),
        ("LOC", 5, 6),
    ]


@pytest.mark.parametrize("tag", ["B", "b-PER", "B_PER", "o", "B-", "0"])
def test_what_is_nearly_a_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=f"tags holds '{tag}'; expected O, or a prefix, a hyphen and a type"):
        read_tags(["O", tag])


def test_tags_with_and_without_prefixes_do_not_mix() -> None:
    with pytest.raises(ValueError, match="tags holds 'LOC' beside tags with a prefix"):
        read_tags(["B-PER", "LOC"])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_written_tags_are_whole_in_seqevals_strict_mode(scheme: TagScheme) -> None:
    tags = tags_of(SPANS, 10, scheme)
    strict = Tokens(tags, IOB2 if scheme == "IOB2" else IOBES).entities
    assert [(found.tag, found.start, found.end) for found in strict] == SPANS == spans_of(tags)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_viterbi_is_the_best_of_all_allowed_sequences(scheme: TagScheme) -> None:
    names = _names(scheme, "AB" if scheme == "IOB2" else "A")
    generator = np.random.default_rng(0)
    logits = [generator.normal(size=(length, len(names))) for length in (1, 4, 2, 5, 3, 4, 5, 0)]
    for scores, path in zip(logits, viterbi(logits, names), strict=True):
        best = max(
            (seq for seq in itertools.product(range(len(names)), repeat=len(scores)) if _allowed(seq, names, scheme)),
            key=lambda seq: sum(scores[place, label] for place, label in enumerate(seq)),
        )
        assert path.tolist() == list(best)


def _allowed(sequence: tuple[int, ...], names: list[str], scheme: TagScheme) -> bool:
    """Whether writing its spans gives the sequence again."""
    tags = [names[label] for label in sequence]
    return tags_of(spans_of(tags), len(tags), scheme) == tags


@pytest.mark.parametrize("scheme", SCHEMES)
def test_viterbi_leaves_an_allowed_sequence_as_it_is(scheme: TagScheme) -> None:
    names = _names(scheme, "AB")
    generator = np.random.default_rng(1)
    logits = [generator.normal(size=(6, len(names))) for _ in range(300)]
    best = [scores.argmax(axis=1) for scores in logits]
    allowed = [_allowed(tuple(row.tolist()), names, scheme) for row in best]
    assert 0 < sum(allowed) < len(allowed)
    for chosen, path, is_allowed in zip(best, viterbi(logits, names), allowed, strict=True):
        assert (chosen.tolist() == path.tolist()) == is_allowed


def test_viterbi_does_not_depend_on_the_rows_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    names = _names("BIOES", "ABC")
    generator = np.random.default_rng(2)
    logits = [generator.normal(size=(int(n), len(names))) for n in generator.integers(0, 30, 40)]
    alone = [viterbi([scores], names)[0].tolist() for scores in logits]
    assert [path.tolist() for path in viterbi(logits, names)] == alone
    monkeypatch.setattr("nlptk.parts.tags._BLOCK_CELLS", 3 * len(names) ** 2)
    assert [path.tolist() for path in viterbi(logits, names)] == alone


def test_transitions_are_the_schemes_own() -> None:
    begins, follows, ends = transitions(_names("BIOES", "A"))
    assert begins.tolist() == [True, True, False, False, True]  # O B I E S
    assert ends.tolist() == [True, False, False, True, True]
    assert follows[1].tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("rows", "rows_told"),
    [
        (["O I-PER I-PER B-PER O", "I-LOC O"], None),  # IOB1: B- only between two of a type
        (["O B-PER I-PER B-PER O", "B-LOC I-LOC"], None),
        (["O B-PER I-PER O", "I-LOC O", "O I-PER", "B-LOC I-PER"], (3, 2)),
        (["S-PER B-PER E-PER O", "B-LOC I-LOC E-LOC S-LOC"], None),
        (["U-PER B-PER L-PER O", "B-LOC I-LOC L-LOC"], None),  # BILOU
        (["S-PER O", "B-PER O E-LOC", "S-PER E-PER", "I-LOC B-LOC", "B-LOC", "O O"], (4, 2)),
        (["I-PER E-PER E-PER O", "E-LOC"], None),  # IOE2
        (["PER O LOC LOC"], None),
        (["O O"], None),
    ],
)
def test_rows_that_break_the_scheme_of_the_others_are_counted(
    rows: list[str], rows_told: tuple[int, int] | None
) -> None:
    marks: dict[str, tuple[int, int]] = {}
    for number, row in enumerate(rows, 1):
        for mark in tag_marks(row.split()):
            count, first = marks.get(mark, (0, number))
            marks[mark] = count + 1, first
    told = tag_notes(marks)
    assert bool(told) == (rows_told is not None)
    if rows_told:
        assert f"in {rows_told[0]} rows (the first is row {rows_told[1]})" in told[0]
