"""prototypical: the nearest class mean, in a space that episodes of other classes can train.

Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning", arXiv:1703.05175.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from nlptk.fewshot.contract import Batch, Learner, Lesson, Material, Method
from nlptk.fewshot.episodes import Protocol
from nlptk.fewshot.rows import LabelledRows, row_vectors
from nlptk.parts.methods import MetaOptions, PrototypicalOptions
from nlptk.parts.support import Head, cosine_head, euclidean_head


class Prototypical(Method):
    """Class means; with meta-training the encoder learns to put the queries of an episode near their own."""

    options: PrototypicalOptions
    trains = "meta"
    uses = Method.uses | {"meta"}

    def head(self, material: Material) -> Head:
        make = cosine_head if self.options.distance == "cosine" else euclidean_head
        return make(material.vectors, material.labels, len(material.names), scale=scale_of(self.options))

    def meta_lesson(self, learner: Learner, rows: LabelledRows, meta: MetaOptions, *, seed: int) -> Lesson:
        return _Episodes(self.options, learner, rows, meta, seed=seed)


def scale_of(options: PrototypicalOptions) -> float:
    """What cosines or negative squared distances are multiplied by."""
    return options.scale or {"cosine": 10.0, "euclidean": 1.0}[options.distance]


class EpisodeBatches(torch.utils.data.Dataset[Batch]):
    """Item i is the batch of episode i: its support rows, then its query rows, class by class."""

    def __init__(self, rows: LabelledRows, protocol: Protocol):
        rows.pool.check(protocol)
        self._rows, self._protocol = rows, protocol

    def __len__(self) -> int:
        return self._protocol.episodes

    def __getitem__(self, index: int) -> Batch:
        episode = self._rows.pool.draw(self._protocol, index)
        support = self._rows.learnt_from(episode)
        return dict(self._rows.batch([*support.ravel().tolist(), *episode.query.ravel().tolist()]))


class _Episodes(Lesson):
    def __init__(
        self, options: PrototypicalOptions, learner: Learner, rows: LabelledRows, meta: MetaOptions, *, seed: int
    ):
        self._options, self._learner, self._meta = options, learner, meta
        self.module, self.groups = learner.trained, learner.groups
        self.batches = EpisodeBatches(rows, meta_protocol(meta, seed))
        self._examples = meta.shots + rows.names_count
        self.per_step = meta.episodes_per_step

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        vectors = row_vectors(self._learner.task, module, batch)
        ways, options = self._meta.ways, self._options
        scale = scale_of(options)
        logits = prototype_logits(vectors, ways, self._examples, distance=options.distance, scale=scale)
        labels = torch.arange(ways, device=vectors.device).repeat_interleave(self._meta.queries)
        return functional.cross_entropy(logits, labels)


def meta_protocol(meta: MetaOptions, seed: int) -> Protocol:
    """What meta-training draws."""
    return Protocol(meta.ways, meta.shots, meta.queries, meta.episodes, seed)


def prototype_logits(vectors: torch.Tensor, ways: int, shots: int, *, distance: str, scale: float) -> torch.Tensor:
    """vectors: (ways * (shots + queries), dim), support first -> (ways * queries, ways), as the heads give them."""
    if distance == "cosine":
        vectors = functional.normalize(vectors, dim=1)
    support, query = vectors[: ways * shots], vectors[ways * shots :]
    means = support.view(ways, shots, -1).mean(dim=1)
    if distance == "cosine":
        return scale * query @ functional.normalize(means, dim=1).T
    return -scale * torch.cdist(query, means).square()
