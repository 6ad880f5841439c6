"""transformers' Trainer with checkpoints that are whole or absent, without pickle, and verified before a resume."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import Trainer
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import rotate_checkpoints

from nlptk.checkpoints import quiet
from nlptk.errors import ArtifactError
from nlptk.training.arguments import whole_steps
from nlptk.training.checkpointing import (
    IDENTITY,
    OPTIMIZER,
    RANDOM,
    SCHEDULER,
    checkpoint_errors,
    load_state,
    random_state,
    restore_random_state,
    save_state,
    seal,
    verify,
)
from nlptk.training.heap import HeapTrim
from nlptk.training.sampling import EpochSampler


class SafeTrainer(Trainer):
    """Sharded states (FSDP, DeepSpeed) keep their libraries' own form.

    A subclass sets `_sampler` where it makes the sampler of its training rows.
    """

    _sampler: EpochSampler
    identity: Mapping[str, Any] | None = None
    """What a resume must find unchanged; written into every checkpoint."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(HeapTrim())

    def leave_mixed_precision(self) -> None:
        """Let the trained model compute in its own precision again, as it does where it is served."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> Any:
        # a checkpoint's state holds steps; the arguments, which a resume compares with it, may hold fractions
        with whole_steps(self.args, max_steps):
            return super()._init_training_state(max_steps, *args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:  # resumed at its end, within an epoch
            self.control.should_training_stop = True
            return
        # accelerate's batch samplers for several processes do not hand the epoch on
        self._sampler.set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # transformers' estimate is of no use here, and takes its time

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._save_checkpoint(model, trial)
            return
        step = self.state.global_step
        run = Path(self._get_output_dir(trial))
        staging, place = run / f".checkpoint-{step}.partial", run / f"checkpoint-{step}"
        if self.state.best_global_step:  # on every process, for each loads it at the end
            self.state.best_model_checkpoint = str(run / f"checkpoint-{self.state.best_global_step}")
        if self.args.should_save:
            with checkpoint_errors(staging), quiet(), warnings.catch_warnings():
                # PEFT's, of prompt_tuning's tokens: that it saves them is meant
                warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`", category=UserWarning)
                self._write_checkpoint(staging, run)
        self.accelerator.wait_for_everyone()
        with checkpoint_errors(staging):
            save_state(staging, f"{RANDOM}-{self.args.process_index}", random_state())
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            with checkpoint_errors(staging):
                seal(staging, place)
            self._forget_old_checkpoints(run)
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(self, staging: Path, run: Path) -> None:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        self._save(str(staging))
        (staging / "training_args.bin").unlink(missing_ok=True)  # pickled by transformers; the recipe says it
        if self.identity is not None:
            (staging / IDENTITY).write_text(json.dumps(self.identity, indent=2) + "\n", encoding="utf-8")
        for name, part in self._stateful().items():
            save_state(staging, name, part.state_dict())
        callbacks = [c for c in (*self.callback_handler.callbacks, self.control) if isinstance(c, ExportableState)]
        self.state.stateful_callbacks = {type(c).__name__: c.state() for c in callbacks}  # type: ignore[assignment]  # a dict at run time
        self.state.save_to_json(str(staging / "trainer_state.json"))

    def _forget_old_checkpoints(self, run: Path) -> None:
        rotate_checkpoints(
            output_dir=str(run),
            save_total_limit=self.args.save_total_limit,
            best_model_checkpoint=self.state.best_model_checkpoint,
            use_mtime=False,
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            verify(Path(resume_from_checkpoint))
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Without the further names of tied parameters: safetensors holds such a one once, and loaded under one name it
        is loaded under all."""
        missing = set(load_result.missing_keys)
        named = list(cast(torch.nn.Module, self.model).named_parameters(remove_duplicate=False))
        loaded = {id(parameter) for name, parameter in named if name not in missing}
        tied = {name for name, parameter in named if id(parameter) in loaded}
        lacking = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=lacking))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        for name, part in self._stateful().items():
            part.load_state_dict(load_state(Path(checkpoint), name))

    def _stateful(self) -> dict[str, Any]:
        return {OPTIMIZER: self.optimizer, SCHEDULER: self.lr_scheduler}

    def _load_rng_state(self, checkpoint: str | None) -> None:
        name = f"{RANDOM}-{self.args.process_index}"
        if checkpoint is None or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_rng_state(checkpoint)
            return
        if not (Path(checkpoint) / f"{name}.json").is_file():
            raise ArtifactError(
                f"{checkpoint}: written by a run with fewer processes than {self.args.world_size}; resume with as many"
            )
        restore_random_state(load_state(Path(checkpoint), name))
