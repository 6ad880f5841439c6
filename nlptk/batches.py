"""Features -> padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of a token that no loss counts."""


def pad_batch(features: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Pads every list on the right to the longest of its batch, and adds the attention mask of `input_ids`.

    `input_ids` are padded with pad_id, `labels` as in `label_batch`, other lists with 0.
    """
    import torch

    batch = {}
    for name in features[0]:
        values = [feature[name] for feature in features]
        if name == "labels":
            batch[name] = label_batch(values)
        elif isinstance(values[0], list):
            batch[name] = pad(values, pad_id if name == "input_ids" else 0)
        else:
            batch[name] = torch.tensor(values)
    lengths = torch.tensor([len(feature["input_ids"]) for feature in features])
    longest = batch["input_ids"].shape[1]
    batch["attention_mask"] = (torch.arange(longest)[None, :] < lengths[:, None]).long()
    return batch


def unpadded(batch: torch.Tensor) -> list[list[int]]:
    """Rows of a column of `Task.measuring`, without their padding."""
    return [[value for value in row if value != IGNORED] for row in batch.tolist()]


def label_batch(labels: Sequence[Any]) -> torch.Tensor:
    """Labels of rows, or lists of them: shape (rows,) or (rows, longest), shorter lists filled with -100."""
    import torch

    if isinstance(labels[0], list) and len({len(row) for row in labels}) > 1:
        return pad(labels, IGNORED)
    return torch.tensor(labels)


def pad(rows: Sequence[Sequence[int]], value: int, *, left: bool = False) -> torch.Tensor:
    """Lists of ids -> (rows, longest), filled with value on the right, or on the left."""
    import torch

    longest = max(len(row) for row in rows)
    fill = [[value] * (longest - len(row)) for row in rows]
    return torch.tensor(
        [[*more, *row] if left else [*row, *more] for row, more in zip(rows, fill, strict=True)], dtype=torch.long
    )
