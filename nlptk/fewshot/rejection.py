"""Rejection of what belongs to no class: a threshold chosen on held-out texts, and how well it tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from nlptk.errors import DataError, UnsupportedError
from nlptk.fewshot.data import refuse_shared_texts, split_rows, unlabelled_file
from nlptk.fewshot.rows import LabelledRows
from nlptk.metrics import out_of_scope_figures
from nlptk.parts.support import Support, class_means, unit
from nlptk.recipe import DataSettings
from nlptk.task import Figure, Preprocessing, Scores
from nlptk.training.preparation import Prepared

KEPT = 0.95
"""Share of the held-out texts in scope that keep their label where none out of scope are given."""
THRESHOLD, SUPPORT_ALONE = "rejection_threshold", "rejection_by_support_alone"
"""Of a task's decision."""
FEW = 8
"""Examples of a class below which a threshold from the examples alone is warned of: with one to four of each of ten
classes of CLINC150 it rejected from 0 to 24 % of other texts of these classes, with eight and
the class's name 5.5 %."""


def out_of_scope_rows(prepared: Prepared, settings: DataSettings, *, on_support: bool) -> dict[str, LabelledRows]:
    """The texts of no class: those to tune on as `validation`, those to measure on as `test`.

    on_support: the encoder trains on the support set, which then looks more familiar than new texts will.

    Raises: DataError where there is nothing to tune or to measure on, and for texts that stand in other rows too.
    """
    task: Any = prepared.task
    if task.settings.rejection == "tuned" and on_support and "validation" not in prepared.splits:
        raise DataError(
            f"task.rejection: method {task.settings.method.name} trains on its support set, which looks more familiar "
            "than new texts will; give held-out rows (data.validation=FILE or a fraction) or a threshold"
        )
    if task.settings.out_of_scope_test and "test" not in prepared.splits:
        raise DataError("task.out_of_scope_test: nothing in scope to tell it from; give data.test=FILE too")
    found: dict[str, LabelledRows] = {}
    for split, key in (("validation", "out_of_scope"), ("test", "out_of_scope_test")):
        path = getattr(task.settings, key)
        if path is not None:
            found[split] = unlabelled_file(path, settings, task, prepared.preprocessing, where=f"task.{key}")
            for name in prepared.splits:
                refuse_shared_texts([found[split]], split_rows(prepared, name))
    if len(found) == 2:
        refuse_shared_texts([found["validation"]], found["test"])
    return found


def tune_rejection(task: Any, held_out: np.ndarray | None, strangers: np.ndarray | None) -> list[str]:
    """Set the threshold where the recipe asks for a tuned one. Returns: warnings of what it cannot do.

    held_out: vectors of texts in scope; None: each support example counts, seen without its own part in its mean.
    strangers: (texts,) familiarity of texts out of scope.
    """
    if task.settings.rejection != "tuned":
        return []
    known = task.familiarity(held_out) if held_out is not None else leave_one_out(task.support)
    threshold = choose_threshold(known, strangers)
    task.decision |= {THRESHOLD: threshold, SUPPORT_ALONE: held_out is None and strangers is None}
    if task.decision[SUPPORT_ALONE] and (few := int(np.bincount(task.support.labels).min())) < FEW:
        return [
            f"task.rejection: the threshold comes from the examples alone, of some classes {few}, and may reject far "
            "more or fewer texts than 1 in 20 of those in scope; give data.validation=FILE or task.out_of_scope=FILE"
        ]
    if strangers is not None and not (strangers < threshold).any():
        return [
            "task.rejection: no threshold tells the texts out of scope from those in scope, so that none is rejected"
        ]
    return []


def retuned(decision: Mapping[str, Any], support: Support) -> dict[str, Any]:
    """The decision for a support set that has changed: a threshold that came from one alone comes from this one."""
    if not decision.get(SUPPORT_ALONE):
        return dict(decision)
    return {**decision, THRESHOLD: choose_threshold(leave_one_out(support), None)}


def choose_threshold(known: np.ndarray, strangers: np.ndarray | None) -> float:
    """The familiarity below which a text is rejected: it keeps 95 % of the known ones; with strangers, the sum of the
    shares rightly kept and rightly rejected is greatest (Youden 1950, doi:10.1002/1097-0142(1950)3:1<32), and of equal
    ones the lowest is taken."""
    if strangers is None or not len(strangers):
        return float(np.quantile(known, 1 - KEPT))
    values = np.unique(np.concatenate([known, strangers]))
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])  # the first rejects nothing
    kept = 1 - np.searchsorted(np.sort(known), edges) / len(known)
    rejected = np.searchsorted(np.sort(strangers), edges) / len(strangers)
    return float(edges[int(np.argmax(kept + rejected))])


def leave_one_out(support: Support) -> np.ndarray:
    """(examples,) greatest cosine to a class mean, each example's own class's mean made without it; the only example
    of a class is as near to its own as to the nearest other."""
    vectors = unit(support.vectors).astype(np.float64)
    classes = int(support.labels.max()) + 1
    counts = np.bincount(support.labels, minlength=classes)
    sums = class_means(vectors, support.labels, classes) * counts[:, None]
    cosines = vectors @ unit(sums).T
    own = sums[support.labels] - vectors
    places = np.arange(len(vectors))
    left = np.einsum("nd,nd->n", vectors, unit(own))
    cosines[places, support.labels] = np.where(counts[support.labels] > 1, left, -1.0)
    found: np.ndarray = cosines.max(axis=1)
    return found


def measure_rejection(
    task: Any,
    scores: Mapping[str, Scores],
    vectors: Mapping[str, np.ndarray],
    strangers: Mapping[str, np.ndarray],
    *,
    bootstrap: int,
    seed: int,
) -> None:
    """Add to a split's figures how well familiarity tells its texts from those out of scope. strangers: split ->
    (texts,) familiarity of the latter."""
    for split in scores.keys() & strangers.keys():
        known = task.familiarity(vectors[split])
        figures = out_of_scope_figures(
            known, strangers[split], threshold=task.threshold, bootstrap=bootstrap, seed=seed
        )
        scores[split].figures.update(figures)


def rejection_of_file(
    task: Any,
    model: torch.nn.Module,
    path: str,
    settings: DataSettings,
    how: Preprocessing,
    *,
    rows: Dataset,
    known: np.ndarray,
    bootstrap: int,
    seed: int,
) -> dict[str, Figure]:
    """The same of a finished model, for a file of texts of no class. rows, known: those in scope, and their vectors.

    Raises: UnsupportedError for a task that rejects nothing; DataError for texts that stand in both.
    """
    if not isinstance(getattr(task, "support", None), Support):
        raise UnsupportedError(f"out_of_scope: a {task.name} model gives every row its answer; leave it out")
    strangers = unlabelled_file(path, settings, task, how, where="out_of_scope")
    refuse_shared_texts([strangers], replace(strangers, rows=rows, where="the rows"))
    unfamiliar = task.familiarity(strangers.vectors(model, batch_size=64))
    return out_of_scope_figures(
        task.familiarity(known), unfamiliar, threshold=task.threshold, bootstrap=bootstrap, seed=seed
    )
