"""Features -> padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class PaddingCollator:
    """Pads on the right to the longest row of the batch. pad_id: of `input_ids`; other inputs are padded with 0."""

    pad_id: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(feature["input_ids"]) for feature in features]
        longest = max(lengths)
        batch = {"input_ids": _pad([f["input_ids"] for f in features], longest, self.pad_id)}
        batch["attention_mask"] = (torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]).long()
        if "token_type_ids" in features[0]:
            batch["token_type_ids"] = _pad([f["token_type_ids"] for f in features], longest, 0)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch


def _pad(rows: Sequence[Sequence[int]], longest: int, value: int) -> torch.Tensor:
    return torch.tensor([list(row) + [value] * (longest - len(row)) for row in rows], dtype=torch.long)
