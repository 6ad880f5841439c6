"""The classification task by itself: loss, weights, pooling, decisions."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import f1_score, multilabel_confusion_matrix
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from nlptk import registry
from nlptk.errors import RecipeError
from nlptk.task import Features, LabelSpace, Ledger, Preprocessing, Task
from tests.strategies.families import tokenizer

SINGLE = LabelSpace(("bad", "good", "mixed"))
MULTI = LabelSpace(("bad", "good", "mixed"), multi=True)
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [1.0, 1.0, 1.0], [-2.0, 0.0, 4.0]])


def _task(labels: LabelSpace | None = SINGLE, decision: dict[str, Any] | None = None, **options: Any) -> Task:
    cls = registry.get_task("classification")
    return cls(cls.Options.model_validate(options), labels=labels, decision=decision)


def _rows(labels: list[Any]) -> Dataset:
    count = len(labels)
    return Dataset.from_dict(
        {"text": ["text"] * count, "label": labels, "source_file": ["rows.csv"] * count, "source_row": range(count)}
    )


def _features(rows: list[int], lost: list[int] | None = None) -> Features:
    return Features(Dataset.from_dict({"row": rows, "lost": lost or [0] * len(rows)}), Ledger())


def _loss(task: Task, labels: torch.Tensor) -> torch.Tensor:
    return task.loss(SimpleNamespace(logits=LOGITS), labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_single_label_loss_is_torchs_cross_entropy(smoothing: float) -> None:
    labels = torch.tensor([0, 1, 2, 1])
    task = _task(label_smoothing=smoothing)
    mean = _loss(task, labels) / task.loss_items(labels)
    torch.testing.assert_close(mean, functional.cross_entropy(LOGITS, labels, label_smoothing=smoothing))


def test_given_class_weights_are_cross_entropys_own() -> None:
    task = _task(class_weights={"good": 2.0, "bad": 0.5, "mixed": 1.0})
    task.fit(_rows([0, 1, 2]))
    labels = torch.tensor([0, 1, 2, 1])
    expected = functional.cross_entropy(LOGITS, labels, weight=torch.tensor([0.5, 2.0, 1.0]), reduction="sum")
    torch.testing.assert_close(_loss(task, labels), expected)


def test_balanced_class_weights_are_scikit_learns() -> None:
    train = [0] * 7 + [1] * 2 + [2]
    task = _task(class_weights="balanced")
    task.fit(_rows(train))
    weights = compute_class_weight("balanced", classes=np.arange(3), y=np.array(train))
    labels = torch.tensor([0, 1, 2, 1])
    weight = torch.tensor(weights, dtype=torch.float32)
    torch.testing.assert_close(_loss(task, labels), functional.cross_entropy(LOGITS, labels, weight, reduction="sum"))


def test_the_multi_label_loss_is_torchs_binary_cross_entropy() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    task = _task(MULTI)
    mean = _loss(task, labels) / task.loss_items(labels)
    torch.testing.assert_close(mean, functional.binary_cross_entropy_with_logits(LOGITS, labels))


def test_balanced_multi_label_weights_are_negatives_to_positives_as_pos_weight() -> None:
    task = _task(MULTI, class_weights="balanced")
    task.fit(_rows([[0], [0, 1], [0], [2], [0, 2]]))
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    expected = functional.binary_cross_entropy_with_logits(
        LOGITS, labels, pos_weight=torch.tensor([1 / 4, 4 / 1, 3 / 2])
    )
    torch.testing.assert_close(_loss(task, labels) / 4, expected)


def test_multi_label_smoothing_moves_targets_towards_a_half() -> None:
    labels = torch.tensor([[1.0, 0, 1]]).expand(4, 3)
    expected = functional.binary_cross_entropy_with_logits(LOGITS, torch.tensor([[0.9, 0.1, 0.9]]).expand(4, 3))
    torch.testing.assert_close(_loss(_task(MULTI, label_smoothing=0.2), labels) / 4, expected)


@pytest.mark.parametrize("weights", [{"good": 1.0, "bad": 1.0}, {"good": 1, "bad": 1, "mixed": 1, "ugly": 1}])
def test_weights_that_are_not_of_the_labels_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=r"\['(ugly|mixed)'\]"):
        _task(class_weights=weights).fit(_rows([0, 1, 2]))


def test_windows_are_pooled_to_the_mean_of_their_logits() -> None:
    pooled = _task().pool(list(LOGITS.numpy()), _features([0, 1, 1, 1]))
    np.testing.assert_allclose(pooled[0], LOGITS[0])
    np.testing.assert_allclose(pooled[1], LOGITS[1:].mean(dim=0), rtol=1e-6)


def test_a_single_label_prediction_is_the_softmax() -> None:
    rows = _task().decode(list(LOGITS.numpy()), {}, _features([0, 1, 2, 3]))
    expected = LOGITS.softmax(dim=1)
    assert [row["label"] for row in rows] == ["bad", "good", "bad", "mixed"]
    for row, probabilities in zip(rows, expected, strict=True):
        assert row["score"] == pytest.approx(float(probabilities.max()), abs=1e-6)
        assert list(row["scores"].values()) == pytest.approx(probabilities.tolist(), abs=1e-6)


def test_a_multi_label_prediction_is_every_label_at_or_above_its_threshold() -> None:
    thresholds = {"thresholds": [0.9, 0.5, 0.6]}
    rows = _task(MULTI, decision=thresholds).decode(list(LOGITS.numpy()), {}, _features([0, 1, 2, 3]))
    assert [row["labels"] for row in rows] == [["mixed"], ["good"], ["good", "mixed"], ["good", "mixed"]]
    assert rows[3]["scores"]["good"] == 0.5
    assert rows[0]["scores"] == pytest.approx(
        dict(zip(MULTI.names, LOGITS[0].sigmoid().tolist(), strict=True)), abs=1e-6
    )


def test_a_fixed_threshold_is_used_and_not_tuned() -> None:
    task = _task(MULTI, thresholds=0.7)
    task.tune(list(LOGITS.numpy()), _rows([[0], [1], [2], [2]]))
    assert task.decision == {}
    assert task.decode([np.array([0.0, 1.0, 2.0])], {}, _features([0]))[0]["labels"] == ["good", "mixed"]


def test_rows_that_lost_tokens_are_flagged() -> None:
    rows = _task().decode(list(LOGITS[:3].numpy()), {}, _features([0, 1, 1, 2], lost=[0, 3, 0, 0]))
    assert [row["truncated"] for row in rows] == [False, True, False]


def test_tuned_thresholds_do_not_lower_macro_f1_and_scores_say_both() -> None:
    generator = np.random.default_rng(0)
    gold = generator.random((200, 3)) < [0.5, 0.2, 0.05]
    logits = 2.0 * gold - 2.5 + generator.normal(size=(200, 3))
    rows = _rows([[int(i) for i in np.flatnonzero(row)] for row in gold])
    task = _task(MULTI)
    task.tune(list(logits), rows)
    figures = task.score(list(logits), rows).figures
    probabilities = 1 / (1 + np.exp(-logits))
    assert figures["macro_f1_at_0.5"].value == pytest.approx(f1_score(gold, probabilities >= 0.5, average="macro"))
    chosen = probabilities >= task.decision["thresholds"]
    assert figures["macro_f1"].value == pytest.approx(f1_score(gold, chosen, average="macro"))
    assert figures["macro_f1"].value > figures["macro_f1_at_0.5"].value


def test_features_carry_targets_as_the_loss_takes_them() -> None:
    preprocessing = Preprocessing(16)
    single = _task().featurize({"text": ["w1", "w2"], "label": [2, 0]}, tokenizer(), preprocessing)
    multi = _task(MULTI).featurize({"text": ["w1", "w2"], "label": [[0, 2], []]}, tokenizer(), preprocessing)
    assert single["labels"] == [2, 0]
    assert multi["labels"] == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_the_ledgers_columns_stand_on_a_rows_first_window_only() -> None:
    text = " ".join(f"w{i}" for i in range(10))
    found = _task().featurize({"text": [text, "w1"]}, tokenizer(), Preprocessing(6, "window"))
    assert found["row"] == [0, 0, 0, 1]
    assert found["tokens"] == [10, 0, 0, 1]
    assert found["lost"] == [0, 0, 0, 0]
    cut = _task().featurize({"text": [text]}, tokenizer(), Preprocessing(6))
    assert cut["lost"] == [6]


def test_the_examples_of_the_report_are_the_rows_of_greatest_loss() -> None:
    labels = [1, 1, 0, 2]
    parts = _task().score(list(LOGITS.numpy()), _rows(labels), sections=True).sections
    hardest = next(part for part in parts if part["title"] == "Hardest rows")
    losses = functional.cross_entropy(LOGITS, torch.tensor(labels), reduction="none")
    order = losses.argsort(descending=True).tolist()
    assert [example["source"] for example in hardest["rows"]] == [f"rows.csv, row {row}" for row in order]


def test_a_multi_label_report_counts_right_and_wrong_of_each_label_as_scikit_learn() -> None:
    gold = [[0], [1, 2], [], [0, 2]]
    task = _task(MULTI, decision={"thresholds": [0.9, 0.5, 0.6]})
    parts = {part["title"]: part for part in task.score(list(LOGITS.numpy()), _rows(gold), sections=True).sections}
    references = np.array([[i in row for i in range(3)] for row in gold])
    chosen = LOGITS.sigmoid().numpy() >= [0.9, 0.5, 0.6]
    expected = [[tp, fp, fn, tn] for (tn, fp), (fn, tp) in multilabel_confusion_matrix(references, chosen).tolist()]
    table = parts["Right and wrong by label"]
    assert [row[1:5] for row in table["rows"]] == expected
    assert [(row[0], row[5]) for row in table["rows"]] == [("bad", 0.9), ("good", 0.5), ("mixed", 0.6)]


def test_without_labels_the_column_is_asked_for() -> None:
    with pytest.raises(RecipeError, match=r"data\.columns\.label"):
        _task(None).primary()


def test_scores_say_what_the_most_frequent_label_alone_would_reach() -> None:
    found = _task().score(LOGITS.tolist(), _rows([1, 1, 0, 1]))
    assert found.figures["majority_accuracy"].value == 0.75


def test_a_model_that_names_one_label_only_is_warned_of() -> None:
    always_bad = [[2.0, 1.0, 0.0]] * 4
    expected = ["predicts only 'bad': no better than always naming it"]
    assert _task().score(always_bad, _rows([0, 1, 0, 2])).warnings == expected
    assert _task().score(always_bad, _rows([1, 1, 1, 1])).warnings == [
        "every row has 'good': the figures say nothing of other labels"
    ]
    assert _task().score(LOGITS.tolist(), _rows([0, 1, 0, 2])).warnings == []


def test_a_label_that_some_are_given_and_no_row_has_is_told() -> None:
    """scikit-learn's macro F1 counts it as 0, too."""
    logits, gold = [[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]], [0, 1, 1]
    found = _task().score(logits, _rows(gold))
    assert found.figures["macro_f1"].value == pytest.approx(f1_score(gold, [0, 1, 2], average="macro"))
    assert found.warnings == ["no row has 'mixed', which some are given: in macro F1 each such label counts as 0"]
    several = [[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]]
    (warning,) = _task(MULTI, thresholds=0.5).score(several, _rows([[0], [1], [1]])).warnings
    assert warning.startswith("no row has 'mixed'")


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([-1.0, -1.0, -1.0], "predicts no label for any row"),
        ([1.0, -1.0, 1.0], r"predicts the same labels for every row \(bad, mixed\)"),
    ],
)
def test_a_multi_label_model_that_gives_every_row_the_same_is_warned_of(logits: list[float], message: str) -> None:
    rows = _rows([[0], [1, 2], [], [0]])
    (warning,) = _task(MULTI, thresholds=0.5).score([logits] * 4, rows).warnings
    assert re.match(message, warning)
    varied = [logits, logits, logits, [-value for value in logits]]
    assert _task(MULTI, thresholds=0.5).score(varied, rows).warnings == []
