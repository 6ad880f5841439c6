"""bf16 on a CPU, without the process dying of it.

Some machines advertise AMX without the state it needs; there the first bf16 matrix product of torch 2.13 ends the
process with SIGILL (oneDNN issue 5689). oneDNN reads `ONEDNN_MAX_CPU_ISA` once, at its first product.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from nlptk.errors import UnsupportedError

VARIABLE = "ONEDNN_MAX_CPU_ISA"
BELOW_AMX = "AVX512_CORE_BF16"
LAUNCHED = "ACCELERATE_MIXED_PRECISION"
"""Where `accelerate launch --mixed_precision` says it; transformers heeds it where `training` asks for no kind."""
_PROBE = "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); (a @ a).sum().item()"
_PROBE_TIMEOUT_S = 120


def cap_before_torch() -> None:
    """Keep oneDNN below AMX, where the user has not chosen; for doors that know bf16 on a CPU is coming."""
    os.environ.setdefault(VARIABLE, BELOW_AMX)


def asks_for_bf16(training: Mapping[str, Any]) -> str | None:
    """What makes a run with this `training` block one in bf16: a key of the recipe or a variable, or None."""
    if training.get("fp16"):
        return None
    if training.get("bf16"):
        return "training.bf16"
    return f"{LAUNCHED}=bf16" if os.environ.get(LAUNCHED, "").lower() == "bf16" else None


def prepare_cpu_bf16(asked: str) -> None:
    """Make a bf16 product safe in this process, or refuse. asked: what asked for it.

    Raises: UnsupportedError with the cure.

    The variable is set while oneDNN may already have been used, so a child process, which has the same hardware and no
    cap, shows whether the cap is needed at all.
    """
    if os.environ.get(VARIABLE):
        return
    if _survives():
        return
    raise UnsupportedError(
        f"{asked}: a bf16 matrix product ends a process on this CPU (oneDNN issue 5689: AMX without its state); "
        f"start Python with {VARIABLE}={BELOW_AMX} in the environment, or leave bf16 out: it is slower on most CPUs"
    )


@cache
def _survives() -> bool:
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0
