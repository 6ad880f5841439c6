"""Training on a support set for the length of an episode: the weights are as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainingArguments, get_scheduler

from nlptk.fewshot.contract import Batch, Lesson
from nlptk.training.optimizers import build_optimizer
from nlptk.training.sampling import EpochSampler
from nlptk.training.trainer import schedule_errors


@contextmanager
def unchanged(module: torch.nn.Module) -> Iterator[None]:
    """Afterwards every weight and buffer is what it was."""
    kept = {name: value.detach().clone() for name, value in module.state_dict().items()}
    try:
        yield
    finally:
        module.load_state_dict(kept)


def teach(lesson: Lesson, args: TrainingArguments, optimizer: Mapping[str, Any]) -> None:
    """What the Trainer does with a lesson in one process, without what it costs to make one: logs, checkpoints, state.

    args: learning rate, weight decay, schedule, clipping, epochs, bf16 and seed count. optimizer: the recipe's.
    """
    batches: Any = lesson.batches
    epochs = args.num_train_epochs
    total = args.max_steps if args.max_steps > 0 else -(-len(batches) * epochs // 1)
    made = build_optimizer(
        optimizer["name"],
        lesson.groups,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        options={key: value for key, value in optimizer.items() if key != "name"},
    )
    steps = int(total)
    with schedule_errors(args):
        schedule = get_scheduler(
            args.lr_scheduler_type,
            made,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs or {},  # type: ignore[arg-type]  # a string only before it is parsed
        )
    parameters = [parameter for group in lesson.groups for _, parameter in group.parameters]
    device = parameters[0].device
    lesson.module.train()
    for batch in _in_order(batches, steps, seed=args.data_seed or 0):
        moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=args.bf16):
            loss = lesson.loss(lesson.module, moved)
        torch.autograd.backward(loss)
        if args.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(parameters, args.max_grad_norm)
        made.step()
        schedule.step()
        made.zero_grad()
    lesson.module.eval()


def _in_order(batches: Any, steps: int, *, seed: int) -> Iterator[Batch]:
    """The batches of so many steps, epoch by epoch in the Trainer's order."""
    sampler = EpochSampler(len(batches), seed=seed, batch_size=1)
    epoch = done = 0
    while done < steps:
        sampler.set_epoch(epoch)
        for index in sampler:
            if done == steps:
                return
            yield batches[index]
            done += 1
        epoch += 1
