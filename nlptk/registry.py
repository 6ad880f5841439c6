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
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Generic, TypeVar

from nlptk.errors import NlptkError, RecipeError
from nlptk.nearest import did_you_mean
from nlptk.strategies.contract import Strategy
from nlptk.task import Task

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered class, imported on first use. origin: the module or the distribution it comes from."""

    name: str
    origin: str
    load: Callable[[], type[T]]


def _classes(module: ModuleType, base: type[T]) -> Iterable[type[T]]:
    for _, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, base) and value.__module__ == module.__name__ and "name" in vars(value):
            yield value


def _built_in(package: str, base: type[T]) -> dict[str, Entry[T]]:
    found: dict[str, Entry[T]] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for cls in _classes(module, base):
            name: str = vars(cls)["name"]
            if name in found:
                raise NlptkError(f"{module.__name__}: the name {name!r} is already taken by {found[name].origin}")
            found[name] = Entry(name, module.__name__, lambda cls=cls: cls)  # type: ignore[misc]  # bound per loop turn
    return found


def _from_entry_point(point: EntryPoint, base: type[T]) -> Entry[T]:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value

    def load() -> type[T]:
        try:
            cls = point.load()
        except (ImportError, AttributeError) as error:
            raise NlptkError(f"plugin {point.name!r} of {origin}: cannot import {point.value}: {error}") from error
        if not (inspect.isclass(cls) and issubclass(cls, base)):
            raise NlptkError(f"plugin {point.name!r} of {origin}: {point.value} is not a subclass of {base.__name__}")
        return cls

    return Entry(point.name, origin, load)


def _collect(package: str, group: str, base: type[T]) -> dict[str, Entry[T]]:
    found = _built_in(package, base)
    for point in entry_points(group=group):
        entry = _from_entry_point(point, base)
        if point.name in found:
            raise NlptkError(
                f"plugin {point.name!r} of {entry.origin}: the name is already taken by {found[point.name].origin}; "
                "uninstall one of the two or rename its entry point"
            )
        found[point.name] = entry
    return dict(sorted(found.items()))


@cache
def tasks() -> dict[str, Entry[Task]]:
    """All tasks by name: the files of tasks/ and the entry points `nlptk.tasks`."""
    return _collect("nlptk_tasks", "nlptk.tasks", Task)  # type: ignore[type-abstract]  # a base to test against


@cache
def strategies() -> dict[str, Entry[Strategy]]:
    """All fine-tuning strategies by name: the files of nlptk/strategies/ and the entry points `nlptk.strategies`."""
    return _collect("nlptk.strategies", "nlptk.strategies", Strategy)


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
