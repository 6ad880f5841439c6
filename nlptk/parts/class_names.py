"""The words of a class's name: `book_flight` says "book flight" before there is an example of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nlptk.errors import RecipeError

CURE = "write task.class_names={{{0!r}: ...}} with words that say what it is, or leave task.class_names out"


def spoken(name: str) -> str:
    """A name with spaces for `_` and `-`."""
    return name.replace("_", " ").replace("-", " ")


def class_words(names: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """The words of every class: those given, else the name's own.

    Raises: RecipeError for names that say nothing (without letters, or alike but for numbers) and for two classes with
    the same words.
    """
    words = [given.get(name, spoken(name)).strip() for name in names]
    for name, said in zip(names, words, strict=True):
        if not any(sign.isalpha() for sign in said):
            raise RecipeError(f"task.class_names: class {name!r}: {said!r} has no word; {CURE.format(name)}")
    bare = {re.sub(r"[\d\s]+", "", said) for said in words}
    if len(names) > 1 and len(bare) == 1:
        raise RecipeError(
            f"task.class_names: {list(names[:3])} differ in numbers alone, which say nothing of the classes; "
            f"{CURE.format(names[0])}"
        )
    first: dict[str, str] = {}
    for name, said in zip(names, words, strict=True):
        if first.setdefault(said.casefold(), name) != name:
            raise RecipeError(
                f"task.class_names: classes {first[said.casefold()]!r} and {name!r} have the same words, {said!r}; "
                f"{CURE.format(name)}"
            )
    return words
