"""Words of a text, and the tokens at which a model's outputs are read for them.

A word is read at its first token. Words that begin in the token of the word before are read with it, words without any
token (control characters, say) nowhere; so whatever a tokenizer does, each word stays in its place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Encoding

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and Chinese characters, which stand without spaces between words."""


def word_places(text: str) -> np.ndarray:
    """Where the words of a text are: (words, 2) characters, start and exclusive end.

    Words are the runs of letters, digits, combining marks and underscores, each Chinese character or Japanese kana, and
    each other character that is no white space.

    >>> word_places("at 7pm, 東京").tolist()
    [[0, 2], [3, 6], [6, 7], [8, 9], [9, 10]]
    """
    import numpy as np

    return np.asarray([found.span() for found in _word_pattern().finditer(text)], dtype=np.int64).reshape(-1, 2)


@cache
def _word_pattern() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    joined = marks + "\u200c\u200d"  # which join or part letters within words of Persian and Indic scripts
    return re.compile(rf"[{_ALONE}][{joined}]*|(?:(?![{_ALONE}])[\w{joined}])+|[^\w\s]")


@dataclass(frozen=True)
class Reads:
    """The tokens that words begin in, one after another. token, first, end: (reads,); end is exclusive."""

    token: np.ndarray
    first: np.ndarray
    end: np.ndarray

    def characters(self, places: np.ndarray) -> np.ndarray:
        """(reads, 2): from the first word's start to the last one's end."""
        import numpy as np

        return np.stack([places[self.first, 0], places[self.end - 1, 1]], axis=1)


@dataclass(frozen=True)
class Tokens:
    """A row's tokens, special ones left out. offsets: (tokens, 2) characters; window and position: where each is read.

    sizes: tokens of each window, special ones with them.
    """

    offsets: np.ndarray
    window: np.ndarray
    position: np.ndarray
    sizes: list[int]

    @classmethod
    def of(cls, windows: Sequence[Encoding], stride: int) -> Tokens:
        """windows: all but the first begin with `stride` tokens of the one before."""
        import numpy as np

        inside = [np.flatnonzero(np.asarray(window.special_tokens_mask) == 0) for window in windows]
        step = max(1, len(inside[0]) - stride)
        count = step * (len(windows) - 1) + len(inside[-1])
        offsets = np.zeros((count, 2), dtype=np.int64)
        at, position, context = (np.full(count, fill, dtype=np.int64) for fill in (0, 0, -1))
        for number, (window, places) in enumerate(zip(windows, inside, strict=True)):
            ahead = np.arange(len(places))
            room = np.minimum(ahead, ahead[::-1])
            better = np.flatnonzero(room > context[number * step :][: len(places)])
            tokens = number * step + better
            offsets[tokens] = np.asarray(window.offsets, dtype=np.int64).reshape(-1, 2)[places[better]]
            at[tokens], position[tokens], context[tokens] = number, places[better], room[better]
        return cls(offsets, at, position, [len(window.ids) for window in windows])

    def reads(self, places: np.ndarray) -> Reads:
        """places: (words, 2) characters. A word without any token is in no read."""
        import numpy as np

        real = np.flatnonzero(self.offsets[:, 1] > self.offsets[:, 0])
        starts, ends = self.offsets[real, 0], np.maximum.accumulate(self.offsets[real, 1])
        nearest = np.searchsorted(ends, places[:, 0], side="right")
        words = np.flatnonzero((nearest < len(real)) & (places[:, 0] < places[:, 1]))
        words = words[starts[nearest[words]] < places[words, 1]]
        token = real[nearest[words]]
        new = np.flatnonzero(np.diff(token, prepend=-1))
        last = np.append(new[1:], len(words))[: len(new)] - 1
        return Reads(token[new], words[new], words[last] + 1)
