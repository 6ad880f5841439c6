"""What the tests of the doors share: the command line called in this process or another, tiny rows, a tiny artifact."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nlptk
from nlptk.__main__ import main
from tests.tiny_models import write_checkpoint

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""Environment of processes on the CPU of a machine that has nothing else."""
FAST = {"num_train_epochs": 1, "per_device_train_batch_size": 8, "save_strategy": "no", "disable_tqdm": True}


@dataclass(frozen=True)
class Called:
    """How a call of the command line ended."""

    code: int
    out: str
    err: str


def cli(*words: str | Path) -> Called:
    """`nlptk WORDS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    return Called(code, out.getvalue(), err.getvalue())


def python(
    *words: str | Path,
    cwd: Path,
    path: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: int = TIMEOUT_S,
) -> Called:
    """A Python process of its own, with folders put before its import path."""
    before = [str(folder) for folder in path]
    known = os.environ.get("PYTHONPATH")
    found = {**os.environ, "PYTHONPATH": os.pathsep.join([*before, *([known] if known else [])]), **(env or {})}
    with subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=found,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # torchrun's ranks would outlive it
            raise
    return Called(process.returncode, out, err)


def torchrun(*words: str | Path, cwd: Path) -> Called:
    """Two processes on the CPU, with a cache of their own."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return python(*launcher, *words, cwd=cwd, path=[ROOT], env={**ALONE, "NLPTK_CACHE": str(cwd / "cache")})


EACH = """
import json, sys
from tests.doors import cli

for words in json.load(open(sys.argv[1])):
    called = cli(*words)
    print(called.out, file=sys.stdout)
    print(called.err, file=sys.stderr)
    if called.code:
        sys.exit(called.code)
"""


def torchrun_each(calls: Sequence[Sequence[str]], *, cwd: Path) -> Called:
    """`nlptk WORDS` for each, one after the other, in two processes: starting them takes longer than most calls."""
    (cwd / "each.py").write_text(EACH)
    (cwd / "calls.json").write_text(json.dumps(calls))
    return torchrun("each.py", "calls.json", cwd=cwd)


def rows(count: int = 24) -> list[dict[str, Any]]:
    """Two labels that one word tells apart."""
    return [
        {"text": f"order {index} came {'late' if index % 2 else 'quick'}", "label": "bad" if index % 2 else "good"}
        for index in range(count)
    ]


def write_rows(path: Path, found: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows() if found is None else found)))
    return path


def train_tiny(folder: Path, *, family: str = "bert", **keys: Any) -> Path:
    """The artifact of one epoch on `rows()`, in `folder/run/model`."""
    job = {
        "task": "classification",
        "model": write_checkpoint(family, folder / family),
        "data": {"train": write_rows(folder / "rows.jsonl"), "validation": "none", "test": "none"},
        "training": FAST,
        "bootstrap": 0,
        "output": folder / "run",
    }
    return nlptk.train({**job, **keys}).artifact
