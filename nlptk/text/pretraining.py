"""One pretraining job from a recipe to a measured checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from nlptk.environment import Watch
from nlptk.errors import RecipeError
from nlptk.report.document import replace_text
from nlptk.text.card import model_card
from nlptk.text.documents import Corpus, find_corpus
from nlptk.text.measures import Measure, unigram_baseline
from nlptk.text.objectives import Objective, make_objective
from nlptk.text.origin import Origin, begin
from nlptk.text.recipe import PretrainRecipe
from nlptk.text.reporting import write_pretraining_report
from nlptk.text.saving import round_weights, save_pretrained
from nlptk.text.sizes import check_fields
from nlptk.text.token_store import HELD_OUT, TRAIN, Tokens, check_parts, tokenize_corpus
from nlptk.text.trainer import PretrainingTrainer
from nlptk.text.windows import held_out_windows, training_windows
from nlptk.training.arguments import RunFacts, check_training, training_arguments
from nlptk.training.checkpointing import last_checkpoint
from nlptk.training.features import tokenizer_fingerprint
from nlptk.training.identity import first_weights, shaping
from nlptk.training.occupation import sole_run
from nlptk.training.optimizers import default_learning_rate, default_weight_decay

START, BASELINE, TRAINED = "start", "unigram baseline", "trained"
SCRATCH_RATES = {"adamw": 1e-3, "adam": 1e-3, "adafactor": 2e-2}
"""Learning rates from scratch, for the tiny size. A tiny T5, whose embeddings begin large, learns faster with
Adafactor: a hidden word cost it 6.76 nats, and with AdamW (at 3e-3) 7.04, after 300 steps of 2,264 tokens."""


@dataclass(frozen=True)
class PretrainResult:
    """What a run made.

    model: the checkpoint's folder; report: report.html; folder: the run's, with its checkpoints.
    figures: start, unigram baseline, trained -> loss (nats a predicted token), perplexity, bits_per_byte; empty where
    nothing was held out. metrics: by transformers' names (`train_loss`, `eval_loss`, `tokens_per_second`, ...).
    warnings: of an earlier checkpoint that it replaces.
    """

    model: Path
    report: Path
    folder: Path
    figures: dict[str, dict[str, float]]
    metrics: dict[str, float]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Everything, paths as strings."""
        return {**asdict(self), **{key: str(getattr(self, key)) for key in ("model", "report", "folder")}}

    def lines(self) -> list[str]:
        """What the command line says."""
        seen = f"{self.metrics['train_tokens']:,} tokens of text in {self.metrics['train_steps']:,} steps"
        lines = [f"{seen}, {self.metrics['tokens_per_second']:,.0f} tokens/s"]
        for column, found in self.figures.items():
            said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items())
            lines.append(f"  {column:<18} {said}")
        return [*lines, f"model   {self.model}", f"report  {self.report}"]


def run(recipe: PretrainRecipe, *, where: str = "recipe") -> PretrainResult:
    """Train, measure, save and report. `where` begins the messages about the recipe.

    Raises: NlptkError for whatever can be mended.
    """
    with sole_run(Path(recipe.output), where=where):
        return _run(recipe, where)


def _run(recipe: PretrainRecipe, where: str) -> PretrainResult:
    watch = Watch()
    _check(recipe, where)
    data = recipe.data
    corpus = find_corpus(
        data.train,
        column=data.column,
        lines_per_document=data.lines_per_document,
        encoding=data.encoding,
        max_documents=data.max_documents,
    )
    origin = begin(recipe, corpus)
    tokenizer = origin.vocabulary.tokenizer
    objective = make_objective(origin.auto_class, tokenizer, recipe.objective, recipe.block_length)
    watch.lap("tokenizer and model")
    tokens = tokenize_corpus(corpus, tokenizer, separator=objective.separator, held_out=data.held_out_share)
    check_parts(tokens, corpus, share=data.held_out_share)
    trainer = _trainer(recipe, origin, objective, tokens, where)
    watch.lap("tokens")
    figures = _figures_before(trainer, objective, tokens, len(tokenizer))
    watch.lap("measuring")
    trainer.identity = _identity(recipe, origin, corpus, trainer.args)
    checkpoint = last_checkpoint(trainer.args, where, trainer.identity)
    done = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.leave_mixed_precision()
    watch.lap("training")
    if recipe.save_dtype == "float16":
        round_weights(origin.model)
    if trainer.held_out is not None:
        figures[TRAINED] = trainer.measure()
    watch.lap("measuring")
    result = _result(recipe, trainer, objective, done.metrics, figures, resumed=checkpoint)
    if trainer.is_world_process_zero():
        facts = _facts(recipe, origin, tokens, result.metrics)
        card = model_card(recipe, origin, objective=objective.name, figures=result.figures, facts=facts)
        kept = {"key": corpus.key(), "files": [path.name for path in corpus.files]}
        measured = {**result.figures, "run": result.metrics}
        save_pretrained(result.model, recipe, origin, card=card, data=kept, metrics=measured)
        watch.lap("saving")
        text = json.dumps(result.metrics, indent=2, sort_keys=True)
        replace_text(result.folder / "all_results.json", text + "\n")
        trainer.state.save_to_json(str(result.folder / "trainer_state.json"))
        history = trainer.state.log_history
        write_pretraining_report(
            result.folder, recipe, origin, history, result.figures, warnings=result.warnings, facts=facts, watch=watch
        )
    trainer.accelerator.wait_for_everyone()
    return result


def _check(recipe: PretrainRecipe, where: str) -> None:
    """Refuse what can be told before the text is read. Raises: RecipeError."""
    check_training(recipe.training, where=where)
    default_weight_decay(recipe.optimizer["name"])
    if recipe.model.family is not None:
        check_fields(recipe.model.family, recipe.model.config)


def _trainer(
    recipe: PretrainRecipe, origin: Origin, objective: Objective, tokens: Mapping[str, Tokens], where: str
) -> PretrainingTrainer:
    held_out = None
    if recipe.data.held_out_share:
        held_out = held_out_windows(tokens[HELD_OUT], objective, most_tokens=recipe.data.held_out_tokens)
    windows = training_windows(tokens[TRAIN], objective, seed=recipe.seed)
    args = _arguments(recipe, held_out is not None, where)
    rows = args.per_device_train_batch_size * args.world_size
    if args.dataloader_drop_last and len(windows) < rows:
        raise RecipeError(
            f"{where}: training.per_device_train_batch_size: the text makes {len(windows)} examples, fewer than the "
            f"{rows} of one batch; give more text, a smaller batch or a smaller block_length"
        )
    return PretrainingTrainer(
        origin.model, args, objective=objective, optimizer=recipe.optimizer, windows=windows, held_out=held_out
    )


def _arguments(recipe: PretrainRecipe, measured: bool, where: str) -> TrainingArguments:
    """The recipe's `training` block over defaults for pretraining, over those of fine-tuning."""
    optimizer = recipe.optimizer["name"]
    rate = default_learning_rate(optimizer, "full")
    if recipe.model.checkpoint is None:
        rate = SCRATCH_RATES.get(optimizer, rate)
    defaults = {
        "per_device_train_batch_size": 8,  # more rows of 256 tokens make a CPU no faster, and fewer steps learn less
        "per_device_eval_batch_size": 32,
        "num_train_epochs": 1.0,
        "logging_steps": 0.01,
        **({"eval_strategy": "steps", "eval_steps": 0.1} if measured else {}),
        "save_strategy": "steps",
        "save_steps": 0.1,
        "load_best_model_at_end": False,
        "dataloader_drop_last": True,  # so that every step has as many tokens
    }
    facts = RunFacts(
        output=recipe.output,
        seed=recipe.seed,
        learning_rate=rate,
        weight_decay=default_weight_decay(optimizer),
        primary="loss",
        lower_is_better=frozenset({"loss", "perplexity", "bits_per_byte"}),
        has_validation=measured,
        packed=True,
        scheduled=False,
    )
    made: TrainingArguments = training_arguments({**defaults, **recipe.training}, facts, where=where)
    return made


def _identity(recipe: PretrainRecipe, origin: Origin, corpus: Corpus, args: TrainingArguments) -> dict[str, Any]:
    """What a resumed run shares with the one it goes on with; length, logs and checkpoints may change."""
    return {
        **recipe.model_dump(mode="json", include={"objective", "block_length", "optimizer", "seed"}),
        "data": [corpus.key(), recipe.data.held_out_share],
        "tokenizer": tokenizer_fingerprint(origin.vocabulary.tokenizer),
        "model": first_weights(origin.model),
        "model.dropout": recipe.model.dropout,
        **shaping(args),
    }


def _figures_before(
    trainer: PretrainingTrainer, objective: Objective, tokens: Mapping[str, Tokens], vocabulary: int
) -> dict[str, Measure]:
    if trainer.held_out is None:
        return {}
    baseline = unigram_baseline(tokens[TRAIN], trainer.held_out, objective, vocabulary=vocabulary)
    return {START: trainer.measure(), BASELINE: baseline}


def _result(
    recipe: PretrainRecipe,
    trainer: PretrainingTrainer,
    objective: Objective,
    trained: Mapping[str, float],
    measures: Mapping[str, Measure],
    *,
    resumed: str | None,
) -> PretrainResult:
    """Paths and figures. tokens_per_second: tokens of text trained on since the run began or was resumed, over the
    whole training loop, its evaluations and checkpoints included."""
    args, steps = trainer.args, trainer.state.global_step
    per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size * objective.stride
    first = int(resumed.rpartition("-")[2]) if resumed else 0
    seconds = trained["train_runtime"]
    figures = {name: measure.figures() for name, measure in measures.items()}
    metrics = {
        "train_loss": trained["train_loss"],
        "train_runtime": seconds,
        "train_steps": steps,
        "train_tokens": steps * per_step,
        "tokens_per_second": (steps - first) * per_step / seconds if seconds else 0.0,
    }
    metrics |= {f"eval_{name}": value for name, value in figures.get(TRAINED, {}).items()}
    output = Path(recipe.output)
    model = output / "model"
    warnings = [f"replaces the checkpoint of an earlier run in {output}"] if model.exists() else []
    return PretrainResult(model, output / "report.html", output, figures, metrics, warnings)


def _facts(
    recipe: PretrainRecipe, origin: Origin, tokens: Mapping[str, Tokens], metrics: Mapping[str, float]
) -> dict[str, Any]:
    """What the card and the report say of the run."""
    files = recipe.data.train if isinstance(recipe.data.train, list) else [recipe.data.train]
    train, held_out = tokens[TRAIN], tokens[HELD_OUT]
    return {
        "parameters": origin.model.num_parameters(),
        "tokenizer": origin.vocabulary.how,
        "files": ", ".join(Path(file).name for file in files),
        "documents trained on": train.documents,
        "bytes trained on": train.size_bytes,
        "tokens in them": len(train.ids),
        "bytes a token": train.bytes_per_token,
        "documents held out": held_out.documents,
        "tokens seen in training": int(metrics["train_tokens"]),
        "steps": int(metrics["train_steps"]),
        "tokens a second": metrics["tokens_per_second"],
        "weights stored as": recipe.save_dtype,
    }
