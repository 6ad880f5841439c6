"""Every form in which a question and its context may come, read into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import GeneratorType
from typing import Any
from warnings import warn

from torch.utils.data import Dataset

from nlptk.pipelines.restored.problems import InvalidTypeError, InvalidValueError, MissingKeyError

FIELDS = ("question", "context")


@dataclass(frozen=True)
class Example:
    """A question, and the text to find its answer in; the fields are named as in SquadExample of transformers 4."""

    question_text: str
    context_text: str


def read_example(item: Any) -> Example:
    """One example from a mapping with `question` and `context`.

    Raises: MissingKeyError, InvalidTypeError or InvalidValueError naming the key.
    """
    if isinstance(item, Example):
        return item
    if not isinstance(item, Mapping):
        raise InvalidValueError(f"question-answering: {_shown(item)}: expected a mapping with question and context")
    for name in FIELDS:
        if name not in item:
            raise MissingKeyError(f"question-answering: no {name!r} among {sorted(item)}; give question and context")
    if more := sorted(set(item) - set(FIELDS)):
        raise InvalidTypeError(f"question-answering: {more[0]!r} is not read; give question and context alone")
    for name in FIELDS:
        if not isinstance(item[name], str):
            raise InvalidValueError(f"question-answering: {name} is {_shown(item[name])}; expected a text")
        if not item[name]:
            raise InvalidValueError(f"question-answering: {name} is empty; every question needs a text to answer from")
    return Example(item["question"], item["context"])


def pair_up(question: Any, context: Any) -> list[dict[str, Any]]:
    """Examples from `question=` and `context=`: two texts, two lists of like length, or many questions on one text."""
    if isinstance(question, list):
        contexts = [context] * len(question) if isinstance(context, str) else context
        if isinstance(contexts, list):
            if len(question) != len(contexts):
                raise InvalidValueError(
                    f"question-answering: {len(question)} questions and {len(contexts)} contexts; give one of each"
                )
            return [dict(zip(FIELDS, pair, strict=True)) for pair in zip(question, contexts, strict=True)]
    elif isinstance(question, str) and isinstance(context, str):
        return [{"question": question, "context": context}]
    raise InvalidValueError(
        f"question-answering: question is {_shown(question)} and context {_shown(context)}; expected two texts, "
        "two lists of texts, or a list of questions and one context"
    )


def read_examples(args: tuple[Any, ...], named: Mapping[str, Any]) -> list[Example] | Any:
    """What a call of the pipeline asks. A generator or a dataset is handed on as it is, to be read item by item.

    Raises: InvalidValueError or MissingKeyError where nothing can be asked.
    """
    if args:
        given = args[0] if len(args) == 1 else list(args)
        if len(args) == 2 and all(isinstance(arg, str) for arg in args):
            given = pair_up(*args)
    elif name := next((name for name in ("X", "data") if name in named), None):
        warn(f"{name}=: deprecated since transformers 4; give question= and context=", FutureWarning, stacklevel=3)
        given = named[name]
    elif all(name in named for name in FIELDS):
        given = pair_up(named["question"], named["context"])
    else:
        lacking = " and ".join(name for name in FIELDS if name not in named)
        raise InvalidValueError(f"question-answering: no {lacking}; give question= and context=")
    if isinstance(given, GeneratorType | Dataset):
        return given
    if isinstance(given, Mapping | Example):
        given = [given]
    elif isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidValueError(f"question-answering: {_shown(given)}: expected question= and context=")
    return [read_example(item) for item in given]


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
