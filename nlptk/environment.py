"""What a run ran on, and how long each part took: versions, hardware, wall time, peak memory."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "nlptk-hf",
    "transformers",
    "torch",
    "datasets",
    "peft",
    "accelerate",
    "tokenizers",
    "scikit-learn",
    "numpy",
)


def versions() -> dict[str, str]:
    """Version of Python, of nlptk and of what a model's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found["nlptk" if package == "nlptk-hf" else package] = version(package)
        except PackageNotFoundError:
            found["nlptk" if package == "nlptk-hf" else package] = "not installed as a distribution"
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, threads of torch, GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "GPUs": ", ".join(gpus) or "none",
    }


def peak_memory_bytes() -> int | None:
    """Most memory this process had resident so far; on a GPU, most that torch had allocated there."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux, bytes on macOS


class Watch:
    """Wall time of each part of a run, in seconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps_s: dict[str, float] = {}

    def lap(self, part: str) -> None:
        """End the part that began with the last lap."""
        now = time.perf_counter()
        self.laps_s[part] = self.laps_s.get(part, 0.0) + now - self._last
        self._last = now

    @property
    def total_s(self) -> float:
        return sum(self.laps_s.values())
