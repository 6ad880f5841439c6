"""A thin subclass of transformers.Trainer: the loss, the metrics and what is trainable come from task and strategy.

Everything else (accelerate, mixed precision, FSDP, DeepSpeed, schedules, accumulation, callbacks) is the Trainer's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import speed_metrics

from nlptk.strategies.contract import Group, Progress, Strategy
from nlptk.strategies.trainable import apply_trainable
from nlptk.task import Task
from nlptk.training.inference import Fetch, run_features
from nlptk.training.optimizers import build_optimizer


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled rows with their features, ready to be run. fetch: feature indices -> a batch of model inputs."""

    rows: Dataset
    features: Any
    lengths: Sequence[int]
    fetch: Fetch


@dataclass(frozen=True)
class Optimization:
    """Optimizer by name with its own options, over the strategy's parameter groups."""

    name: str
    options: Mapping[str, Any]
    groups: Sequence[Group]


class _Schedule(TrainerCallback):
    """Sets what is trainable before every optimizer step, from the global step alone: resuming changes nothing."""

    def begin(self, strategy: Strategy, groups: Sequence[Group]) -> None:
        self._strategy = strategy
        self._groups = groups
        self._active: frozenset[str] | None = None
        self.changes: list[tuple[int, list[str]]] = []

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        steps_per_epoch = state.max_steps / max(state.num_train_epochs, 1e-9)
        progress = Progress(state.global_step, state.max_steps, steps_per_epoch)
        active = self._strategy.trainable_at(progress, self._groups)
        if active != self._active:
            apply_trainable(self._groups, active)
            self._active = active
            self.changes.append((state.global_step, [g.name for g in self._groups if g.name in active]))


class NlptkTrainer(Trainer):
    """Trains what a strategy says on the loss a task says, and evaluates with the task's own metrics."""

    def __init__(
        self,
        model: torch.nn.Module | None,
        args: TrainingArguments,
        *,
        task: Task,
        strategy: Strategy,
        optimization: Optimization,
        train_dataset: Any,
        collator: Any,
        validation: EvaluationSet | None,
        callbacks: Sequence[TrainerCallback] = (),
        model_init: Callable[[Any], torch.nn.Module] | None = None,
    ):
        self._schedule = _Schedule()
        self.adopt(task, strategy, optimization)
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=validation.rows if validation else None,
            callbacks=[self._schedule, *callbacks],
            model_init=model_init,
        )
        self._validation = validation
        self.loss_is_scaled_for_ga = True

    def adopt(self, task: Task, strategy: Strategy, optimization: Optimization) -> None:
        """Train with these from the next `train()` on."""
        self.task = task
        self._optimization = optimization
        self._schedule.begin(strategy, optimization.groups)

    @property
    def unfreezing(self) -> list[tuple[int, list[str]]]:
        """When what trains changed: (global step, names of the groups that train from it on)."""
        return self._schedule.changes

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = build_optimizer(
                self._optimization.name,
                self._optimization.groups,
                learning_rate=self.args.learning_rate,
                weight_decay=self.args.weight_decay,
                options=self._optimization.options,
            )
        return self.optimizer

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        """Terms of the loss over the whole accumulated batch, on all ranks together."""
        items = torch.tensor(sum(self.task.loss_items(batch["labels"]) for batch in batch_samples), device=device)
        return self.accelerator.gather(items).sum() if self.args.world_size > 1 else items

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs["labels"]
        outputs = model(**{key: value for key, value in inputs.items() if key != "labels"})
        items = num_items_in_batch if num_items_in_batch is not None else self.task.loss_items(labels)
        # gradients are averaged over the ranks, the items are counted over all of them
        loss = self.task.loss(outputs, labels) / items * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # the estimate of transformers assumes padded `input_ids`, which packed batches do not have

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The task's figures on the validation rows, decisions (thresholds) tuned on them first."""
        assert self._validation is not None
        started = time.time()
        pooled, loss = self.run(self._validation)
        self.task.tune(pooled, self._validation.rows)
        scores = self.task.score(pooled, self._validation.rows)
        metrics = {f"{metric_key_prefix}_{name}": figure.value for name, figure in scores.figures.items()}
        if loss is not None:
            metrics[f"{metric_key_prefix}_loss"] = loss
        speed = speed_metrics(metric_key_prefix, started, num_samples=len(self._validation.rows))  # type: ignore[no-untyped-call]
        metrics.update(speed)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def run(self, rows: EvaluationSet, model: torch.nn.Module | None = None) -> tuple[Sequence[Any], float | None]:
        """Pooled outputs of every row, in order, and the mean loss. model: another than the one in training."""
        outputs, loss = run_features(
            model if model is not None else cast(torch.nn.Module, self.model),
            self.task,
            rows.lengths,
            rows.fetch,
            batch_size=self.args.per_device_eval_batch_size,
            autocast=self.autocast_smart_context_manager,
            rank=self.args.process_index,
            world_size=self.args.world_size,
            show_progress=not self.args.disable_tqdm,
        )
        return self.task.pool(outputs, rows.features), loss
