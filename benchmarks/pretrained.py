"""What pretraining is worth: a pretrained checkpoint against its own form at random, after the same fine-tuning.

    python benchmarks/pretrained.py --model nlptk/tiny-t5 --data ../shared/data/wikinews ../shared/data/scitldr
    python benchmarks/pretrained.py --task classification --model nlptk/tiny-bert --data ../shared/data/ag_news

Both are fine-tuned by nlptk on the same rows with the same settings. summarization: ROUGE of the summaries of the test
rows, written greedily; classification: accuracy and macro F1. Printed with 95 % bootstrap intervals over the test rows,
and whether the two intervals are disjoint.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

import nlptk
from nlptk.checkpoints import quiet
from nlptk.named_checkpoints import resolve_checkpoint
from nlptk.task import Figure
from nlptk.text.objectives import auto_class_of

FIGURES = {
    "summarization": ("rouge1", "rouge2", "rouge_l", "novelty_2", "prediction_words"),
    "classification": ("accuracy", "macro_f1"),
}
TOLD = ("novelty_2", "prediction_words")
"""Figures that say what the summaries are like, and not how good they are."""


def untrained(checkpoint: str, folder: Path, seed: int) -> Path:
    """The checkpoint's form and tokenizer with random weights."""
    checkpoint = resolve_checkpoint(checkpoint)
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(checkpoint)
    auto: Any = getattr(transformers, auto_class_of(config))
    with quiet():
        auto.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


def some_rows(data: Path, split: str, count: int | None, folder: Path) -> Path:
    """The first rows of a split, a jsonl or csv file."""
    source = next(data.glob(f"{split}.*"))
    opened: Any = gzip.open if source.suffix == ".gz" else open
    lines = count + (".csv" in source.suffixes) if count is not None else None  # a csv has a header
    target = folder / source.name.removesuffix(".gz")
    with opened(source, "rt", encoding="utf-8") as text:
        target.write_text("".join(islice(text, lines)), encoding="utf-8")
    return target


def measure(args: argparse.Namespace, model: str | Path, data: Path, folder: Path) -> dict[str, Figure]:
    """Figures on the test rows after fine-tuning."""
    counts = {"train": args.rows, "validation": args.test_rows, "test": args.test_rows}
    files = {split: some_rows(data, split, count, folder) for split, count in counts.items()}
    result = nlptk.train(
        task={"name": args.task, **({"max_new_tokens": args.max_new_tokens} if args.task == "summarization" else {})},
        model=model,
        strategy=args.strategy,
        data={**files, "duplicates": "keep"},
        output=folder / "run",
        preprocessing={"max_length": args.max_length},
        training={
            "num_train_epochs": args.epochs,
            "per_device_train_batch_size": args.batch_size,
            **({"learning_rate": args.learning_rate} if args.learning_rate else {}),
            "disable_tqdm": True,
        },
        seed=args.seed,
    )
    return result.figures["test"]


def shown(figure: Figure) -> str:
    return (
        f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" if figure.low is not None else str(figure.value)
    )


def apart(one: Figure, other: Figure) -> bool:
    """Whether the intervals share no value."""
    return one.low > other.high or other.low > one.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=tuple(FIGURES), default="summarization")
    parser.add_argument("--model", nargs="+", required=True, help="pretrained checkpoints; BERT forms do not summarize")
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders with train, validation and test")
    parser.add_argument("--rows", type=int, default=None, help="training rows; default: all")
    parser.add_argument("--test-rows", type=int, default=300)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument(
        "--strategy", default="full", help="such as feature_extraction: what the checkpoint knows itself"
    )
    parser.add_argument("--learning-rate", type=float, default=None, help="default: 1e-3, or the strategy's own")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.strategy == "full" and args.learning_rate is None:
        args.learning_rate = 1e-3
    found = []
    for model in args.model:
        for data in args.data:
            with tempfile.TemporaryDirectory() as scratch:
                random = untrained(model, Path(scratch) / "random", args.seed)
                figures = {}
                for name, checkpoint in (("pretrained", model), ("random", random)):
                    folder = Path(scratch) / name
                    folder.mkdir(exist_ok=True)
                    figures[name] = measure(args, checkpoint, data, folder)
            print(f"\n{model} on {data.name}", flush=True)
            for figure in FIGURES[args.task]:
                said = {name: shown(values[figure]) if figure in values else "-" for name, values in figures.items()}
                print(f"  {figure:17} pretrained {said['pretrained']:26} random {said['random']}", flush=True)
            disjoint = {
                f: apart(figures["pretrained"][f], figures["random"][f]) for f in FIGURES[args.task] if f not in TOLD
            }
            print(f"  intervals disjoint: {disjoint}", flush=True)
            found.append({"model": str(model), "data": data.name, "disjoint": disjoint})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
