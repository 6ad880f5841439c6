"""The command line. Heavy imports happen inside the commands, so that `nlptk --help` is quick."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlptk import cli_few_shot
from nlptk.cli_words import AsJson, Words, say, split_words

app = typer.Typer(
    name="nlptk",
    help="From a file of labelled rows to a model one can trust.\n\n"
    "Exit codes: 0 done; 2 something to mend in the recipe, the data, the model or the call (one message says what); "
    "130 interrupted; 1 a defect, with its traceback.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
recipe_app = typer.Typer(help="Look at recipes.", rich_markup_mode=None)
tokenizer_app = typer.Typer(help="Make tokenizers.", rich_markup_mode=None)
app.add_typer(recipe_app, name="recipe")
app.add_typer(tokenizer_app, name="tokenizer")
app.add_typer(cli_few_shot.app, name="fewshot")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit")] = False,
) -> None:
    if version:
        from nlptk import __version__

        typer.echo(f"nlptk {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        typer.echo(f"nlptk: warning: {warning}", err=True)


COUNTED = ("_labels", "_rows", "support")
"""How the names of figures end that are counts, 0 and 1 too."""


def _figure_lines(figures: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, figure in figures.items():
        interval = f"  [{figure.low:.4f}, {figure.high:.4f}]" if figure.low is not None else ""
        whole = figure.low is None and float(figure.value).is_integer()
        count = whole and (figure.value > 1 or name.endswith(COUNTED))  # 184, but an accuracy of 1.0000
        lines.append(f"  {name:<20} {figure.value:.{0 if count else 4}f}{interval}")
    return lines


@app.command()
def train(words: Words = None, as_json: AsJson = False) -> None:
    """Train, measure, save and report one job.

    nlptk train recipe.yaml training.num_train_epochs=1
    nlptk train task=classification model=CHECKPOINT data=rows.csv output=runs/reviews

    Checkpoints stay in the output folder, as many as training.save_total_limit says (1, beside the best), so that a run
    can be resumed, or prolonged with more epochs; once that is not wanted, its checkpoint-* folders can be deleted.
    """
    from nlptk import api
    from nlptk.data.problems import counted
    from nlptk.strategies.trainable import trained_share

    source, overrides = split_words(words)
    result = api.train(source, overrides=overrides)
    state = {
        "artifact": str(result.artifact),
        "report": str(result.report),
        "metrics": result.metrics,
        "rows": result.rows,
        "figures": {s: {n: f.to_json() for n, f in found.items()} for s, found in result.figures.items()},
        "parameters": result.parameters,
        "warnings": result.warnings,
    }
    lines = []
    for split in ("test", "validation"):
        if split in result.figures:
            selected = "; what selection used" if split == "validation" else ""
            lines += [
                f"{split}, {counted(result.rows[split], 'row')} (value and 95 % interval{selected})",
                *_figure_lines(result.figures[split]),
            ]
    if not lines:
        lines = ["no rows were held out, so nothing was measured: give data.test=FILE, or use nlptk evaluate later"]
    share = f"parameters trained: {trained_share(result.parameters)}"
    if api.is_main_process():
        say(as_json, state, [*lines, share, f"model   {result.artifact}", f"report  {result.report}"])
        _warn(result.warnings)


@app.command()
def pretrain(words: Words = None, as_json: AsJson = False) -> None:
    """Train a tokenizer and a small BERT, ModernBERT, GPT-2, Llama or T5 on text, or go on from a checkpoint.

    Like train, it takes a recipe, key=value words or both: model.family=bert model.size=tiny data=novels.txt.gz
    """
    from nlptk import api

    source, overrides = split_words(words, least="model.family=bert data=novels.txt")
    result = api.pretrain(source, overrides=overrides)
    if api.is_main_process():
        say(as_json, result.to_json(), result.lines())
        _warn(result.warnings)


@app.command()
def tune(
    words: Words = None,
    trials: Annotated[int, typer.Option(help="How many runs to try", min=1)] = 20,
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML file laid over the default: `strategy` or training.KEY -> [low, high] or {choices: [...]}"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search learning rate, epochs, batch size and strategy; write the best recipe.

    Epochs, batch size and strategy stay as the recipe gives them where it does; a learning rate it gives is searched
    around. Strategies tried: full, gradual_unfreezing, lora, or those of --space.
    """
    from nlptk import api
    from nlptk.recipe import read_recipe

    source, overrides = split_words(words)
    result = api.tune(source, overrides=overrides, trials=trials, space=read_recipe(space) if space else None)
    state = {"recipe": str(result.path), "metric": result.metric, "value": result.value, "trials": result.trials}
    best = f"best validation {result.metric} {result.value:.4f} of {len(result.trials)} trials"
    say(as_json, state, [best, f"recipe  {result.path}"])


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Artifact folder, or the run's")],
    data: Annotated[str, typer.Argument(help="Labelled rows")],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA.KEY=VALUE]...", help="Such as columns.text=review")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the report; default: evaluations/ beside the model")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the intervals")] = 1000,
    out_of_scope: Annotated[str | None, typer.Option(help="few_shot: texts of no class, to be rejected")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on labelled rows, with 95 % intervals."""
    from nlptk import api
    from nlptk.data.problems import counted

    settings = _data(data, keys)
    result = api.evaluate(
        model, settings, output=output, batch_size=batch_size, bootstrap=bootstrap, out_of_scope=out_of_scope
    )
    figures = {name: figure.to_json() for name, figure in result.figures.items()}
    state = {
        "rows": result.rows,
        "dropped": result.data.dropped,
        "figures": figures,
        "report": str(result.report),
        "warnings": result.warnings,
    }
    lines = [f"{counted(result.rows, 'row')} (value and 95 % interval)", *_figure_lines(result.figures)]
    say(as_json, state, [*lines, f"report  {result.report}"])
    _warn(result.warnings)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Artifact folder, or the run's")],
    source: Annotated[str, typer.Argument(help="Rows: csv, tsv, json, jsonl, parquet, each also .gz")],
    target: Annotated[Path, typer.Argument(help="Predictions, in input order, in any of those formats")],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA.KEY=VALUE]...", help="Such as columns.text=review")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    as_json: AsJson = False,
) -> None:
    """Predict a file of rows; interrupted, the same call goes on where it was.

    Each row of TARGET has `row` (its place among the rows of its file, from 1; a csv header is no row), all columns of
    SOURCE, and the prediction as `nlptk.pipeline` gives it, with whether the row was truncated: of a classifier label,
    score, scores of every label (in csv and tsv a column `scores.LABEL` each); of qa answer, score, start, end; of
    summarization summary; and so on. A column of SOURCE that has the name of one of these comes as `input_NAME`, such
    as `input_label`.
    """
    from nlptk import api
    from nlptk.data.problems import dropped_lines

    settings = _data(source, keys)
    result = api.predict(model, source, target, batch_size=batch_size, data=settings)
    state = {
        "target": str(result.target),
        "rows": result.rows,
        "resumed": result.resumed,
        "truncated": result.truncated,
        "dropped": result.dropped,
    }
    resumed = f", {result.resumed} of them from an interrupted call" if result.resumed else ""
    cut = f"; {result.truncated} texts were truncated" if result.truncated else ""
    say(as_json, state, [f"{result.rows} predictions in {result.target}{resumed}{cut}"])
    _warn(dropped_lines(result.dropped))


@app.command()
def inspect(
    data: Annotated[str, typer.Argument(help="Rows with their labels")],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA.KEY=VALUE]...", help="Such as validation=dev.csv")
    ] = None,
    task: Annotated[str, typer.Option(help="Task whose columns are looked for")] = "classification",
    tokenizer: Annotated[str | None, typer.Option(help="Checkpoint whose tokens are counted")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Show what would be truncated at this length")] = None,
    seed: Annotated[int, typer.Option(help="Of the splits")] = 0,
    as_json: AsJson = False,
) -> None:
    """Columns, label counts, lengths, duplicates, leakage, bad rows, what would be truncated."""
    from nlptk import api
    from nlptk.listing import inspection

    found = api.inspect(_data(data, keys), task=task, tokenizer=tokenizer, max_length=max_length, seed=seed)
    say(as_json, found, inspection(found))


@app.command(name="tasks")
def list_tasks(as_json: AsJson = False) -> None:
    """List the tasks, built in and from plugins, and the columns they read."""
    from nlptk import registry
    from nlptk.listing import task_columns

    found, lines = _listed("task", registry.tasks())
    say(as_json, found, [*lines, "", *task_columns(found)])


@app.command(name="strategies")
def list_strategies(as_json: AsJson = False) -> None:
    """List the fine-tuning strategies, built in and from plugins."""
    from nlptk import registry

    say(as_json, *_listed("strategy", registry.strategies()))


@app.command()
def optimizers(as_json: AsJson = False) -> None:
    """List the optimizers: default learning rates, usual range, when to use them."""
    from nlptk.listing import aligned
    from nlptk.training.optimizers import optimizer_table

    table = optimizer_table()
    kinds = list(table[0]["learning_rates"])
    rows = [
        [
            row["name"],
            *(f"{row['learning_rates'][kind]:g}" for kind in kinds),
            "{:g}-{:g}".format(*row["usual_range"]),
            f"{row['weight_decay']:g} {row['decay']}",
            f"{row['state_bytes']:g} B",
            row["when"],
        ]
        for row in table
    ]
    lines = aligned(["optimizer", *kinds, "range (full)", "weight decay", "state", "when"], rows)
    notes = [
        "",
        "full ... prompt: default training.learning_rate for strategies of that kind (nlptk strategies); "
        "range: worth trying with",
        "strategy=full; state: bytes for each trainable parameter.",
    ]
    say(as_json, table, [*lines, *notes])


@recipe_app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from nlptk.recipe import schema as recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=2))


@recipe_app.command()
def show(words: Words = None) -> None:
    """Print the resolved recipe: every key, defaults filled in."""
    from nlptk import api
    from nlptk.recipe import to_yaml

    source, overrides = split_words(words)
    typer.echo(to_yaml(api.resolve_recipe(source, overrides=overrides)), nl=False)


@tokenizer_app.command("train")
def train_tokenizer(
    files: Annotated[list[str], typer.Argument(help="Texts: .txt, .jsonl, each also .gz; globs")],
    output: Annotated[str, typer.Option(help="Folder to write")],
    family: Annotated[
        Literal["bert", "modernbert", "gpt2", "llama", "t5"],
        typer.Option(help="Whose special tokens and default kind it has"),
    ],
    kind: Annotated[
        Literal["word", "character", "bpe", "wordpiece", "unigram"] | None,
        typer.Option(help="Default: the family's own"),
    ] = None,
    vocab_size: Annotated[int, typer.Option(help="Tokens in all", min=1)] = 8000,
    lowercase: Annotated[bool, typer.Option(help="Make every text lower case")] = False,
    min_frequency: Annotated[int, typer.Option(help="Rarer words and pairs are left out", min=1)] = 2,
    column: Annotated[str, typer.Option(help="Of .jsonl files")] = "text",
    encoding: Annotated[str, typer.Option(help="Of the files")] = "utf-8",
    as_json: AsJson = False,
) -> None:
    """Train a tokenizer on text and write it as a plain transformers folder."""
    from nlptk.text.option_names import on_command_line
    from nlptk.text.tokenizer_folder import make_tokenizer

    result = make_tokenizer(
        files,
        output,
        family=family,
        kind=kind,
        vocab_size=vocab_size,
        lowercase=lowercase,
        min_frequency=min_frequency,
        column=column,
        encoding=encoding,
        named=on_command_line,
    )
    say(as_json, {"folder": str(result.folder), "tokens": result.tokens}, result.lines())


def _data(source: str, keys: Sequence[str] | None) -> dict[str, Any]:
    """Data settings of a command: the source, and `key=value` below `data`."""
    from nlptk.recipe import apply_overrides

    return apply_overrides({"train": source}, [key.removeprefix("data.") for key in keys or []])


def _listed(kind: str, entries: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Registered classes, broken ones with their error, and the lines of their table."""
    from nlptk.errors import NlptkError
    from nlptk.listing import aligned

    found: list[dict[str, Any]] = []
    for name, entry in entries.items():
        try:
            loaded = entry.load()
            summary, fault = loaded.summary, None
            more = {"rates": loaded.lr_kind} if kind == "strategy" else _reads(loaded.columns, loaded.forms)
        except NlptkError as error:
            more = {} if kind == "strategy" else _reads((), ())
            summary, fault = f"BROKEN: {error}", str(error)
        found.append({"name": name, "summary": summary, "from": entry.origin, "error": fault, **more})
    headers = [kind, "rates", "from", "what it does"] if kind == "strategy" else [kind, "from", "what it does"]
    keys = [key for key in ("name", "rates", "from", "summary") if any(key in row for row in found)]
    return found, aligned(headers, [[row.get(key, "") for key in keys] for row in found])


def _reads(columns: Sequence[Any], forms: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {"columns": [asdict(column) for column in columns], "forms": [list(form) for form in forms]}
