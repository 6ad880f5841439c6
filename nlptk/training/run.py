"""One job from a recipe to a measured artifact."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from nlptk import artifact
from nlptk.checkpoints import quiet
from nlptk.environment import Watch, versions
from nlptk.recipe import Recipe
from nlptk.strategies.layer_map import head_modules
from nlptk.task import Figure, Scores
from nlptk.training.arguments import RunFacts, training_arguments
from nlptk.training.checkpointing import last_checkpoint
from nlptk.training.head import fold_head_norm
from nlptk.training.identity import run_identity
from nlptk.training.occupation import sole_run
from nlptk.training.optimizers import default_learning_rate, default_weight_decay
from nlptk.training.preparation import (
    Batching,
    Prepared,
    caveats,
    load_data,
    prepare,
    stored_batching,
    token_batching,
)
from nlptk.training.readout import stored_backbone
from nlptk.training.reporting import warnings_of, write_training_report
from nlptk.training.trainer import NlptkTrainer, Optimization


@dataclass(frozen=True)
class TrainResult:
    """What a run made.

    artifact: the model's folder; report: report.html; folder: the run's, with checkpoints and metrics files.
    rows: split -> how many there were.
    figures: split -> metric -> value with its interval. metrics: plain values by the conventional names
    (`eval_accuracy`, `test_accuracy`, `train_loss`, `train_runtime` in seconds, ...).
    parameters: trainable, total and what each group holds. warnings: what the figures alone may hide.
    """

    artifact: Path
    report: Path
    folder: Path
    rows: dict[str, int]
    figures: dict[str, dict[str, Figure]]
    metrics: dict[str, float]
    parameters: dict[str, Any]
    warnings: list[str]


def run(recipe: Recipe, *, where: str = "recipe") -> TrainResult:
    """Train, measure, save and report. `where` begins the messages about the recipe.

    Raises: NlptkError for whatever the user can mend; nothing of an earlier artifact is lost by it.
    """
    with sole_run(Path(recipe.output), where=where):
        return _run(recipe, where)


def _run(recipe: Recipe, where: str) -> TrainResult:
    watch = Watch()
    prepared = prepare(recipe, load_data(recipe))
    watch.lap("data and model")
    args, batching = _arrange(recipe, prepared, where)
    once = prepared.backbone_once
    with tempfile.TemporaryDirectory(prefix="nlptk-") as scratch:
        adapter = Path(scratch) / "adapter"
        with stored_backbone(prepared.model) if once else contextlib.nullcontext():
            trainer = _make_trainer(recipe, prepared, batching, args)
            trainer.check_metric(where)
            watch.lap("batches")
            trainer.identity = run_identity(recipe, prepared, args)
            trained = trainer.train(resume_from_checkpoint=last_checkpoint(args, where, trainer.identity))
            trainer.leave_mixed_precision()
            watch.lap("training")
            if batching.packed is not None:
                batching.packed.remove()
            if recipe.head.norm == "batch":
                fold_head_norm(prepared.model)
            prepared.strategy.save_adapter(prepared.trained, adapter)
            model = prepared.strategy.merge(prepared.trained)
            scores = _measure(recipe, trainer, model, batching)
            watch.lap("measuring")
        replaced = retire_evaluations(Path(recipe.output), main=trainer.is_world_process_zero())
        warnings = [*replaced, *caveats(prepared), *_untrained(trainer), *warnings_of(scores, prepared.task)]
        metrics = {**trained.metrics, **flat(scores)}
        output = Path(recipe.output)
        if trainer.is_world_process_zero():
            save_artifact(recipe, prepared, model, scores, adapter)
            watch.lap("saving")
            write_metrics(output, trainer, metrics)
            write_training_report(
                output, recipe, prepared, trainer, scores, warnings=warnings, how=batching.how, watch=watch
            )
        trainer.accelerator.wait_for_everyone()
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


def _arrange(recipe: Recipe, prepared: Prepared, where: str) -> tuple[TrainingArguments, Batching]:
    """Batches, and the arguments that fit them."""
    once = prepared.backbone_once
    launched = torch.distributed.is_torchelastic_launched()
    batching = None
    if not once:
        data_parallel = torch.cuda.device_count() > 1 and not launched
        batching = token_batching(prepared, wanted=recipe.packing, data_parallel=data_parallel)
    facts = RunFacts(
        output=recipe.output,
        seed=recipe.seed,
        learning_rate=default_learning_rate(recipe.optimizer["name"], prepared.strategy.lr_kind),
        weight_decay=default_weight_decay(recipe.optimizer["name"]),
        primary=prepared.task.primary(),
        lower_is_better=prepared.task.lower_is_better,
        has_validation="validation" in prepared.splits,
        packed=batching is None or batching.packed is not None,
        # a backbone alone may have a pooler that nothing reads, which no step trains
        scheduled=prepared.strategy.scheduled() or not head_modules(prepared.model),
        early_stopping=recipe.early_stopping is not None,
    )
    args = training_arguments(recipe.training, facts, where=where)
    if batching is None:
        args.activation_checkpointing = args.gradient_checkpointing = False  # a head has no layers to run again
        prepared.model.to(args.device)
        batching = stored_batching(prepared, batch_size=args.per_device_eval_batch_size)
    return args, batching


def _make_trainer(recipe: Recipe, prepared: Prepared, batching: Batching, args: TrainingArguments) -> NlptkTrainer:
    options = {key: value for key, value in recipe.optimizer.items() if key != "name"}
    return NlptkTrainer(
        prepared.trained,
        args,
        task=prepared.task,
        strategy=prepared.strategy,
        optimization=Optimization(recipe.optimizer["name"], options, prepared.groups),
        train_dataset=batching.train,
        collator=batching.collator,
        validation=batching.evaluation.get("validation"),
        callbacks=stopping(recipe),
    )


def stopping(recipe: Recipe) -> list[TrainerCallback]:
    """What ends a training that the recipe lets end early."""
    stop = recipe.early_stopping
    return [] if stop is None else [EarlyStoppingCallback(stop.patience, stop.threshold)]


def _measure(recipe: Recipe, trainer: NlptkTrainer, model: PreTrainedModel, batching: Batching) -> dict[str, Scores]:
    """Scores of the model that is saved, by split; what is decided on validation (thresholds) is decided first."""
    task = trainer.task
    found: dict[str, Scores] = {}
    for split in ("validation", "test"):
        rows = batching.evaluation.get(split)
        if rows is None:
            continue
        pooled, loss = trainer.run(rows, model)
        if split == "validation":
            task.tune(pooled, rows.rows)
        scores = task.score(pooled, rows.rows, bootstrap=recipe.bootstrap, sections=True, seed=recipe.seed)
        if loss is not None:
            scores.figures["loss"] = Figure(loss)
        found[split] = scores
    return found


def _untrained(trainer: NlptkTrainer) -> list[str]:
    if trainer.state.global_step == 1 and not any(trainer.first_rates):
        return [
            "the one optimizer step was the warm-up's first, at a learning rate of 0, so nothing was learnt; give more "
            "steps, or training.warmup_steps=0"
        ]
    if trainer.state.global_step:
        return []
    return ["no training step was taken: what the checkpoint did not have is as it was made, at random"]


def retire_evaluations(output: Path, *, main: bool) -> list[str]:
    """Move aside the evaluations of a model that is about to be replaced, and say that it is. main: of several
    processes, this one moves."""
    if not (output / "model").exists():
        return []
    said = f"replaces the model of an earlier run in {output}"
    held = output / artifact.EVALUATIONS
    if not held.exists():
        return [said]
    return [f"{said}, whose evaluations are now in {artifact.set_aside(held, move=main)}"]


def flat(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Values by the names transformers uses: eval_ for validation, test_ for test."""
    prefixes = {"validation": "eval"}
    return {
        f"{prefixes.get(split, split)}_{name}": figure.value
        for split, found in scores.items()
        for name, figure in found.figures.items()
    }


def save_artifact(
    recipe: Recipe, prepared: Prepared, model: PreTrainedModel, scores: Mapping[str, Scores], adapter: Path
) -> None:
    """The model's folder. adapter: a folder to go with it, where there is one."""
    columns = prepared.splits["train"].rows.column_names
    manifest = artifact.Manifest(
        task={"name": recipe.task["name"], "options": prepared.task.options.model_dump(mode="json")},
        preprocessing=prepared.preprocessing,
        labels=prepared.task.labels,
        decision=prepared.task.decision,
        recipe=recipe.model_dump(mode="json"),
        data={
            "roles": [column.role for column in prepared.task.columns if not column.target and column.role in columns],
            "fingerprint": prepared.data.report.fingerprint,
            "fingerprints": prepared.data.report.fingerprints,
            "rows": prepared.data.report.rows,
        },
        metrics={split: {n: f.to_json() for n, f in found.figures.items()} for split, found in scores.items()},
        versions=versions(),
    )

    def write(folder: Path) -> None:
        write_model(folder, model, prepared.tokenizer, max_length=prepared.preprocessing.max_length)
        prepared.task.save_extra(folder, model, prepared.preprocessing)
        if adapter.is_dir():
            shutil.copytree(adapter, folder / "adapter")

    artifact.save(Path(recipe.output) / "model", manifest, write)


def write_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
    """The plain transformers folder: config.json, model.safetensors and the tokenizer's files. max_length: tokens of
    the model's inputs, which transformers' pipelines read from the tokenizer where they truncate."""
    limit = tokenizer.model_max_length
    tokenizer.model_max_length = max_length
    try:
        with quiet():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # as every other failed write, for who makes the artifact
    finally:
        tokenizer.model_max_length = limit


def write_metrics(output: Path, trainer: NlptkTrainer | None, metrics: Mapping[str, Any]) -> None:
    """all_results.json and trainer_state.json, by transformers' own names."""
    if trainer is not None:
        trainer.state.save_to_json(str(output / "trainer_state.json"))
    text = json.dumps(metrics, indent=2, sort_keys=True)
    (output / "all_results.json").write_text(text + "\n", encoding="utf-8")
