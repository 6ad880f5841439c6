"""Question answering: nlptk against a plain Trainer script with run_qa's defaults, each in a process of its own.

    python benchmarks/qa.py --data ../shared/data/squad2 --epochs 3 --seeds 0 1 2
    python benchmarks/qa.py --data ../shared/data/squad2 --unseen ../shared/data/covid_qa/all.json

Contenders, all with the same checkpoint, rows, windows (384 tokens, 128 shared), batch size, learning rate, schedule,
epochs and seed:

    run_qa  a Trainer as in transformers' question-answering example: every window padded to 384 tokens (with --padding
            longest to the longest of its batch, the example's `--pad_to_max_length False`: the same model in less
            time), the loss over all tokens, the 20 best starts and ends of each window combined, answers of at most 30
            tokens, an answer where it scores above none
    nlptk   nlptk.train: windows packed, the loss over the context's tokens, all spans tried; the threshold for no
            answer is tuned on the validation split

Exact match and F1 are SQuAD 2.0's, by the same function, on the test split: of each as it comes, and so that the two
models are compared alike: with the threshold for no answer that is best on the validation split, with 0, and without
one on the questions that have an answer (`span`); AUC says how well the score of none tells the questions without
answer from the others. Differences are of the same questions, each the mean over the seeds, with a 95 % interval by the
bootstrap over questions. Time is the Trainer's own `train_runtime`, peak memory the process's largest resident set.
--unseen is measured with nlptk's model and never trained on. --contenders runs one of them alone, for its accuracy; a
ratio of times takes both. --keep writes checkpoints and what is measured, from which the same command goes on where it
was cut off; its times are of the last part, and with the writing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import roc_auc_score
from training import default_model, plain_arguments, plain_settings, spread
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    default_data_collator,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

import nlptk
from nlptk.metrics import best_threshold
from nlptk.metrics.answers import score_answers

MAX_LENGTH, STRIDE, N_BEST, LONGEST = 384, 128, 20, 30
KEPT = {"save_strategy": "steps", "save_steps": 50, "save_total_limit": 1, "load_best_model_at_end": False}
"""TrainingArguments of a run that can be cut off."""


def read(path: Path, rows: int | None) -> Dataset:
    """Questions of a SQuAD file, `rows` of them at most, evenly spread."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    found = [
        {"question": q["question"], "context": p["context"], "answers": q["answers"]}
        for article in articles
        for p in article["paragraphs"]
        for q in p["qas"]
    ]
    return Dataset.from_list(found[:: max(1, len(found) // rows)][:rows] if rows else found)


def windows(tokenizer: Any, rows: dict[str, list[Any]], indices: list[int], padding: str) -> dict[str, Any]:
    """run_qa's features: windows with the first answer's tokens, the first token where a window lacks it."""
    found = tokenizer(
        [question.lstrip() for question in rows["question"]],
        rows["context"],
        truncation="only_second",
        max_length=MAX_LENGTH,
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=padding if padding == "max_length" else False,
    )
    found["row"] = [indices[row] for row in found.pop("overflow_to_sample_mapping")]
    found["start_positions"], found["end_positions"] = [], []
    for window, row in enumerate(found["row"]):
        of = found.sequence_ids(window)
        offsets = [pair if of[place] == 1 else (-1, -1) for place, pair in enumerate(found["offset_mapping"][window])]
        found["offset_mapping"][window] = offsets
        answers = rows["answers"][row - indices[0]]
        start, end = answer_place(offsets, answers[0]) if answers else (0, 0)
        found["start_positions"].append(start)
        found["end_positions"].append(end)
    return dict(found)


def answer_place(offsets: list[tuple[int, int]], answer: dict[str, Any]) -> tuple[int, int]:
    """First and last token of an answer that lies within the window, else 0 and 0."""
    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    context = [place for place, pair in enumerate(offsets) if pair[0] >= 0]
    if offsets[context[0]][0] > start or offsets[context[-1]][1] < end:
        return 0, 0
    first = max(place for place in context if offsets[place][0] <= start)
    return first, min(place for place in context if offsets[place][1] >= end)


def best_answers(logits: Any, features: Dataset, rows: Dataset) -> tuple[list[str], list[float]]:
    """run_qa's search: each row's best answer, and by how much the score of none exceeds its own."""
    texts, scores, none = [""] * len(rows), [-np.inf] * len(rows), [np.inf] * len(rows)
    contexts = rows["context"][:]
    for start_logits, end_logits, feature in zip(*logits, features, strict=True):
        row, offsets = feature["row"], feature["offset_mapping"]
        start_logits, end_logits = start_logits[: len(offsets)], end_logits[: len(offsets)]
        none[row] = min(none[row], float(start_logits[0] + end_logits[0]))
        for start in np.argsort(-start_logits)[:N_BEST].tolist():
            for end in np.argsort(-end_logits)[:N_BEST].tolist():
                if offsets[start][0] < 0 or offsets[end][0] < 0 or not start <= end < start + LONGEST:
                    continue
                score = float(start_logits[start] + end_logits[end])
                if score > scores[row]:
                    texts[row], scores[row] = contexts[row][offsets[start][0] : offsets[end][1]], score
    return texts, [a - b if np.isfinite(b) else 1e4 for a, b in zip(none, scores, strict=True)]


def outcome(
    seconds: float, rows: Dataset, texts: list[str], margins: list[float], *, own: float, tuned: float
) -> dict[str, Any]:
    """What a contender returns: means, and under `each` the figures of every question.

    texts, margins: of each row the best answer, and by how much the score of none exceeds its own. own, tuned: the
    margins above which an answer is withheld: as the contender comes, and as is best on the validation split.
    """
    golds = [[answer["text"] for answer in answers] for answers in rows["answers"]]
    answerable = np.array([bool(row) for row in golds])
    each: dict[str, list[float]] = {}
    for name, threshold in (("", own), ("tuned ", tuned), ("zero ", 0.0), ("span ", np.inf)):
        said = ["" if margin > threshold else text for text, margin in zip(texts, margins, strict=True)]
        scores = score_answers(said, golds)
        kept = answerable if name == "span " else slice(None)
        each |= {f"{name}EM": scores.exact_match[kept].tolist(), f"{name}F1": scores.f1[kept].tolist()}
    means = {name: statistics.mean(values) for name, values in each.items()}
    return {"seconds": seconds, **means, "AUC": float(roc_auc_score(~answerable, margins)), "each": each}


def run_qa(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """The plain script -> training seconds, figures on the test split."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    rows = {split: read(args.data / f"{split}.json", args.rows) for split in ("train", "validation", "test")}
    features = {
        split: found.map(
            lambda batch, indices: windows(tokenizer, batch, indices, args.padding),
            batched=True,
            with_indices=True,
            remove_columns=found.column_names,
        )
        for split, found in rows.items()
    }
    set_seed(args.seed)
    arguments = plain_arguments(args, seed=args.seed, folder=folder)
    trainer = Trainer(
        model=AutoModelForQuestionAnswering.from_pretrained(args.model),
        args=dataclasses.replace(arguments, **KEPT) if args.keep else arguments,
        train_dataset=features["train"].remove_columns(["row", "offset_mapping"]),
        data_collator=default_data_collator if args.padding == "max_length" else DataCollatorWithPadding(tokenizer),
    )
    started = get_last_checkpoint(folder) if args.keep else None
    seconds = trainer.train(resume_from_checkpoint=started).metrics["train_runtime"]
    told: dict[str, tuple[list[str], list[float]]] = {}
    for split in ("validation", "test"):
        inputs = features[split].remove_columns(["row", "offset_mapping", "start_positions", "end_positions"])
        told[split] = best_answers(trainer.predict(inputs).predictions, features[split], rows[split])
    golds = [[answer["text"] for answer in answers] for answers in rows["validation"]["answers"]]
    tuned = best_threshold(told["validation"][0], golds, told["validation"][1])[1]
    return outcome(seconds, rows["test"], *told["test"], own=0.0, tuned=tuned)


def write(path: Path, rows: Dataset) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def with_nlptk(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """nlptk.train with the settings of the plain script -> training seconds, figures on the test split."""
    place = Path(folder)
    files = {
        split: write(place / f"{split}.jsonl", read(args.data / f"{split}.json", args.rows))
        for split in ("train", "validation", "test")
    }
    result = nlptk.train(
        task={"name": "qa", "n_best": N_BEST, "max_answer_length": LONGEST},
        model=args.model,
        data={**{split: str(path) for split, path in files.items()}, "duplicates": "keep"},
        preprocessing={"max_length": MAX_LENGTH, "stride": STRIDE},
        training={
            **plain_settings(args),
            **({**KEPT, "resume_from_checkpoint": "auto"} if args.keep else {}),
            "eval_strategy": "no",
        },
        seed=args.seed,
        bootstrap=0,
        output=args.artifact,
    )
    rows = read(args.data / "test.json", args.rows)
    served = nlptk.pipeline(result.artifact, options={"n_best_shown": 1})
    said = served(rows.select_columns(["question", "context"]).to_list())
    tuned = served.task.decision["no_answer_threshold"]
    texts = [answer["n_best"][0]["answer"] for answer in said]
    margins = [float(np.log(answer["no_answer_probability"] / answer["n_best"][0]["score"])) for answer in said]
    found = outcome(result.metrics["train_runtime"], rows, texts, margins, own=tuned, tuned=tuned)
    assert abs(found["F1"] - result.metrics["test_f1"]) < 1e-9, "what is served is what was measured"
    return found


def unseen(args: argparse.Namespace, folder: str) -> dict[str, float]:
    """The artifact on questions that it never saw: figures, at the best threshold for "no answer" too, and seconds."""
    rows = write(Path(folder) / "unseen.jsonl", read(args.unseen, args.unseen_rows or args.rows))
    started = time.perf_counter()
    found = nlptk.evaluate(args.artifact, str(rows), output=Path(folder) / "report", bootstrap=0).figures
    seconds = time.perf_counter() - started
    named = {"EM": "exact_match", "F1": "f1", "best EM": "best_exact_match", "best F1": "best_f1"}
    return {"seconds": seconds, **{name: found[key].value for name, key in named.items()}}


CONTENDERS = {"run_qa": run_qa, "nlptk": with_nlptk, "unseen": unseen}


def apart(args: argparse.Namespace, contender: str, seed: int, artifact: str) -> dict[str, Any]:
    """One contender in a process of its own, so that peak memory is its alone."""
    words = [sys.executable, __file__, "--contender", contender, "--seed", str(seed), "--artifact", artifact]
    if args.keep:
        words += ["--keep", str(args.keep / f"{contender}-{seed}")]
    for name in ("data", "model", "rows", "epochs", "batch_size", "learning_rate", "padding", "unseen", "unseen_rows"):
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    kept = args.keep / f"{contender}-{seed}.json" if args.keep else None
    if kept is not None and kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
    else:
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if kept is not None:
            kept.write_text(json.dumps(found))
    shown = {name: value for name, value in found.items() if name != "each"}
    line = "   ".join(f"{name} {value:.1f}" if value > 1 else f"{name} {value:.4f}" for name, value in shown.items())
    print(f"seed {seed}: {contender:<7} {line}", flush=True)
    return found


def differences(plain: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
    """Print by how much nlptk exceeds the script. Of each: a run a seed."""
    for figure in plain[0]["each"]:
        gain = np.subtract(*(np.mean([run["each"][figure] for run in runs], axis=0) for runs in (ours, plain)))
        drawn = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        print(f"{figure}: nlptk over run_qa {gain.mean():+.4f} [{low:+.4f}, {high:+.4f}]")


def main() -> None:
    """A round a seed; medians of the ratios and means of the figures in the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train, validation and test .json")
    parser.add_argument("--unseen", type=Path, default=None, help="SQuAD file that is measured and never trained on")
    parser.add_argument("--unseen-rows", type=int, default=None, help="questions of it, evenly spread; default: --rows")
    parser.add_argument("--model", default=None)
    parser.add_argument("--rows", type=int, default=None, help="questions of each file; default: all")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--keep", type=Path, default=None, help="folder of checkpoints to go on from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--contenders", nargs="+", choices=("run_qa", "nlptk"), default=["run_qa", "nlptk"])
    parser.add_argument("--padding", choices=("max_length", "longest"), default="max_length", help="run_qa's windows")
    for name in ("contender", "artifact"):
        parser.add_argument(f"--{name}", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.model = args.model or default_model()
    if args.contender:
        with tempfile.TemporaryDirectory() as scratch:
            folder = args.keep or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            found = CONTENDERS[args.contender](args, str(folder))
        found["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if torch.cuda.is_available():
            found["peak GPU MB"] = torch.cuda.max_memory_allocated() / 2**20
        print(json.dumps(found))
        return
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in args.contenders}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            artifact = f"{args.keep or folder}/artifact-{seed}"
            for name in rounds:
                rounds[name].append(apart(args, name, seed, artifact))
            if args.unseen is not None and "nlptk" in rounds:
                apart(args, "unseen", seed, artifact)
    for name, runs in rounds.items():
        means = {key: statistics.mean(run[key] for run in runs) for key in runs[0] if key != "each"}
        print(f"{name:<7} mean: " + "   ".join(f"{key} {value:.4g}" for key, value in means.items()))
    if len(rounds) == 2:
        differences(rounds["run_qa"], rounds["nlptk"])
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(rounds["run_qa"], rounds["nlptk"], strict=True)]
        print(f"nlptk is {spread(ratios)} times as fast")


if __name__ == "__main__":
    main()
