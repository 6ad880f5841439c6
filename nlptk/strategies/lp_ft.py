"""Linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054): a fitted head distorts features less."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from nlptk.strategies.contract import Group, Progress, StrategyOptions
from nlptk.strategies.layerwise import LAYER_DECAY, PlainStrategy, groups_by_layer

if TYPE_CHECKING:
    from torch import nn


class LpFtOptions(StrategyOptions):
    head_fraction: float = Field(0.3, gt=0.0, lt=1.0, description="Fraction of the run in which the head alone trains")
    head_epochs: float | None = Field(
        None, gt=0.0, description="Epochs in which the head alone trains, instead of head_fraction"
    )
    layer_decay: float = Field(1.0, gt=0.0, le=1.0, description=LAYER_DECAY)


class LpFt(PlainStrategy):
    """The head alone first, then everything."""

    name = "lp_ft"
    summary = "head alone first, then everything; keeps more of the features when test data differ from training"
    Options = LpFtOptions
    options: LpFtOptions

    def groups(self, model: nn.Module) -> list[Group]:
        return groups_by_layer(self.map_with_head(model), decay=self.options.layer_decay)

    def trainable_at(self, progress: Progress, groups: Iterable[Group]) -> frozenset[str]:
        if self.options.head_epochs is not None:
            head_only = progress.epoch < self.options.head_epochs
        else:
            head_only = progress.fraction < self.options.head_fraction
        names = [group.name for group in groups]
        return frozenset(names[:1] if head_only else names)

    def scheduled(self) -> bool:
        return True
