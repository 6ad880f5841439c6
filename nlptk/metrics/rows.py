"""What the text metrics take, checked at the door."""

from __future__ import annotations

from collections.abc import Sequence, Sized

from nlptk.errors import DataError


def check_rows(**columns: Sized) -> int:
    """The number of rows that all columns have.

    Raises:
        DataError: no rows, or columns of different lengths.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"rows: {counted}; expected as many of each; give one of each a row, in the same order")
    rows = next(iter(lengths.values()))
    if not rows:
        raise DataError(f"{next(iter(lengths))}: no rows to measure; give at least one labelled row")
    return rows


def check_texts(what: str, texts: Sequence[str]) -> list[str]:
    """The texts as a list; an empty string is a text.

    Raises:
        DataError: a row that is no string (None, say).
    """
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{what}, row {row}: {type(text).__name__}; expected a string; write '' for an empty text")
    return list(texts)


def check_references(references: Sequence[str | Sequence[str]], *, empty: bool = False) -> list[list[str]]:
    """One list of texts a row, from one text or several; empty: a row may have no reference at all.

    Raises:
        DataError: a reference that is no string, or a row without any.
    """
    several = [[row] if isinstance(row, str) else row for row in references]
    for row, texts in enumerate(several):
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"references, row {row}: {texts!r}; expected a string or a list of strings")
        if not texts and not empty:
            raise DataError(f"references, row {row}: no reference; give at least one text, or drop the row")
    return [list(texts) for texts in several]
