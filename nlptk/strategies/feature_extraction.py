"""Feature extraction: a frozen backbone under a new head (linear probing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlptk.strategies.contract import Group
from nlptk.strategies.layerwise import PlainStrategy

if TYPE_CHECKING:
    from torch import nn


class FeatureExtraction(PlainStrategy):
    """Only the head trains; the backbone, its pooler included, never changes."""

    name = "feature_extraction"
    summary = "only the head trains on the frozen backbone's features; fastest, weakest"
    runs_backbone_once = True
    lr_kind = "head"

    def groups(self, model: nn.Module) -> list[Group]:
        return [Group("head", tuple(self.map_with_head(model).head))]
