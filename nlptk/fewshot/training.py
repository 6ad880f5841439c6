"""Training on a lesson: the Trainer with the method's loss, and accuracy on held-out episodes or rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Sized
from typing import Any, cast

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import speed_metrics

from nlptk.fewshot.contract import Batch, Lesson
from nlptk.fewshot.sharing import SharedOrder
from nlptk.strategies.contract import Strategy
from nlptk.task import Task
from nlptk.training.sampling import EpochSampler
from nlptk.training.trainer import NlptkTrainer, Optimization

Validate = Callable[[], float]


class LessonTrainer(NlptkTrainer):
    """Trains a lesson's module. validate: accuracy of what has been learnt so far, on every process; or None."""

    def __init__(
        self,
        lesson: Lesson,
        args: TrainingArguments,
        *,
        task: Task,
        strategy: Strategy,
        optimization: Optimization,
        validate: Validate | None,
        callbacks: Sequence[TrainerCallback] = (),
    ):
        super().__init__(
            lesson.module,
            args,
            task=task,
            strategy=strategy,
            optimization=optimization,
            train_dataset=lesson.batches,
            collator=_whole,
            validation=None,
            eval_dataset=lesson.batches if validate is not None else None,
            callbacks=callbacks,
        )
        self._lesson, self._measure = lesson, validate

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        if self._lesson.per_step is not None:
            return super()._get_train_sampler(train_dataset)
        seed, size = self.args.data_seed or 0, len(cast(Sized, self._lesson.batches))
        self._sampler = SharedOrder(size, seed=seed, processes=self.args.world_size)
        return self._sampler

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        """Batches of an optimizer step, of every process: each counts alike."""
        return torch.tensor(len(batch_samples) * self.args.world_size, device=device)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        loss = self._lesson.loss(model, inputs)
        items = num_items_in_batch if num_items_in_batch is not None else 1
        scaled = loss / items * self.args.world_size  # gradients are averaged over the processes
        return (scaled, None) if return_outputs else scaled

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Without the parameters that do not train: a lesson's checkpoint may leave them out."""
        trains = {name for name, value in self._lesson.module.named_parameters() if value.requires_grad}
        lacking = [name for name in load_result.missing_keys if name in trains]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=lacking))

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        assert self._measure is not None
        started = time.time()
        metrics = {f"{metric_key_prefix}_accuracy": self._measure()}
        metrics.update(speed_metrics(metric_key_prefix, started))  # type: ignore[no-untyped-call]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _whole(items: list[Batch]) -> Batch:
    """The batch that the only item is."""
    (batch,) = items
    return batch
