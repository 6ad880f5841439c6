"""Full fine-tuning: every parameter trains from the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nlptk.strategies.contract import Group, StrategyOptions
from nlptk.strategies.layer_map import map_layers
from nlptk.strategies.layerwise import LAYER_DECAY, PlainStrategy, groups_by_layer

if TYPE_CHECKING:
    from torch import nn


class FullOptions(StrategyOptions):
    layer_decay: float = Field(1.0, gt=0.0, le=1.0, description=LAYER_DECAY)


class Full(PlainStrategy):
    """Train everything."""

    name = "full"
    summary = "every parameter trains; best quality with enough data, most memory"
    Options = FullOptions
    options: FullOptions

    def groups(self, model: nn.Module) -> list[Group]:
        return groups_by_layer(map_layers(model), decay=self.options.layer_decay)
