"""The report of a pretraining run: what was read, the curves, and the figures before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptk.environment import Watch
from nlptk.report import sections, write_report
from nlptk.text.origin import Origin
from nlptk.text.recipe import PretrainRecipe, to_yaml
from nlptk.training.reporting import context

_NOTE = "On documents that were never trained on; the baseline knows the training text's token frequencies alone."


def write_pretraining_report(
    output: Path,
    recipe: PretrainRecipe,
    origin: Origin,
    history: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Mapping[str, float]],
    *,
    warnings: Sequence[str],
    facts: Mapping[str, Any],
    watch: Watch,
) -> Path:
    """report.json and report.html of a run; the path of the latter."""
    laps = {f"{part} (s)": round(seconds, 1) for part, seconds in watch.laps_s.items()}
    parts = [sections.facts("Run", {**facts, **laps}, group="Training")]
    if figures:
        names = list(next(iter(figures.values())))
        rows = [[column, *(found[name] for name in names)] for column, found in figures.items()]
        parts.insert(0, sections.table("Held-out text", ["", *names], rows, note=_NOTE, group="Results"))
    for title, series, label in _curves(history):
        parts.append(sections.curves(title, series, x_label="optimizer steps", y_label=label, group="Training"))
    parts.append(sections.code("Recipe", to_yaml(recipe), language="yaml", group="Training"))
    last = list(figures.values())[-1] if figures else {}
    report = {
        "title": f"pretraining · {origin.name}",
        "subtitle": "headline figures on held-out text",
        "headline": dict(last),
        "warnings": list(warnings),
        "sections": parts,
        "context": context(recipe.seed, watch),
    }
    return write_report(output, report)[1]


def _curves(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any], str]]:
    def line(key: str) -> list[list[float]]:
        return [[entry["step"], entry[key]] for entry in history if key in entry]

    losses = {name: line(key) for name, key in (("training", "loss"), ("held out", "eval_loss"))}
    charts: list[tuple[str, dict[str, Any], str]] = [
        ("Loss", {name: points for name, points in losses.items() if points}, "loss (nats)"),
        ("Learning rate", {"learning rate": line("learning_rate")}, "learning rate"),
    ]
    return [chart for chart in charts if any(chart[1].values())]
