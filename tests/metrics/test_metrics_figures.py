"""classification_figures against scikit-learn and worked examples."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from nlptk.errors import DataError
from nlptk.metrics import classification_figures, confusion, per_class
from nlptk.task import LabelSpace

Array = NDArray[Any]


def space(labels: int, *, multi: bool = False) -> LabelSpace:
    return LabelSpace(tuple(f"label {i}" for i in range(labels)), multi=multi)


def single(rows: int, labels: int, *, seed: int = 0, decimals: int = 2) -> tuple[Array, Array]:
    """Probabilities rounded so that ties occur, and references that they predict somewhat."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, labels, rows)
    logits = rng.normal(size=(rows, labels))
    logits[np.arange(rows), gold] += 1.2
    weights = np.round(np.exp(logits), decimals) + 10.0**-decimals
    return weights / weights.sum(axis=1, keepdims=True), gold


def multi(rows: int, labels: int, *, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    gold = (rng.random((rows, labels)) < 0.3).astype(int)
    return np.round(1 / (1 + np.exp(-(rng.normal(size=gold.shape) * 1.5 + 2 * gold - 1))), 2), gold


def sklearn_single(p: Array, y: Array) -> dict[str, float]:
    """The same figures from scikit-learn, for rows in which every label occurs."""
    guess, labels = p.argmax(axis=1), p.shape[1]
    ids = list(range(labels))
    one_hot = np.eye(labels)[y]
    ranked = ids if labels > 2 else [1]
    return {
        "accuracy": sk.accuracy_score(y, guess),
        "macro_f1": sk.f1_score(y, guess, average="macro", zero_division=np.nan),
        "micro_f1": sk.f1_score(y, guess, average="micro"),
        "weighted_f1": sk.f1_score(y, guess, average="weighted"),
        "macro_precision": sk.precision_score(y, guess, average="macro", zero_division=0.0),
        "macro_recall": sk.recall_score(y, guess, average="macro", zero_division=np.nan),
        "mcc": sk.matthews_corrcoef(y, guess),
        "roc_auc": np.mean([sk.roc_auc_score(one_hot[:, i], p[:, i]) for i in ranked]),
        "average_precision": np.mean([sk.average_precision_score(one_hot[:, i], p[:, i]) for i in ranked]),
        "log_loss": sk.log_loss(y, p, labels=ids),
        "brier": ((p - one_hot) ** 2).sum(axis=1).mean(),
    }


def sklearn_multi(p: Array, y: Array, guess: Array) -> dict[str, float]:
    return {
        "macro_f1": sk.f1_score(y, guess, average="macro"),
        "micro_f1": sk.f1_score(y, guess, average="micro"),
        "weighted_f1": sk.f1_score(y, guess, average="weighted"),
        "macro_precision": sk.precision_score(y, guess, average="macro"),
        "macro_recall": sk.recall_score(y, guess, average="macro"),
        "mcc": sk.matthews_corrcoef(y.ravel(), guess.ravel()),
        "roc_auc": sk.roc_auc_score(y, p, average="macro"),
        "average_precision": sk.average_precision_score(y, p, average="macro"),
        "log_loss": sk.log_loss(y.ravel(), p.ravel()),
        "brier": sk.brier_score_loss(y.ravel(), p.ravel()),
        "subset_accuracy": sk.accuracy_score(y, guess),
        "hamming_loss": sk.hamming_loss(y, guess),
    }


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_single_label_figures_equal_scikit_learn(labels: int) -> None:
    p, y = single(400, labels)
    figures = classification_figures(p, y, space(labels))
    expected = sklearn_single(p, y)
    assert {name: figures[name].value for name in expected} == pytest.approx(expected)
    assert set(figures) == {*expected, "ece"}


def test_multi_label_figures_equal_scikit_learn_at_given_predictions() -> None:
    p, y = multi(400, 5)
    guess = (p >= 0.35).astype(int)
    figures = classification_figures(p, y, space(5, multi=True), predictions=guess)
    expected = sklearn_multi(p, y, guess)
    assert {name: figures[name].value for name in expected} == pytest.approx(expected)
    assert set(figures) == {*expected, "ece"}


def test_multi_label_predictions_default_to_probabilities_of_one_half_and_more() -> None:
    p = np.array([[0.5, 0.49], [0.2, 0.9]])
    figures = classification_figures(p, [[1, 0], [0, 1]], space(2, multi=True))
    assert figures["subset_accuracy"].value == 1.0


def test_binary_brier_is_twice_scikit_learns() -> None:
    p, y = single(200, 2)
    figures = classification_figures(p, y, space(2))
    assert figures["brier"].value == pytest.approx(2 * sk.brier_score_loss(y, p[:, 1]))


def test_log_loss_of_certain_and_wrong_float32_is_finite_and_scikit_learns() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5]], dtype=np.float32)
    figures = classification_figures(p, [1, 0], space(2))
    assert figures["log_loss"].value == pytest.approx(sk.log_loss([1, 0], p), rel=1e-6)


def test_a_label_absent_from_the_references_is_left_out_and_counted() -> None:
    p, y = single(300, 4)
    y[y == 3] = 0
    figures = classification_figures(p, y, space(4))
    expected = np.mean([sk.roc_auc_score(y == i, p[:, i]) for i in range(3)])
    assert figures["roc_auc"].value == pytest.approx(expected)
    assert (figures["roc_auc_labels"].value, figures["average_precision_labels"].value) == (3.0, 3.0)
    assert figures["macro_recall"].value == pytest.approx(
        sk.recall_score(y, p.argmax(axis=1), average="macro", zero_division=np.nan)
    )


def test_a_label_neither_gold_nor_predicted_is_left_out_of_macro_f1_and_counted() -> None:
    p = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.4, 0.6, 0.0]])
    figures = classification_figures(p, [0, 1, 0], space(3))
    assert figures["macro_f1"].value == pytest.approx(2 / 3)  # both labels: 2 * 1 / (2 + 1)
    assert figures["macro_labels"].value == 2.0


def test_the_interval_of_a_mean_over_rare_labels_is_around_it_though_resamples_lose_them() -> None:
    """Labels with one row drop out of a third of the resamples; here they rank last, and each that is lost lifts the
    mean."""
    y = np.concatenate([np.repeat([0, 1], 40), np.arange(2, 10)])
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=88)
    p[np.arange(88), y] = np.where(y < 2, 9.0, 0.0)
    figures = classification_figures(p / p.sum(axis=1, keepdims=True), y, space(10), bootstrap=500)
    for name in ("average_precision", "roc_auc"):
        low, high = figures[name].low, figures[name].high
        assert low is not None
        assert high is not None
        assert low < figures[name].value < high <= 1.0
    assert "average_precision_labels" not in figures


def test_a_count_of_no_labels_is_no_figure() -> None:
    p, _ = single(50, 3)
    assert "roc_auc_labels" not in classification_figures(p, np.zeros(50, dtype=int), space(3))


def test_undefined_figures_are_absent_with_one_class_of_references() -> None:
    p, _ = single(50, 2)
    figures = classification_figures(p, np.zeros(50, dtype=int), space(2), bootstrap=20)
    assert "roc_auc" not in figures
    assert "mcc" not in figures
    assert "average_precision" not in figures
    assert figures["accuracy"].low is not None


def test_constant_predictions_have_zero_correlation() -> None:
    p = np.tile([0.9, 0.1], (4, 1))
    assert classification_figures(p, [0, 1, 0, 1], space(2))["mcc"].value == 0.0


@pytest.mark.parametrize("labels", [2, 3])
def test_single_label_intervals_equal_a_plain_bootstrap_over_scikit_learn(labels: int) -> None:
    p, y = single(60, labels, seed=3)
    figures = classification_figures(p, y, space(labels), bootstrap=80, seed=5)
    check_intervals(figures, [sklearn_single(p[rows], y[rows]) for rows in plain_resamples(60, 80, 5)])


def test_multi_label_intervals_equal_a_plain_bootstrap_over_scikit_learn() -> None:
    p, y = multi(60, 3, seed=4)
    guess = (p >= 0.5).astype(int)
    figures = classification_figures(p, y, space(3, multi=True), bootstrap=80, seed=5)
    check_intervals(figures, [sklearn_multi(p[r], y[r], guess[r]) for r in plain_resamples(60, 80, 5)])


def plain_resamples(rows: int, resamples: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, rows, size=(resamples, rows))


def check_intervals(figures: dict[str, Any], samples: list[dict[str, float]]) -> None:
    for name in samples[0]:
        low, high = np.percentile([sample[name] for sample in samples], [2.5, 97.5])
        assert (figures[name].low, figures[name].high) == pytest.approx((low, high)), name


def test_intervals_are_repeatable_and_differ_with_the_seed() -> None:
    p, y = single(200, 3)
    first, again, other = (classification_figures(p, y, space(3), bootstrap=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["macro_f1"].low != other["macro_f1"].low


def test_intervals_do_not_depend_on_how_resamples_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    p, y = single(100, 3)
    whole = classification_figures(p, y, space(3), bootstrap=40)
    monkeypatch.setattr("nlptk.metrics.bootstrap.CHUNK_CELLS", 700)
    assert classification_figures(p, y, space(3), bootstrap=40) == whole


def test_every_interval_encloses_its_figure_even_that_of_the_calibration_error() -> None:
    p, y = single(500, 3, seed=2)
    for figure in classification_figures(p, y, space(3), bootstrap=200).values():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high


def test_the_interval_covers_the_true_accuracy_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        right = rng.random(150) < 0.8
        p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        figure = classification_figures(p, np.zeros(150, dtype=int), space(2), bootstrap=200, seed=seed)["accuracy"]
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.8 <= figure.high
    assert 180 <= covered <= 199  # 95 % of 200 is 190, its standard deviation 3


@pytest.mark.parametrize(
    ("probabilities", "references", "message"),
    [
        (np.array([[2.0, -1.0]]), [0], "softmax"),
        (np.array([[0.2, 0.2]]), [0], "sum to 0.4"),
        (np.array([[np.nan, 0.2]]), [0], "row 0: not a number"),
        (np.array([[0.5, 0.5]]), [2], "value 2; expected 0 to 1"),
        (np.array([[0.5, 0.5]]), [-1], "value -1"),
        (np.array([[0.5, 0.5]]), [0.5], "expected integer label ids"),
        (np.array([[0.5, 0.5]]), [0, 1], "2 rows; expected 1"),
        (np.array([[1.0]]), [0], "expected \\(rows, 2\\)"),
        (np.zeros((0, 2)), [], "no rows"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(probabilities: Array, references: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classification_figures(probabilities, references, space(2))


def test_per_class_figures_equal_scikit_learn_and_are_none_where_undefined() -> None:
    p, y = single(200, 3)
    guess = p.argmax(axis=1)
    found = per_class(guess, y, space(4))
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, guess, labels=[0, 1, 2])
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        assert [entry[name] for entry in found[:3]] == pytest.approx(list(values))  # type: ignore[literal-required]
    assert found[3] == {"label": "label 3", "precision": None, "recall": None, "f1": None, "support": 0}


def test_confusion_has_gold_rows_and_predicted_columns_like_scikit_learn() -> None:
    assert confusion([1, 1, 0], [0, 1, 0], space(2)).tolist() == [[1, 1], [0, 1]]
    p, y = multi(100, 3)
    guess = (p >= 0.5).astype(int)
    expected = sk.multilabel_confusion_matrix(y, guess)
    assert np.array_equal(confusion(guess, y, space(3, multi=True)), expected)


def test_no_warning_is_raised_for_undefined_figures() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classification_figures(np.array([[0.9, 0.1]]), [0], space(2), bootstrap=5)
