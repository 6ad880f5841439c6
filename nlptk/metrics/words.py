"""Words and n-grams of a text in any script, for the figures that count words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any


@cache
def _pattern() -> Any:
    import regex  # type: ignore[import-untyped]  # it ships no types

    unspaced = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
    letter = r"[\p{L}\p{M}\p{N}_--\p{Han}\p{Hiragana}\p{Katakana}]"
    return regex.compile(rf"{unspaced}\p{{M}}*|{letter}+(?:['’]{letter}+)*", regex.V1)


def words(text: str) -> list[str]:
    """The words of a text, case-folded, without punctuation and symbols.

    A word is a run of letters, marks and digits in any script (apostrophes inside it stay). Han, Hiragana and Katakana
    have no spaces: each character is a word. Other scripts without spaces (Thai, Khmer) give one word a run.

        >>> words("Don't panic: 東京, naïve_2!")
        ["don't", 'panic', '東', '京', 'naïve_2']
    """
    found: list[str] = _pattern().findall(text.casefold())
    return found


def ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """All n-grams of a sequence in order, repeated ones included; empty where it is shorter than n."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
