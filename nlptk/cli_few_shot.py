"""The commands `nlptk fewshot ...`: accuracy over episodes, methods compared, classes added and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nlptk.cli_words import AsJson, Words, say, split_words

app = typer.Typer(help="Few-shot learning: episodes, comparisons, classes of a model.", rich_markup_mode=None)

LEAST = "model=CHECKPOINT data=rows.jsonl task.method=prototypical"
Ways = Annotated[int, typer.Option(min=2, help="Classes of an episode")]
Shots = Annotated[list[int], typer.Option(min=1, help="Rows of each to learn from; several times for several K")]
Queries = Annotated[int, typer.Option(min=1, help="Rows of each to be tested on")]
Episodes = Annotated[int, typer.Option(min=1, help="How many are drawn, with the recipe's seed")]
Replay = Annotated[
    list[Path] | None, typer.Option(help="Saved lists of episodes, one for each --shots, in their order")
]


@app.command()
def evaluate(
    words: Words = None,
    ways: Ways = 5,
    shots: Shots = [1, 5],  # noqa: B006  # typer copies it
    queries: Queries = 5,
    episodes: Episodes = 600,
    replay: Replay = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy of one method over episodes of the rows, with its 95 % interval.

    nlptk fewshot evaluate model=CHECKPOINT data=test.jsonl task.method=maml task.meta.train=train.jsonl --shots 1
    """
    protocol = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes}
    _compare(words, as_json, replay=replay, **protocol)


@app.command()
def compare(
    methods: Annotated[str, typer.Option(help="Names with commas between; the first is what others are compared to")],
    words: Words = None,
    ways: Ways = 5,
    shots: Shots = [1, 5],  # noqa: B006  # typer copies it
    queries: Queries = 5,
    episodes: Episodes = 600,
    replay: Replay = None,
    as_json: AsJson = False,
) -> None:
    """Several methods on the same episodes: accuracies, paired differences, a plot of accuracy against shots.

    Cut off, the same command goes on behind the last episode that was measured.

    nlptk fewshot compare --methods linear_probe,prototypical,anil model=CHECKPOINT data=test.jsonl
    task.meta.train=train.jsonl
    """
    named = [name.strip() for name in methods.split(",") if name.strip()]
    protocol = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes}
    _compare(words, as_json, methods=named, replay=replay, **protocol)


@app.command("add-class")
def add_class(
    model: Annotated[str, typer.Argument(help="Artifact folder, or the run's")],
    name: Annotated[str, typer.Argument(help="Of the new class")],
    examples: Annotated[
        list[str] | None, typer.Argument(help="Texts of it, each a word of its own on the command line")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="What the name says, for models that read names (class_names, cloze)")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the new version; default: in place")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a few-shot model know one class more, without training."""
    from nlptk.pipelines import pipeline

    loaded = pipeline(model)
    folder = loaded.add_class(name, examples or [], words=words, output=output)
    _say_version(loaded, folder, as_json)


@app.command("remove-class")
def remove_class(
    model: Annotated[str, typer.Argument(help="Artifact folder, or the run's")],
    name: Annotated[str, typer.Argument(help="Of the class")],
    output: Annotated[Path | None, typer.Option(help="Folder of the new version; default: in place")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a few-shot model forget a class."""
    from nlptk.pipelines import pipeline

    loaded = pipeline(model)
    folder = loaded.remove_class(name, output=output)
    _say_version(loaded, folder, as_json)


def _say_version(loaded: Any, folder: Path, as_json: bool) -> None:
    names = list(loaded.task.labels.names)
    version = loaded.manifest.data["version"]
    state = {"model": str(folder), "version": version, "classes": names}
    say(as_json, state, [f"version {version} with {len(names)} classes", f"model   {folder}"])


def _compare(words: list[str] | None, as_json: bool, **how: Any) -> None:
    """how: arguments of `nlptk.compare_methods`."""
    from nlptk import api

    source, overrides = split_words(words, least=LEAST)
    result = api.compare_methods(source, overrides=overrides, **how)
    if api.is_main_process():
        say(as_json, result.to_json(), result.lines())
