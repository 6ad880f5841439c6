"""feature_extraction against a plain Trainer with a frozen backbone and dynamic padding, in one process.

    python benchmarks/feature_extraction.py --data ../shared/data/sst2 --epochs 3 --seeds 0 1 2
    python benchmarks/feature_extraction.py --data ../shared/data/sst2 --epochs 30 --seeds 0 1 2 --contenders nlptk

Both train the head alone, on the same checkpoint, rows, batch size, learning rate, epochs and seed. nlptk runs the
frozen backbone once, in eval mode, and trains the head on the stored features; the Trainer runs it in every epoch and
leaves its dropout on. Time is wall time of everything after the data are tokenized and the model is loaded: for nlptk
the backbone's one pass over the training rows (cold) or finding its features (warm), and the training loop; for the
Trainer `train_runtime`. Test rows are measured apart and not timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from datasets import Dataset
from training import accuracy_of, default_model, plain_trainer, read, with_nlptk

from nlptk.report import load_report


def seconds_and_accuracy(
    args: argparse.Namespace, train: Dataset, test: Dataset, *, seed: int, folder: str
) -> tuple[float, float]:
    """nlptk's feature_extraction -> (seconds for the backbone's pass and the loop, test accuracy)."""
    Path(folder).mkdir()
    result = with_nlptk(args, train, seed=seed, folder=folder, strategy="feature_extraction")
    facts = next(s["facts"] for s in load_report(result.folder)["sections"] if s["title"] == "Run")
    return facts["batches (s)"] + facts["training (s)"], accuracy_of(result, test, folder)


def main() -> None:
    """A round a seed: nlptk with a cold cache, with a warm one, and the Trainer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-2)
    parser.add_argument("--contenders", nargs="+", choices=("Trainer", "nlptk"), default=["Trainer", "nlptk"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    args.model = args.model or default_model()
    train, test = read(args.data, "train", args.rows), read(args.data, "test", args.rows)
    right: dict[str, list[float]] = {"Trainer": [], "nlptk": []}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NLPTK_CACHE"] = str(Path(folder) / "cache")
            cold = seconds_and_accuracy(args, train, test, seed=seed, folder=f"{folder}/cold")
            warm = seconds_and_accuracy(args, train, test, seed=seed, folder=f"{folder}/warm")
            plain = None
            if "Trainer" in args.contenders:
                plain = plain_trainer(
                    args, train, test, padding="dynamic", seed=seed, folder=f"{folder}/plain", frozen=True
                )
        print(f"seed {seed}")
        if plain is not None:
            print(f"        Trainer, frozen backbone  {plain[0]:8.2f} s   test accuracy {plain[1]:.4f}")
            right["Trainer"].append(plain[1])
        for name, (seconds, accuracy) in (("cold", cold), ("warm", warm)):
            ratio = f"   {plain[0] / seconds:.1f} times as fast" if plain is not None else ""
            print(
                f"        nlptk, {name} cache         {seconds:8.2f} s   test accuracy {accuracy:.4f}{ratio}",
                flush=True,
            )
        right["nlptk"].append(cold[1])
    for name, found in ((name, found) for name, found in right.items() if found):
        print(f"{name:<8} mean test accuracy {statistics.mean(found):.4f} ({min(found):.4f} to {max(found):.4f})")


if __name__ == "__main__":
    main()
