"""What the commands share: their words, and how they answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nlptk.errors import RecipeError

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RECIPE.yaml] [KEY=VALUE]...", help="A recipe file, and keys laid over it"),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for programs")]


def say(as_json: bool, state: Any, lines: Sequence[str]) -> None:
    """Print the state as JSON, or the lines."""
    typer.echo(json.dumps(state, indent=2, ensure_ascii=False, default=str) if as_json else "\n".join(lines))


def split_words(
    words: Sequence[str] | None, *, least: str = "task=classification model=CHECKPOINT data=rows.csv"
) -> tuple[str | None, list[str]]:
    """The recipe file, if the first word is one, and the overrides. least: what the words must say without one."""
    given = list(words or [])
    if not given:
        raise RecipeError(f"no recipe; give a YAML file, or at least {least} (nlptk recipe schema lists every key)")
    source = given.pop(0) if given and "=" not in given[0] else None
    stray = [word for word in given if "=" not in word]
    if stray:
        raise RecipeError(f"{stray[0]!r}: expected key=value after the recipe, such as training.num_train_epochs=1")
    return source, given
