"""What the strategies share that train a plain model by its layers: groups from the head down, freezing, thawing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nlptk.errors import UnsupportedError
from nlptk.strategies.contract import Group, Strategy
from nlptk.strategies.layer_map import LayerMap, map_layers
from nlptk.strategies.trainable import freeze_all_but

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LAYER_DECAY = (
    "Each layer's learning rate is this times that of the layer above it, counted from the head (1: all alike)"
)


def _all(name: str) -> bool:
    return True


def groups_by_layer(found: LayerMap, *, decay: float = 1.0, keep: Callable[[str], bool] = _all) -> list[Group]:
    """head, layer.L-1, ..., layer.0, embeddings; empty ones are left out.

    decay: the learning rate of the n-th group below the top is `decay ** n` of the run's, n counted over all levels
    (Howard & Ruder 2018, discriminative fine-tuning). keep: which parameters, by name, outside the head.
    """
    levels = [("head", found.head)]
    levels += [(f"layer.{index}", found.layers[index]) for index in reversed(range(len(found.layers)))]
    levels += [("embeddings", found.embeddings)]
    levels = [level for level in levels if level[1]]
    groups = []
    for depth, (name, parameters) in enumerate(levels):
        kept = tuple((n, p) for n, p in parameters if name == "head" or keep(n))
        if kept:
            groups.append(Group(name, kept, decay**depth))
    return groups


class PlainStrategy(Strategy):
    """Base of the strategies that leave the model's modules as they are and only choose what trains."""

    def map_with_head(self, model: nn.Module) -> LayerMap:
        """`map_layers`, for a strategy that trains a head first or alone. Raises: UnsupportedError without one."""
        found = map_layers(model)
        if found.headless:
            raise UnsupportedError(
                f"strategy {self.name}: it trains a head apart from the rest, and {found.headless}; use full, "
                "gradual_unfreezing or lora"
            )
        return found

    def prepare(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
        freeze_all_but(model, self.groups(model))
        return model

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """The model itself, everything trainable again."""
        return as_plain_model(model)


def as_plain_model(model: nn.Module) -> PreTrainedModel:
    """`model` with requires_grad restored. Raises: UnsupportedError where it is no transformers model."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise UnsupportedError(
            f"merge: got {type(model).__name__}, expected the transformers model that prepare returned; "
            "unwrap it first (accelerator.unwrap_model)"
        )
    model.requires_grad_(True)
    return model
