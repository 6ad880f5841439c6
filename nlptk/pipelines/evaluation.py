"""An artifact measured on labelled rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset

from nlptk.artifact import EVALUATIONS
from nlptk.data import DataReport, fingerprint, read_rows
from nlptk.data.cache import disk_errors
from nlptk.data.problems import conflict_lines, dropped_lines
from nlptk.environment import Watch
from nlptk.errors import DataError
from nlptk.pipelines.artifact import Pipeline, pipeline, rows_as_trained
from nlptk.recipe import DataSettings
from nlptk.report import sections, write_report
from nlptk.task import Column, Features, Figure, Scores, Task
from nlptk.training.features import cut_warnings, make_features
from nlptk.training.inference import run_features
from nlptk.training.preparation import token_fetch, usable_rows
from nlptk.training.reporting import (
    context,
    data_sections,
    first_figures,
    ledger_section,
    length_section,
    result_sections,
    undefined,
)


@dataclass(frozen=True)
class EvaluationResult:
    """What was measured.

    figures: metric -> value with its interval; rows: how many were measured on; data: what was found about them, and
    what was left out; report: report.html, beside report.json and all_results.json; warnings: what the figures alone
    may hide.
    """

    figures: dict[str, Figure]
    rows: int
    data: DataReport
    report: Path
    warnings: list[str]


def evaluate(
    model: str | Path,
    settings: DataSettings,
    *,
    output: str | Path | None,
    batch_size: int,
    bootstrap: int,
    seed: int,
    out_of_scope: str | None = None,
) -> EvaluationResult:
    """Figures of an artifact on the rows of `settings.train`, with its own decisions (nothing is tuned here).

    output: folder of the report; default: `evaluations/NAME` beside the model's folder, NAME being the rows' file's.
    out_of_scope: a file of texts that a few-shot model should give no label.
    """
    watch = Watch()
    loaded = pipeline(model, batch_size=batch_size)
    task = loaded.task
    if settings.train is None:
        raise DataError("data.train: missing; give the file with the labelled rows to measure on")
    folder = Path(output) if output is not None else _default_output(loaded.folder, settings.train)
    with disk_errors(folder, elsewhere="give another output"):
        folder.mkdir(parents=True, exist_ok=True)
    columns, settings = rows_as_trained(loaded.manifest, task.columns, settings)
    rows, found = _read(task, settings, columns)
    how = loaded.manifest.preprocessing
    features = make_features(task, rows, loaded.tokenizer, how, rows_fingerprint=found.fingerprint)
    pooled, loss = _run(loaded, features, batch_size=batch_size)
    scores = task.score(pooled, rows, bootstrap=bootstrap, sections=True, seed=seed)
    if loss is not None:
        scores.figures["loss"] = Figure(loss)
    if out_of_scope is not None:
        from nlptk.fewshot.rejection import rejection_of_file

        found_there = rejection_of_file(
            task,
            loaded.model,
            out_of_scope,
            settings,
            how,
            rows=rows,
            known=np.asarray(pooled),
            bootstrap=bootstrap,
            seed=seed,
        )
        scores.figures.update(found_there)
    told = [*dropped_lines(found.dropped), *conflict_lines(found.conflicts), *found.notes]
    cut = cut_warnings({"the rows": features.ledger}, task, long_text=how.long_text)
    scores.warnings.extend([*told, *cut, *undefined(scores.figures, task)])
    watch.lap("measuring")
    parts = [
        *data_sections(found),
        ledger_section({"rows": features.ledger}),
        length_section({"rows": features}, how.max_length),
    ]
    report = _report(folder, loaded, scores, parts, seed=seed, watch=watch)
    return EvaluationResult(scores.figures, len(rows), found, report, scores.warnings)


def _read(task: Task, settings: DataSettings, columns: Sequence[Column]) -> tuple[Dataset, DataReport]:
    """The rows that can be measured, and what was found about them and left out."""
    assert settings.train is not None
    rows, found = read_rows(
        settings.train, columns, settings=settings, labels=task.labels, targets=True, rules=task.rules()
    )
    rows, unseen = usable_rows(task, rows, "rows", how=settings.unseen_labels)
    if unseen:
        found.dropped.extend(unseen)
        found.rows["rows"], found.fingerprint = len(rows), fingerprint(rows)
    return rows, found


def _run(loaded: Pipeline, features: Features, *, batch_size: int) -> tuple[Sequence[Any], float | None]:
    """The outputs of every row, and the mean loss where rows have labels."""
    outputs, loss = run_features(
        loaded.model,
        loaded.task,
        features.dataset["length"][:],
        token_fetch(loaded.task, features, loaded.tokenizer.pad_token_id),
        batch_size=batch_size,
    )
    return loaded.task.pool(outputs, features), loss


def _default_output(model: Path, source: str | list[str]) -> Path:
    """A folder of its own beside the model, named after the rows."""
    name = Path(source if isinstance(source, str) else source[0]).name.partition(".")[0] or "rows"
    return model.parent / EVALUATIONS / name


def _report(
    output: Path, loaded: Pipeline, scores: Scores, parts: list[dict[str, Any]], *, seed: int, watch: Watch
) -> Path:
    training = loaded.manifest.data.get("fingerprint", "unknown")
    trained = sections.facts("Model", {"folder": str(loaded.folder), "trained on": training}, group="Model")
    said = yaml.safe_dump(loaded.manifest.recipe, sort_keys=False, allow_unicode=True)
    recipe = sections.code("Recipe of the model", said, language="yaml", group="Model")
    report: Mapping[str, Any] = {
        "title": f"{loaded.task.name} · {loaded.folder.name}",
        "subtitle": "evaluation",
        "warnings": scores.warnings,
        **first_figures(scores.figures, loaded.task),
        "sections": [*result_sections({"the rows": scores}), *parts, trained, recipe],
        "context": context(seed, watch),
    }
    page = write_report(output, report)[1]
    metrics = {f"eval_{name}": figure.value for name, figure in scores.figures.items()}
    (output / "all_results.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return page
