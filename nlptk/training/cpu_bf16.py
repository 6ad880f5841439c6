"""bf16 on a CPU, without the process dying of it.

Some machines advertise AMX without the state it needs; there the first bf16 matrix product of torch 2.13 ends the
process with SIGILL (oneDNN issue 5689). oneDNN reads `ONEDNN_MAX_CPU_ISA` once, at its first product.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

from nlptk.errors import UnsupportedError

VARIABLE = "ONEDNN_MAX_CPU_ISA"
BELOW_AMX = "AVX512_CORE_BF16"
_PROBE = "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); (a @ a).sum().item()"
_PROBE_TIMEOUT_S = 120


def cap_before_torch() -> None:
    """Keep oneDNN below AMX, where the user has not chosen; for doors that know bf16 on a CPU is coming."""
    os.environ.setdefault(VARIABLE, BELOW_AMX)


def prepare_cpu_bf16() -> None:
    """Make a bf16 product safe in this process, or refuse. Raises: UnsupportedError with the cure.

    The variable is set while oneDNN may already have been used, so a child process, which has the same hardware and no
    cap, shows whether the cap is needed at all.
    """
    if os.environ.get(VARIABLE):
        return
    if _survives():
        return
    raise UnsupportedError(
        "training.bf16: a bf16 matrix product ends a process on this CPU (oneDNN issue 5689: AMX without its state); "
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
