"""Rows with entities: checked, split into words, and gold and predicted entities side by side for figures and reports.

Spans are (type, start, end), end exclusive; of characters, of words, or of pieces: words cut where gold entities begin
and end, so that gold and predicted entities are spans of the same things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from nlptk.data.values import half_pair
from nlptk.parts.tags import spans_of, tags_of
from nlptk.parts.words import word_places
from nlptk.task import Figure, Section

if TYPE_CHECKING:
    import numpy as np

    from nlptk.metrics.spans import Span

NO_ENTITY = "(none)"
LONGEST_SHOWN = 400  # characters of a row's entities in the report


def check_tokens(tokens: Any) -> None:
    """Raises: ValueError for what is no list of texts, or holds no character."""
    if not isinstance(tokens, list | tuple):
        raise ValueError(f"tokens is {tokens!r:.40}; expected a list of texts")
    strange = [token for token in tokens if not isinstance(token, str)]
    if strange:
        raise ValueError(f"tokens holds {strange[0]!r:.40}; expected texts alone")
    text = "".join(tokens)
    if not text or text.isspace():
        raise ValueError("tokens holds no text")
    if fault := half_pair(text):
        raise ValueError(f"tokens {fault}")


def check_entities(entities: Any, text: str) -> list[dict[str, Any]]:
    """The entities of a text in order, without white space at their ends. Raises: ValueError with what is wrong."""
    if not isinstance(entities, list | tuple):
        raise ValueError(f"entities is {entities!r:.40}; expected a list of {{start, end, label}}")
    found = sorted((_checked(entity, text) for entity in entities), key=lambda entity: (entity["start"], entity["end"]))
    for one, two in pairwise(found):
        if two["start"] < one["end"]:
            raise ValueError(
                f"the entities {_said(one)} and {_said(two)} overlap; a word has one tag, so keep one of them"
            )
    return found


def _checked(entity: Any, text: str) -> dict[str, Any]:
    has = entity if isinstance(entity, Mapping) else {}
    start, end, label = has.get("start"), has.get("end"), has.get("label")
    if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip():
        raise ValueError(f"entities holds {entity!r:.80}; expected {{start, end, label}}, whole numbers and a name")
    if not 0 <= start <= end <= len(text):
        raise ValueError(f"the entity {_said(has)} is not inside the text of {len(text)} characters")
    inner, own = text[start:end].strip(), has.get("text")
    if not inner:
        raise ValueError(f"the entity {_said(has)} is empty")
    if own is not None and not isinstance(own, str):
        raise ValueError(f"the entity {_said(has)} has the text {own!r:.40}; expected a text, or none")
    if own is not None and normalize("NFC", own.strip()) != normalize("NFC", inner):
        raise ValueError(
            f"the entity {_said(has)} is {inner!r:.40} in the text, and {own!r:.40} by its own; mend its start and "
            "end, which count characters (not bytes) from 0, the end exclusive"
        )
    start += text[start:end].index(inner)
    return {"start": start, "end": start + len(inner), "label": label}


def _said(entity: Mapping[str, Any]) -> str:
    return f"{entity['start']}..{entity['end']} {entity['label']!r}"


@dataclass(frozen=True)
class EntityRow:
    """A row's text, the places of its words in it, (words, 2) characters, and what is known of its entities.

    entities: gold spans of characters, in order; None where the row has no targets. tags: of tokens, the gold tags in
    IOB2. are_tokens: the words were given, and the text is they with spaces between.
    """

    text: str
    places: np.ndarray
    entities: list[Span] | None
    tags: list[str] | None = None
    are_tokens: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> EntityRow:
        """values: by role, of `tokens` and `tags`, or of `text` and `entities`."""
        import numpy as np

        tokens = values.get("tokens")
        if tokens is None:
            given = values.get("entities")
            entities = None if given is None else [(e["label"], e["start"], e["end"]) for e in given]
            return cls(values["text"], word_places(values["text"]), entities)
        lengths = np.asarray([len(token) for token in tokens])
        ends = np.cumsum(lengths + 1) - 1
        places = np.stack([ends - lengths, ends], axis=1)
        tags = values.get("tags")
        spans = None if tags is None else spans_of(tags)
        entities = spans and [(name, int(places[first, 0]), int(places[end - 1, 1])) for name, first, end in spans]
        return cls(" ".join(tokens), places, entities, tags, are_tokens=True)

    @cached_property
    def pieces(self) -> np.ndarray:
        """The words, cut where an entity begins or ends within one; (pieces, 2) characters."""
        import numpy as np

        if self.are_tokens or not self.entities:
            return self.places
        edges = {place for _, start, end in self.entities for place in (start, end)}
        inner = sorted(edges.difference(self.places.flatten().tolist()))
        return np.stack([np.sort(np.concatenate([side, inner])) for side in self.places.T], axis=1).astype(np.int64)

    @property
    def unreachable(self) -> list[str]:
        """The types of gold entities that begin or end within a word: no span of words is one of them."""
        if len(self.pieces) == len(self.places):
            return []
        edges = set(self.places.flatten().tolist())
        return [name for name, start, end in self.entities or [] if not {start, end} <= edges]

    @cached_property
    def gold(self) -> list[str]:
        """IOB2 tags of the pieces."""
        if self.tags is not None:
            return self.tags
        return tags_of(spans_on(self.pieces, self.entities or [])[0], len(self.pieces))

    def said(self, spans: Sequence[Span]) -> list[str]:
        """Spans of words -> IOB2 tags of the pieces."""
        import numpy as np

        if len(self.pieces) > len(self.places):
            first = np.searchsorted(self.pieces[:, 0], self.places[:, 0])
            last = np.searchsorted(self.pieces[:, 1], self.places[:, 1])
            spans = [(name, int(first[start]), int(last[end - 1]) + 1) for name, start, end in spans]
        return tags_of(spans, len(self.pieces))

    def shown(self, tags: Sequence[str]) -> str:
        """The entities that tags of the pieces stand for, as people read them."""
        places = self.pieces
        spans = [(self.text[places[first, 0] : places[end - 1, 1]], name) for name, first, end in spans_of(tags)]
        return "; ".join(f"{text} ({name})" for text, name in spans)[:LONGEST_SHOWN] or "none"


def spans_on(places: np.ndarray, entities: Sequence[Span]) -> tuple[list[Span], int]:
    """Spans of characters -> of places, (places, 2) characters in order; and how many of them find no free place."""
    import numpy as np

    spans: list[Span] = []
    taken = 0
    for name, start, end in entities:
        first = max(taken, int(np.searchsorted(places[:, 1], start, side="right")))
        stop = int(np.searchsorted(places[:, 0], end, side="left"))
        if first < stop:
            spans.append((name, first, stop))
            taken = stop
    return spans, len(entities) - len(spans)


def type_table(said: list[list[str]], gold: list[list[str]], *, bootstrap: int, seed: int) -> Section:
    """Figures of every type, from IOB2 tags."""
    from nlptk.metrics import entity_figures, per_type
    from nlptk.report import sections

    rows: list[list[Any]] = []
    for found in per_type(said, gold):
        alone = [[[tag if tag[2:] == found["label"] else "O" for tag in row] for row in tags] for tags in (said, gold)]
        f1 = entity_figures(alone[0], alone[1], bootstrap=bootstrap, seed=seed).get("f1") or Figure(0.0)
        rows.append(
            [found["label"], found["precision"], found["recall"], found["f1"], f1.low, f1.high, found["support"]]
        )
    columns = ["type", "precision", "recall", "f1", "f1 low", "f1 high", "support"]
    return sections.table("By type", columns, rows, note="Low and high: the 95 % bootstrap interval of F1.")


def type_confusions(said: list[list[str]], gold: list[list[str]]) -> Section:
    """How often entities of one type were taken for another, from IOB2 tags."""
    from nlptk.report import sections

    counts: Counter[tuple[str, str]] = Counter()
    for guess, truth in zip(said, gold, strict=True):
        counts.update(paired_types(spans_of(truth), spans_of(guess)))
    types = [*sorted({name for pair in counts for name in pair} - {NO_ENTITY}), NO_ENTITY]
    return sections.matrix(
        "Confusion of types",
        [[counts[row, column] for column in types] for row in types],
        row_labels=types,
        column_labels=types,
        row_axis="gold",
        column_axis="predicted",
        note="Entities that overlap are compared with each other, whatever their boundaries.",
    )


def paired_types(gold: Sequence[Span], said: Sequence[Span]) -> Iterator[tuple[str, str]]:
    """Types of entities that overlap, from left to right, each at most once; those of the others with `NO_ENTITY`.

    >>> list(paired_types([("PER", 0, 2), ("LOC", 3, 4)], [("ORG", 1, 2), ("LOC", 5, 6)]))
    [('PER', 'ORG'), ('LOC', '(none)'), ('(none)', 'LOC')]
    """
    ours, theirs = list(reversed(gold)), list(reversed(said))
    while ours or theirs:
        if not theirs or (ours and ours[-1][2] <= theirs[-1][1]):
            yield ours.pop()[0], NO_ENTITY
        elif not ours or theirs[-1][2] <= ours[-1][1]:
            yield NO_ENTITY, theirs.pop()[0]
        else:
            yield ours.pop()[0], theirs.pop()[0]
