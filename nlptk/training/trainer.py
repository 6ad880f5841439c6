"""A thin subclass of transformers.Trainer: the loss, the metrics and what is trainable come from task and strategy.

Everything else (accelerate, mixed precision, FSDP, DeepSpeed, schedules, accumulation, callbacks) is the Trainer's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import speed_metrics

from nlptk.errors import DataError, RecipeError
from nlptk.nearest import did_you_mean
from nlptk.strategies.contract import Group, Progress, Strategy
from nlptk.strategies.trainable import apply_trainable
from nlptk.task import Task
from nlptk.training.inference import Fetch, run_features
from nlptk.training.optimizers import build_optimizer
from nlptk.training.progress import Progress as ProgressBar
from nlptk.training.safe_trainer import SafeTrainer
from nlptk.training.sampling import EpochSampler


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

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._total_steps = state.max_steps
        # state.num_train_epochs is rounded up: 1.5 epochs, or max_steps in the middle of one, count as whole ones
        batches = len(kwargs["train_dataloader"])
        self._steps_per_epoch = max(1, math.ceil(batches / args.gradient_accumulation_steps))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        active = self._trainable_at(state.global_step)
        if active != self._active:
            apply_trainable(self._groups, active)
            self._active = active

    def stages(self, steps: int) -> list[tuple[int, frozenset[str]]]:
        """(step, names of the groups that train from it on) in the first `steps` of the run, whichever of them this
        process took itself."""
        found: list[tuple[int, frozenset[str]]] = []
        for step in range(steps if self._strategy.scheduled() else min(steps, 1)):
            active = self._trainable_at(step)
            if not found or active != found[-1][1]:
                found.append((step, active))
        return found

    def _trainable_at(self, step: int) -> frozenset[str]:
        return self._strategy.trainable_at(Progress(step, self._total_steps, self._steps_per_epoch), self._groups)


@contextmanager
def schedule_errors(args: TrainingArguments) -> Iterator[None]:
    """Within it, a schedule that its settings do not fit is a RecipeError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        name = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        raise RecipeError(
            f"training.lr_scheduler_type: {name} cannot be made: {error}; give training.lr_scheduler_kwargs "
            "(and training.warmup_steps) that it takes"
        ) from error


class NlptkTrainer(SafeTrainer):
    """Trains what a strategy says on the loss a task says, and evaluates with the task's own metrics.

    eval_dataset: stands for `validation` where a subclass evaluates in its own way.
    """

    first_rates: Sequence[float] = ()
    """Each group's learning rate in the first step of the schedule."""

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
        eval_dataset: Any = None,
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
            eval_dataset=validation.rows if validation else eval_dataset,
            callbacks=[self._schedule, ProgressBar(task.primary()), *callbacks],
            model_init=model_init,
        )
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self._validation = validation
        self.loss_is_scaled_for_ga = True

    def adopt(self, task: Task, strategy: Strategy, optimization: Optimization) -> None:
        """Train with these from the next `train()` on."""
        self.task = task
        self._optimization = optimization
        self._schedule.begin(strategy, optimization.groups)

    @property
    def unfreezing(self) -> list[tuple[int, frozenset[str]]]:
        """When what trains changed: (global step, names of the groups that train from it on)."""
        return self._schedule.stages(self.state.global_step)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        rows: Any = self.train_dataset
        # packed rows and stored features have no padding to save, and no lengths
        has_lengths = "length" in getattr(rows, "column_names", ())
        grouped = has_lengths and self.args.train_sampling_strategy == "group_by_length"
        self._sampler = EpochSampler(
            len(rows),
            seed=self.args.data_seed or 0,
            batch_size=self._train_batch_size,
            lengths=rows["length"][:] if grouped else None,
        )
        return self._sampler

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

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of `training.lr_scheduler_type`. Raises: RecipeError for one that its settings do not fit."""
        with schedule_errors(self.args):
            scheduler = super().create_scheduler(num_training_steps, optimizer)
        self.first_rates = [float(rate) for rate in scheduler.get_last_lr()]
        return scheduler

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        """Terms of the loss over the whole accumulated batch, on all ranks together; at least 1, to divide by."""
        items = torch.tensor(sum(self.task.loss_items(batch["labels"]) for batch in batch_samples), device=device)
        if self.args.world_size > 1:
            items = self.accelerator.gather(items).sum()
        return items.clamp(min=1)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs["labels"]
        outputs = self.task.forward(model, inputs)
        items = num_items_in_batch if num_items_in_batch is not None else max(1, self.task.loss_items(labels))
        # gradients are averaged over the ranks, the items are counted over all of them
        loss = self.task.loss(outputs, labels) / items * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The task's figures on the validation rows, decisions (thresholds) tuned on them first."""
        assert self._validation is not None
        started = time.time()
        found = self._validate()
        self._check_defined(found)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        speed = speed_metrics(metric_key_prefix, started, num_samples=len(self._validation.rows))  # type: ignore[no-untyped-call]
        metrics.update(speed)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _check_defined(self, found: Mapping[str, float]) -> None:
        """Refuse to choose a model by a figure that the validation rows leave undefined."""
        wanted = (self.args.metric_for_best_model or "").removeprefix("eval_")
        if wanted and wanted not in found:
            raise DataError(
                f"validation: {wanted} is undefined on these rows; give others, or set training.metric_for_best_model "
                f"to one of {', '.join(sorted(found))}"
            )

    def _validate(self) -> dict[str, float]:
        assert self._validation is not None
        found: dict[str, float] = {}
        if self.task.measured_in_training():
            pooled, loss = self.run(self._validation)
            self.task.tune(pooled, self._validation.rows)
            figures = self.task.score(pooled, self._validation.rows).figures
            found = {name: figure.value for name, figure in figures.items()}
        else:
            loss = self._infer(self._validation, None, loss_only=True)[1]
        return found if loss is None else {**found, "loss": loss}

    def check_metric(self, where: str) -> None:
        """Refuse a `metric_for_best_model` that no evaluation reports, before the first step, not after an epoch.

        Which figures the task reports is seen by evaluating once, only for a metric other than its primary one; a loss
        by looking for a label.
        """
        wanted = (self.args.metric_for_best_model or "").removeprefix("eval_")
        if self._validation is None:
            return
        if wanted == "loss" and not self._counts_any(self._validation):
            raise DataError(
                "validation: loss is undefined on these rows, which leave nothing to predict; give others, or a larger "
                "preprocessing.max_length"
            )
        if wanted in ("", "loss", self.task.primary()):
            return
        known = self._validate()
        if wanted not in known:
            raise RecipeError(
                f"{where}: training.metric_for_best_model: no figure named {wanted!r} on the validation rows"
                f"{did_you_mean(wanted, known)}; known: {', '.join(sorted(known))}"
            )

    def _counts_any(self, rows: EvaluationSet) -> bool:
        """Whether the loss has any term on the rows."""
        size, count = self.args.per_device_eval_batch_size, len(rows.lengths)
        batches = (list(range(start, min(start + size, count))) for start in range(0, count, size))
        return any(self.task.loss_items(rows.fetch(batch)["labels"]) for batch in batches)

    def run(self, rows: EvaluationSet, model: torch.nn.Module | None = None) -> tuple[Sequence[Any], float | None]:
        """Pooled outputs of every row, in order, and the mean loss, None where there is no label. model: another than
        the one in training."""
        outputs, loss = self._infer(rows, model)
        return self.task.pool(outputs, rows.features), loss

    def _infer(
        self, rows: EvaluationSet, model: torch.nn.Module | None, *, loss_only: bool = False
    ) -> tuple[list[Any], float | None]:
        return run_features(
            model if model is not None else cast(torch.nn.Module, self.model),
            self.task,
            rows.lengths,
            rows.fetch,
            batch_size=self.args.per_device_eval_batch_size,
            rank=self.args.process_index,
            world_size=self.args.world_size,
            show_progress=not self.args.disable_tqdm,
            loss_only=loss_only,
        )
