"""Spearman on sts 2016 before and after fine-tuning on sts 2012-14.

    python benchmarks/similarity.py --data ../shared/data/sts --rows 1000 --epochs 1

The untuned model is the checkpoint as transformers loads it, its tokens averaged, compared by cosine. Intervals are of
95 %, from 1,000 resamples of the test pairs; that of the difference resamples both models' answers together.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training import default_model
from transformers import AutoModel, AutoTokenizer

import nlptk
from nlptk.metrics import similarity_figures
from nlptk.task import Figure

RESAMPLES = 1000
SIDES = ("sentence1", "sentence2")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pair(row: dict[str, Any]) -> tuple[str, ...]:
    """What makes two rows the same: a few pairs of earlier years are in the test rows again."""
    return tuple(row[side].strip() for side in SIDES)


def untuned(model: str, texts: list[str]) -> np.ndarray:
    """(texts, dim): the mean of the last layer over the tokens, each of length 1."""
    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    vectors = []
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=512, return_tensors="pt")
        with torch.inference_mode():
            hidden = encoder(**batch).last_hidden_state
        mask = batch["attention_mask"][:, :, None]
        vectors.append((hidden * mask).sum(dim=1) / mask.sum(dim=1))
    return torch.nn.functional.normalize(torch.cat(vectors), dim=1).numpy()


def spearman(similarities: np.ndarray, gold: list[float]) -> Figure:
    """With its interval."""
    return similarity_figures(similarities, gold, bootstrap=RESAMPLES)["spearman"]


def gain(before: np.ndarray, after: np.ndarray, gold: list[float]) -> np.ndarray:
    """Differences of Spearman over resamples of the pairs, sorted."""
    draw, rows = np.random.default_rng(0), np.asarray(gold)
    found = []
    for _ in range(RESAMPLES):
        at = draw.integers(len(rows), size=len(rows))
        one, other = (similarity_figures(x[at], rows[at])["spearman"].value for x in (before, after))
        found.append(other - one)
    return np.sort(found)


def main() -> None:
    """Train, and print both figures and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--form", choices=["bi_encoder", "cross_encoder"], default="bi_encoder")
    parser.add_argument("--loss", default=None)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = args.model or default_model()
    test = read(args.data / "test.jsonl")
    leaked = {pair(row) for row in test}
    gold = [row["score"] for row in test]
    sides = [untuned(model, [row[side] for row in test]) for side in SIDES]
    before = np.multiply(*sides).sum(axis=1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for row in read(args.data / "train.jsonl") if pair(row) not in leaked]
        chosen = np.random.default_rng(args.seed).permutation(len(rows))[: args.rows]
        train = Path(folder) / "train.jsonl"
        train.write_text("".join(json.dumps(rows[index]) + "\n" for index in chosen), encoding="utf-8")
        result = nlptk.train(
            task={"name": "similarity", "form": args.form, "loss": args.loss},
            model=model,
            data={"train": train, "validation": args.data / "validation.jsonl", "test": "none", "duplicates": "keep"},
            training={
                "num_train_epochs": args.epochs,
                "per_device_train_batch_size": args.batch_size,
                "learning_rate": args.learning_rate,
            },
            seed=args.seed,
            bootstrap=RESAMPLES,
            output=Path(folder) / "run",
        )
        tuned = nlptk.pipeline(result.artifact)
        if args.form == "cross_encoder":
            found = tuned([{side: row[side] for side in SIDES} for row in test])
            after = np.asarray([prediction["score"] for prediction in found])
        else:  # the score of a prediction is cut to the range of the data, a cosine is not
            after = np.multiply(*(tuned.embed([row[side] for row in test]) for side in SIDES)).sum(axis=1)
    for name, values in (("untuned", before), ("fine-tuned", after)):
        figure = spearman(values, gold)
        print(f"{name:<11} test Spearman {figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]")
    differences = gain(before, after, gold)
    low, high = np.quantile(differences, [0.025, 0.975])
    print(f"difference  {spearman(after, gold).value - spearman(before, gold).value:+.4f} [{low:+.4f}, {high:+.4f}]")
    selected = result.figures["validation"]["spearman"]
    interval = f"[{selected.low:.4f}, {selected.high:.4f}]"
    print(f"{len(gold)} test pairs, {len(chosen)} for training; validation Spearman {selected.value:.4f} {interval}")


if __name__ == "__main__":
    main()
