"""Summary figures against rouge-score and worked examples."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # it ships no types

from nlptk.errors import DataError
from nlptk.metrics import rouge_scores, summary_figures
from nlptk.metrics.summaries import ROUGE, sentences
from nlptk.metrics.words import words
from tests.metrics.plain_bootstrap import check_intervals

WORDS = ["the", "cats", "sat", "on", "a", "mat,", "running", "dogs", "ran.", "It's", "naïve!", "3.5", "dogs"]


def text(rng: random.Random, most: int = 25) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, most)))


def rows(count: int, seed: int = 0) -> tuple[list[str], list[list[str]], list[str]]:
    """Predictions, one to three references each, sources; some are empty."""
    rng = random.Random(seed)
    references = [[text(rng) for _ in range(rng.randint(1, 3))] for _ in range(count)]
    return [text(rng) for _ in range(count)], references, [text(rng, 60) for _ in range(count)]


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouge_equals_rouge_score_with_several_references(stemmer: bool) -> None:
    said, gold, _ = rows(60)
    found = rouge_scores(said, gold, stemmer=stemmer)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stemmer)
    theirs = [scorer.score_multi(golds, guess) for golds, guess in zip(gold, said, strict=True)]
    for name in ("rouge1", "rouge2", "rouge_l"):
        assert list(found[name]) == [row[ROUGE[name]].fmeasure for row in theirs]


def test_rouge_lsum_equals_rouge_score_on_texts_with_a_sentence_a_line() -> None:
    said, gold, _ = rows(60, seed=1)
    lines = [row.replace(". ", ".\n") + "\nthe end" for row in said]
    golds = [[row.replace("! ", "!\n") + "\na mat" for row in several] for several in gold]
    scorer = RougeScorer(["rougeLsum"])
    theirs = [scorer.score_multi(several, row)["rougeLsum"].fmeasure for several, row in zip(golds, lines, strict=True)]
    assert list(rouge_scores(lines, golds)["rouge_lsum"]) == theirs


def test_rouge_lsum_of_one_line_is_that_of_its_sentences() -> None:
    said, gold = "The dog ran. A cat sat.", "A cat sat. The dog ran."
    assert rouge_scores([said], [gold])["rouge_lsum"][0] == 1.0
    assert rouge_scores([said], [gold])["rouge_l"][0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('He said "no." Then he left. (Really!) OK', ['He said "no."', "Then he left.", "(Really!)", "OK"]),
        ("3.5 dogs, e.g.this", ["3.5 dogs, e.g.this"]),
        ("雨。晴！「曇。」終", ["雨。", "晴！", "「曇。」", "終"]),
        ("One. Two.\nThree. Four.", ["One. Two.", "Three. Four."]),
        ("One. Two.\n", ["One.", "Two."]),
        ("  ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_words_of_any_script() -> None:
    assert words("Don’t PANIC—it’s 3.5 km! हिन्दी भाषा, 東京タワー. Ünïté_1") == (
        ["don’t", "panic", "it’s", "3", "5", "km", "हिन्दी", "भाषा", "東", "京", "タ", "ワ", "ー", "ünïté_1"]
    )
    assert words("— …") == []


def test_scripts_without_latin_letters_are_undefined_or_counted_on_request() -> None:
    said, gold = ["Кошка сидит", "東京都"], ["Кошка сидит", "東京"]
    assert not any(name.startswith("rouge") for name in summary_figures(said, gold))
    figures = summary_figures(said, gold, rouge_words="any")
    assert figures["rouge1"].value == pytest.approx((1 + 0.8) / 2)  # 東京都 against 東京: precision 2/3, recall 1


def test_lengths_novelty_and_compression_of_a_worked_example() -> None:
    figures = summary_figures(
        ["the cat sat", "a dog", ""],
        [["the cat"], ["a dog ran far", "dogs"], ["x"]],
        sources=["The cat sat on the mat.", "some dog and a cat", "x y z"],
    )
    assert {name: figures[name].value for name in figures if not name.startswith("rouge")} == pytest.approx(
        {
            "prediction_words": 5 / 3,
            "reference_words": (2 + 2.5 + 1) / 3,
            "length_ratio": 5 / 5.5,
            "novelty_1": 0.0,
            "novelty_2": 1 / 3,  # "a dog"
            "novelty_3": 0.0,
            "compression": 14 / 5,
        }
    )  # there is no 4-gram, hence no novelty_4


def test_intervals_equal_a_plain_bootstrap() -> None:
    said, gold, sources = rows(30, seed=3)
    figures = summary_figures(said, gold, sources=sources, bootstrap=50, seed=1)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scored = [scorer.score_multi(golds, guess) for golds, guess in zip(gold, said, strict=True)]

    def score(drawn: list[int]) -> dict[str, float]:
        pairs = [(words(said[i]), words(sources[i])) for i in drawn]
        bigrams = [(pair, set(pairwise(source))) for guess, source in pairs for pair in pairwise(guess)]
        return {
            "rouge1": float(np.mean([scored[i]["rouge1"].fmeasure for i in drawn])),
            "rouge_l": float(np.mean([scored[i]["rougeL"].fmeasure for i in drawn])),
            "novelty_2": sum(pair not in source for pair, source in bigrams) / len(bigrams),
            "compression": sum(len(s) for _, s in pairs) / sum(len(g) for g, _ in pairs),
        }

    check_intervals(figures, score, rows=30, resamples=50, seed=1, exactly=["rouge1", "novelty_2", "compression"])


def test_scitldr_with_its_several_references_equals_rouge_score(shared_data: Path) -> None:
    lines = (shared_data / "scitldr" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    gold, said = [row["references"] for row in found], [sentences(row["document"])[0] for row in found]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    theirs = [scorer.score_multi(several, row) for several, row in zip(gold, said, strict=True)]
    figures = summary_figures(said, gold)
    assert max(map(len, gold)) > 1
    for name in ("rouge1", "rouge2", "rouge_l"):
        assert figures[name].value == pytest.approx(np.mean([row[ROUGE[name]].fmeasure for row in theirs]), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], []), {}, "no rows"),
        ((["x"], [[]]), {}, "references, row 0: no reference"),
        ((["x"], ["x"]), {"sources": ["x", "y"]}, "predictions 1, references 1, sources 2"),
        ((["x"], ["x"]), {"rouge_words": "all"}, "rouge_words 'all'; expected 'latin' or 'any'"),
    ],
)
def test_bad_input_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        summary_figures(*arguments, **options)
