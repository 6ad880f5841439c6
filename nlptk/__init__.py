"""nlptk: from a file of labelled rows to a model one can trust, on the Hugging Face stack.

    import nlptk

    result = nlptk.train(task="classification", model="CHECKPOINT", data="rows.csv", output="runs/reviews")
    classify = nlptk.pipeline(result.artifact)
    classify("arrived broken, nobody answers")   # {"label": ..., "score": ..., "truncated": False}

Importing nlptk loads neither torch nor transformers; the first call does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlptk.api import compare_methods, evaluate, inspect, predict, resolve_recipe, train, tune
    from nlptk.errors import NlptkError
    from nlptk.pipelines import pipeline

__all__ = [
    "NlptkError",
    "compare_methods",
    "evaluate",
    "inspect",
    "pipeline",
    "predict",
    "pretrain",
    "resolve_recipe",
    "train",
    "tune",
]
__version__ = "0.1.0"

_HOMES = {"NlptkError": "nlptk.errors", "pipeline": "nlptk.pipelines"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nlptk' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "nlptk.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
