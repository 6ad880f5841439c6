"""Gradual unfreezing: the head first, then layer by layer from the top (Howard & Ruder 2018, arXiv:1801.06146)."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import TYPE_CHECKING

from pydantic import Field

from nlptk.strategies.contract import Group, Progress, StrategyOptions
from nlptk.strategies.layer_map import map_layers
from nlptk.strategies.layerwise import PlainStrategy, groups_by_layer

if TYPE_CHECKING:
    from torch import nn

ROUNDING = 1e-9
"""So that a stage due at 3 * 0.1 of the run is not missed by the last bit of a float."""


class GradualUnfreezingOptions(StrategyOptions):
    every_epochs: float | None = Field(
        None, gt=0.0, description="Unfreeze one more layer each so many epochs, instead of by until_fraction"
    )
    until_fraction: float = Field(
        0.5, gt=0.0, le=1.0, description="Fraction of the run by which all layers are unfrozen, at even steps"
    )
    lr_decay: float = Field(
        0.95,
        gt=0.0,
        le=1.0,
        description="Each layer's learning rate is this times that of the layer above it (1: all alike; ULMFiT's own, "
        "for 3 recurrent layers, is 1 / 2.6 = 0.385, too steep for 12 layers)",
    )


class GradualUnfreezing(PlainStrategy):
    """Head, then layer by layer from the top, embeddings last; lower layers learn more slowly.

    A model without a head of its own starts with its top layer.
    """

    name = "gradual_unfreezing"
    summary = "head first, then one layer after the other from the top; guards against forgetting on small data"
    Options = GradualUnfreezingOptions
    options: GradualUnfreezingOptions

    def groups(self, model: nn.Module) -> list[Group]:
        return groups_by_layer(map_layers(model), decay=self.options.lr_decay)

    def trainable_at(self, progress: Progress, groups: Iterable[Group]) -> frozenset[str]:
        names = [group.name for group in groups]
        if self.options.every_epochs is not None:
            stages = progress.epoch / self.options.every_epochs
        else:
            stages = progress.fraction / self.options.until_fraction * (len(names) - 1)
        return frozenset(names[: 1 + floor(stages + ROUNDING)])

    def scheduled(self) -> bool:
        return True
