"""What a process keeps of memory that batches of many lengths took."""

from __future__ import annotations

import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nlptk.training.heap import HeapTrim

MEGABYTE = 1 << 20


def _resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_holes_in_the_heap_go_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeapTrim, "seconds", 0.0)
    on_cpu: Any = SimpleNamespace(device=torch.device("cpu"))
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))
    state: Any = None
    trim = HeapTrim()
    trim.on_step_end(on_cpu, state, state)
    blocks = [torch.ones(16_000) for _ in range(2_000)]  # 64 kB each, so from the heap
    kept = blocks[::10]
    del blocks
    before = _resident()
    trim.on_step_end(on_gpu, state, state)
    assert _resident() > before - 10 * MEGABYTE
    trim.on_prediction_step(on_cpu, state, state)
    assert _resident() < before - 60 * MEGABYTE
    assert all(bool((block == 1).all()) for block in kept)
