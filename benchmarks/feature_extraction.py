"""feature_extraction against a plain Trainer with a frozen backbone and dynamic padding, in one process.

    python benchmarks/feature_extraction.py --data ../shared/data/sst2 --epochs 3

Both train the head alone, on the same checkpoint, rows, batch size, learning rate, epochs and seed. nlptk runs the
frozen backbone once, in eval mode, and trains the head on the stored features; the Trainer runs it in every epoch and
leaves its dropout on. Time is wall time of everything after the data are tokenized and the model is loaded: for nlptk
the backbone's one pass (cold) or finding its features (warm), and the training loop; for the Trainer `train_runtime`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from training import MAX_LENGTH, default_model, plain_trainer, read

from nlptk.recipe import make_recipe
from nlptk.report import load_report
from nlptk.training.run import run


def with_nlptk(args: argparse.Namespace, folder: str) -> tuple[float, float]:
    """nlptk's feature_extraction -> (seconds for the backbone's pass over the training rows and the loop, accuracy)."""
    recipe = make_recipe(
        {
            "task": "classification",
            "model": args.model,
            "data": {
                "train": str(next(args.data.glob("train.*"))),
                "test": str(next(args.data.glob("test.*"))),
                "validation": "none",
                "duplicates": "keep",
                "max_rows": args.rows,
            },
            "strategy": "feature_extraction",
            "preprocessing": {"max_length": MAX_LENGTH},
            "training": {
                "num_train_epochs": args.epochs,
                "per_device_train_batch_size": args.batch_size,
                "learning_rate": args.learning_rate,
                "weight_decay": 0.0,
                "warmup_steps": 0,
                "save_strategy": "no",
                "disable_tqdm": True,
            },
            "seed": args.seed,
            "bootstrap": 0,
            "output": folder,
        }
    )
    result = run(recipe)
    facts = next(s["facts"] for s in load_report(Path(folder))["sections"] if s["title"] == "Run")
    return facts["batches (s)"] + facts["training (s)"], result.metrics["test_accuracy"]


def main() -> None:
    """One round: the Trainer, nlptk with a cold cache, nlptk with a warm one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.model = args.model or default_model()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NLPTK_CACHE"] = str(Path(folder) / "cache")
        cold = with_nlptk(args, str(Path(folder) / "cold"))
        warm = with_nlptk(args, str(Path(folder) / "warm"))
        train, test = read(args.data, "train", args.rows), read(args.data, "test", args.rows)
        plain = plain_trainer(
            args, train, test, padding="dynamic", seed=args.seed, folder=str(Path(folder) / "plain"), frozen=True
        )
    print(f"Trainer, frozen backbone  {plain[0]:8.2f} s   test accuracy {plain[1]:.4f}")
    for name, (seconds, accuracy) in (("cold", cold), ("warm", warm)):
        ratio = plain[0] / seconds
        print(
            f"nlptk, {name} cache         {seconds:8.2f} s   test accuracy {accuracy:.4f}   {ratio:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
