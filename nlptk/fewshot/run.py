"""One few-shot job from a recipe to a measured artifact."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from nlptk.data.normalize import text_key
from nlptk.environment import Watch
from nlptk.fewshot.contract import Material, Method
from nlptk.fewshot.data import refuse_classes_without_rows, refuse_unknown_names, split_rows, with_class_names
from nlptk.fewshot.methods import make_method
from nlptk.fewshot.rejection import measure_rejection, out_of_scope_rows, tune_rejection
from nlptk.fewshot.reporting import write_few_shot_report
from nlptk.fewshot.rows import LabelledRows, frozen_vectors
from nlptk.fewshot.settings import check_head, settled, trains, unused
from nlptk.fewshot.teaching import Taught, learner_of, lesson_arguments, taught_by
from nlptk.parts.support import Support
from nlptk.recipe import Recipe
from nlptk.task import Scores
from nlptk.training.occupation import sole_run
from nlptk.training.preparation import Prepared, caveats, load_data, prepare
from nlptk.training.reporting import warnings_of
from nlptk.training.run import TrainResult, flat, retire_evaluations, save_artifact, write_metrics


def run(recipe: Recipe, *, where: str = "recipe") -> TrainResult:
    """Train, measure, save and report. Raises: NlptkError for whatever the user can mend."""
    with sole_run(Path(recipe.output), where=where):
        return _run(settled(recipe, where), where)


def _run(recipe: Recipe, where: str) -> TrainResult:
    watch = Watch()
    prepared = prepare(recipe, load_data(recipe))
    task: Any = prepared.task
    method = make_method(task.settings.method)
    check_head(prepared, method, where)
    args = lesson_arguments(recipe, prepared, where)
    prepared.trained.to(args.device)
    watch.lap("data and model")
    support = _examples(recipe, prepared, method)
    on_support = trains(recipe) and (method.trains == "support" or method.settles(learner_of(prepared)))
    strangers = out_of_scope_rows(prepared, recipe.data, on_support=on_support)
    taught = taught_by(recipe, prepared, method, where, support=support)
    prepared = replace(prepared, parameters=_trained_parameters(prepared.parameters, taught))
    watch.lap("training")
    size = args.per_device_eval_batch_size
    see = partial(frozen_vectors if taught.frozen else LabelledRows.vectors, model=taught.model, batch_size=size)
    vectors = {split: see(support if split == "train" else split_rows(prepared, split)) for split in prepared.splits}
    task.support = _learnt(recipe, prepared, method, taught, support, vectors["train"])
    unfamiliar = {split: task.familiarity(see(rows)) for split, rows in strangers.items()}
    told = tune_rejection(task, vectors.get("validation"), unfamiliar.get("validation"))
    scores = _measure(recipe, prepared, vectors)
    measure_rejection(task, scores, vectors, unfamiliar, bootstrap=recipe.bootstrap, seed=recipe.seed)
    watch.lap("measuring")
    output = Path(recipe.output)
    metrics = {**taught.metrics, **flat(scores)}
    state = PartialState()
    warnings = [
        *retire_evaluations(output, main=state.is_main_process),
        *caveats(prepared),
        *_repeated(prepared),
        *unused(recipe),
        *taught.warnings,
        *told,
        *warnings_of(scores, task),
    ]
    if state.is_main_process:
        _save(recipe, prepared, taught, scores, metrics, warnings, watch)
    state.wait_for_everyone()
    return TrainResult(
        artifact=output / "model",
        report=output / "report.html",
        folder=output,
        rows=prepared.data.report.rows,
        figures={split: found.figures for split, found in scores.items()},
        metrics=metrics,
        parameters=prepared.parameters,
        warnings=warnings,
    )


def _examples(recipe: Recipe, prepared: Prepared, method: Method) -> LabelledRows:
    """The rows that classes are learnt from, the words of their names among them where those count."""
    support = with_class_names(split_rows(prepared, "train"), prepared.preprocessing)
    if recipe.task["meta"] is None:
        refuse_unknown_names(prepared.task, [support])
    refuse_classes_without_rows(support)
    method.check_names(support.names, prepared.tokenizer)
    return support


def _learnt(
    recipe: Recipe, prepared: Prepared, method: Method, taught: Taught, support: LabelledRows, vectors: np.ndarray
) -> Support:
    """What the model knows its classes by. vectors: (examples, width), by the encoder that was taught."""
    material = Material(
        vectors,
        support.labels,
        support.names,
        taught.model,
        prepared.tokenizer,
        learned=taught.learned,
        seed=recipe.seed,
    )
    head = method.head(material)
    return Support(tuple(support.rows["text"]), support.labels, vectors, head, taught.learned)


def _trained_parameters(report: Mapping[str, Any], taught: Taught) -> dict[str, Any]:
    """A `parameter_report` of what a method trained: of the encoder, and a start for heads where it learnt one. A head
    that is made of the examples is not counted."""
    learned = sum(values.size for values in taught.learned.values())
    groups = [] if taught.frozen else list(report["groups"])
    if learned:
        groups.append({"name": "start", "size": learned, "lr_scale": 1.0})
    trainable, total = sum(group["size"] for group in groups), report["total"] + learned
    return {**report, "trainable": trainable, "total": total, "percent": 100.0 * trainable / total, "groups": groups}


def _repeated(prepared: Prepared) -> list[str]:
    """A warning of examples that stand for their class twice; of texts of two classes it is told elsewhere."""
    rows = split_rows(prepared, "train")
    keys = [(text_key([text]), label) for text, label in zip(rows.rows["text"], rows.labels.tolist(), strict=True)]
    found = len(keys) - len(set(keys))
    return [f"{found} of {len(keys)} examples repeat another one's text, and teach nothing new"] if found else []


def _measure(recipe: Recipe, prepared: Prepared, vectors: Mapping[str, np.ndarray]) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for split in ("validation", "test"):
        if split in vectors:
            rows = prepared.splits[split].rows
            pooled = list(vectors[split])
            found[split] = prepared.task.score(
                pooled, rows, bootstrap=recipe.bootstrap, sections=True, seed=recipe.seed
            )
    return found


def _save(
    recipe: Recipe,
    prepared: Prepared,
    taught: Taught,
    scores: Mapping[str, Scores],
    metrics: Mapping[str, Any],
    warnings: Sequence[str],
    watch: Watch,
) -> None:
    output = Path(recipe.output)
    with tempfile.TemporaryDirectory(prefix="nlptk-") as scratch:
        adapter = Path(scratch) / "adapter"
        save_artifact(recipe, prepared, taught.model, scores, adapter)
    watch.lap("saving")
    write_metrics(output, taught.trainer, metrics)
    write_few_shot_report(output, recipe, prepared, taught.trainer, scores, warnings=warnings, watch=watch)
