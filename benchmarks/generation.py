"""A small story model fine-tuned on novels: how well it predicts held-out pages of other novels, before and after.

    python benchmarks/generation.py --model STORIES260K --text novels.txt.gz

The rows to learn from are lines of the first half of the file, those held out of its last tenth, so of other books.
`before` and `after` are computed with transformers alone, by the sliding window of its page on the perplexity of
fixed-length models, with nlptk's intervals (95 %, bootstrap over lines); `nlptk` is what `nlptk.evaluate` says of the
same model as `after`, and the last line by how much the two differ. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import gzip
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import nlptk
from nlptk.metrics import generation_figures
from nlptk.task import Figure

SHORTEST = 200  # characters: shorter lines are mostly headings and speech


def lines_of(path: Path, *, train: int, held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """Lines to learn from, and lines of other books to measure on."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as stream:
        lines = [line.strip() for line in stream if len(line) > SHORTEST]
    draw = random.Random(seed)
    first, last = lines[: len(lines) // 2], lines[-len(lines) // 10 :]
    return draw.sample(first, train), draw.sample(last, held_out)


def sliding_window(model: Any, ids: Sequence[int], *, length: int, shared: int) -> tuple[float, int]:
    """Nats and tokens of a text after its first token, each token counted once."""
    nats, counted = 0.0, 1
    for begin in range(0, len(ids), length - shared):
        end = min(begin + length + 1, len(ids))
        with torch.no_grad():
            logged = model(torch.tensor([ids[begin : end - 1]])).logits[0].double().log_softmax(-1)
        nats -= sum(float(logged[place - begin - 1, ids[place]]) for place in range(counted, end))
        counted = end
        if end == len(ids):
            break
    return nats, len(ids) - 1


def plainly(model: str | Path, texts: Sequence[str], *, length: int) -> dict[str, Figure]:
    """Figures of a checkpoint, with transformers alone."""
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found = []
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = ids if ids[0] == start else [start, *ids]
        found.append(sliding_window(loaded, ids, length=length, shared=length // 2))
    nats, tokens = zip(*found, strict=True)
    return generation_figures(nats, tokens, [len(text.encode()) for text in texts], bootstrap=1000)


def main() -> None:
    """Train once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train, held_out = lines_of(args.text, train=args.train, held_out=args.held_out, seed=args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, lines in (("train.txt", train), ("held_out.txt", held_out)):
            (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        result = nlptk.train(
            task="generation",
            model=args.model,
            data={"train": folder / "train.txt", "validation": "none", "test": "none"},
            training={
                "num_train_epochs": args.epochs,
                "learning_rate": args.learning_rate,
                "per_device_train_batch_size": 8,
                "save_strategy": "no",
                "disable_tqdm": True,
            },
            preprocessing={"max_length": args.max_length},
            seed=args.seed,
            output=folder / "run",
        )
        figures = {
            "before": plainly(args.model, held_out, length=args.max_length),
            "after": plainly(result.artifact, held_out, length=args.max_length),
            "nlptk": nlptk.evaluate(result.artifact, folder / "held_out.txt").figures,
        }
    print(f"| {args.model.name}, {args.held_out} lines of other novels | bits per byte | perplexity |")
    print("|---|---|---|")
    for when, found in figures.items():
        cells = [found[name] for name in ("bits_per_byte", "perplexity")]
        print(f"| {when} | {' | '.join(f'{c.value:.3f} [{c.low:.3f}, {c.high:.3f}]' for c in cells)} |")
    ours, plain = (figures[when]["bits_per_byte"].value for when in ("nlptk", "after"))
    print(f"\nnlptk and plain transformers differ by {abs(ours - plain):.1e} bits per byte")


if __name__ == "__main__":
    main()
