"""Switch parameter groups on and off, and say what trains."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nlptk.errors import UnsupportedError
from nlptk.strategies.contract import Group
from nlptk.strategies.layer_map import map_layers

if TYPE_CHECKING:
    from torch import nn

TRAINED_COPY, ORIGINAL = ".modules_to_save.default.", ".original_module."
"""In the names of a head that PEFT trains, and in those of the head as it was."""


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
    once), percent (0 to 100), for each group name, size (scalars) and lr_scale, and the model's `parts`.
    """
    groups = list(groups)
    trainable = sum(group.size for group in groups)
    named = dict(model.named_parameters())
    spare = _spare_heads(named)
    total = sum(parameter.numel() for name, parameter in named.items() if name not in spare)
    return {
        "trainable": trainable,
        "total": total,
        "percent": 100.0 * trainable / total if total else 0.0,
        "staged": staged,
        "groups": [{"name": g.name, "size": g.size, "lr_scale": g.lr_scale} for g in groups],
        "parts": parts_report(model, groups),
    }


def parts_report(model: nn.Module, groups: Iterable[Group]) -> list[dict[str, Any]]:
    """What trains in each part of a model, from the head down, frozen parts included: name, size and trained (scalars),
    groups (names). A model whose layers cannot be told is one part."""
    group_of = {id(parameter): group.name for group in groups for _, parameter in group.parameters}
    try:
        found = map_layers(model)
        layers = [(f"layer.{place}", layer) for place, layer in reversed(list(enumerate(found.layers)))]
        parts = [("head", found.head), *layers, ("embeddings", found.embeddings)]
    except UnsupportedError:
        parts = [("model", list(model.named_parameters()))]
    spare = _spare_heads(name for _, parameters in parts for name, _ in parameters)
    report = []
    for part, parameters in parts:
        kept = [parameter for name, parameter in parameters if name not in spare]
        trained = [p for p in kept if id(p) in group_of]
        if kept:
            sizes = {"size": sum(p.numel() for p in kept), "trained": sum(p.numel() for p in trained)}
            report.append({"name": part, **sizes, "groups": list(dict.fromkeys(group_of[id(p)] for p in trained))})
    return report


def _spare_heads(names: Iterable[str]) -> set[str]:
    """The parameters of a head as it was, which PEFT keeps beside the one that trains."""
    known = set(names)
    return {name for name in known if ORIGINAL in name and name.replace(ORIGINAL, TRAINED_COPY) in known}


def trained_share(report: Mapping[str, Any]) -> str:
    """What a `parameter_report` says, for people: `1,538 of 28,834 (5.33 %)`."""
    share = f"{report['trainable']:,} of {report['total']:,}"
    if report["staged"]:
        return f"{share} (up to {report['percent']:.2f} %, in stages)"
    return f"{share} ({report['percent']:.2f} %)"
