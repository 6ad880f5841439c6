"""What each task is trained on in the contract test: a few rows that a keyword tells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.tiny_models import WORDS

Row = dict[str, Any]
KEYWORDS = ("broken", "invoice", "password")
ROWS = 24


@dataclass(frozen=True)
class Case:
    """rows: as a user's file has them; targets: columns that prediction must do without; refused: family or
    strategy -> why it does not learn such rows."""

    task: str
    rows: list[Row]
    targets: frozenset[str]
    options: dict[str, Any] = field(default_factory=dict)
    writes: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def pairing(self) -> str:
        """Its row in the support matrix."""
        head = {key: value for key, value in self.options.items() if key != "max_new_tokens"}
        return " ".join([self.task, *(f"{key}={value}" for key, value in head.items())])

    def inputs(self) -> list[Row]:
        return [{key: value for key, value in row.items() if key not in self.targets} for row in self.rows]


def _sentences() -> Iterator[tuple[int, str, list[str]]]:
    """Number, keyword, and words with the keyword third."""
    for index in range(ROWS):
        words = [WORDS[(index * 7 + step * 3) % len(WORDS)] for step in range(4 + index % 5)]
        words = [word for word in words if word not in KEYWORDS]
        key = KEYWORDS[index % 3]
        yield index, key, [*words[:2], key, *words[2:], str(index)]


def _rows(make: Callable[[int, str, list[str]], Row]) -> list[Row]:
    return [make(*sentence) for sentence in _sentences()]


def _case(task: str, target: str, make: Callable[[int, str, list[str]], Row], **options: Any) -> Case:
    return Case(task, _rows(make), frozenset([target]), options, writes="max_new_tokens" in options)


def _several(index: int, key: str, words: list[str]) -> Row:
    second = KEYWORDS[(index // 3) % 3]
    return {"text": " ".join([*words, second]), "labels": sorted({key, second})}


def _pair(index: int, key: str, words: list[str]) -> Row:
    second = f"{key} please thank you" if index % 2 else f"{KEYWORDS[(index + 1) % 3]} refund late"
    return {"sentence1": " ".join(words), "sentence2": second, "label": "same" if index % 2 else "other"}


def _alike(index: int, key: str, words: list[str]) -> Row:
    pair = _pair(index, key, words)
    return {"sentence1": pair["sentence1"], "sentence2": pair["sentence2"], "score": 4.0 if index % 2 else 1.0}


def _entities(index: int, key: str, words: list[str]) -> Row:
    return {"tokens": words, "tags": [f"B-{key}" if word == key else "O" for word in words]}


def _answered(index: int, key: str, words: list[str]) -> Row:
    context = " ".join(words)
    answers = {"text": [key], "answer_start": [context.index(key)]}
    if index % 4 == 0:
        context, answers = context.replace(key, "nothing"), {"text": [], "answer_start": []}
    return {"question": "what is wrong", "context": context, "answers": answers}


CASES: dict[str, Case] = {
    "classification": _case("classification", "label", lambda i, key, words: {"text": " ".join(words), "label": key}),
    "classification-multi": _case("classification", "labels", _several),
    "classification-pair": _case("classification", "label", _pair),
    "ner": _case("ner", "tags", _entities),
    "qa": _case("qa", "answers", _answered),
    "qa-generative": _case("qa", "answers", _answered, method="generative", max_new_tokens=4),
    "similarity": _case("similarity", "score", _alike),
    "similarity-cross": _case("similarity", "score", _alike, form="cross_encoder"),
    "summarization": _case(
        "summarization",
        "summary",
        lambda i, key, words: {"document": " ".join(words), "summary": f"{key} please"},
        max_new_tokens=4,
    ),
    "translation": _case(
        "translation",
        "target",
        lambda i, key, words: {"source": " ".join(words), "target": " ".join(reversed(words))},
        max_new_tokens=6,
    ),
    "generation": _case(
        "generation",
        "completion",
        lambda i, key, words: {"prompt": " ".join(words), "completion": f" {key} please"},
        max_new_tokens=4,
    ),
    "generation-text": Case(
        "generation",
        _rows(lambda i, key, words: {"text": " ".join(words)}),
        frozenset(),
        {"max_new_tokens": 4},
        writes=True,
        refused={"t5": "cannot learn text token by token", "prompt_tuning": "rows of this form are not read"},
    ),
}
