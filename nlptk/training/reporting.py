"""The report of a training run or an evaluation: what was read, done, measured and lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptk.data import DataReport
from nlptk.environment import Watch, hardware, peak_memory_bytes, versions
from nlptk.recipe import Recipe, to_yaml
from nlptk.report import sections, write_report
from nlptk.strategies.trainable import trained_share
from nlptk.task import Features, Figure, Ledger, Scores, Section, Task
from nlptk.training.preparation import Prepared

if TYPE_CHECKING:
    from nlptk.training.trainer import NlptkTrainer

LENGTH_BINS = 30
SHOWN = 3
NOTES = {
    "validation": "What selection used: the best checkpoint, early stopping and decision thresholds, where there are "
    "any, were chosen on these rows, so that these figures tend to be too good."
}


def write_training_report(
    output: Path,
    recipe: Recipe,
    prepared: Prepared,
    trainer: NlptkTrainer,
    scores: Mapping[str, Scores],
    *,
    warnings: Sequence[str],
    how: str,
    watch: Watch,
) -> Path:
    """report.json and report.html of a run; the path of the latter."""
    features = {name: split.features for name, split in prepared.splits.items()}
    parts = [
        *result_sections(headline_first(scores), notes=NOTES),
        *data_sections(prepared.data.report),
        ledger_section({name: found.ledger for name, found in features.items()}),
        length_section(features, prepared.preprocessing.max_length),
        *_training_sections(recipe, prepared, trainer, how, watch),
    ]
    measured = "test" if "test" in scores else "validation"
    figures = scores[measured].figures if measured in scores else {}
    report = {
        "title": f"{recipe.task['name']} · {model_name(recipe.model)}",
        "subtitle": f"{recipe.strategy['name']} fine-tuning; headline figures on the {measured} split",
        **first_figures(figures, prepared.task),
        "warnings": list(warnings),
        "sections": parts,
        "context": context(recipe.seed, watch),
    }
    return write_report(output, report)[1]


def model_name(model: str) -> str:
    """Name of a checkpoint for people: its folder's, or the folder's above where that is just called `model`."""
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def first_figures(figures: Mapping[str, Figure], task: Task) -> dict[str, Any]:
    """What a report begins with: the headline, and which of it is the primary figure where the rows define that."""
    names = dict.fromkeys((task.primary(), *task.headline))
    shown = {name: figures[name].to_json() for name in names if name in figures}
    return {"headline": shown, "primary": task.primary() if task.primary() in shown else None}


def context(seed: int, watch: Watch) -> dict[str, Any]:
    """Versions, seed, hardware, wall time, peak memory."""
    peak = peak_memory_bytes()
    return {
        "seed": seed,
        "wall time": f"{watch.total_s:.1f} s",
        "peak memory": "unknown" if peak is None else f"{peak / 2**20:.0f} MiB",
        **hardware(),
        **versions(),
    }


def data_sections(report: DataReport) -> list[Section]:
    """The data card: sources, rows, labels, duplicates, conflicts, what was dropped."""
    sources = [
        [split, source["name"], source["rows"], ", ".join(f"{r}={c}" for r, c in source["columns"].items())]
        for split, found in report.sources.items()
        for source in found
    ]
    parts = [
        sections.table("Sources", ["split", "source", "rows", "columns"], sources, group="Data"),
        sections.facts(
            "Splits",
            {**{f"{split} rows": rows for split, rows in report.rows.items()}, "fingerprint": report.fingerprint},
            group="Data",
        ),
    ]
    if report.label_counts:
        splits = list(report.label_counts)
        names = report.label_counts[splits[0]]
        rows = [[name, *(report.label_counts[split].get(name, 0) for split in splits)] for name in names]
        parts.append(sections.table("Labels", ["label", *splits], rows, group="Data"))
    found = _findings(report)
    parts.append(sections.table("What was found in the rows", ["finding", "rows", "detail"], found, group="Data"))
    return parts


def _findings(report: DataReport) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for split, within in report.duplicates.get("within", {}).items():
        rows.append([f"repeated texts within {split}", within["count"], _examples(within)])
    for pair, between in report.duplicates.get("between", {}).items():
        rows.append([f"texts shared by {pair}", between["count"], _examples(between)])
    if report.conflicts:
        rows.append(["equal texts with different labels", report.conflicts["count"], _examples(report.conflicts)])
    for drop in report.dropped:
        rows.append([f"dropped from {drop['split']}: {drop['reason']}", drop["count"], str(drop["rows"])[:300]])
    rows.extend([note, None, ""] for note in report.notes)
    return rows


def _examples(found: Mapping[str, Any]) -> str:
    """The first few: the text, and the rows it stands on."""
    said = []
    for example in found["examples"][:SHOWN]:
        places = example["rows"] if "rows" in example else [example["row"], example["same_as"]]
        said.append(f"{example['text']!r} ({' = '.join(_place(place) for place in places)})")
    return "; ".join(said)


def _place(place: Mapping[str, Any]) -> str:
    label = f" {', '.join(place['labels'])}" if "labels" in place else ""
    return f"{Path(place['file']).name} row {place['row']}{label}"


def ledger_section(ledgers: Mapping[str, Ledger]) -> Section:
    """The truncation ledger."""
    note = "What did not reach the model; tokens without special tokens."
    return sections.ledger("Truncation ledger", ledgers, note=note, group="Data")


def length_section(features: Mapping[str, Features], max_length: int) -> Section:
    """Histogram of the tokens a feature has."""
    lengths = {name: np.asarray(found.dataset["length"][:]) for name, found in features.items()}
    longest = max(int(values.max()) for values in lengths.values())
    edges = np.linspace(0, longest + 1, min(LENGTH_BINS, longest + 1) + 1)
    counts = {name: np.histogram(values, bins=edges)[0].tolist() for name, values in lengths.items()}
    marks = {"max_length": float(max_length)} if max_length <= longest + 1 else {}
    return sections.histogram(
        "Length", counts, edges=edges.tolist(), x_label="tokens in a feature", marks=marks, group="Data"
    )


def _training_sections(
    recipe: Recipe, prepared: Prepared, trainer: NlptkTrainer, how: str, watch: Watch
) -> list[Section]:
    parameters = prepared.parameters
    began = {group: step for step, names in reversed(trainer.unfreezing) for group in names}
    groups = [[g["name"], g["size"], g["lr_scale"], began.get(g["name"])] for g in parameters["groups"]]
    parts = [
        [part["name"], part["size"], part["trained"], ", ".join(part["groups"]) or "frozen"]
        for part in parameters["parts"]
    ]
    facts = {
        "strategy": recipe.strategy["name"],
        "trainable parameters": trained_share(parameters),
        "optimizer": recipe.optimizer["name"],
        "learning rate": trainer.args.learning_rate,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "batches": how,
        "parameters made anew": ", ".join(prepared.loaded.new) or "none",
        "best checkpoint": trainer.state.best_model_checkpoint or "none",
        **{f"dropout {field}": value for field, value in prepared.dropout.items()},
        **{f"{part} (s)": round(seconds, 1) for part, seconds in watch.laps_s.items()},
    }
    columns = ["group", "parameters", "learning rate factor", "trains from step"]
    return [
        sections.facts("Run", facts, group="Training"),
        sections.table("Parameter groups", columns, groups, group="Training"),
        sections.table("Parts of the model", ["part", "parameters", "trained", "groups"], parts, group="Training"),
        *curves_of(trainer.state.log_history, prepared.task.primary()),
        sections.code("Recipe", to_yaml(recipe), language="yaml", group="Training"),
    ]


def curves_of(history: Sequence[Mapping[str, Any]], primary: str) -> list[Section]:
    """Losses, the primary figure and the learning rate over the steps, from the Trainer's log."""

    def line(key: str) -> list[list[float | None]]:
        return [[entry["step"], entry[key]] for entry in history if key in entry]

    losses = {name: line(key) for name, key in (("training", "loss"), ("validation", "eval_loss"))}
    charts = [
        ("Loss", {name: points for name, points in losses.items() if points}, "loss (nats)"),
        ("Validation", {primary: line(f"eval_{primary}")}, primary),
        ("Learning rate", {"learning rate": line("learning_rate")}, "learning rate"),
    ]
    return [
        sections.curves(title, series, x_label="optimizer steps", y_label=label, group="Training")
        for title, series, label in charts
        if any(series.values())
    ]


def result_sections(scores: Mapping[str, Scores], *, notes: Mapping[str, str] | None = None) -> list[Section]:
    """Figures of every split, and the task's own parts of the first one (test, where there is one)."""
    parts = [
        sections.figures(f"Figures on {split}", found.figures, note=(notes or {}).get(split), group="Results")
        for split, found in scores.items()
    ]
    for found in list(scores.values())[:1]:
        parts.extend({**part, "group": "Results"} for part in found.sections)
    return parts


def warnings_of(scores: Mapping[str, Scores], task: Task) -> list[str]:
    """What the task warns of, and where its primary figure is undefined, each with the name of its rows before it."""
    return [
        f"{split}: {warning}"
        for split, found in headline_first(scores).items()
        for warning in (*found.warnings, *undefined(found.figures, task))
    ]


def undefined(figures: Mapping[str, Figure], task: Task) -> list[str]:
    """A warning where the rows leave the primary figure undefined."""
    return [] if task.primary() in figures else [f"{task.primary()} is undefined on these rows"]


def headline_first(scores: Mapping[str, Scores]) -> dict[str, Scores]:
    """The test rows before those of validation, on which something was chosen."""
    return {split: scores[split] for split in ("test", "validation") if split in scores}
