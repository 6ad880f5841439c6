"""Rows of a few classes, and a few-shot job on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nlptk
import nlptk.pipelines
from nlptk.training.run import TrainResult
from tests.tiny_models import WORDS

META = {"ways": 3, "shots": 2, "queries": 2, "episodes": 40, "episodes_per_step": 4, "validation_episodes": 10}


def write_classes(path: Path, keywords: tuple[str, ...] | list[str], each: int) -> Path:
    """Rows of a few words, one of which names the class."""
    rows = []
    for index in range(each * len(keywords)):
        key = keywords[index % len(keywords)]
        words = [WORDS[(index * 7 + step * 3) % len(WORDS)] for step in range(4)]
        rows.append({"text": " ".join([key, *[w for w in words if w not in keywords], str(index)]), "label": key})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(
    checkpoint: Path,
    data: dict[str, Path],
    output: Path,
    method: str | dict[str, Any],
    *,
    strategy: str = "full",
    **task: Any,
) -> TrainResult:
    return nlptk.train(
        task={"name": "few_shot", "method": method, **task},
        model=checkpoint,
        strategy=strategy,
        data={"train": data["support"], "test": data["test"], "duplicates": "keep"},
        training={"disable_tqdm": True, "save_strategy": "no"} if "meta" not in task else {"disable_tqdm": True},
        bootstrap=0,
        output=output,
    )
