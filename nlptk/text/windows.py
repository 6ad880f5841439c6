"""The windows of text that a run's examples are made of, in an order and with noise that only the seed decides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from nlptk.errors import DataError
from nlptk.text.objectives import Objective
from nlptk.text.token_store import Tokens
from nlptk.training.sampling import EpochSampler

MEASURING_SEED = 20_200_101
"""Noise of the held-out examples: the same in every run, so that losses can be compared."""


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Examples of an objective, one a window of text.

    An item's number is epoch * len + row: its noise is drawn from seed, epoch and row alone, so that it does not matter
    which process makes it, nor when a run was interrupted.
    """

    def __init__(self, tokens: Tokens, objective: Objective, *, seed: int, rows: npt.NDArray[np.int64] | None = None):
        whole = max(0, (len(tokens.ids) - objective.window) // objective.stride + 1)
        self._ids = tokens.ids
        self._objective = objective
        self._seed = seed
        self._rows = np.arange(whole) if rows is None else rows
        self.bytes_per_token = tokens.bytes_per_token

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        epoch, index = divmod(number, len(self))
        row = int(self._rows[index])
        first = row * self._objective.stride
        ids = self._ids[first : first + self._objective.window].astype(np.int64)
        example = self._objective.example(ids, np.random.default_rng((self._seed, epoch, row)))
        return {key: torch.from_numpy(np.ascontiguousarray(values)) for key, values in example.items()}


class EpochWindows(EpochSampler):
    """The seeded order of an epoch's windows, each by its number in the whole run."""

    def __iter__(self) -> Iterator[int]:
        return (self._epoch * self._size + row for row in super().__iter__())


def training_windows(tokens: Tokens, objective: Objective, *, seed: int) -> Windows:
    """All windows of the training part. Raises: DataError where it is shorter than one."""
    windows = Windows(tokens, objective, seed=seed)
    if not len(windows):
        raise DataError(
            f"data.train: {len(tokens.ids)} tokens in {tokens.documents} documents, and one example takes "
            f"{objective.window}; give more text or a smaller block_length"
        )
    return windows


def held_out_windows(tokens: Tokens, objective: Objective, *, most_tokens: int) -> Windows:
    """At most so many tokens of the held-out part, in windows spread evenly over it.

    Raises: DataError where it is shorter than one window.
    """
    count = len(Windows(tokens, objective, seed=0))
    if not count:
        raise DataError(
            f"data.held_out: {len(tokens.ids)} tokens in {tokens.documents} documents, and one example takes "
            f"{objective.window}; hold out more, give a smaller block_length, or data.held_out=none"
        )
    wanted = min(count, max(1, most_tokens // objective.stride))
    rows = np.linspace(0, count - 1, wanted).round().astype(np.int64)
    return Windows(tokens, objective, seed=MEASURING_SEED, rows=rows)
