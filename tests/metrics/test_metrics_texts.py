"""Likelihood and diversity of generated text: worked examples and plain counts."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from nlptk.errors import DataError
from nlptk.metrics import generation_figures
from nlptk.metrics.texts import DistinctRows, repetition
from tests.metrics.plain_bootstrap import check_intervals


def test_perplexity_and_bits_per_byte_of_a_uniform_model() -> None:
    # 5 tokens of 8 equally likely ones, spelt in 10 bytes: 8 choices a token, 15 bits over 10 bytes
    figures = generation_figures([2 * math.log(8), 3 * math.log(8)], [2, 3], [4, 6])
    assert figures["perplexity"].value == pytest.approx(8.0)
    assert figures["bits_per_byte"].value == pytest.approx(1.5)


def test_likelihood_intervals_equal_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 50, 40)
    nll, size = tokens * rng.uniform(1, 4, 40), tokens * 4 + rng.integers(0, 9, 40)

    def score(drawn: list[int]) -> dict[str, float]:
        total = float(nll[drawn].sum())
        return {
            "perplexity": math.exp(total / tokens[drawn].sum()),
            "bits_per_byte": total / math.log(2) / float(size[drawn].sum()),
        }

    figures = generation_figures(nll, tokens, size, bootstrap=60, seed=9)
    check_intervals(figures, score, rows=40, resamples=60, seed=9, exactly=["perplexity", "bits_per_byte"])


def test_distinct_n_of_a_worked_example() -> None:
    figures = generation_figures(generated=["a b a b", "A c!", ""])
    # 6 words; a, b, c; ab, ba, ac; aba, bab
    values = [figures[f"distinct_{n}"].value for n in (1, 2, 3)]
    assert values == pytest.approx([3 / 6, 3 / 6, 2 / 6])


def test_repetition_of_worked_examples() -> None:
    assert repetition(["a", "b", "c", "d", "e"]) == 0.0
    assert repetition(["x"] * 12) == pytest.approx(8 / 9)  # 9 four-grams, 1 of them new
    assert math.isnan(repetition(["a", "b", "c"]))
    figures = generation_figures(generated=["x " * 12, "a b c d e", "a b c"])
    assert figures["seq_rep_4"].value == pytest.approx((8 / 9 + 0) / 2)  # the third has no 4-gram


def test_token_ids_count_like_words() -> None:
    ids = generation_figures(generated=[[1, 2, 1, 2], [1, 3]])
    assert ids == generation_figures(generated=["a b a b", "a c"])


def test_chinese_text_counts_characters() -> None:
    assert generation_figures(generated=["东京东京"])["distinct_1"].value == 0.5


def test_distinct_counts_of_resamples_are_those_of_the_drawn_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    items = [{rng.randint(0, 30) for _ in range(rng.randint(0, 6))} for _ in range(12)]
    weights = np.random.default_rng(1).integers(0, 3, size=(12, 50)).astype(float)
    expected = [len(set().union(*(row for row, w in zip(items, column, strict=True) if w))) for column in weights.T]
    assert list(DistinctRows(items).counts(weights)) == expected
    monkeypatch.setattr("nlptk.metrics.texts.CHUNK_CELLS", 150)  # three items at a time
    assert list(DistinctRows(items).counts(weights)) == expected


def test_the_interval_of_distinct_n_lies_around_it() -> None:
    rng = random.Random(1)
    texts = [" ".join(str(rng.randint(0, 400)) for _ in range(20)) for _ in range(80)]
    for name, figure in generation_figures(generated=texts, bootstrap=100).items():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high, name


def test_the_interval_of_distinct_n_stays_a_share() -> None:
    figure = generation_figures(generated=["a b", "c d", "e f", "g h"], bootstrap=100)["distinct_1"]
    assert (figure.value, figure.high) == (1.0, 1.0)


def test_repetition_intervals_equal_a_plain_bootstrap() -> None:
    rng = random.Random(2)
    texts = [[rng.randint(0, 3) for _ in range(rng.randint(2, 30))] for _ in range(30)]

    def score(drawn: list[int]) -> dict[str, float]:
        rows = [[tuple(texts[i][j : j + 4]) for j in range(len(texts[i]) - 3)] for i in drawn]
        return {"seq_rep_4": float(np.mean([1 - len(set(row)) / len(row) for row in rows if row]))}

    figures = generation_figures(generated=texts, bootstrap=50, seed=5)
    check_intervals(figures, score, rows=30, resamples=50, seed=5, exactly=["seq_rep_4"])


def test_what_is_undefined_is_absent() -> None:
    assert generation_figures([0.0], [0], [0], generated=["", "…"], bootstrap=5) == {}
    assert set(generation_figures([5000.0], [1], [4])) == {"bits_per_byte"}  # exp(5000) is no float


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to measure"),
        ({"nll": [1.0]}, "nll without tokens or text_bytes"),
        ({"nll": [float("nan")], "tokens": [1]}, "nll: shape \\(1,\\), or NaN"),
        ({"nll": [1.0], "tokens": [-1]}, "tokens: .* below 0"),
        ({"nll": [1.0], "tokens": [1, 2]}, "nll 1, tokens 2"),
        ({"generated": []}, "generated: no rows"),
    ],
)
def test_bad_input_is_refused(options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        generation_figures(**options)
