"""Generation trains without padding where the form allows it, and learns the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import WORDS, write_checkpoint
from tests.training.runs import assert_same_weights, train, weights

SHAPES: dict[str, Any] = {
    "text": lambda n: {"text": " ".join(WORDS[n % 7 : n % 7 + 2 + 7 * n % 30])},
    "completion": lambda n: {"prompt": " ".join(WORDS[: 1 + n % 9]), "completion": " ".join(WORDS[n : n + 1 + n % 5])},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_packed_step_is_the_padded_one(family: str, shape: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(SHAPES[shape](n)) + "\n" for n in range(8)))
    found = {}
    for packing in (True, False):
        result = train(
            write_checkpoint(family, tmp_path / family),
            file,
            tmp_path / str(packing),
            task={"name": "generation", "max_new_tokens": 8},
            packing=packing,
            preprocessing={"max_length": 32},
            dropout={"hidden": 0.0, "attention": 0.0} if family == "gpt2" else {},
            training={"max_steps": 1},
        )
        sections = json.loads((result.folder / "report.json").read_text())["sections"]
        how = next(section for section in sections if section["title"] == "Run")
        assert how["facts"]["batches"].startswith("rows are packed" if packing else "padded")
        found[packing] = weights(result)
    assert_same_weights(found[True], found[False], atol=1e-5)  # at a learning rate of 0.1
