"""Contrastive few-shot tuning: nlptk against the setfit package, in one process, on the same samples.

    pip install --no-deps setfit==1.2.0
    python benchmarks/contrastive.py --data ../shared/data/sst2 ../shared/data/ag_news --seeds 0 1 2 3 4 5 6 7 8 9

Both start from the same checkpoint and see the same rows, `--shots` a class, drawn anew for every seed. setfit runs
with its own defaults but for `--iterations`, the number of pairs drawn for each example (20 is the paper's; by default
the package takes all pairs, which for 150 classes are more than a million). nlptk runs with its defaults. Time is wall
time from the loaded rows to the trained model: tokenizing, tuning, the head. Accuracy is on `--test-rows` test rows at
most. `--contenders nlptk` runs it alone: setfit's accuracies of the same seeds stay the same.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from training import default_model

import nlptk
from nlptk.fewshot.evaluation import mean_interval


def read(folder: Path, split: str) -> list[dict[str, Any]]:
    """Text and label of a split's rows."""
    file = next(folder.glob(f"{split}.*"))
    kind = "csv" if file.suffix == ".csv" else "json"
    found = load_dataset(kind, data_files=str(file), split="train", keep_in_memory=True)
    return [{"text": row["text"], "label": str(row["label"])} for row in found]


def sample(rows: list[dict[str, Any]], shots: int, seed: int) -> list[dict[str, Any]]:
    """So many rows of every class."""
    order = rows[:]
    random.Random(seed).shuffle(order)
    taken: dict[str, list[dict[str, Any]]] = {}
    for row in order:
        if len(taken.setdefault(row["label"], [])) < shots:
            taken[row["label"]].append(row)
    return [row for label in sorted(taken) for row in taken[label]]


def with_setfit(args: argparse.Namespace, rows: list[dict[str, Any]], test: list[dict[str, Any]], seed: int) -> Any:
    """(seconds, accuracy)."""
    from setfit import SetFitModel, Trainer, TrainingArguments

    names = sorted({row["label"] for row in rows})
    model = SetFitModel.from_pretrained(args.model)
    train = Dataset.from_list([{"text": row["text"], "label": names.index(row["label"])} for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            num_iterations=args.iterations,
            seed=seed,
            save_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        began = time.perf_counter()
        trainer = Trainer(model=model, args=settings, train_dataset=train)
        trainer.train()
        spent = time.perf_counter() - began
    said = [int(found) for found in model.predict([row["text"] for row in test], show_progress_bar=False)]
    return spent, statistics.mean(names[i] == row["label"] for i, row in zip(said, test, strict=True))


def with_nlptk(args: argparse.Namespace, rows: list[dict[str, Any]], test: list[dict[str, Any]], seed: int) -> Any:
    """(seconds, accuracy)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        Dataset.from_list(rows).to_parquet(path)
        began = time.perf_counter()
        result = nlptk.train(
            task={"name": "few_shot", "method": {"name": "contrastive", "loss": args.loss}},
            model=args.model,
            data={"train": path, "duplicates": "keep"},
            training={"disable_tqdm": True, "save_strategy": "no"},
            seed=seed,
            output=Path(folder) / "run",
        )
        spent = time.perf_counter() - began
        said = nlptk.pipeline(result.artifact)([row["text"] for row in test])
    return spent, statistics.mean(found["label"] == row["label"] for found, row in zip(said, test, strict=True))


CONTENDERS = {"setfit": with_setfit, "nlptk": with_nlptk}


def main() -> None:
    """A round a seed and data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--loss", choices=["cosine_similarity", "cosent"], default="cosine_similarity", help="nlptk's")
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    args = parser.parse_args()
    args.model = args.model or default_model()
    for data in args.data:
        train, test = read(data, "train"), read(data, "test")
        random.Random(0).shuffle(test)
        test = test[: args.test_rows]
        spent: dict[str, list[float]] = {name: [] for name in args.contenders}
        right: dict[str, list[float]] = {name: [] for name in args.contenders}
        for seed in args.seeds:
            rows = sample(train, args.shots, seed)
            for name in args.contenders:
                seconds, accuracy = CONTENDERS[name](args, rows, test, seed)
                spent[name].append(seconds)
                right[name].append(accuracy)
            said = "   ".join(f"{name} {spent[name][-1]:7.1f} s {right[name][-1]:.4f}" for name in args.contenders)
            print(f"{data.name} seed {seed}: {said}", flush=True)
        print(f"{data.name}: " + ", ".join(f"{name} {statistics.mean(found):.4f}" for name, found in right.items()))
        if len(args.contenders) == len(CONTENDERS):
            ours, theirs = (np.array(right[name]) for name in ("nlptk", "setfit"))
            gain = mean_interval(ours - theirs, least=-1.0)
            ratios = [one / other for one, other in zip(spent["nlptk"], spent["setfit"], strict=True)]
            if gain.low is not None:
                print(f"    difference {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] (95 %, paired over seeds)")
            print(
                f"    nlptk takes {statistics.median(ratios):.2f} of the time ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
