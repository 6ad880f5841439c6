"""Every strategy on the same rows: test accuracy, trainable parameters, training time, peak memory.

    python benchmarks/strategies.py --data ../shared/data/sst2 --rows 2000 --epochs 3

Each strategy runs in a process of its own, so that its peak memory is its own; learning rates are nlptk's defaults.
Time is wall time of the training loop and, for what runs its backbone once, of that too. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from training import default_model

from nlptk import registry


def train(args: argparse.Namespace, strategy: str, folder: str) -> list[str]:
    """Cells of one strategy's row."""
    command = [
        *(sys.executable, "-m", "nlptk", "train", "--json"),
        *("task=classification", f"model={args.model}", f"strategy={strategy}"),
        *(f"data.{split}={next(args.data.glob(f'{split}.*'))}" for split in ("train", "validation", "test")),
        *("data.duplicates=drop", f"data.max_rows={args.rows}", f"seed={args.seed}", f"output={folder}"),
        *(f"training.num_train_epochs={args.epochs}", "training.disable_tqdm=true", "training.save_strategy=no"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [strategy, done.stderr.strip().splitlines()[-1]]
    found = json.loads(done.stdout)
    accuracy = found["figures"]["test"]["accuracy"]
    report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    times = next(part["facts"] for part in report["sections"] if part["title"] == "Run")
    trainable = found["parameters"]["trainable"]
    return [
        strategy,
        f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]",
        f"{trainable:,} ({found['parameters']['percent']:.2f} %)",
        f"{times['batches (s)'] + times['training (s)']:.0f} s",
        report["context"]["peak memory"],
    ]


def main() -> None:
    """Train each strategy once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategies", nargs="+", default=sorted(registry.strategies()))
    args = parser.parse_args()
    args.model = args.model or default_model()
    print(f"| strategy | {args.data.name}: test accuracy | trainable parameters | training time | peak memory |")
    print("|---|---|---|---|---|", flush=True)
    for strategy in args.strategies:
        with tempfile.TemporaryDirectory() as folder:
            print("| " + " | ".join(train(args, strategy, folder)) + " |", flush=True)


if __name__ == "__main__":
    main()
