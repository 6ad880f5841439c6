"""Few-shot methods: episodes of unseen classes, rejection of what is out of scope, and classes added one by one.

    python benchmarks/few_shot.py episodes --data ../shared/data/huffpost --methods prototypical prototypical+meta
    python benchmarks/few_shot.py episodes --data ../shared/data/clinc150 --splits 0 1 2 3 4
    python benchmarks/few_shot.py rejection --data ../shared/data/clinc150
    python benchmarks/few_shot.py classes --data ../shared/data/clinc150 --count 1000

means: those over several splits that `--output` holds from before, where each ran by itself.

episodes: 5-way, 1- and 5-shot, on classes that nothing was trained on; `METHOD+meta` is meta-trained on the train
classes and chosen by the validation classes, `METHOD+meta+lora` moves LoRA adapters too; `+names` lets the words of a
class's name count as one more example of it. A folder whose files have
disjoint classes is taken as it is. clinc150's have not: its 10 domains are parted into 5 to train on, 2 to validate and
3 to test on by a seeded shuffle, once for each number of `--splits`; the domains are printed. Rows that say a class's
name and nothing else (26 of 22,500) are left out, so that methods with and without names see the same rows; so are
texts of two classes (four), which could be trained on and measured.

rejection: the train rows as support set, the threshold from the validation rows and validation_out_of_scope, figures on
test and test_out_of_scope.

classes: texts of the train rows, four a class, added one call after the other; latency of the call and of one
prediction against the number of classes, and the size of the support set; a plot in `--output`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training import default_model

import nlptk
from nlptk import api
from nlptk.data.normalize import text_key
from nlptk.fewshot.comparison import compare
from nlptk.fewshot.episodes import Protocol
from nlptk.parts.class_names import spoken
from nlptk.report import sections, write_report

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text(
        "".join(json.dumps({"text": r["text"], "label": r["label"]}) + "\n" for r in rows), encoding="utf-8"
    )
    return path


def class_splits(data: Path, split: int, folder: Path) -> dict[str, Path]:
    """Files whose classes are disjoint: the data set's own, or by domain."""
    found = {name: data / f"{name}.jsonl" for name in ("train", "validation", "test")}
    rows = {name: read(path) for name, path in found.items()}
    labels = [{row["label"] for row in part} for part in rows.values()]
    if not (labels[0] & labels[1] or labels[0] & labels[2] or labels[1] & labels[2]):
        return found
    everything = [row for part in rows.values() for row in part]
    said = {text_key([spoken(row["label"])]) for row in everything}
    labelled: dict[bytes, set[str]] = {}
    for row in everything:
        labelled.setdefault(text_key([row["text"]]), set()).add(row["label"])
    said |= {key for key, names in labelled.items() if len(names) > 1}
    everything = [row for row in everything if text_key([row["text"]]) not in said]
    domains = sorted({row["domain"] for row in everything})
    random.Random(split).shuffle(domains)
    parts = {"train": domains[:5], "validation": domains[5:7], "test": domains[7:]}
    print(f"split {split}: " + "; ".join(f"{name}: {', '.join(sorted(part))}" for name, part in parts.items()))
    return {
        name: write(folder / f"{name}.jsonl", [row for row in everything if row["domain"] in part])
        for name, part in parts.items()
    }


def episodes(args: argparse.Namespace) -> None:
    """Accuracy of every method on the same episodes."""
    for split in args.splits:
        with tempfile.TemporaryDirectory() as scratch:
            files = class_splits(args.data, split, Path(scratch))
            recipes = {name: recipe_of(args, name, files) for name in args.methods}
            found = compare(
                recipes,
                protocol=Protocol(5, args.shots[0], 5, args.episodes, args.seed),
                shots=args.shots,
                output=args.output / f"split-{split}",
            )
        print("\n".join(found.lines()), flush=True)
    if len(args.splits) > 1:
        means(args)


def means(args: argparse.Namespace) -> None:
    """Means over class splits. Their intervals are those of the episodes of these splits."""
    found = [json.loads((args.output / f"split-{split}" / "results.json").read_text()) for split in args.splits]
    first = found[0]["differences"]["to"]
    print(f"mean of {len(found)} splits, and of the differences to {first}")
    for name in args.methods:
        for shots in found[0]["accuracy"][name]:
            said = [_mean([result["accuracy"][name][shots] for result in found])]
            if name != first:
                said.append(_mean([result["differences"]["by_shots"][shots][name] for result in found]))
            print(f"  {name:<24} {shots} shots   " + "   ".join(said))


def _mean(figures: Sequence[dict[str, float]]) -> str:
    """Of independent means with equal numbers of episodes."""
    halves = [(figure["high"] - figure["low"]) / 2 for figure in figures]
    half = sum(half**2 for half in halves) ** 0.5 / len(figures)
    return f"{statistics.mean(figure['value'] for figure in figures):.4f} ± {half:.4f}"


def recipe_of(args: argparse.Namespace, name: str, files: dict[str, Path]) -> Any:
    """`method`, and after it `+names`, `+meta` or `+meta+lora`."""
    method, *how = name.split("+")
    task: dict[str, Any] = {"name": "few_shot", "method": {"name": method}, "class_names": "names" in how}
    if "meta" in how:
        task["meta"] = {"train": files["train"], "validation": files["validation"], "episodes": args.meta_episodes}
        task["meta"] |= {"ways": args.meta_ways, "shots": args.meta_shots, "queries": args.meta_queries}
        task["meta"]["episodes_per_step"] = args.meta_per_step
    training = {"disable_tqdm": True} | ({"learning_rate": args.learning_rate} if args.learning_rate else {})
    return api.resolve_recipe(
        {
            "task": task,
            "model": args.model,
            "strategy": "lora" if "lora" in how else "full",
            "data": {"train": files["test"], "duplicates": "drop"},
            "training": training if "meta" in how else {"disable_tqdm": True},
            "seed": args.seed,
        }
    )


def rejection(args: argparse.Namespace) -> None:
    """In-scope accuracy, AUROC, and what is rejected."""
    task = {"name": "few_shot", "method": args.methods[0], "rejection": "tuned"}
    task |= {"out_of_scope": args.data / "validation_out_of_scope.jsonl"}
    task |= {"out_of_scope_test": args.data / "test_out_of_scope.jsonl"}
    splits = {name: args.data / f"{name}.jsonl" for name in ("train", "validation", "test")}
    result = nlptk.train(
        task=task, model=args.model, data={**splits, "duplicates": "drop"}, output=args.output, seed=args.seed
    )
    for name in ("accuracy", "out_of_scope_auroc", "false_rejection_at_95", "rejected", "out_of_scope_rejected"):
        figure = result.figures["test"][name]
        print(f"{name:<24} {figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]")


def classes(args: argparse.Namespace) -> None:
    """Latency against the number of classes."""
    texts = list({text_key([row["text"]]): row["text"] for row in read(args.data / "train.jsonl")}.values())
    random.Random(args.seed).shuffle(texts)
    each = 4
    taken = [texts[place : place + each] for place in range(0, each * (args.count + 2), each)]
    start = write(args.output / "start.jsonl", [{"text": t, "label": f"class {i}"} for i in (0, 1) for t in taken[i]])
    trained = nlptk.train(
        task={"name": "few_shot", "method": "prototypical"}, model=args.model, data=start, output=args.output / "run"
    )
    loaded = nlptk.pipeline(trained.artifact)
    asked = texts[-1]
    lines: dict[str, list[list[float | None]]] = {"add a class": [], "predict a text": []}
    sizes = []
    for count, examples in enumerate(taken[2:], start=3):
        began = time.perf_counter()
        loaded.add_class(f"class {count}", examples)
        added = time.perf_counter() - began
        spent = []
        for _ in range(3):
            began = time.perf_counter()
            loaded(asked)
            spent.append(time.perf_counter() - began)
        lines["add a class"].append([float(count), 1000 * added])
        lines["predict a text"].append([float(count), 1000 * statistics.median(spent)])
        if count % 100 == 0 or count == args.count + 2:
            folder = loaded.folder
            size = sum((folder / name).stat().st_size for name in ("support.jsonl", "support.safetensors"))
            sizes.append([count, each * count, size, loaded.task.support.vectors.nbytes])
            recent = {name: statistics.median(row[1] or 0.0 for row in rows[-50:]) for name, rows in lines.items()}
            print(f"{count} classes: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in recent.items()), flush=True)
    parts = [
        sections.curves("Latency", lines, x_label="classes", y_label="ms"),
        sections.table("Size", ["classes", "examples", "bytes on disk", "bytes of vectors"], sizes),
    ]
    print("\n".join(f"{c} classes, {n} examples: {d / n:.0f} bytes on disk an example" for c, n, d, _ in sizes))
    print(write_report(args.output / "report", {"title": "few-shot classes", "sections": parts, "context": {}})[1])


def main() -> None:
    """One of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("episodes", "means", "rejection", "classes"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--methods", nargs="+", default=["prototypical", "linear_probe"])
    parser.add_argument("--splits", type=int, nargs="+", default=[0])
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--meta-episodes", type=int, default=2000)
    parser.add_argument("--meta-per-step", type=int, default=4, help="episodes of meta-training whose gradients count")
    parser.add_argument("--meta-ways", type=int, default=5)
    parser.add_argument("--meta-shots", type=int, default=5)
    parser.add_argument("--meta-queries", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=None, help="of meta-training")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    args.model = args.model or default_model()
    with tempfile.TemporaryDirectory() as scratch:
        args.output = args.output or Path(scratch)
        args.output.mkdir(parents=True, exist_ok=True)
        found = {"episodes": episodes, "means": means, "rejection": rejection, "classes": classes}
        found[args.what](args)


if __name__ == "__main__":
    main()
