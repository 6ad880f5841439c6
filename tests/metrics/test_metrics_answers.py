"""Exact match and F1 of answers: worked examples, a search over thresholds, the official SQuAD 2.0 script."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlptk.errors import DataError
from nlptk.metrics import answer_figures, best_threshold
from nlptk.metrics.answers import normalized, word_f1
from tests.metrics.plain_bootstrap import check_intervals

WORDS = ("The", "a", "an", "cat", "Cat!", "dog", "New-York", "été", "東京", "1.5", "—", "big")


def made_rows(rows: int, seed: int) -> tuple[list[str], list[list[str]], list[float]]:
    """Predictions, gold answers (none for two rows in five) and distinct no-answer probabilities."""
    rng = random.Random(seed)
    gold = [[phrase(rng) for _ in range(rng.randint(1, 3))] if rng.random() < 0.6 else [] for _ in range(rows)]
    said = [rng.choice(row) if row and rng.random() < 0.5 else rng.choice(["", phrase(rng)]) for row in gold]
    return said, gold, rng.sample([i / 1000 for i in range(1, 1000)], rows)


def phrase(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4))) + " cat"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Beatles'\t'Help!'", "beatles help"),
        ("a an the", ""),
        ("theatre, a-one", "theatre aone"),  # articles are whole words; punctuation goes first, without a space
        ("An É", "é"),
        ("«東京»。", "«東京»。"),  # ASCII punctuation alone
    ],
)
def test_normalization(text: str, expected: str) -> None:
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("said", "gold", "expected"),
    [
        ("the big cat", "A cat", 2 / 3),  # precision 1/2, recall 1
        ("cat cat dog", "cat dog dog", 2 / 3),  # bags: 2 in common of 3 and 3
        ("dog", "cat", 0.0),
        ("", "", 1.0),
        ("the", "", 1.0),  # normalized to nothing
        ("", "cat", 0.0),
        ("東京都", "東京", 0.0),  # one word each
    ],
)
def test_word_f1(said: str, gold: str, expected: float) -> None:
    assert word_f1(said, gold) == pytest.approx(expected)


def test_a_worked_example() -> None:
    predictions = ["the Cat", "big cat", "", "Paris", "", "dog"]
    references = [["cat", "dog"], ["cat"], ["cat"], [], [], ["a", "dog!"]]
    figures = answer_figures(predictions, references)
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(
        {
            "exact_match": 3 / 6,  # rows 0, 4 and 5
            "f1": (1 + 2 / 3 + 0 + 0 + 1 + 1) / 6,
            "has_answer_exact_match": 2 / 4,
            "has_answer_f1": (1 + 2 / 3 + 0 + 1) / 4,
            "no_answer_exact_match": 1 / 2,
            "has_answer_rows": 4,
            "no_answer_rows": 2,
        }
    )


def test_an_answer_that_is_withheld_is_right_where_there_is_none() -> None:
    figures = answer_figures(["x", "x"], [["x"], []], no_answer_scores=[0.6, 0.5], threshold=0.5)
    assert figures["exact_match"].value == 0.0  # the first is above the threshold, the second is not
    assert figures["best_exact_match"].value == 0.5


def test_best_threshold_of_a_worked_example() -> None:
    predictions, references = ["a b", "c", "d", "e"], [["a b"], [], ["d"], []]
    # from the lowest score: right, then wrong (-1), then right again, then wrong: 2 + 1, 2, 3, 2 of 4
    assert best_threshold(predictions, references, [-2.0, -1.0, 0.5, 3.0]) == (0.75, -2.0)
    assert best_threshold(predictions, references, [-2.0, 2.0, 0.5, 3.0]) == (1.0, 0.5)
    nothing_answered = best_threshold(["x", "y"], [[], []], [0.3, 0.4])
    assert nothing_answered == (1.0, 0.0)
    share, cut = best_threshold(["x", "y"], [[], []], [-0.3, 0.4])
    assert (share, cut < -0.3) == (1.0, True)


@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_best_threshold_is_that_of_a_search_over_all(seed: int, rows: int, tied: bool) -> None:
    said, gold, scores = made_rows(rows, seed)
    scores = [round(score, 1) for score in scores] if tied else scores
    tried = {cut: plain_f1(said, gold, scores, cut) for cut in (0.0, *scores, -1.0)}
    share, cut = best_threshold(said, gold, scores)
    assert share == pytest.approx(max(tried.values()))
    assert plain_f1(said, gold, scores, cut) == pytest.approx(share)


def plain_f1(said: list[str], gold: list[list[str]], scores: list[float], cut: float) -> float:
    kept = ["" if score > cut else text for text, score in zip(said, scores, strict=True)]
    return float(np.mean([max(word_f1(text, g) for g in row or [""]) for text, row in zip(kept, gold, strict=True)]))


OFFICIAL = """
import json, sys
from types import SimpleNamespace
from transformers.data.metrics.squad_metrics import squad_evaluate
found = []
for said, gold, scores, threshold in json.load(sys.stdin):
    examples = [SimpleNamespace(qas_id=str(i), answers=[{"text": t} for t in row]) for i, row in enumerate(gold)]
    numbered = [{str(i): value for i, value in enumerate(column)} for column in (said, scores)]
    found.append(squad_evaluate(examples, *numbered, threshold))
print(json.dumps(found))
"""
"""The official SQuAD 2.0 script as transformers 4 carried it (transformers/data/metrics/squad_metrics.py)."""
NAMES = {
    "exact_match": "exact",
    "f1": "f1",
    "has_answer_exact_match": "HasAns_exact",
    "has_answer_f1": "HasAns_f1",
    "no_answer_exact_match": "NoAns_exact",
    "best_exact_match": "best_exact",
    "best_f1": "best_f1",
}


@pytest.mark.slow
def test_figures_equal_those_of_the_official_script(transformers_4: Path) -> None:
    sets = [(*made_rows(20, seed), 0.7) for seed in range(30)]
    done = subprocess.run(
        [str(transformers_4), "-c", OFFICIAL], input=json.dumps(sets), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    compared = 0
    for (said, gold, scores, threshold), theirs in zip(sets, json.loads(done.stdout), strict=True):
        figures = answer_figures(said, gold, no_answer_scores=scores, threshold=threshold)
        for name, key in NAMES.items():
            assert (name in figures) == (key in theirs), name
            if name in figures:
                assert 100 * figures[name].value == pytest.approx(theirs[key], abs=1e-9), name
                compared += 1
        # no row answered: the script says 0, and so do the figures where no score lies below it
        assert figures["best_f1_threshold"].value == theirs["best_f1_thresh"]
        assert figures["best_exact_match_threshold"].value == theirs["best_exact_thresh"]
    assert compared > 200


def test_intervals_equal_a_plain_bootstrap() -> None:
    said, gold, scores = made_rows(40, 7)
    figures = answer_figures(said, gold, no_answer_scores=scores, threshold=0.6, bootstrap=60, seed=2)

    def thresholded(rows: list[int], cut: float) -> float:
        return plain_f1([said[i] for i in rows], [gold[i] for i in rows], [scores[i] for i in rows], cut)

    def score(rows: list[int]) -> dict[str, float]:
        return {
            "f1": thresholded(rows, 0.6),
            "best_f1": max(thresholded(rows, cut) for cut in (0.0, *{scores[i] for i in rows})),
            "has_answer_f1": thresholded([i for i in rows if gold[i]], 0.6),
        }

    check_intervals(figures, score, rows=40, resamples=60, seed=2, exactly=["f1", "best_f1", "has_answer_f1"])


def test_what_is_undefined_is_absent() -> None:
    figures = answer_figures(["x"], [["x"]], bootstrap=5)
    assert "no_answer_exact_match" not in figures
    assert figures["no_answer_rows"].value == 0.0
    assert "best_f1" not in figures


def test_an_empty_gold_text_is_no_answer() -> None:
    figures = answer_figures(["", ""], ["", "cat"])
    assert figures["no_answer_exact_match"].value == 1.0
    assert figures["has_answer_rows"].value == 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["x"], []), {}, "predictions 1, references 0"),
        (([None], [["x"]]), {}, "predictions, row 0: NoneType; expected a string"),
        ((["x"], [[3]]), {}, r"references, row 0: \[3\]"),
        ((["x"], [["x"]]), {"threshold": 0.5}, "threshold without no_answer_scores"),
        ((["x"], [["x"]]), {"no_answer_scores": [float("nan")]}, "expected \\(1,\\) finite numbers"),
        ((["x"], [["x"]]), {"no_answer_scores": [0.1, 0.2]}, "shape \\(2,\\)"),
    ],
)
def test_bad_input_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        answer_figures(*arguments, **options)
