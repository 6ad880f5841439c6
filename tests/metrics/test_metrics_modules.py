"""The evaluate modules: local, in memory, equal to scikit-learn and to classification_figures."""

from __future__ import annotations

import builtins
import os
import socket
import subprocess
import sys
from typing import Any

import evaluate
import numpy as np
import pytest
from sklearn import metrics as sk

from nlptk.errors import DataError, RecipeError
from nlptk.metrics import classification_figures, load, names
from nlptk.metrics.registry import CLASSES
from nlptk.task import LabelSpace

RNG = np.random.default_rng(0)
P = RNG.dirichlet((1, 1, 1), size=80)
Y = RNG.integers(0, 3, 80)
MULTI_Y = (RNG.random((80, 3)) < 0.4).astype(int)
MULTI_P = RNG.random((80, 3))


@pytest.mark.parametrize("name", names())
def test_every_name_loads_an_evaluate_metric_of_that_name(name: str) -> None:
    metric = load(name)
    assert isinstance(metric, evaluate.Metric)
    assert metric.keep_in_memory


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="'acuracy': unknown; did you mean 'accuracy'"):
        load("acuracy")


@pytest.mark.parametrize("multi", [False, True])
def test_score_modules_equal_the_figures(multi: bool) -> None:
    p, y = (MULTI_P, MULTI_Y) if multi else (P, Y)
    figures = classification_figures(p, y, LabelSpace(("a", "b", "c"), multi=multi))
    for name in ("roc_auc", "average_precision", "log_loss", "brier", "ece"):
        found = load(name).compute(prediction_scores=p, references=y)[name]
        assert found == pytest.approx(figures[name].value), name


@pytest.mark.parametrize("multi", [False, True])
def test_decision_modules_equal_the_figures(multi: bool) -> None:
    p, y = (MULTI_P, MULTI_Y) if multi else (P, Y)
    guess = (p >= 0.5).astype(int) if multi else p.argmax(axis=1)
    figures = classification_figures(p, y, LabelSpace(("a", "b", "c"), multi=multi))
    for name in ("f1", "precision", "recall"):
        found = load(name).compute(predictions=guess, references=y, average="macro")[name]
        assert found == pytest.approx(figures[f"macro_{name}"].value), name
    for name in ("subset_accuracy", "hamming_loss") if multi else ("accuracy", "mcc"):
        assert load(name).compute(predictions=guess, references=y)[name] == pytest.approx(figures[name].value), name


def test_f1_averages_equal_scikit_learn() -> None:
    guess = P.argmax(axis=1)
    for average in ("micro", "weighted"):
        found = load("f1").compute(predictions=guess, references=Y, average=average)["f1"]
        assert found == pytest.approx(sk.f1_score(Y, guess, average=average))
    each = load("f1").compute(predictions=guess, references=Y, average=None)["f1"]
    assert each == pytest.approx(list(sk.f1_score(Y, guess, average=None)))


def test_macro_precision_counts_a_never_predicted_label_as_zero_and_leaves_out_an_absent_one() -> None:
    found = load("precision").compute(predictions=[0, 0, 0], references=[0, 0, 2])
    assert found["precision"] == pytest.approx((2 / 3 + 0) / 2)


def test_jaccard_is_the_mean_over_rows() -> None:
    found = load("jaccard").compute(predictions=[[1, 1, 0], [0, 0, 0]], references=[[1, 0, 1], [0, 0, 0]])
    assert found["jaccard"] == pytest.approx((1 / 3 + 1) / 2)


def test_scores_of_the_second_label_alone_stand_for_a_binary_problem() -> None:
    scores, y = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]  # the example of scikit-learn's roc_auc_score: 0.75
    assert load("roc_auc").compute(prediction_scores=scores, references=y) == {"roc_auc": 0.75, "labels": 1}
    brier = load("brier").compute(prediction_scores=scores, references=y)["brier"]
    assert brier == pytest.approx(2 * sk.brier_score_loss(y, scores))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_ranking_without_positives_is_none(name: str) -> None:
    found: dict[str, Any] = load(name).compute(prediction_scores=[0.1, 0.2], references=[0, 0])
    assert found == {name: None, "labels": 0}


def test_correlation_with_constant_references_is_none() -> None:
    assert load("mcc").compute(predictions=[0, 1], references=[0, 0]) == {"mcc": None}


def test_accuracy_of_multi_label_rows_is_refused() -> None:
    with pytest.raises(DataError, match="subset_accuracy"):
        load("accuracy").compute(predictions=[[0, 1]], references=[[0, 1]])


def test_batches_add_up() -> None:
    metric = load("accuracy")
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[1], references=[1])
    assert metric.compute() == {"accuracy": pytest.approx(2 / 3)}


def test_nothing_is_written_to_disk_and_nothing_needs_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("disk or network")

    for module, name in ((os, "makedirs"), (os, "mkdir"), (os, "open"), (builtins, "open"), (socket.socket, "connect")):
        monkeypatch.setattr(module, name, refuse)
    for name in (n for n in names() if CLASSES[n].startswith("modules.")):
        metric = load(name)
        if name in ("brier", "ece", "log_loss", "roc_auc", "average_precision"):
            metric.compute(prediction_scores=[0.2, 0.7], references=[0, 1])
        elif name == "jaccard":
            metric.compute(predictions=[[0, 1]], references=[[0, 1]])
        else:
            metric.compute(predictions=[0, 1], references=[0, 1])


def test_importing_metrics_and_report_loads_nothing_heavy() -> None:
    code = (
        "import sys, nlptk.metrics, nlptk.report\n"
        "print(sorted({'torch', 'matplotlib', 'sklearn', 'evaluate', 'scipy', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
