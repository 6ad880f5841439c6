"""Names -> tasks and strategies.

Built-ins are found by scanning a folder: dropping a file into tasks/ is all it takes. Plugins outside register the
class by an entry point of the group `nlptk.tasks` or `nlptk.strategies`. A plugin that does not import is an error with
its cause as soon as it is asked for, and is shown as broken in listings: it never just vanishes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Generic, TypeVar

from nlptk.errors import NlptkError, RecipeError
from nlptk.nearest import did_you_mean
from nlptk.strategies.contract import Strategy
from nlptk.task import Task

T = TypeVar("T")

_IMPORT_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a file with a mistake in it raises when it is imported."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered class, imported on first use. origin: the module or the distribution it comes from.

    load: raises NlptkError with the cause for a plugin that does not import, or whose name another one has.
    """

    name: str
    origin: str
    load: Callable[[], type[T]]


def _broken(name: str, origin: str, message: str, cause: BaseException | None = None) -> Entry[T]:
    def load() -> type[T]:
        raise NlptkError(message) from cause

    return Entry(name, origin, load)


def _classes(module: ModuleType, base: type[T]) -> Iterable[type[T]]:
    for _, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, base) and value.__module__ == module.__name__ and "name" in vars(value):
            yield value


def _built_in(package: str, base: type[T]) -> Iterable[Entry[T]]:
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        origin = f"{package}.{info.name}"
        try:
            module = importlib.import_module(origin)
        except _IMPORT_FAULTS as error:
            cause = f"{type(error).__name__}: {error}"
            yield _broken(info.name, origin, f"{origin}: cannot be imported: {cause}; mend the file", error)
            continue
        for cls in _classes(module, base):
            name: str = vars(cls)["name"]
            yield Entry(name, origin, partial(_complete, cls, origin))


def _from_entry_point(point: EntryPoint, base: type[T]) -> Entry[T]:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    where = f"plugin {point.name!r} of {origin}"

    def load() -> type[T]:
        try:
            cls = point.load()
        except _IMPORT_FAULTS as error:
            cause = f"{type(error).__name__}: {error}"
            raise NlptkError(f"{where}: cannot import {point.value}: {cause}; mend or uninstall the plugin") from error
        if not (inspect.isclass(cls) and issubclass(cls, base)):
            raise NlptkError(f"{where}: {point.value} is not a subclass of {base.__name__}")
        if getattr(cls, "name", None) != point.name:
            raise NlptkError(
                f"{where}: {point.value} has the name {getattr(cls, 'name', None)!r}; give class and entry point one"
            )
        return _complete(cls, where)

    return Entry(point.name, origin, load)


def _complete(cls: type[T], where: str) -> type[T]:
    """The class, if nothing of the contract is missing."""
    declared = [name for base in cls.__mro__ for name in getattr(base, "__annotations__", {})]
    lacking = [name for name in dict.fromkeys(declared) if name in _DECLARED and not hasattr(cls, name)]
    lacking += sorted(getattr(cls, "__abstractmethods__", ()))
    if lacking:
        raise NlptkError(f"{where}: {cls.__name__} lacks {', '.join(lacking)}")
    return cls


_DECLARED = frozenset({"name", "summary", "pipeline_tag", "columns"})
"""Class attributes without a default in the contracts of tasks and strategies."""


def _collect(package: str, group: str, base: type[T]) -> dict[str, Entry[T]]:
    found: dict[str, Entry[T]] = {}
    for entry in [*_built_in(package, base), *(_from_entry_point(point, base) for point in entry_points(group=group))]:
        other = found.get(entry.name)
        if other is not None:
            origin = f"{other.origin} and {entry.origin}"
            cure = "uninstall one of the two, or give it another name"
            entry = _broken(entry.name, origin, f"{entry.name}: the name is taken twice, by {origin}; {cure}")
        found[entry.name] = entry
    return dict(sorted(found.items()))


@cache
def tasks() -> dict[str, Entry[Task]]:
    """All tasks by name: the files of tasks/ and the entry points `nlptk.tasks`."""
    return _collect("nlptk_tasks", "nlptk.tasks", Task)  # type: ignore[type-abstract]  # a base to test against


@cache
def strategies() -> dict[str, Entry[Strategy]]:
    """All fine-tuning strategies by name: the files of nlptk/strategies/ and the entry points `nlptk.strategies`."""
    return _collect("nlptk.strategies", "nlptk.strategies", Strategy)  # type: ignore[type-abstract]  # a base to test against


def _get(kind: str, name: str, entries: dict[str, Entry[T]]) -> type[T]:
    if name not in entries:
        raise RecipeError(f"{kind}: no {kind} named {name!r}{did_you_mean(name, entries)}; known: {', '.join(entries)}")
    return entries[name].load()


def get_task(name: str) -> type[Task]:
    """The task class of that name. Raises: RecipeError naming the nearest name."""
    return _get("task", name, tasks())


def get_strategy(name: str) -> type[Strategy]:
    """The strategy class of that name. Raises: RecipeError naming the nearest name."""
    return _get("strategy", name, strategies())
