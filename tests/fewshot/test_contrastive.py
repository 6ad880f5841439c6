"""Pairs of a support set: drawn in batches, whatever the sizes of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nlptk.errors import DataError
from nlptk.fewshot.contrastive import FIRST, MOST_PAIRS, SAME, SECOND, PairBatches


class Rows:
    """What PairBatches reads of labelled rows."""

    where = "data.train"

    def __init__(self, sizes: list[int]):
        self.labels = np.repeat(np.arange(len(sizes)), sizes)

    def batch(self, chosen: list[int]) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(chosen)}


def _batches(
    sizes: list[int], *, batch_size: int = 8, passes: float = 40.0, balanced: bool = False, seed: int = 0
) -> tuple[Any, PairBatches]:
    rows: Any = Rows(sizes)
    return rows, PairBatches(rows, batch_size=batch_size, passes=passes, balanced=balanced, seed=seed)


@pytest.mark.parametrize("batch_size", [8, 40])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("sizes", [[8, 8], [8] * 150, [50, 1], [1, 1, 1, 2], [3, 30, 2], [40, 40]])
def test_every_batch_has_all_pairs_or_as_many_of_one_class_as_of_two(
    sizes: list[int], balanced: bool, batch_size: int
) -> None:
    rows, batches = _batches(sizes, balanced=balanced, batch_size=batch_size)
    size = min(batch_size, sum(sizes))
    for index in range(0, len(batches), max(1, len(batches) // 50)):
        batch = batches[index]
        chosen, same = batch["input_ids"].numpy(), batch[SAME].bool().numpy()
        assert len(set(chosen.tolist())) == len(chosen) == size
        labels = rows.labels[chosen]
        of_one_class = labels[batch[FIRST].numpy()] == labels[batch[SECOND].numpy()]
        assert (same == of_one_class).all()
        there = np.triu(labels[:, None] == labels, k=1).sum()
        apart = size * (size - 1) // 2 - there
        if balanced:
            assert same.sum() == (~same).sum() == min(there, apart) > 0
        elif there + apart <= MOST_PAIRS:
            assert (same.sum(), (~same).sum()) == (there, apart)
        else:
            assert len(same) == MOST_PAIRS
            assert min(there, apart, MOST_PAIRS // 2) <= min(same.sum(), (~same).sum())


def test_among_many_classes_every_batch_has_pairs_of_as_many_as_it_can_and_those_with_one_row_take_part() -> None:
    rows, batches = _batches([8] * 140 + [1] * 10, batch_size=32, passes=40.0)
    seen = set()
    for index in range(len(batches)):
        batch = batches[index]
        seen |= set(batch["input_ids"].tolist())
        singles = len({label for label in rows.labels[batch["input_ids"].numpy()] if label >= 140})
        assert batch[SAME].sum() >= 16 - singles
    assert seen == set(range(len(rows.labels)))


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
