"""What a run prints: a bar, or a line a minute in a log, and a line an evaluation; a search has a bar over its runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

T = TypeVar("T")
DELAY_S = 2
LINE_S = 60
"""Between two lines where no terminal can redraw a bar."""


@contextmanager
def trial_bar(trials: int, *, disable: bool | None) -> Iterator[Callable[[int], None]]:
    """A bar over the trials of a search of more than two seconds; yields what is to be told the number, from 0, of each
    trial that begins. Where no terminal can redraw a bar, Optuna's own line a trial shows how far it is."""
    with tqdm(total=trials, desc="trials", unit="trial", delay=DELAY_S, disable=disable or None) as bar:

        def reach(done: int) -> None:
            bar.update(done - bar.n)

        yield reach
        reach(trials)


def shown(items: Collection[T], what: str, *, hidden: bool, clock: Callable[[], float] = time.monotonic) -> Iterator[T]:
    """The items, with a bar over them where it takes more than two seconds, or a line a minute in a log. hidden:
    neither. clock: as of `Progress`."""
    begun = said = clock()
    with tqdm(total=len(items), desc=what, delay=DELAY_S, leave=False, disable=hidden or None) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.update()
            if bar.disable and not hidden and clock() - said >= LINE_S:
                said = clock()
                left = (len(items) - done) * (said - begun) / done
                bar.write(f"{what}: {done} of {len(items)}, about {tqdm.format_interval(left)} left", sys.stderr)


class Progress(TrainerCallback):
    """A bar with the loss beside it, shown for runs of more than two seconds, and the primary figure of evaluations.

    clock: seconds, for the lines that stand for the bar where it cannot be redrawn.
    """

    def __init__(self, primary: str, *, clock: Callable[[], float] = time.monotonic):
        self._primary, self._clock = primary, clock
        self._bar: Any = None
        self._begun = self._said = 0.0
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._begun = self._said = self._clock()
            self._first = state.global_step
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="training",
                unit="step",
                delay=DELAY_S,
                disable=bool(args.disable_tqdm) or None,  # None: no bar where there is no terminal to redraw it
            )
            if self._first and not args.disable_tqdm:
                self._bar.write(f"goes on from step {self._first} of {state.max_steps}", sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)
            if self._bar.disable and not args.disable_tqdm and self._clock() - self._said >= LINE_S:
                self._line(state.global_step, state.max_steps)

    def _line(self, step: int, steps: int) -> None:
        self._said = self._clock()
        left = (steps - step) * (self._said - self._begun) / (step - self._first)
        self._bar.write(f"step {step} of {steps}, about {tqdm.format_interval(left)} left", sys.stderr)

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
            loss = f", loss {logs['eval_loss']:.4f}" if "eval_loss" in logs and self._primary != "loss" else ""
            self._bar.write(f"epoch {state.epoch or 0:.2f}: validation {self._primary} {figure:.4f}{loss}", sys.stderr)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
