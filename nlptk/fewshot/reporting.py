"""The report of a few-shot job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlptk.environment import Watch
from nlptk.fewshot.training import LessonTrainer
from nlptk.recipe import Recipe, to_yaml
from nlptk.report import sections, write_report
from nlptk.strategies.trainable import trained_share
from nlptk.task import Scores, Section
from nlptk.training.preparation import Prepared
from nlptk.training.reporting import (
    NOTES,
    context,
    curves_of,
    data_sections,
    first_figures,
    headline_first,
    ledger_section,
    length_section,
    model_name,
    result_sections,
)


def write_few_shot_report(
    output: Path,
    recipe: Recipe,
    prepared: Prepared,
    trainer: LessonTrainer | None,
    scores: Mapping[str, Scores],
    *,
    warnings: Sequence[str],
    watch: Watch,
) -> Path:
    """report.json and report.html of a job; the path of the latter. trainer: None where nothing trained."""
    features = {name: split.features for name, split in prepared.splits.items()}
    measured = "test" if "test" in scores else "validation"
    figures = scores[measured].figures if measured in scores else {}
    parts = [
        *result_sections(headline_first(scores), notes=NOTES),
        *data_sections(prepared.data.report),
        ledger_section({name: found.ledger for name, found in features.items()}),
        length_section(features, prepared.preprocessing.max_length),
        *_training_sections(recipe, prepared, trainer, watch),
    ]
    name = recipe.task["method"]["name"]
    report = {
        "title": f"few_shot · {name} · {model_name(recipe.model)}",
        "subtitle": f"headline figures on the {measured} split" if figures else "no held-out rows: nothing measured",
        **first_figures(figures, prepared.task),
        "warnings": list(warnings),
        "sections": parts,
        "context": context(recipe.seed, watch),
    }
    return write_report(output, report)[1]


def _training_sections(
    recipe: Recipe, prepared: Prepared, trainer: LessonTrainer | None, watch: Watch
) -> list[Section]:
    facts = {"method": recipe.task["method"]["name"]}
    threshold = prepared.task.threshold  # type: ignore[attr-defined]  # of the few-shot task
    if threshold is not None:
        facts["no label below a familiarity of"] = f"{threshold:.4f}"
    facts |= {f"{part} (s)": f"{seconds:.1f}" for part, seconds in watch.laps_s.items()}
    curves: list[Section] = []
    if trainer is not None:
        facts |= {
            "strategy": recipe.strategy["name"],
            "trainable parameters": trained_share(prepared.parameters),
            "optimizer": recipe.optimizer["name"],
            "learning rate": f"{trainer.args.learning_rate:g}",
            "steps": str(trainer.state.global_step),
            "best checkpoint": str(trainer.state.best_model_checkpoint or "none"),
        }
        curves = curves_of(trainer.state.log_history, "accuracy")
    return [
        sections.facts("Run", facts, group="Training"),
        *curves,
        sections.code("Recipe", to_yaml(recipe), language="yaml", group="Training"),
    ]
