"""Anything a report holds -> plain JSON values, deterministically and without NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

from nlptk.errors import NlptkError


@runtime_checkable
class Jsonable(Protocol):
    """Figure, Ledger, LabelSpace, ...: what knows its JSON form."""

    def to_json(self) -> Any: ...


def plain(value: Any, where: str = "report") -> Any:
    """JSON values only: NaN and infinities become None, numpy values Python's, paths and dates text, sets sorted lists.

    Raises:
        NlptkError: a value that has no JSON form; the message says where it stands.
    """
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value, where)
    if isinstance(value, str):
        # A lone surrogate (from a badly decoded file) cannot be written as UTF-8.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, PurePath):
        return plain(value.as_posix(), where)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {plain(str(key), where): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, where) for item in value), key=str)
    if isinstance(value, Jsonable):
        return plain(value.to_json(), where)
    if hasattr(value, "tolist"):  # numpy and torch arrays and scalars, without importing either
        return plain(value.tolist(), where)
    raise NlptkError(f"{where}: a {type(value).__name__} has no JSON form; give numbers, texts, lists or dicts")
