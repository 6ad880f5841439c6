"""Asks every case of one version of transformers.

    python -m tests.pipelines.parity.runner CHECKPOINTS QUESTIONS.json ANSWERS.json [MODULE]

QUESTIONS.json lists real questions; where it is empty, the built-in cases are run in their place. MODULE is imported
first: the one that registers the pipelines. ANSWERS.json holds for each case its result, or its
error's types, and the kinds of the warnings that the pipelines gave.
"""

import importlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.pipelines.parity import cases

# its types know neither the tasks of the other version nor a dict of arguments
pipeline: Any = transformers.pipeline

MEANT = (FutureWarning, UserWarning)  # libraries' DeprecationWarnings are not the pipelines'


def plain(value: Any) -> Any:
    """A result as JSON."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else repr(type(value))


class Notices(logging.Handler):
    """Collects what the pipelines' loggers warn of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kinds: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "pipelines" in record.name and not record.getMessage().startswith("Device set"):
            self.kinds.append(record.levelname)


def outcome(case: cases.Case, notices: Notices) -> dict[str, Any]:
    notices.kinds = []
    found: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found["result"] = plain(case())
        except Exception as error:  # whatever it is: its types are what is compared
            found["error"] = [cls.__name__ for cls in type(error).__mro__]
            found["message"] = str(error)
    kinds = [w.category.__name__ for w in caught if w.category in MEANT and "pipelines" in w.filename]
    return {**found, "warnings": sorted(kinds + notices.kinds)}


def main(checkpoints: str, questions: str, answers: str, module: str | None = None) -> None:
    if module:
        importlib.import_module(module)
    notices = Notices()
    for name in ("transformers", "nlptk"):
        logging.getLogger(name).addHandler(notices)

    def open_(task: str, name: str | None, **more: Any) -> Any:
        named = [key for key in ("tokenizer", "assistant_model") if key in more]
        folders: dict[str, Any] = {key: f"{checkpoints}/{more[key]}" for key in named}
        arguments: dict[str, Any] = {"device": "cpu", **more, **folders}
        return pipeline(task, model=None if name is None else f"{checkpoints}/{name}", **arguments)

    rows = json.loads(Path(questions).read_text(encoding="utf-8"))
    asked = list(cases.real(open_, rows)) if rows else [*cases.reading(open_), *cases.writing(open_)]
    assert len(dict(asked)) == len(asked), "two cases bear one name"
    results = {name: outcome(case, notices) for name, case in asked}
    Path(answers).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
