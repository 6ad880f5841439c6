"""What tokenizing takes of memory, measured in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from datasets import Dataset

from nlptk.training.features import BATCH_BYTES, BATCH_ROWS, rows_at_once
from tests.tiny_models import WORDS

CONTEXT = " ".join(WORDS * 300)  # some 90,000 characters
MEGABYTE = 2**20
SCRIPT = """
import json, resource, sys
from datasets import Dataset, disable_progress_bars
from nlptk import registry
from nlptk.checkpoints import load_tokenizer
from nlptk.task import Preprocessing
from nlptk.training.features import make_features

checkpoint, file = sys.argv[1:]
disable_progress_bars()
cls = registry.get_task("qa")
task = cls(cls.Options())
task.tokenizer = load_tokenizer(checkpoint)
rows = Dataset.from_list(json.load(open(file)))
features = make_features(task, rows, task.tokenizer, Preprocessing(64), rows_fingerprint=file)
print(len(features.dataset), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def _peak_bytes(checkpoint: Path, folder: Path, rows: int) -> int:
    """Most memory of a process that tokenizes so many rows with a long context."""
    file = folder / f"{rows}.json"
    file.write_text(json.dumps([{"question": "where is it", "context": f"{row} {CONTEXT}"} for row in range(rows)]))
    command = [sys.executable, "-c", SCRIPT, str(checkpoint), str(file)]
    env = {**os.environ, "NLPTK_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_memory_does_not_grow_with_the_number_of_long_rows(tiny: dict[str, Path], tmp_path: Path) -> None:
    few, many = (_peak_bytes(tiny["bert"], tmp_path, rows) for rows in (24, 96))
    assert many - few < 60 * MEGABYTE, f"{few / MEGABYTE:.0f} and {many / MEGABYTE:.0f} MiB"


def test_rows_are_tokenized_by_the_thousand_where_they_are_short_and_by_bytes_where_they_are_long() -> None:
    short = Dataset.from_dict({"text": ["late"] * 3, "note": ["x" * 10**6] * 3})
    assert rows_at_once(short, ["text"]) == BATCH_ROWS
    long = Dataset.from_dict({"text": ["x" * 20_000] * 3})
    assert rows_at_once(long, ["text"]) == BATCH_BYTES // 20_004  # an offset of 4 bytes is stored with each text
