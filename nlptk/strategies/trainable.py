"""Switch parameter groups on and off, and say what trains."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nlptk.strategies.contract import Group

if TYPE_CHECKING:
    from torch import nn


def apply_trainable(groups: Iterable[Group], names: Collection[str]) -> int:
    """Let exactly the groups in `names` train; returns how many parameters (scalars) that is.

    Frozen parameters lose their gradient, so that no optimizer step, clipping or weight decay reaches them.

    Raises: ValueError where a name is of no group.
    """
    groups = list(groups)
    unknown = set(names) - {group.name for group in groups}
    if unknown:
        raise ValueError(f"no group named {sorted(unknown)}; the groups are {[group.name for group in groups]}")
    trainable = 0
    for group in groups:
        trains = group.name in names
        trainable += group.size if trains else 0
        for _, parameter in group.parameters:
            parameter.requires_grad_(trains)
            if not trains:
                parameter.grad = None
    return trainable


def freeze_all_but(model: nn.Module, groups: Iterable[Group]) -> None:
    """Freeze every parameter of `model` outside `groups`; those inside may train."""
    model.requires_grad_(False)
    for group in groups:
        for _, parameter in group.parameters:
            parameter.requires_grad_(True)


def parameter_report(model: nn.Module, groups: Iterable[Group], *, staged: bool = False) -> dict[str, Any]:
    """What trains at some point of a run, JSON-able.

    staged: not all of it from the first step on. Returns: that; trainable and total (scalars; a tied parameter counts
    once), percent (0 to 100) and, for each group, name, size (scalars) and lr_scale.
    """
    groups = list(groups)
    trainable = sum(group.size for group in groups)
    total = sum(parameter.numel() for parameter in model.parameters())
    return {
        "trainable": trainable,
        "total": total,
        "percent": 100.0 * trainable / total if total else 0.0,
        "staged": staged,
        "groups": [{"name": g.name, "size": g.size, "lr_scale": g.lr_scale} for g in groups],
    }


def trained_share(report: Mapping[str, Any]) -> str:
    """What a `parameter_report` says, for people: `1,538 of 28,834 (5.33 %)`."""
    share = f"{report['trainable']:,} of {report['total']:,}"
    if report["staged"]:
        return f"{share} (up to {report['percent']:.2f} %, in stages)"
    return f"{share} ({report['percent']:.2f} %)"
