"""Pairs of a support set: drawn in batches, whatever the sizes of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nlptk.errors import DataError
from nlptk.fewshot.contrastive import FIRST, SAME, SECOND, PairBatches


class Rows:
    """What PairBatches reads of labelled rows."""

    where = "data.train"

    def __init__(self, sizes: list[int]):
        self.labels = np.repeat(np.arange(len(sizes)), sizes)

    def batch(self, chosen: list[int]) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(chosen)}


def _batches(sizes: list[int], *, batch_size: int = 8, passes: float = 40.0, seed: int = 0) -> tuple[Any, PairBatches]:
    rows: Any = Rows(sizes)
    return rows, PairBatches(rows, batch_size=batch_size, passes=passes, seed=seed)


@pytest.mark.parametrize("sizes", [[8, 8], [8] * 150, [50, 1], [1, 1, 1, 2], [3, 30, 2]])
def test_every_batch_has_as_many_pairs_of_one_class_as_of_two_where_it_can(sizes: list[int]) -> None:
    rows, batches = _batches(sizes)
    size = min(8, sum(sizes))
    for index in range(0, len(batches), max(1, len(batches) // 50)):
        batch = batches[index]
        chosen, same = batch["input_ids"].numpy(), batch[SAME].bool().numpy()
        assert len(set(chosen.tolist())) == len(chosen) == size
        labels = rows.labels[chosen]
        of_one_class = labels[batch[FIRST].numpy()] == labels[batch[SECOND].numpy()]
        assert (same == of_one_class).all()
        there = np.triu(labels[:, None] == labels, k=1).sum()
        apart = size * (size - 1) // 2 - there
        assert same.sum() == (~same).sum() == min(there, apart) > 0


def test_a_batch_is_a_function_of_its_number_and_the_seed() -> None:
    (_, one), (_, again), (_, other) = (_batches([8, 8, 8], seed=seed) for seed in (0, 0, 1))
    same = [bool((one[i]["input_ids"] == again[i]["input_ids"]).all()) for i in range(len(one))]
    assert all(same)
    assert any(bool((one[i]["input_ids"] != other[i]["input_ids"]).any()) for i in range(len(one)))


def test_pairs_grow_with_the_rows_and_not_with_their_square() -> None:
    few, many = (
        sum(len(batches[i][SAME]) for i in range(len(batches))) for _, batches in map(_batches, ([40] * 4, [80] * 4))
    )
    assert many / few == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [9]])
def test_where_there_are_no_pairs_of_both_kinds_it_is_refused(sizes: list[int]) -> None:
    with pytest.raises(DataError, match=r"data\.train: contrastive learning needs pairs of one class and of two"):
        _batches(sizes)
