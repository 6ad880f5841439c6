"""The evaluate modules of the text tasks: keys and scales of the Hub modules so named, values of the libraries."""

from __future__ import annotations

import builtins
import math
import os
import socket
import subprocess
import sys
from typing import Any

import evaluate
import pytest
import seqeval.metrics as seqeval
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # it ships no types
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from scipy import stats

from nlptk.errors import DataError
from nlptk.metrics import load

GOLD_TAGS = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
SAID_TAGS = [["B-PER", "O", "O", "B-LOC"], ["O", "B-PER"]]
SAID, GOLD = ["the cat sat on a mat", "dogs ran"], ["the cat sat on the mat", "the dogs ran away"]
SAID_NUMBERS, GOLD_NUMBERS = [0.1, 0.5, 0.3, 0.9], [1.0, 3.0, 3.0, 4.0]
ANSWERED = [
    {"id": "b", "prediction_text": "cat", "no_answer_probability": 0.2},
    {"id": "a", "prediction_text": "Paris, France", "no_answer_probability": 0.1},
]
QUESTIONS = [
    {"id": "a", "answers": {"text": ["Paris"], "answer_start": [0]}},
    {"id": "b", "answers": {"text": [], "answer_start": []}},
]
INPUTS: dict[str, dict[str, Any]] = {
    "seqeval": {"predictions": SAID_TAGS, "references": GOLD_TAGS},
    "partial_f1": {"predictions": SAID_TAGS, "references": GOLD_TAGS},
    "squad_v2": {"predictions": ANSWERED, "references": QUESTIONS},
    "rouge": {"predictions": SAID, "references": GOLD},
    "sacrebleu": {"predictions": SAID, "references": GOLD},
    "chrf": {"predictions": SAID, "references": GOLD},
    "pearsonr": {"predictions": SAID_NUMBERS, "references": GOLD_NUMBERS},
    "spearmanr": {"predictions": SAID_NUMBERS, "references": GOLD_NUMBERS},
    "distinct": {"predictions": ["a b a", "a c"]},
    "seq_rep_4": {"predictions": ["x x x x x x", "a b"]},
    "novelty": {"predictions": ["a b c"], "sources": ["a b d"]},
    "perplexity": {"nll": [2 * math.log(8)], "tokens": [2], "text_bytes": [4]},
}


def compute(name: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = load(name).compute(**INPUTS[name], **options)
    return found


@pytest.mark.parametrize("name", INPUTS)
def test_every_module_is_an_evaluate_metric_in_memory(name: str) -> None:
    assert isinstance(load(name), evaluate.Metric)
    assert load(name).keep_in_memory


def test_seqeval_reports_types_and_totals() -> None:
    theirs = seqeval.classification_report(GOLD_TAGS, SAID_TAGS, output_dict=True, zero_division=0)
    found = compute("seqeval")
    for name in ("LOC", "PER"):
        row = theirs[name]
        expected = {"precision": row["precision"], "recall": row["recall"], "f1": row["f1-score"]}
        assert found[name] == expected | {"number": row["support"]}
    assert found["overall_f1"] == theirs["micro avg"]["f1-score"]
    assert found["overall_accuracy"] == seqeval.accuracy_score(GOLD_TAGS, SAID_TAGS)
    broken = {"predictions": [["I-PER"]], "references": [["B-PER"]]}
    assert load("seqeval").compute(**broken)["overall_f1"] == 1.0
    assert load("seqeval").compute(**broken, scheme="IOB2")["overall_precision"] is None


def test_partial_f1_of_a_worked_example() -> None:
    # B-PER O against B-PER I-PER: 1/2; B-LOC: 1; B-PER against B-LOC: 1, whatever the type; 3 entities on both sides
    assert compute("partial_f1")["partial_f1"] == pytest.approx(2.5 / 3)


def test_squad_v2_pairs_by_id_and_counts_in_percent() -> None:
    found = compute("squad_v2")
    assert found == {
        "exact": 0.0,
        "f1": pytest.approx(100 * (2 / 3) / 2),
        "HasAns_exact": 0.0,
        "HasAns_f1": pytest.approx(200 / 3),
        "HasAns_total": 1,
        "NoAns_exact": 0.0,
        "NoAns_f1": 0.0,
        "NoAns_total": 1,
        "total": 2,
        "best_exact": 50.0,
        "best_exact_thresh": 0.0,
        "best_f1": pytest.approx(100 * (2 / 3 + 1) / 2),
        "best_f1_thresh": 0.1,
    }
    assert compute("squad_v2", no_answer_threshold=0.15)["NoAns_f1"] == 100.0


def test_squad_v2_refuses_a_question_without_prediction() -> None:
    with pytest.raises(DataError, match="no prediction for id 'b'"):
        load("squad_v2").compute(predictions=ANSWERED[1:] * 2, references=QUESTIONS)


def test_rouge_is_the_mean_of_rouge_score() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    rows = [scorer.score(gold, said) for gold, said in zip(GOLD, SAID, strict=True)]
    expected = {name: sum(row[name].fmeasure for row in rows) / 2 for name in rows[0]}
    assert compute("rouge", use_stemmer=True) == pytest.approx(expected)
    several = load("rouge").compute(predictions=SAID, references=[[SAID[0], "x"], ["y", SAID[1]]])
    assert several["rouge1"] == 1.0
    assert load("rouge").compute(predictions=["東"], references=["東"])["rouge1"] is None


def test_sacrebleu_and_chrf_equal_sacrebleu_with_signature() -> None:
    bleu, chrf = BLEU(), CHRF(word_order=2)
    score = bleu.corpus_score(SAID, [GOLD])
    found = compute("sacrebleu")
    assert found["score"] == score.score
    assert (found["counts"], found["totals"], found["sys_len"]) == (score.counts, score.totals, score.sys_len)
    assert found["signature"] == str(bleu.get_signature())
    found = compute("chrf", word_order=2)
    assert found["score"] == chrf.corpus_score(SAID, [GOLD]).score
    assert found["signature"] == str(chrf.get_signature())
    assert load("sacrebleu").compute(predictions=["x"], references=[""])["score"] is None
    with pytest.raises(DataError, match="word_order 1; expected 0"):
        compute("chrf", word_order=1)


def test_correlations_equal_scipy_and_are_none_for_constants() -> None:
    assert compute("pearsonr")["pearsonr"] == pytest.approx(stats.pearsonr(SAID_NUMBERS, GOLD_NUMBERS)[0])
    assert compute("spearmanr")["spearmanr"] == pytest.approx(stats.spearmanr(SAID_NUMBERS, GOLD_NUMBERS)[0])
    assert load("pearsonr").compute(predictions=[1.0, 2.0], references=[3.0, 3.0]) == {"pearsonr": None}


def test_counts_of_generated_text() -> None:
    assert compute("distinct") == pytest.approx({"distinct_1": 3 / 5, "distinct_2": 3 / 5, "distinct_3": 1 / 5})
    assert compute("seq_rep_4") == pytest.approx({"seq_rep_4": 2 / 3})
    assert list(compute("novelty").values()) == [pytest.approx(1 / 3), 1 / 2, 1.0, None]
    assert compute("perplexity") == pytest.approx({"perplexity": 8.0, "bits_per_byte": 1.5})


def test_nothing_is_written_to_disk_and_nothing_needs_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in INPUTS:
        compute(name)  # libraries read their own files when they are imported

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("disk or network")

    for module, name in ((os, "makedirs"), (os, "mkdir"), (os, "open"), (builtins, "open"), (socket.socket, "connect")):
        monkeypatch.setattr(module, name, refuse)
    for name in INPUTS:
        compute(name)


def test_importing_the_metrics_loads_none_of_the_libraries_behind_them() -> None:
    code = (
        "import sys, nlptk.metrics\n"
        "print(sorted({'seqeval', 'rouge_score', 'nltk', 'sacrebleu', 'regex', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
