"""BitFit: only the bias terms and the head train (Ben Zaken et al. 2022, arXiv:2106.10199)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nlptk.errors import UnsupportedError
from nlptk.strategies.contract import Group, StrategyOptions
from nlptk.strategies.layer_map import map_layers
from nlptk.strategies.layerwise import LAYER_DECAY, PlainStrategy, groups_by_layer

if TYPE_CHECKING:
    from torch import nn


class BitFitOptions(StrategyOptions):
    layer_decay: float = Field(1.0, gt=0.0, le=1.0, description=LAYER_DECAY)


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


class BitFit(PlainStrategy):
    """Biases of every layer, those of the norms included, and the whole head."""

    name = "bitfit"
    summary = "only biases and the head train (0.1 % of BERT); tiny checkpoint difference, needs a model with biases"
    Options = BitFitOptions
    options: BitFitOptions
    lr_kind = "bias"

    def groups(self, model: nn.Module) -> list[Group]:
        groups = groups_by_layer(map_layers(model), decay=self.options.layer_decay, keep=_is_bias)
        if all(group.name == "head" for group in groups):
            raise UnsupportedError(
                "strategy bitfit: the model has no biases outside its head, so no layer would train; use lora"
            )
        return groups
