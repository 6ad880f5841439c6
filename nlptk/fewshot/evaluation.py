"""Accuracy over episodes: each a small task, learnt from its support set and tested on its queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from nlptk.fewshot.adapting import unchanged
from nlptk.fewshot.contract import Learner, Material, Method
from nlptk.fewshot.episodes import Episode, class_places
from nlptk.fewshot.measured import Measured
from nlptk.fewshot.rows import LabelledRows
from nlptk.task import Figure
from nlptk.training.progress import shown


def mean_interval(values: np.ndarray, *, least: float, most: float = 1.0) -> Figure:
    """The mean over episodes with its 95 % interval by Student's t, which with many episodes is the 1.96 standard
    errors of few-shot papers. least, most: what a value can be at all; the interval ends there."""
    from scipy.stats import t

    mean = float(values.mean())
    if len(values) < 2:
        return Figure(mean)
    half = float(t.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / len(values) ** 0.5
    return Figure(mean, max(least, mean - half), min(most, mean + half))


def accuracy(method: Method, material: Material, query: np.ndarray, labels: np.ndarray) -> float:
    """Of a head made of an episode's support set on the vectors of its queries."""
    return float((method.head(material).logits(query).argmax(axis=1) == labels).mean())


def frozen_accuracies(
    method: Method, vectors: np.ndarray, rows: LabelledRows, episodes: Sequence[Episode], *, material: Material
) -> np.ndarray:
    """(episodes,) accuracy where the encoder is the same in all of them. vectors: (rows, dim)."""
    found = []
    for episode in episodes:
        support, names = rows.learnt_from(episode), class_names(rows, episode)
        given = replace(material, vectors=vectors[support.ravel()], labels=class_places(support), names=names)
        found.append(accuracy(method, given, vectors[episode.query.ravel()], class_places(episode.query)))
    return np.array(found)


def adapted_accuracies(
    method: Method,
    learner: Learner,
    rows: LabelledRows,
    episodes: Sequence[Episode],
    *,
    adapt: Callable[[LabelledRows], None],
    material: Material,
    measured: Measured | None = None,
    hidden: bool = False,
    what: str = "",
) -> np.ndarray:
    """(episodes,) accuracy where each support set moves the encoder anew. Episodes are shared among the processes, and
    what is random in one (dropout) depends on its number and the seed of `material` alone.

    adapt: moves `learner.trained` to a support set, in place; afterwards it is as before. measured: what is known
    already, and where to keep what becomes known. hidden: no progress; what: begins what progress calls it.
    """
    state = PartialState()
    mine = range(state.process_index, len(episodes), state.num_processes)
    hidden = hidden or state.process_index != 0
    found: list[tuple[int, float]] = []
    for index in shown(mine, f"{what}episodes", hidden=hidden):
        episode = episodes[index]
        if measured is not None and (known := measured.accuracy(index, episode)) is not None:
            found.append((index, known))
            continue
        names = class_names(rows, episode)
        support, query = (
            rows.subset(part.ravel().tolist(), class_places(part), names)
            for part in (rows.learnt_from(episode), episode.query)
        )
        with unchanged(learner.trained), torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([material.seed, index]).generate_state(1)[0]))
            adapt(support)
            seen = [part.vectors(learner.trained, batch_size=64) for part in (support, query)]
            given = replace(material, vectors=seen[0], labels=support.labels, names=names)
            reached = accuracy(method, given, seen[1], query.labels)  # a head may read the weights
        found.append((index, reached))
        if measured is not None:
            measured.add(index, episode, reached)
    if state.num_processes > 1:
        found = gather_object(found)
    return np.array([value for _, value in sorted(found)])


def class_names(rows: LabelledRows, episode: Episode) -> list[str]:
    """Names of an episode's classes, in its order."""
    return [rows.names[label] for label in episode.classes.tolist()]


def paired_differences(found: Mapping[str, np.ndarray], baseline: str) -> dict[str, Figure]:
    """Name -> mean difference to the baseline's accuracy on the same episodes, with its interval."""
    return {
        name: mean_interval(values - found[baseline], least=-1.0) for name, values in found.items() if name != baseline
    }
