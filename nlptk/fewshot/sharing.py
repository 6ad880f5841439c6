"""A batch that several processes read together: each some of its rows, and all of them the loss of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from accelerate.utils import gather

from nlptk.training.sampling import EpochSampler


@dataclass(frozen=True)
class Share:
    """What one process reads of a batch. rank: its place among `processes`."""

    rank: int = 0
    processes: int = 1

    def of(self, chosen: Sequence[int]) -> list[int]:
        """As many rows for every process; where they do not come out even, the first ones are read once more."""
        each = math.ceil(len(chosen) / self.processes)
        filled: list[int] = np.resize(chosen, each * self.processes).tolist()
        return filled[self.rank * each : (self.rank + 1) * each]

    def whole(self, vectors: torch.Tensor) -> torch.Tensor:
        """(each, dim) of every process -> (rows, dim): those of the batch in its order, perhaps with more after them.

        Every process takes its loss on all rows and has gradients for its own. They count as often as there are
        processes, over which they are averaged: the mean is what one process would have that reads the whole batch.
        """
        if self.processes == 1:
            return vectors
        parts = list(gather(vectors.detach()).chunk(self.processes))
        parts[self.rank] = vectors + (self.processes - 1) * (vectors - vectors.detach())
        return torch.cat(parts)


ALONE = Share()
"""One process reads all."""


class SharedOrder(EpochSampler):
    """Every batch once for each process, one after the other: dealt out in turn, all processes have the same one."""

    def __init__(self, size: int, *, seed: int, processes: int):
        super().__init__(size, seed=seed, batch_size=1)
        self._processes = processes

    def __len__(self) -> int:
        return super().__len__() * self._processes

    def __iter__(self) -> Iterator[int]:
        for index in super().__iter__():
            yield from repeat(index, self._processes)
