"""The order of training rows: a function of seed and epoch alone, so that a resumed run goes on in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

MEGABATCH = 50
"""Batches whose rows are sorted by length together, as in transformers' LengthGroupedSampler."""


class EpochSampler(torch.utils.data.Sampler[int]):
    """A seeded shuffle; with lengths, rows of like length come together and the longest first.

    lengths: tokens of every feature, or None for a plain shuffle. batch_size: rows that share a batch.
    """

    def __init__(self, size: int, *, seed: int, batch_size: int, lengths: Sequence[int] | None = None):
        self._size = size
        self._seed = seed
        self._block = batch_size * MEGABATCH
        self._batch = batch_size
        self._lengths = lengths
        self._epoch = 0

    def __len__(self) -> int:
        return self._size

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(self._size, generator=generator).tolist()
        return iter(order if self._lengths is None else self._grouped(order, generator))

    def _grouped(self, order: list[int], generator: torch.Generator) -> list[int]:
        lengths = self._lengths
        assert lengths is not None
        batches: list[list[int]] = []
        for start in range(0, len(order), self._block):
            block = sorted(order[start : start + self._block], key=lambda row: -lengths[row])
            batches += [block[first : first + self._batch] for first in range(0, len(block), self._batch)]
        last = [batches.pop()] if batches and len(batches[-1]) < self._batch else []
        shuffled = [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda index: lengths[shuffled[index][0]])
            shuffled[0], shuffled[longest] = shuffled[longest], shuffled[0]
        return [row for batch in (*shuffled, *last) for row in batch]
