"""Heads made of a support set, against scikit-learn and against the definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import NearestCentroid, NearestNeighbors
from sklearn.preprocessing import normalize

from nlptk.errors import ArtifactError, DataError
from nlptk.parts.support import (
    PENALTIES,
    Head,
    Support,
    cosine_head,
    euclidean_head,
    load_support,
    logistic_head,
    moved_head,
    save_support,
)

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c", "d")
LABELS = np.repeat(np.arange(4), 5)
VECTORS = (RNG.normal(size=(20, 6)) + LABELS[:, None] * 0.7).astype(np.float32)
QUERIES = RNG.normal(size=(30, 6)).astype(np.float32) + 1


def test_euclidean_head_decides_as_the_nearest_centroid() -> None:
    expected = NearestCentroid().fit(VECTORS, LABELS).predict(QUERIES)
    head = euclidean_head(VECTORS, LABELS, 4, scale=3.0)
    assert (head.logits(QUERIES).argmax(axis=1) == expected).all()


def test_euclidean_logits_are_squared_distances_up_to_what_all_classes_share() -> None:
    means = np.stack([VECTORS[label == LABELS].mean(axis=0) for label in range(4)])
    expected = -2.0 * ((QUERIES[:, None] - means[None]) ** 2).sum(axis=2)
    found = euclidean_head(VECTORS, LABELS, 4, scale=2.0).logits(QUERIES)
    assert found - found[:, :1] == pytest.approx(expected - expected[:, :1], abs=1e-3)


def test_cosine_logits_are_scaled_cosines_to_the_means_of_unit_vectors() -> None:
    means = normalize(np.stack([normalize(VECTORS)[label == LABELS].mean(axis=0) for label in range(4)]))
    found = cosine_head(VECTORS, LABELS, 4, scale=10.0).logits(QUERIES)
    assert found == pytest.approx(10 * normalize(QUERIES) @ means.T, abs=1e-4)


def test_a_head_of_zeros_moves_to_scikit_learns_logistic_regression() -> None:
    kept = np.arange(20) < 17  # classes of unlike numbers
    nothing = Head(np.zeros((4, 6), dtype=np.float32), np.zeros(4, dtype=np.float32), unit_length=True)
    expected = LogisticRegression(C=2.0, max_iter=1000, class_weight="balanced").fit(
        normalize(VECTORS[kept]), LABELS[kept]
    )
    head = moved_head(nothing, VECTORS[kept], LABELS[kept], inverse_penalty=2.0)
    assert head.weight == pytest.approx(expected.coef_, abs=1e-3)
    assert head.bias == pytest.approx(expected.intercept_, abs=1e-3)


def test_a_moved_head_does_not_depend_on_the_scale_of_its_vectors_and_stays_without_reason() -> None:
    words = Head(RNG.normal(size=(4, 6)).astype(np.float32), np.zeros(4, dtype=np.float32), unit_length=False)
    head = moved_head(words, VECTORS, LABELS, inverse_penalty=1.0)
    scaled = Head(words.weight / 50, words.bias, unit_length=False)
    other = moved_head(scaled, VECTORS * 50, LABELS, inverse_penalty=1.0)
    assert other.logits(QUERIES * 50) == pytest.approx(head.logits(QUERIES), abs=1e-2)
    sure = Head(1000 * cosine_head(VECTORS, LABELS, 4, scale=1.0).weight, words.bias, unit_length=False)
    right = sure.logits(VECTORS).argmax(axis=1) == LABELS
    same = moved_head(sure, VECTORS[right], LABELS[right], inverse_penalty=1.0)
    assert same.weight == pytest.approx(sure.weight, abs=0.2)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_head_gives_scikit_learns_probabilities(classes: int) -> None:
    kept = classes > LABELS
    expected = LogisticRegression(C=2.0, max_iter=1000).fit(normalize(VECTORS[kept]), LABELS[kept])
    head = logistic_head(VECTORS[kept], LABELS[kept], NAMES[:classes], inverse_penalty=2.0, seed=0)
    logits = head.logits(QUERIES)
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found == pytest.approx(expected.predict_proba(normalize(QUERIES)), abs=1e-4)


def test_in_a_logistic_head_every_class_weighs_alike() -> None:
    kept = np.array([0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])  # one row of the first class, five of the others
    expected = LogisticRegression(class_weight="balanced", max_iter=1000).fit(normalize(VECTORS[kept]), LABELS[kept])
    head = logistic_head(VECTORS[kept], LABELS[kept], NAMES[:3], inverse_penalty=1.0, seed=0)
    assert head.weight == pytest.approx(expected.coef_, abs=1e-5)
    assert head.logits(VECTORS[:1]).argmax() == 0


def support() -> Support:
    head = Head(np.eye(4, 6, dtype=np.float32), np.zeros(4, dtype=np.float32), unit_length=True)
    marks = "\n", "\r", "\u2028", "\x85"  # all of them part lines for str.splitlines
    texts = tuple(f"text {row}{marks[row % 4]}of two lines" for row in range(20))
    return Support(texts, LABELS, VECTORS, head, {"start": np.arange(3, dtype=np.float32)})


def test_nearest_examples_are_those_of_scikit_learn() -> None:
    distances, expected = NearestNeighbors(n_neighbors=3, metric="cosine").fit(VECTORS).kneighbors(QUERIES)
    places, cosines = support().nearest(QUERIES, 3)
    assert (places == expected).all()
    assert cosines == pytest.approx(1 - distances, abs=1e-5)


def test_a_support_set_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    save_support(support(), tmp_path, ("a", "b", "c", "d"))
    found, saved = load_support(tmp_path), support()
    assert found.texts == saved.texts
    for one, other in (
        (found.labels, saved.labels),
        (found.vectors, saved.vectors),
        (found.head.weight, saved.head.weight),
        (found.learned["start"], saved.learned["start"]),
    ):
        assert (one == other).all()
    assert found.head.unit_length


def test_a_support_set_without_its_vectors_is_refused(tmp_path: Path) -> None:
    save_support(support(), tmp_path, ("a", "b", "c", "d"))
    lines = (tmp_path / "support.jsonl").read_text().split("\n")
    (tmp_path / "support.jsonl").write_text("\n".join([*lines[:-2], ""]))
    with pytest.raises(ArtifactError, match="19 texts for 20 vectors"):
        load_support(tmp_path)


def test_the_penalty_is_the_one_with_the_lowest_loss_over_folds() -> None:
    """Against scikit-learn's own search, on classes that overlap, so that neither end of the grid wins."""
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), 12)
    vectors = (np.eye(3, 8)[labels] + generator.normal(size=(36, 8)) * 0.6).astype(np.float32)
    head = logistic_head(vectors, labels, ("a", "b", "c"), inverse_penalty="cross_validated", seed=1)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": list(PENALTIES)},
        scoring="neg_log_loss",
        cv=StratifiedKFold(5, shuffle=True, random_state=1),
    ).fit(normalize(vectors), labels)
    assert search.best_params_["C"] not in (PENALTIES[0], PENALTIES[-1])
    expected = logistic_head(vectors, labels, ("a", "b", "c"), inverse_penalty=search.best_params_["C"], seed=1)
    assert head.weight == pytest.approx(expected.weight, abs=1e-6)


def test_a_class_with_one_example_cannot_be_cross_validated() -> None:
    vectors, labels = VECTORS[:5], np.array([0, 0, 1, 1, 2])
    with pytest.raises(DataError, match=r"class 'c' has one example.*give it another, or a number"):
        logistic_head(vectors, labels, ("a", "b", "c"), inverse_penalty="cross_validated", seed=0)
