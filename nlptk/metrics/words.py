"""Words and n-grams of a text in any script, for the figures that count words."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import Any, Literal

MOSTLY = 0.5
"""The share of letters from which on a text is taken to be in a script."""


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


def share_of_letters(texts: Iterable[str], kind: Literal["latin", "unspaced"]) -> float:
    """How many of all letters are a-z (case aside), or of a script without spaces (Han, kana, Thai, Khmer, Lao).

    Of texts without letters it is 1.0, or 0.0.

        >>> share_of_letters(["Год 2020 a"], "latin"), share_of_letters(["東京 abc"], "unspaced")
        (0.25, 0.4)
    """
    import regex

    scripts = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Khmer}\p{Lao}]"
    of_kind = regex.compile("[a-zA-Z]" if kind == "latin" else rf"[\p{{L}}&&{scripts}]", regex.V1)
    letter = regex.compile(r"\p{L}")
    counts = [(len(of_kind.findall(text)), len(letter.findall(text))) for text in texts]
    letters = sum(count for _, count in counts)
    return sum(count for count, _ in counts) / letters if letters else float(kind == "latin")


def ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """All n-grams of a sequence in order, repeated ones included; empty where it is shorter than n."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
