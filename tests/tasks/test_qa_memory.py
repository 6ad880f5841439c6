"""Answers from very long contexts: memory does not grow with their length as the windows do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nlptk
from tests.doors import ROOT, python
from tests.tiny_models import write_checkpoint

MEASURE = """
import json, random, resource, sys
import nlptk
from tests.tiny_models import WORDS

chance = random.Random(0)
context = " ".join(chance.choice(WORDS) for _ in range(int(sys.argv[2])))
nlptk.pipeline(sys.argv[1])({"question": "where is it", "context": context})
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""
SHORT, LONG = 200, 200_000
ALLOWED_MB = 300.0


@pytest.mark.slow
def test_memory_is_bounded_in_the_length_of_a_context(tmp_path: Path) -> None:
    """130 MB more for a thousand times the words, most of it token ids; all windows in one batch took 600 more."""
    rows = [{"question": "where is it", "context": "it is here", "answer_text": "here", "answer_start": 6}] * 8
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = nlptk.train(
        task="qa",
        model=write_checkpoint("bert", tmp_path / "bert"),
        data={"train": tmp_path / "rows.jsonl", "duplicates": "keep"},
        preprocessing={"max_length": 128},
        training={"max_steps": 1, "save_strategy": "no", "disable_tqdm": True},
        bootstrap=0,
        output=tmp_path / "run",
    )
    (tmp_path / "measure.py").write_text(MEASURE)
    peaks = []
    for count in (SHORT, LONG):
        called = python(tmp_path / "measure.py", run.artifact, str(count), cwd=tmp_path, path=[ROOT])
        assert called.code == 0, called.err[-3000:]
        peaks.append(float(called.out.splitlines()[-1]))
    print(f"peak of {SHORT} and {LONG} words: {peaks[0]:.0f} and {peaks[1]:.0f} MB")
    assert peaks[1] - peaks[0] < ALLOWED_MB
