"""Training data larger than memory: what a run holds does not grow with its rows."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from tests.doors import ROOT, python

ROW_BYTES = 4_000
FEW, MANY = 8_000, 16_000
"""32 MB, twice what is read at a time, and 64 MB."""
NOISE_SHARE = 1 / 2
"""Of the bytes of the rows: allocators kept up to 0.2 of them, and one copy of the rows in memory would be 1."""
TRAINING = """
    import json, sys, threading
    from pathlib import Path

    import nlptk

    def anonymous_bytes():
        line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon:"))
        return 1024 * int(line.split()[1])

    def train(rows):
        Path(f"{rows}.jsonl").write_text("")
        with open(f"{rows}.jsonl", "w") as file:
            for row in range(rows):
                # one long word is one token: reading costs what a text of its bytes does, tokenizing next to nothing
                text = f"order {row} came late " + "x" * int(sys.argv[1])
                file.write(json.dumps({"text": text, "label": "ab"[row % 2]}) + chr(10))
        steps = {"max_steps": 2, "per_device_train_batch_size": 8, "save_strategy": "no", "disable_tqdm": True}
        data = {"train": f"{rows}.jsonl", "validation": "none", "test": "none"}
        nlptk.train(task="classification", model="bert", data=data, training=steps, bootstrap=0, output=f"run{rows}")

    peak, done = 0, threading.Event()

    def watch():
        global peak
        while not done.wait(0.02):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    train(int(sys.argv[2]))  # libraries and pools of memory are there after it
    before = peak
    train(int(sys.argv[3]))
    done.set()
    watcher.join()
    print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads RssAnon of /proc/self/status")
def test_memory_does_not_grow_with_the_training_rows(tiny: dict[str, Path], tmp_path: Path) -> None:
    """The most that the process has of its own; mapped files, which the system takes back at need, do not count."""
    (tmp_path / "bert").symlink_to(tiny["bert"])
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAINING))
    environment = {"NLPTK_CACHE": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    words = ["train.py", str(ROW_BYTES), str(FEW), str(MANY)]
    called = python(*words, cwd=tmp_path, path=[ROOT], env=environment, timeout_s=600)
    assert called.code == 0, called.err[-3000:]
    assert int(called.out.split()[-1]) < (MANY - FEW) * ROW_BYTES * NOISE_SHARE
