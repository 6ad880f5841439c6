"""Accuracy over episodes: each a small task, learnt from its support set and tested on its queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from nlptk.fewshot.adapting import unchanged
from nlptk.fewshot.contract import Learner, Material, Method
from nlptk.fewshot.episodes import Episode
from nlptk.fewshot.rows import LabelledRows
from nlptk.task import Figure

NORMAL_95 = 1.959963984540054


def mean_interval(values: np.ndarray) -> Figure:
    """The mean over episodes with its 95 % interval, mean +- 1.96 standard errors, as few-shot papers give it."""
    mean = float(values.mean())
    if len(values) < 2:
        return Figure(mean)
    half = NORMAL_95 * float(values.std(ddof=1)) / len(values) ** 0.5
    return Figure(mean, mean - half, mean + half)


def accuracy(method: Method, support: np.ndarray, query: np.ndarray, episode: Episode, *, material: Material) -> float:
    """Of a head made from the vectors of an episode's support set on those of its queries; material: what it is made of
    beside the vectors and their labels, the classes' names in the episode's order included."""
    head = method.head(replace(material, vectors=support, labels=episode.support_labels))
    return float((head.logits(query).argmax(axis=1) == episode.query_labels).mean())


def frozen_accuracies(
    method: Method, vectors: np.ndarray, rows: LabelledRows, episodes: Sequence[Episode], *, material: Material
) -> np.ndarray:
    """(episodes,) accuracy where the encoder is the same in all of them. vectors: (rows, dim)."""
    found = []
    for episode in episodes:
        named = replace(material, names=class_names(rows, episode))
        support, query = vectors[episode.support.ravel()], vectors[episode.query.ravel()]
        found.append(accuracy(method, support, query, episode, material=named))
    return np.array(found)


def adapted_accuracies(
    method: Method,
    learner: Learner,
    rows: LabelledRows,
    episodes: Sequence[Episode],
    *,
    adapt: Callable[[LabelledRows], None],
    material: Material,
    hidden: bool = False,
) -> np.ndarray:
    """(episodes,) accuracy where each support set moves the encoder anew. Episodes are shared among the processes.

    adapt: moves `learner.trained` to a support set, in place; afterwards it is as before. hidden: no progress bar.
    """
    state = PartialState()
    mine = range(state.process_index, len(episodes), state.num_processes)
    hidden = hidden or state.process_index != 0
    found: list[tuple[int, float]] = []
    for index in tqdm(mine, desc="episodes", delay=2, leave=False, disable=hidden or None):
        episode = episodes[index]
        names = class_names(rows, episode)
        support = rows.subset(episode.support.ravel().tolist(), episode.support_labels, names)
        query = rows.subset(episode.query.ravel().tolist(), episode.query_labels, names)
        with unchanged(learner.trained):
            adapt(support)
            seen = [part.vectors(learner.trained, batch_size=64) for part in (support, query)]
            found.append((index, accuracy(method, seen[0], seen[1], episode, material=replace(material, names=names))))
    if state.num_processes > 1:
        found = gather_object(found)
    return np.array([value for _, value in sorted(found)])


def class_names(rows: LabelledRows, episode: Episode) -> list[str]:
    """Names of an episode's classes, in its order."""
    return [rows.names[label] for label in episode.classes.tolist()]


def paired_differences(found: Mapping[str, np.ndarray], baseline: str) -> dict[str, Figure]:
    """Name -> mean difference to the baseline's accuracy on the same episodes, with its interval."""
    return {name: mean_interval(values - found[baseline]) for name, values in found.items() if name != baseline}
