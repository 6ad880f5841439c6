"""What a run prints: its own lines, and nothing of the libraries below it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from nlptk.samples import sample_path

WORDS = [
    "task=classification",
    f"data.train={sample_path('messages_train.jsonl')}",
    f"data.validation={sample_path('messages_validation.jsonl')}",
    f"data.test={sample_path('messages_test.jsonl')}",
    "bootstrap=0",
    "data.max_rows=64",
    "training.num_train_epochs=1",
    "training.gradient_checkpointing=true",
]


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "100", "TERM": "xterm"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "strategy"),
    [("bert", "full"), ("gpt2", "lora"), ("t5", "feature_extraction"), ("bert", "prompt_tuning")],
)
def test_without_a_terminal_there_is_one_line_an_evaluation_and_no_noise(
    tiny: dict[str, Path], tmp_path: Path, family: str, strategy: str
) -> None:
    words = [*WORDS, f"model={tiny[family]}", f"strategy={strategy}", f"output={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-m", "nlptk", "train", *words], capture_output=True, text=True, check=True, env=_environment()
    )
    # a tiny model after one epoch may well name one label only
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("nlptk: warning: "))
    assert line.startswith("epoch 1.00: validation accuracy ")
    assert done.stdout.splitlines()[0].startswith("test, 64 rows (value and 95 % interval)")


@pytest.mark.slow
def test_on_a_terminal_there_is_one_bar(tiny: dict[str, Path], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    words = [
        *WORDS,
        "training.per_device_train_batch_size=2",
        "training.gradient_checkpointing=false",
        f"model={tiny['bert']}",
        f"output={tmp_path / 'run'}",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "nlptk", "train", *words], stderr=theirs, stdout=subprocess.DEVNULL, env=_environment()
    )
    os.close(theirs)
    read = b""
    try:
        while chunk := os.read(ours, 4096):
            read += chunk
    except OSError:  # Linux: the other end is closed
        pass
    assert process.wait() == 0
    bars = {part.split(":")[0].strip() for part in read.decode().replace("\n", "\r").split("\r") if "%|" in part}
    assert bars == {"training"}
    lines = [line.split("\r")[-1].strip() for line in read.decode().splitlines()]
    assert [line for line in lines if line and not line.startswith(("epoch", "training", "nlptk: warning: "))] == []
