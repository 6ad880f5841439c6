"""The pretraining loop: the Trainer with an objective's loss, and held-out text measured by it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import default_collate
from transformers import PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import speed_metrics

from nlptk.strategies.contract import Group
from nlptk.text.measures import Measure
from nlptk.text.objectives import Objective
from nlptk.text.windows import EpochWindows, Windows
from nlptk.training.optimizers import build_optimizer
from nlptk.training.progress import Progress
from nlptk.training.safe_trainer import SafeTrainer


class PretrainingTrainer(SafeTrainer):
    """Trains every parameter of a model on an objective.

    optimizer: name and options of the recipe; held_out: windows to measure on, or None.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        objective: Objective,
        optimizer: Mapping[str, Any],
        windows: Windows,
        held_out: Windows | None,
    ):
        super().__init__(
            model=model,
            args=args,
            data_collator=default_collate,
            train_dataset=windows,
            eval_dataset=cast(Any, held_out),
            callbacks=[Progress("perplexity")],
        )
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self._objective = objective
        self._options = dict(optimizer)
        self.held_out = held_out
        self.loss_is_scaled_for_ga = False

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        windows = cast(Windows, self.train_dataset)
        seed, batch = self.args.data_seed or 0, self._train_batch_size
        self._sampler = EpochWindows(len(windows), seed=seed, batch_size=batch)
        return self._sampler

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            parameters = tuple(cast(torch.nn.Module, self.model).named_parameters())
            self.optimizer = build_optimizer(
                self._options["name"],
                [Group("model", parameters)],
                learning_rate=self.args.learning_rate,
                weight_decay=self.args.weight_decay,
                options={key: value for key, value in self._options.items() if key != "name"},
            )
        return self.optimizer

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        """None: every example has as many labels, so that a mean of means is the mean."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        logits = self._objective.logits(model, inputs)
        loss = cross_entropy(logits.flatten(0, 1).float(), inputs["labels"].flatten())
        return (loss, {"logits": logits}) if return_outputs else loss

    def measure(self) -> Measure:
        """Loss on the held-out windows, each rank measuring its share of them."""
        assert self.held_out is not None
        model = cast(torch.nn.Module, self.model)
        mine = range(self.args.process_index, len(self.held_out), self.args.world_size)
        size = self.args.per_device_eval_batch_size
        sums = torch.zeros(2, dtype=torch.float64)
        was_training = model.training
        model.eval()
        with torch.no_grad():
            for first in range(0, len(mine), size):
                batch = default_collate([self.held_out[row] for row in mine[first : first + size]])
                batch = {key: values.to(self.args.device) for key, values in batch.items()}
                labels = batch["labels"]
                logits = self._objective.logits(model, batch).flatten(0, 1).float()
                sums[0] += cross_entropy(logits, labels.flatten(), reduction="sum").item()
                sums[1] += labels.numel()
        model.train(was_training)
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device), reduction="sum")
        nats, labels_seen = float(sums[0]), int(sums[1])
        text_bytes = self._objective.predicted * len(self.held_out) * self.held_out.bytes_per_token
        return Measure(loss=nats / labels_seen, bits_per_byte=nats / math.log(2) / text_bytes)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """What `measure` finds, logged under transformers' names."""
        started = time.time()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.measure().figures().items()}
        rows = len(cast(Windows, self.held_out))
        metrics.update(speed_metrics(metric_key_prefix, started, num_samples=rows))  # type: ignore[no-untyped-call]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
