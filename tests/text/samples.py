"""Text for the tests of tokenizers and pretraining: sentences with a grammar, so that there is something to learn."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MOST_BYTES = 8_000_000
"""Of a checkpoint that comes with the package."""
PEOPLE = ("the old captain", "my sister", "a quiet stranger", "Mr. Brown", "the doctor's wife")
SYLLABLES = ("an", "ber", "cor", "dal", "el", "fen", "gil", "hor", "is", "jo", "kan", "lun", "mer", "nor", "os", "pal")
DEEDS = {"opened": "door", "carried": "lantern", "read": "letter", "mended": "boat", "forgot": "umbrella"}
PLACES = (
    "in the harbour",
    "at seven o’clock",
    "under the bridge",
    "before breakfast",
    "— quite alone —",
    "near Zürich",
)


def document(seed: int, *, sentences: int = 12) -> str:
    """Sentences in which the verb tells the noun."""
    draw = random.Random(seed)
    said = []
    for _ in range(sentences):
        name = "".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))).capitalize()
        deed = draw.choice(sorted(DEEDS))
        said.append(f"{draw.choice((*PEOPLE, name, name))} {deed} the {DEEDS[deed]} {draw.choice(PLACES)}.")
    return f"Chapter {seed}. " + " ".join(said)


def write_text(path: Path, count: int = 60) -> Path:
    """A document a line."""
    path.write_text("".join(document(seed) + "\n" for seed in range(count)), encoding="utf-8")
    return path


def write_rows(path: Path, count: int = 60, *, column: str = "text") -> Path:
    """The same documents as JSON lines."""
    path.write_text("".join(json.dumps({column: document(seed)}) + "\n" for seed in range(count)), encoding="utf-8")
    return path


SHAPES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "modernbert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
    "t5": {"d_model": 32, "d_kv": 16, "num_layers": 1, "num_heads": 2, "d_ff": 64},
}
"""Smaller than tiny: a step takes milliseconds."""


def job(family: str, text: Path, output: Path, *, steps: int = 12, **keys: Any) -> dict[str, Any]:
    """A recipe that takes a second or two."""
    training = {
        "max_steps": steps,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "disable_tqdm": True,
        **keys.pop("training", {}),
    }
    return {
        "data": {"train": str(text), "held_out": 0.2, **keys.pop("data", {})},
        "model": {"family": family, "config": SHAPES[family], **keys.pop("model", {})},
        "tokenizer": {"vocab_size": 400},
        "block_length": 32,
        "training": training,
        "output": str(output),
        **keys,
    }
