"""Tag sequences and the spans they stand for: read from any scheme, written and decoded in IOB2 and BIOES."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nlptk.data.problems import counted

if TYPE_CHECKING:
    import numpy as np

    from nlptk.metrics.spans import Span

TagScheme = Literal["IOB2", "BIOES"]

_TAG = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
_NEARLY_A_TAG = re.compile(r"[BIESLUOo0]|[BIESLUbieslu][-_].*", re.DOTALL)
_IN_BIOES = {"L": "E", "U": "S"}
"""Prefixes of BILOU under their names in BIOES."""
_BLOCK_CELLS = 1 << 20  # of the transitions that one step of Viterbi weighs, 8 MiB


def read_tags(tags: Any) -> list[Span]:
    """The spans of tags in IOB1, IOB2, BIOES or BILOU, or of types alone, as seqeval's default mode reads them.

    >>> read_tags(["I-PER", "I-PER", "B-PER", "O"]), read_tags(["PER", "O", "LOC", "LOC"])
    ([('PER', 0, 2), ('PER', 2, 3)], [('PER', 0, 1), ('LOC', 2, 4)])

    Raises: ValueError with what is wrong.
    """
    if not isinstance(tags, list | tuple):
        raise ValueError(f"tags is {tags!r:.40}; expected a list of tags")
    strange = [tag for tag in tags if not isinstance(tag, str) or not tag.strip()]
    if strange:
        raise ValueError(f"tags holds {strange[0]!r:.40}; expected names (B-PER, I-PER, O), or a ClassLabel column")
    bare = {tag for tag in tags if not _TAG.fullmatch(tag)}
    unclear = sorted(tag for tag in bare if _NEARLY_A_TAG.fullmatch(tag))
    if unclear:
        raise ValueError(f"tags holds {unclear[0]!r:.40}; expected O, or a prefix, a hyphen and a type, such as B-PER")
    if bare and not bare.issuperset(set(tags) - {"O"}):
        raise ValueError(f"tags holds {min(bare)!r:.40} beside tags with a prefix; give all of them one, or none")
    return spans_of([f"I-{tag}" if tag in bare else _IN_BIOES.get(tag[0], tag[0]) + tag[1:] for tag in tags])


def spans_of(tags: Iterable[str]) -> list[Span]:
    """The spans of tags in IOB1, IOB2 or BIOES, as seqeval's default mode reads them: any prefix may begin one.

    >>> spans_of(["B-PER", "I-PER", "O", "I-LOC", "S-LOC"])
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    """
    spans: list[Span] = []
    start, name, is_open = -1, "", False
    for place, tag in enumerate((*tags, "O")):
        goes_on = is_open and tag[0] in "IE" and tag[2:] == name
        if not goes_on:
            if start >= 0:
                spans.append((name, start, place))
            start, name = (-1, "") if tag == "O" else (place, tag[2:])
        is_open = tag[0] in "BI"
    return spans


def tag_marks(tags: Sequence[str]) -> set[str]:
    """Which schemes a row's tags speak for, and which rules of BIOES (or BILOU) they break; for `tag_notes`.

    >>> sorted(tag_marks(["O", "I-PER", "O"])), sorted(tag_marks(["B-PER", "O", "S-LOC"]))
    (['begun by I', 'not BIOES'], ['S', 'begun by B', 'not BIOES'])
    """
    found = set()
    before = "O"
    for tag in (*(_IN_BIOES.get(tag[0], tag[0]) + tag[1:] for tag in tags if _TAG.fullmatch(tag)), "O"):
        inside = before[0] in "BI" and before[2:] == tag[2:]
        if tag[0] in "ES":
            found.add(tag[0])
        if tag[0] == "B" and before[2:] != tag[2:]:  # between two of a type IOB1 has it, too
            found.add("begun by B")
        if tag[0] == "I" and not (inside or before[2:] == tag[2:] != ""):
            found.add("begun by I")
        if (tag[0] in "IE" and not inside) or (before[0] in "BI" and not (inside and tag[0] in "IE")):
            found.add("not BIOES")
        before = tag
    return found


def tag_notes(marks: Mapping[str, tuple[int, int]]) -> list[str]:
    """What a source's tags break of the scheme that it seems to have. marks: of `tag_marks` -> how many of its rows
    have it, and the number of the first.

    >>> tag_notes({"begun by B": (90, 1), "begun by I": (2, 7)})
    ['tags: an entity begins with I-, and others with B-, in 2 rows (the first is row 7); it is read as one of its own']
    """
    if "S" in marks or ("E" in marks and "begun by B" in marks):
        found, what = marks.get("not BIOES"), "BIOES is not kept, as by a B- without E-,"
    else:  # IOB1, IOB2, or IOE2, in which no B- is
        found = marks.get("begun by I") if "begun by B" in marks else None
        what = "an entity begins with I-, and others with B-,"
    if found is None:
        return []
    count, first = found
    return [f"tags: {what} in {counted(count, 'row')} (the first is row {first}); it is read as one of its own"]


def tags_of(spans: Sequence[Span], count: int, scheme: TagScheme = "IOB2") -> list[str]:
    """One tag for each of `count` words.

    >>> tags_of([("PER", 0, 1), ("LOC", 1, 4)], 5, "BIOES")
    ['S-PER', 'B-LOC', 'I-LOC', 'E-LOC', 'O']
    """
    tags = ["O"] * count
    for name, start, end in spans:
        tags[start:end] = [f"I-{name}"] * (end - start)
        if scheme == "BIOES":
            tags[end - 1] = f"E-{name}"
        tags[start] = f"S-{name}" if scheme == "BIOES" and end == start + 1 else f"B-{name}"
    return tags


def transitions(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What IOB2, or BIOES where there are E- or S- tags, allows: (labels,) tags that may begin a row, (labels, labels)
    a tag and the next one, (labels,) tags that may end a row."""
    import numpy as np

    begins = np.asarray([name[0] in "OBS" for name in names])
    open_ = np.asarray([name[0] in "BI" for name in names])
    types = np.asarray([name[2:] for name in names])
    ends = ~open_ if any(name[0] in "ES" for name in names) else np.ones(len(names), dtype=bool)
    goes_on = open_[:, None] & ~begins[None, :] & (types[:, None] == types[None, :])
    return begins, goes_on | (ends[:, None] & begins[None, :]), ends


def viterbi(logits: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """The likeliest sequence of label ids that `transitions` allows, for every row of (words, labels) logits.

    Rows of like length run together: a step costs rows x labels² whatever the number of rows. Viterbi 1967,
    doi:10.1109/TIT.1967.1054010.
    """
    import numpy as np

    chosen = [np.zeros(0, dtype=np.int64)] * len(logits)
    order = sorted((row for row, scores in enumerate(logits) if len(scores)), key=lambda row: len(logits[row]))
    block = max(1, _BLOCK_CELLS // len(names) ** 2)
    for first in range(0, len(order), block):
        rows = order[first : first + block]
        for row, path in zip(rows, _viterbi_block([logits[row] for row in rows], names), strict=True):
            chosen[row] = path
    return chosen


def _viterbi_block(logits: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    import numpy as np

    begins, follows, ends = (np.where(allowed, 0.0, -np.inf) for allowed in transitions(names))
    arrives = np.ascontiguousarray(follows.T)
    lengths = np.asarray([len(scores) for scores in logits])
    padded = np.zeros((lengths.max(), len(logits), len(names)))
    for row, scores in enumerate(logits):
        padded[: len(scores), row] = scores
    best = begins + padded[0]
    came_from = np.zeros(padded.shape, dtype=np.int16)
    for step in range(1, len(padded)):
        live = int(np.searchsorted(lengths, step, side="right"))  # rows are in order of length; those before have ended
        paths = best[live:, None, :] + arrives
        origin = paths.argmax(axis=2)
        came_from[step, live:] = origin
        best[live:] = np.take_along_axis(paths, origin[..., None], axis=2)[..., 0] + padded[step, live:]
    path = np.zeros(padded.shape[:2], dtype=np.int64)
    rows = np.arange(len(logits))
    state = (best + ends).argmax(axis=1)
    for step in range(len(padded) - 1, -1, -1):
        path[step] = state
        state = np.where(step < lengths, came_from[step, rows, state], state)
    return [path[:length, row] for row, length in enumerate(lengths.tolist())]
