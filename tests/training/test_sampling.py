"""The order of training rows."""

from __future__ import annotations

from pathlib import Path

import pytest

import nlptk
from nlptk import samples
from nlptk.training import sampling
from nlptk.training.sampling import EpochSampler
from tests.tiny_models import write_checkpoint

LENGTHS = [(index * 37) % 101 + 1 for index in range(1000)]


def _order(epoch: int, lengths: list[int] | None = None, seed: int = 0) -> list[int]:
    sampler = EpochSampler(1000, seed=seed, batch_size=8, lengths=lengths)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_every_row_comes_once_an_epoch_in_an_order_of_its_own(lengths: list[int] | None) -> None:
    orders = [_order(epoch, lengths) for epoch in range(3)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert _order(1, lengths) == orders[1]
    assert _order(1, lengths, seed=1) != orders[1]


def test_grouping_by_length_leaves_a_tenth_of_the_padding() -> None:
    def padding(order: list[int]) -> int:
        batches = [[LENGTHS[row] for row in order[start : start + 8]] for start in range(0, 1000, 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(_order(0, LENGTHS)) < 0.1 * padding(_order(0))


def test_the_longest_batch_comes_first() -> None:
    assert max(LENGTHS) in [LENGTHS[row] for row in _order(0, LENGTHS)[:8]]


def test_a_run_tells_its_sampler_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = sampling.EpochSampler.set_epoch

    def noting(self: EpochSampler, epoch: int) -> None:
        seen.append(epoch)
        original(self, epoch)

    monkeypatch.setattr(sampling.EpochSampler, "set_epoch", noting)
    data = {"train": samples.sample_path("messages_test.jsonl"), "validation": "none", "test": "none", "max_rows": 30}
    nlptk.train(
        task="classification",
        model=write_checkpoint("bert", tmp_path / "bert"),
        data=data,
        training={"num_train_epochs": 3},
        output=tmp_path / "run",
    )
    assert sorted(set(seen)) == [0, 1, 2]
