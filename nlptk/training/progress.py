"""What a run prints: one bar, and one line an evaluation; a search has a bar over its runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

DELAY_S = 2


@contextmanager
def trial_bar(trials: int, *, disable: bool | None) -> Iterator[Callable[[int], None]]:
    """A bar over the trials of a search of more than two seconds; yields what is to be told the number, from 0, of each
    trial that begins. Where no terminal can redraw a bar, Optuna's own line a trial shows how far it is."""
    with tqdm(total=trials, desc="trials", unit="trial", delay=DELAY_S, disable=disable or None) as bar:

        def reach(done: int) -> None:
            bar.update(done - bar.n)

        yield reach
        reach(trials)


class Progress(TrainerCallback):
    """A bar with the loss beside it, shown for runs of more than two seconds, and the primary figure of evaluations."""

    def __init__(self, primary: str):
        self._primary = primary
        self._bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="training",
                unit="step",
                delay=DELAY_S,
                disable=bool(args.disable_tqdm) or None,  # None: no bar where there is no terminal to redraw it
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._bar is None or not logs:
            return
        if "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.4f}", refresh=False)
        figure = logs.get(f"eval_{self._primary}")
        if figure is not None and not args.disable_tqdm:
            loss = f", loss {logs['eval_loss']:.4f}" if "eval_loss" in logs else ""
            self._bar.write(f"epoch {state.epoch or 0:.2f}: validation {self._primary} {figure:.4f}{loss}", sys.stderr)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
