"""Features through a model, on one process or many, with the outputs back in feature order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from nlptk.task import Inferred, Task

Fetch = Callable[[list[int]], Mapping[str, Any]]
"""Indices of features -> one batch of the model's inputs."""


def run_features(
    model: torch.nn.Module,
    task: Task,
    lengths: Sequence[int],
    fetch: Fetch,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    show_progress: bool = True,
    loss_only: bool = False,
) -> tuple[list[np.ndarray], float | None]:
    """What `task.infer` keeps of every feature, in order, and the mean loss, None where there is no label.

    loss_only: only the loss, from one forward; nothing is kept.

    Batches hold features of like length, longest first, so little is padding and a batch that does not fit in memory
    fails at once. Each rank takes every `world_size`-th batch; all ranks get all outputs.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    found: list[tuple[list[int], list[np.ndarray]]] = []
    losses: list[tuple[float, int]] = []
    hidden = not show_progress or rank != 0
    bar = tqdm(batches[rank::world_size], desc="predicting", delay=2, disable=hidden or None, leave=False)
    with torch.inference_mode():
        for indices in bar:
            batch = {
                key: value.to(device) if isinstance(value, torch.Tensor) else value
                for key, value in fetch(indices).items()
            }
            if loss_only:
                inferred = Inferred([], task.loss(task.forward(model, batch), batch["labels"]))
            else:
                inferred = task.infer(model, batch)
                found.append((indices, inferred.kept))
            if inferred.loss is not None:
                losses.append((float(inferred.loss), task.loss_items(batch["labels"])))
    model.train(training)
    if world_size > 1:
        found, losses = gather_object(found), gather_object(losses)
    items = sum(count for _, count in losses)
    kept = [] if loss_only else _in_order(found, len(order))
    return kept, sum(loss for loss, _ in losses) / items if items else None


def _in_order(found: Sequence[tuple[list[int], list[np.ndarray]]], count: int) -> list[np.ndarray]:
    ordered: list[Any] = [None] * count
    for indices, kept in found:
        for index, item in zip(indices, kept, strict=True):
            ordered[index] = item
    return ordered
