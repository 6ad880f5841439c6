"""contrastive: pairs of the support set fine-tune the encoder, then logistic regression on what it gives.

Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts" (SetFit), arXiv:2209.11055. There each pair is
embedded by itself. Here a batch is a set of examples, each embedded once, and its pairs are those among them: for
SetFit's loss as many of one class as of two, for CoSENT's all. Memory does not grow with the number of pairs that there
are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from nlptk.errors import DataError, MissingExtraError
from nlptk.fewshot.contract import Batch, Learner, Lesson
from nlptk.fewshot.linear_probe import LinearProbe
from nlptk.fewshot.rows import LabelledRows, row_vectors
from nlptk.fewshot.sharing import ALONE, Share
from nlptk.parts.methods import ContrastiveOptions

FIRST, SECOND, SAME = "first", "second", "same"
"""Of a batch: (pairs,) places of the two examples, and 1.0 where they are of one class, else 0.0."""
MOST_PAIRS = 512
"""Of a batch whose pairs are all taken: the loss compares each with each. A batch of 32 examples has 496."""


class Contrastive(LinearProbe):
    """The encoder trains on the support set; its head is linear_probe's."""

    options: ContrastiveOptions  # type: ignore[assignment]  # with a penalty, as linear_probe's
    trains = "support"
    least = 2

    def support_lesson(
        self, learner: Learner, rows: LabelledRows, *, batch_size: int, seed: int, share: Share
    ) -> Lesson:
        batches = PairBatches(
            rows,
            batch_size=batch_size,
            passes=self.options.passes,
            balanced=self.options.loss == "cosine_similarity",
            seed=seed,
            share=share,
        )
        return _Pairs(self.options, learner, batches, share)


class PairBatches(torch.utils.data.Dataset[Batch]):
    """Item i: the examples of batch i and pairs among them; a function of i and the seed.

    A batch has two examples of each of its classes, of a class with one that one, so that there are pairs of one class
    among many classes too; what places are left go to any. balanced: as many pairs of one class as of two; else all, up
    to `MOST_PAIRS`. share: whose examples to read; the pairs are those of the whole batch.
    """

    def __init__(
        self,
        rows: LabelledRows,
        *,
        batch_size: int,
        passes: float,
        balanced: bool,
        seed: int,
        share: Share = ALONE,
    ):
        counts = np.bincount(rows.labels)
        self._paired = np.flatnonzero(counts >= 2)
        if not len(self._paired) or (counts > 0).sum() < 2:
            raise DataError(
                f"{rows.where}: contrastive learning needs pairs of one class and of two; every class has one example, "
                "or there is one class: give more examples, or use task.method=prototypical"
            )
        self._rows, self._balanced, self._seed, self._share = rows, balanced, seed, share
        self._by_class = {int(label): np.flatnonzero(rows.labels == label) for label in np.unique(rows.labels)}
        self._size = min(max(4, batch_size), len(rows.labels))
        self._count = max(1, math.ceil(passes * len(rows.labels) / self._size))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([self._seed, index])
        chosen = self._examples(rng)
        labels = self._rows.labels[chosen]
        first, second = np.triu_indices(len(chosen), k=1)
        same = labels[first] == labels[second]
        alike, other = np.flatnonzero(same), np.flatnonzero(~same)
        if self._balanced:
            most_alike = most_other = min(len(alike), len(other))
        else:  # half of them, and the places that the other half leaves
            most_alike, most_other = (max(MOST_PAIRS // 2, MOST_PAIRS - len(rest)) for rest in (other, alike))
        picked = np.concatenate([rng.permutation(alike)[:most_alike], rng.permutation(other)[:most_other]])
        return {
            **self._rows.batch(self._share.of(chosen.tolist())),
            FIRST: torch.from_numpy(first[picked]),
            SECOND: torch.from_numpy(second[picked]),
            SAME: torch.from_numpy(same[picked].astype(np.float32)),
        }

    def _examples(self, rng: np.random.Generator) -> np.ndarray:
        """(size,) rows, none twice and not all of one class."""
        paired = int(rng.choice(self._paired))
        others = [label for label in rng.permutation(list(self._by_class)).tolist() if label != paired]
        classes = [paired, *others[: self._size // 2 - 1]]  # fewer than four places take all rows
        sure = np.concatenate([rng.permutation(self._by_class[label])[:2] for label in classes])
        rest = np.setdiff1d(np.arange(len(self._rows.labels)), sure, assume_unique=True)
        return np.concatenate([sure, rng.choice(rest, size=self._size - len(sure), replace=False)])


class _Pairs(Lesson):
    def __init__(self, options: ContrastiveOptions, learner: Learner, batches: PairBatches, share: Share):
        self._learner, self._share, self._loss = learner, share, _loss_from_embeddings(options.loss)
        self.module, self.groups = learner.trained, learner.groups
        self.batches = batches

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        first, second, same = batch[FIRST], batch[SECOND], batch[SAME]
        read = {name: value for name, value in batch.items() if name not in (FIRST, SECOND, SAME)}
        vectors = self._share.whole(row_vectors(self._learner.task, module, read))
        return self._loss([vectors[first], vectors[second]], same)


def _loss_from_embeddings(name: str) -> Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]:
    try:
        from sentence_transformers.sentence_transformer import losses
    except ImportError as error:
        raise MissingExtraError(
            'method contrastive: needs sentence-transformers; pip install "nlptk-hf[fewshot]"'
        ) from error
    cls = {"cosine_similarity": losses.CosineSimilarityLoss, "cosent": losses.CoSENTLoss}[name]
    found: Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor] = cls(model=None).compute_loss_from_embeddings
    return found
