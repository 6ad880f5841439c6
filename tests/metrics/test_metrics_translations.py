"""Translation figures against sacrebleu's own corpus scores, of the corpus and of resampled ones."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nlptk.errors import DataError
from nlptk.metrics import chrf_scores, translation_figures, translation_signatures
from tests.metrics.plain_bootstrap import check_intervals

WORDS = ["the", "cat", "sat", "on", "(a)", "mat,", "and", "dogs", "ran", "far", "away", "today.", "Ünï", "東京"]


def rows(count: int, seed: int, *, most: int = 1, empty: bool = True) -> tuple[list[str], list[list[str]]]:
    """References of up to `most` texts a row, and predictions that repeat a part of them."""
    rng = random.Random(seed)
    gold = [
        [
            " ".join(rng.choice(WORDS) for _ in range(rng.randint(0 if empty else 4, 14)))
            for _ in range(rng.randint(1, most))
        ]
        for _ in range(count)
    ]
    return [" ".join(word for word in row[0].split() if rng.random() < 0.85) for row in gold], gold


def streams(gold: list[list[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: one list a position, None where a row has fewer."""
    most = max(map(len, gold))
    return [[row[i] if i < len(row) else None for row in gold] for i in range(most)]


def sacrebleu_scores(said: list[str], gold: list[list[str]], **options: Any) -> dict[str, float]:
    lowercase = options.get("lowercase", False)
    metrics = {
        "bleu": BLEU(**options),
        "chrf": CHRF(lowercase=lowercase),
        "chrf++": CHRF(word_order=2, lowercase=lowercase),
    }
    return {name: float(metric.corpus_score(said, streams(gold)).score) for name, metric in metrics.items()}  # type: ignore[arg-type]  # None is allowed


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("options", [{}, {"tokenize": "zh"}, {"tokenize": "char", "lowercase": True}])
def test_corpus_scores_equal_sacrebleu(most: int, options: dict[str, Any]) -> None:
    said, gold = rows(40, seed=most, most=most)
    figures = translation_figures(said, gold, **options)
    assert {name: figure.value for name, figure in figures.items()} == sacrebleu_scores(said, gold, **options)


@pytest.mark.parametrize("most", [1, 2])
def test_intervals_equal_sacrebleu_on_the_resampled_corpora(most: int) -> None:
    said, gold = rows(25, seed=5, most=most, empty=False)
    figures = translation_figures(said, gold, bootstrap=40, seed=3)

    def score(drawn: list[int]) -> dict[str, float]:
        return sacrebleu_scores([said[i] for i in drawn], [gold[i] for i in drawn])

    check_intervals(figures, score, rows=25, resamples=40, seed=3, exactly=["bleu", "chrf", "chrf++"])


@pytest.mark.parametrize("lowercase", [False, True])
def test_the_chrf_of_a_row_is_sacrebleus_of_the_sentence(lowercase: bool) -> None:
    said, gold = rows(40, seed=2, most=2, empty=False)
    upper = [text.upper() if place % 2 else text for place, text in enumerate(said)]
    metric = CHRF(lowercase=lowercase)
    expected = [metric.sentence_score(text, texts).score for text, texts in zip(upper, gold, strict=True)]
    assert chrf_scores(upper, gold, lowercase=lowercase).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("most", [1, 3])
def test_signatures_are_those_of_sacrebleu(most: int) -> None:
    said, gold = rows(10, seed=0, most=most)
    metrics = {"bleu": BLEU(tokenize="intl"), "chrf": CHRF(), "chrf++": CHRF(word_order=2)}
    for metric in metrics.values():
        metric.corpus_score(said, streams(gold))  # type: ignore[arg-type]  # None is allowed
    found = translation_signatures(gold, tokenize="intl")
    assert found == {name: str(metric.get_signature()) for name, metric in metrics.items()}
    assert f"nrefs:{1 if most == 1 else 'var'}|" in found["bleu"]


def test_perfect_and_hopeless_translations() -> None:
    gold = ["the cat sat on the mat today", "dogs ran far away"]
    perfect = translation_figures(gold, gold)
    assert {name: figure.value for name, figure in perfect.items()} == pytest.approx(dict.fromkeys(perfect, 100.0))
    hopeless = translation_figures(["", ""], gold, bootstrap=5)
    assert {name: figure.value for name, figure in hopeless.items()} == dict.fromkeys(perfect, 0.0)


def test_without_any_reference_text_everything_is_absent() -> None:
    assert translation_figures(["x", ""], ["", [" ", ""]], bootstrap=5) == {}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["x", "y"], ["x"]), {}, "predictions 2, references 1"),
        ((["x"], [[]]), {}, "references, row 0: no reference"),
        (([3], ["x"]), {}, "predictions, row 0: int; expected a string"),
        ((["x"], ["x"]), {"tokenize": "spm"}, "tokenize 'spm'; expected one of 13a, intl, zh, char, none"),
    ],
)
def test_bad_input_is_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        translation_figures(*arguments, **options)
