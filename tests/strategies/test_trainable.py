"""Switching groups on and off, and the report."""

from __future__ import annotations

import pytest
import torch

from nlptk.strategies.contract import Group
from nlptk.strategies.trainable import apply_trainable, freeze_all_but, parameter_report, trained_share


def two_groups() -> tuple[torch.nn.Module, list[Group]]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    low, high, _ = (tuple(layer.named_parameters()) for layer in model)
    return model, [Group("high", high, 1.0), Group("low", low, 0.5)]


def test_apply_trainable_counts_what_trains() -> None:
    _, groups = two_groups()
    assert apply_trainable(groups, {"high"}) == 3 * 2 + 2
    assert apply_trainable(groups, {"high", "low"}) == 3 * 2 + 2 + 4 * 3 + 3


def test_frozen_parameters_lose_their_gradient() -> None:
    model, groups = two_groups()
    model(torch.ones(1, 4)).sum().backward()
    apply_trainable(groups, {"high"})
    assert all(p.grad is None and not p.requires_grad for _, p in groups[1].parameters)
    assert all(p.grad is not None and p.requires_grad for _, p in groups[0].parameters)


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="no group named"):
        apply_trainable(two_groups()[1], {"middle"})


def test_freeze_all_but_freezes_what_is_in_no_group() -> None:
    model, groups = two_groups()
    freeze_all_but(model, groups[:1])
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["1.weight", "1.bias"]


def test_the_report_gives_sizes_and_percent() -> None:
    model, groups = two_groups()
    assert parameter_report(model, groups[:1]) == {
        "trainable": 8,
        "total": 15 + 8 + 3,
        "percent": 100 * 8 / 26,
        "staged": False,
        "groups": [{"name": "high", "size": 8, "lr_scale": 1.0}],
        "parts": [{"name": "model", "size": 26, "trained": 8, "groups": ["high"]}],
    }


def test_the_share_of_what_trains_in_stages_is_said_to_be_the_most() -> None:
    model, groups = two_groups()
    assert trained_share(parameter_report(model, groups[:1])) == "8 of 26 (30.77 %)"
    assert trained_share(parameter_report(model, groups[:1], staged=True)) == "8 of 26 (up to 30.77 %, in stages)"
