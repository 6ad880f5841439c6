"""Entity F1 and training time: nlptk against a plain Trainer script with run_ner's defaults, in one process.

    python benchmarks/ner.py --train ../shared/data/wnut17/train.conll --test ../shared/data/wnut17/test.conll
    python benchmarks/ner.py --train ../shared/data/wikiann_en/train.jsonl --test ../shared/data/wikiann_en/test.jsonl

Both start from the same checkpoint and see the same rows, batch size, learning rate, schedule, epochs and seed. The
plain script does as transformers' run_ner example does by default: words split into tokens, longer rows truncated at
the tokenizer's length, the label on each word's first token, batches padded by DataCollatorForTokenClassification.

Both are measured by seqeval on all gold entities: where the plain script truncated a row, the tags behind are O. (Its
own figure leaves them out; it is printed, too.) Time is the Trainer's own `train_runtime`. A round runs both once with
its own seed; ratios are taken within a round and printed as median and range.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from seqeval.metrics import f1_score
from training import default_model, plain_arguments, plain_settings, spread
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    set_seed,
)

import nlptk
from nlptk import registry
from nlptk.data import read_rows
from nlptk.recipe import DataSettings

IGNORED = -100
Tags = list[list[str]]


def read(path: Path, rows: int | None) -> Dataset:
    """Tokens and IOB2 tags; `rows` of them at most."""
    task = registry.get_task("ner")
    settings = DataSettings(max_rows=rows)
    found = read_rows(path, task.columns, settings=settings, targets=True, rules=task.rules()).rows
    return found.select_columns(["tokens", "tags"])


def plain_trainer(
    args: argparse.Namespace, train: Dataset, test: Dataset, *, seed: int, folder: str
) -> tuple[float, Tags, Tags]:
    """run_ner's way -> training seconds, predicted tags of the words it sees, gold tags of those words."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    names = sorted({tag for row in train["tags"] for tag in row})
    ids = {name: index for index, name in enumerate(names)}

    def tokenize(rows: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer(rows["tokens"], truncation=True, max_length=args.max_length, is_split_into_words=True)
        found["labels"] = [
            [
                IGNORED if word is None or word == before else ids.get(tags[word], ids["O"])
                for before, word in zip([None, *words], words, strict=False)
            ]
            for tags, words in zip(rows["tags"], map(found.word_ids, range(len(rows["tags"]))), strict=True)
        ]
        return dict(found)

    set_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(
        args.model, num_labels=len(names), id2label=dict(enumerate(names)), label2id=ids
    )
    trainer = Trainer(
        model=model,
        args=plain_arguments(args, seed=seed, folder=folder),
        train_dataset=train.map(tokenize, batched=True, remove_columns=train.column_names),
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    seconds = trainer.train().metrics["train_runtime"]
    found = trainer.predict(test.map(tokenize, batched=True, remove_columns=test.column_names))
    said = [
        [names[guess] for guess, label in zip(guesses, labels, strict=True) if label != IGNORED]
        for guesses, labels in zip(found.predictions.argmax(axis=2), found.label_ids, strict=True)
    ]
    return seconds, said, [tags[: len(row)] for tags, row in zip(test["tags"], said, strict=True)]


def with_nlptk(
    args: argparse.Namespace, train: Dataset, test: Dataset, *, seed: int, folder: str
) -> tuple[float, Tags]:
    """nlptk.train with the settings of the plain script -> training seconds, predicted tags of every word."""
    rows = Path(folder) / "train.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in train), encoding="utf-8")
    result = nlptk.train(
        task="ner",
        model=args.model,
        data={"train": str(rows), "validation": "none", "test": "none", "duplicates": "keep"},
        preprocessing={"max_length": args.max_length} if args.max_length else {},
        training=plain_settings(args),
        seed=seed,
        bootstrap=0,
        output=str(Path(folder) / "run"),
    )
    said = nlptk.pipeline(result.artifact)({"tokens": tokens} for tokens in test["tokens"])
    return result.metrics["train_runtime"], [row["tags"] for row in said]


def whole(tags: Tags, gold: Tags) -> Tags:
    """Tags of every word: O behind the last one seen."""
    return [[*row, *["O"] * (len(all_) - len(row))] for row, all_ in zip(tags, gold, strict=True)]


def main() -> None:
    """Run the rounds and print F1 and ratios of time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="CoNLL file, or jsonl with tokens and tags")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=None, help="of training and test; default: all")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=8, help="default: run_ner's")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="default: run_ner's")
    parser.add_argument("--max-length", type=int, default=None, help="default: the tokenizer's, as run_ner's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one round each")
    args = parser.parse_args()
    args.model = args.model or default_model()
    train, test = read(args.train, args.rows), read(args.test, args.rows)
    gold: Tags = list(test["tags"])
    support = sum(tag[0] == "B" for row in gold for tag in row)
    print(f"{len(train)} training rows, {len(test)} test rows with {support} entities", flush=True)
    seconds: dict[str, list[float]] = {"plain": [], "nlptk": []}
    scores: dict[str, list[float]] = {"plain": [], "nlptk": []}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            took, said, seen = plain_trainer(args, train, test, seed=seed, folder=folder)
        seconds["plain"].append(took)
        scores["plain"].append(f1_score(gold, whole(said, gold)))
        kept = sum(tag[0] == "B" for row in seen for tag in row)
        own = f"its own figure {f1_score(seen, said):.4f} on {kept} of {support} entities"
        print(f"seed {seed}: plain {took:8.1f} s   F1 {scores['plain'][-1]:.4f} ({own})", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            took, said = with_nlptk(args, train, test, seed=seed, folder=folder)
        seconds["nlptk"].append(took)
        scores["nlptk"].append(f1_score(gold, said))
        print(f"seed {seed}: nlptk {took:8.1f} s   F1 {scores['nlptk'][-1]:.4f}", flush=True)
    for name, found in scores.items():
        deviation = statistics.stdev(found) if len(args.seeds) > 1 else 0.0
        print(f"{name}: F1 {statistics.mean(found):.4f}, standard deviation over seeds {deviation:.4f}")
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["nlptk"], strict=True)]
    print(f"nlptk is {spread(ratios)} times as fast")


if __name__ == "__main__":
    main()
