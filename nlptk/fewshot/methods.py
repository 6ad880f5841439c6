"""Options -> method."""

from __future__ import annotations

from typing import Any

from nlptk.fewshot.cloze import Cloze
from nlptk.fewshot.contract import Method
from nlptk.fewshot.contrastive import Contrastive
from nlptk.fewshot.gradient import GradientMethod
from nlptk.fewshot.linear_probe import LinearProbe
from nlptk.fewshot.prototypical import Prototypical

_CLASSES: dict[str, type[Method]] = {
    "linear_probe": LinearProbe,
    "prototypical": Prototypical,
    "contrastive": Contrastive,
    **dict.fromkeys(("maml", "fomaml", "anil", "reptile"), GradientMethod),
    "cloze": Cloze,
}


def make_method(options: Any) -> Method:
    """The method of a recipe's `task.method`."""
    return _CLASSES[options.name](options)
