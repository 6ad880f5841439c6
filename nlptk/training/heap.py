"""The memory that a training process on a CPU holds without using it.

Batches of many lengths leave holes in glibc's heap, which it keeps; `malloc_trim` hands whole pages of them back.
"""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class HeapTrim(TrainerCallback):
    """Gives unused memory back to the system every so many seconds, in training and in evaluation.

    A trim costs about as much as one pass over the memory, for what it gave back has to be mapped anew. Nothing is done
    where the model is on another device than the CPU, nor with another C library than glibc.
    """

    seconds = 30.0

    def __init__(self) -> None:
        glibc = platform.libc_ver()[0] == "glibc"
        self._trim = ctypes.CDLL(None).malloc_trim if glibc else None
        self._last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._trim is not None and args.device.type == "cpu" and time.monotonic() - self._last >= self.seconds:
            self._trim(0)
            self._last = time.monotonic()

    on_prediction_step = on_step_end
