"""What the settings of texts and tokenizers are called where a user gives them, for error messages."""

from __future__ import annotations

from collections.abc import Callable

Named = Callable[[str], str]
"""A setting's own name, such as `vocab_size` -> how whoever reads the message gives it."""

_OF_DATA = ("train", "column", "encoding")


def in_recipe(name: str) -> str:
    """
    >>> in_recipe("column"), in_recipe("vocab_size")
    ('data.column', 'tokenizer.vocab_size')
    """
    return f"data.{name}" if name in _OF_DATA else f"tokenizer.{name}"


def on_command_line(name: str) -> str:
    """Of `nlptk tokenizer train`, whose files are no option.

    >>> on_command_line("vocab_size"), on_command_line("train")
    ('--vocab-size', 'FILES')
    """
    return "FILES" if name == "train" else f"--{name.replace('_', '-')}"
