"""A support set: the few labelled examples that a model decides by, as vectors, and the linear head made of them.

Every few-shot method ends in the same thing: a text becomes a vector, and a class's logit is linear in that vector.
For class means by cosine or by Euclidean distance, for logistic regression, for a head adapted by gradient steps and
for label words at a mask alike; so they are saved, served, extended and explained in one way.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlptk.errors import ArtifactError, DataError

if TYPE_CHECKING:
    import numpy as np

InversePenalty = float | Literal["cross_validated"]
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
FOLDS = 5
TEXTS, TENSORS = "support.jsonl", "support.safetensors"


@dataclass(frozen=True)
class Head:
    """weight: (classes, dim) float32; bias: (classes,). unit_length: it reads vectors scaled to the length 1."""

    weight: np.ndarray
    bias: np.ndarray
    unit_length: bool

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """(texts, dim) -> (texts, classes) float32."""
        found: np.ndarray = (unit(vectors) if self.unit_length else vectors) @ self.weight.T + self.bias
        return found


@dataclass(frozen=True)
class Support:
    """Examples and what was made of them.

    texts: one an example; labels: (examples,) int64, place of the class; vectors: (examples, dim) float32, as the
    model gives them. learned: what meta-training left for the method to make heads with, by name.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    vectors: np.ndarray
    head: Head
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def directions(self) -> np.ndarray:
        """The vectors, scaled to the length 1."""
        return unit(self.vectors)

    @cached_property
    def class_directions(self) -> np.ndarray:
        """(classes, dim): the mean of each class's directions, of the length 1."""
        return unit(class_means(self.directions, self.labels, len(self.head.bias)))

    def nearest(self, vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the examples nearest to each vector and their cosines, best first: both (texts, count)."""
        import numpy as np

        cosines = unit(vectors) @ self.directions.T
        count = min(count, len(self.texts))
        places = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        return places, np.take_along_axis(cosines, places, axis=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each vector divided by its length; a vector of zeros stays."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def class_means(vectors: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes, dim): the mean vector of each class; every class has an example."""
    import numpy as np

    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=classes)
    sums = np.add.reduceat(vectors[order].astype(np.float64), np.cumsum(counts) - counts)
    means: np.ndarray = (sums / counts[:, None]).astype(np.float32)
    return means


def cosine_head(vectors: np.ndarray, labels: np.ndarray, classes: int, *, scale: float) -> Head:
    """Logits are `scale` times the cosine to each class's mean of unit vectors."""
    import numpy as np

    weight = scale * unit(class_means(unit(vectors), labels, classes))
    return Head(weight, np.zeros(classes, dtype=np.float32), unit_length=True)


def euclidean_head(vectors: np.ndarray, labels: np.ndarray, classes: int, *, scale: float) -> Head:
    """Logits are `-scale` times the squared Euclidean distance to each class's mean, up to what all classes share.

    -|z - c|^2 = 2 z.c - |c|^2 - |z|^2 (Snell et al. 2017, "Prototypical Networks", arXiv:1703.05175, 2.4).
    """
    means = class_means(vectors, labels, classes)
    return Head(2 * scale * means, -scale * (means**2).sum(axis=1), unit_length=False)


def logistic_head(
    vectors: np.ndarray, labels: np.ndarray, names: Sequence[str], *, inverse_penalty: InversePenalty, seed: int
) -> Head:
    """Logistic regression with an L2 penalty on unit vectors. names: of the classes; each has an example.

    Every class weighs alike: a class that was added with one example is not outvoted by those with eight.

    inverse_penalty: scikit-learn's C; "cross_validated": the one of `PENALTIES` with the lowest log loss over up to
    five stratified folds of the examples.

    Raises: DataError for a class with one example under cross-validation.
    """
    import numpy as np

    scaled = unit(vectors)
    chosen = inverse_penalty
    if chosen == "cross_validated":
        chosen = _cross_validated(scaled, labels, names, seed=seed)
    with warnings.catch_warnings():  # of more classes than rows of each, which here is as it should be
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        fitted = _regression(chosen, seed).fit(scaled, labels)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(names) == 2:  # scikit-learn has one logit, of the second class against the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Head(weight.astype(np.float32), bias.astype(np.float32), unit_length=True)


def moved_head(head: Head, vectors: np.ndarray, labels: np.ndarray, *, inverse_penalty: float) -> Head:
    """A head moved as far as the examples ask: multinomial logistic regression whose L2 penalty counts from the head
    instead of from zero, so that a class without much evidence keeps what it had. The bias moves freely.

    inverse_penalty: as scikit-learn's C, on vectors divided by their mean length. Every class weighs alike, and each
    has an example.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    read = unit(vectors) if head.unit_length else vectors
    length = 1.0 if head.unit_length else float(np.linalg.norm(vectors, axis=1).mean())
    features = np.concatenate([read / length, np.ones((len(read), 1))], axis=1, dtype=np.float64)
    before = head.logits(vectors).astype(np.float64)
    classes, rows = len(head.bias), np.arange(len(labels))
    counts = np.bincount(labels, minlength=classes)
    weights = inverse_penalty * len(labels) / (classes * counts[labels])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        step = flat.reshape(classes, -1)
        logs = log_softmax(before + features @ step.T, axis=1)
        wrong = np.exp(logs)
        wrong[rows, labels] -= 1.0
        gradient = (wrong * weights[:, None]).T @ features
        gradient[:, :-1] += step[:, :-1]
        loss = -(weights * logs[rows, labels]).sum() + 0.5 * (step[:, :-1] ** 2).sum()
        return float(loss), gradient.ravel()

    start = np.zeros(classes * features.shape[1])
    exact = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-8}  # so that nearly the same vectors make nearly the same head
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=exact).x.reshape(classes, -1)
    weight = head.weight + found[:, :-1] / length
    return Head(weight.astype(np.float32), (head.bias + found[:, -1]).astype(np.float32), head.unit_length)


def _cross_validated(vectors: np.ndarray, labels: np.ndarray, names: Sequence[str], *, seed: int) -> float:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < 2:
        name = names[int(counts.argmin())]
        raise DataError(
            f"inverse_penalty=cross_validated: class {name!r} has one example, and a fold without it cannot learn it; "
            "give it another, or a number as inverse_penalty"
        )
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    means = [
        cross_val_score(_regression(penalty, seed), vectors, labels, cv=folds, scoring="neg_log_loss").mean()
        for penalty in PENALTIES
    ]
    return PENALTIES[int(np.argmax(means))]


def _regression(inverse_penalty: float, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=1000, random_state=seed)


def save_support(support: Support, folder: Path, names: Sequence[str]) -> None:
    """Write the examples with their labels' names, readable, and the tensors beside them."""
    import numpy as np
    from safetensors.numpy import save_file

    rows = [
        json.dumps({"text": text, "label": names[label]}, ensure_ascii=False)
        for text, label in zip(support.texts, support.labels.tolist(), strict=True)
    ]
    (folder / TEXTS).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    tensors = {
        "labels": support.labels,
        "vectors": support.vectors,
        "head.weight": support.head.weight,
        "head.bias": support.head.bias,
        **{f"learned.{name}": value for name, value in support.learned.items()},
    }
    said = {"unit_length": json.dumps(support.head.unit_length)}
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / TENSORS, metadata=said)


def load_support(folder: Path) -> Support:
    """What `save_support` wrote. Raises: ArtifactError."""
    from safetensors import SafetensorError, safe_open

    try:
        with (folder / TEXTS).open(encoding="utf-8") as rows:  # line feeds part them; str.splitlines knows more marks
            texts = tuple(json.loads(row)["text"] for row in rows)
        with safe_open(folder / TENSORS, framework="numpy") as file:
            found: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            unit_length = json.loads(file.metadata()["unit_length"])
        head = Head(found.pop("head.weight"), found.pop("head.bias"), unit_length)
        labels, vectors = found.pop("labels"), found.pop("vectors")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder}: its support set cannot be read ({error}); train the model again") from error
    if not len(texts) == len(labels) == len(vectors):
        raise ArtifactError(f"{folder / TEXTS}: {len(texts)} texts for {len(vectors)} vectors; copy the folder again")
    return Support(texts, labels, vectors, head, {name.removeprefix("learned."): v for name, v in found.items()})
