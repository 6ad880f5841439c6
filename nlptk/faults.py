"""What pydantic finds in a recipe, in lines that name the key, what came and what was expected."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nlptk.nearest import did_you_mean

Model = type[BaseModel]

_TYPES = {"boolean": "true or false", "dictionary": "a mapping", "integer": "a whole number", "string": "a text"}
_VALID = re.compile(r"a valid (\w+)(, unable to .*)?")


class _Place(NamedTuple):
    """keys: of the recipe, from the outside in; owner: the model that the last one is looked up in, if there is one;
    inside: the last keys, that lie inside one of several types that a value may have."""

    keys: tuple[str, ...]
    owner: Model | None
    inside: int = 0

    @property
    def value(self) -> tuple[str, ...]:
        """The keys of the value that has several types."""
        return self.keys[: len(self.keys) - self.inside]


def faults(
    error: ValidationError,
    model: Model,
    *,
    where: str,
    prefix: str = "",
    components: Mapping[str, Model] | None = None,
) -> str:
    """All of them in one line. where: begins each; prefix: before the keys; components: key of the model -> the
    settings that stand below it."""
    found = [(_place(item["loc"], model), item) for item in error.errors()]
    furthest: dict[tuple[str, ...], int] = {}
    for place, _ in found:
        furthest[place.value] = max(furthest.get(place.value, 0), place.inside)
    by_place: dict[_Place, list[Any]] = {}
    for place, item in found:
        if place.inside == furthest[place.value]:  # of several types, the one that fits furthest
            by_place.setdefault(place, []).append(item)
    said = []
    for place, items in by_place.items():
        key = f"{prefix}{'.'.join(place.keys)}".rstrip(".")  # no key: what does not go together, of several
        said.append(f"{where}: {key}: {_reason(place, items, model, components or {})}")
    return "; ".join(said)


def _reason(place: _Place, items: Sequence[Any], model: Model, components: Mapping[str, Model]) -> str:
    first, key = items[0], place.keys[-1] if place.keys else ""
    if first["type"] == "extra_forbidden":
        known = list(place.owner.model_fields) if place.owner is not None else []
        below = _below(key, model, components) if len(place.keys) == 1 else ""
        hint = below or did_you_mean(key, known) or f"; known: {', '.join(sorted(known))}"
        return f"unknown key{hint}"
    if first["type"] == "missing":
        return "missing; it has no default"
    if first["type"] == "union_tag_invalid":
        tag, expected = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "")
        return f"no {key} named {tag!r}{did_you_mean(tag, expected.split(', '))}; expected one of {expected}"
    first_reason, *others = dict.fromkeys(_expected(item["msg"]) for item in items)
    joined = " or ".join([first_reason, *(other.removeprefix("expected ") for other in others)])
    return f"{joined}; got {first['input']!r}"


def _expected(said: str) -> str:
    """pydantic's words in plain ones.

    >>> _expected("Input should be a valid boolean, unable to interpret input")
    'expected true or false'
    """
    said = said.removeprefix("Value error, ").replace("Input should be", "expected")
    said = _VALID.sub(lambda found: _TYPES.get(found[1], f"a {found[1]}"), said)
    said = re.sub(r"^expected (less|greater) than", r"expected a number \1 than", said)
    return said[:1].lower() + said[1:]


def _place(loc: Sequence[int | str], model: Model) -> _Place:
    """Where a fault is, without the names of types that pydantic puts into its place."""
    keys: list[str] = []
    owner: Model | None = model
    below: Model | None = model
    rest = list(loc)
    while rest:
        part = str(rest.pop(0))
        keys.append(part)
        owner, below = below, None
        field = owner.model_fields.get(part) if owner is not None else None
        if owner is None or field is None:
            continue
        members = _members(field.annotation)
        if len(members) > 1 and rest:
            tag = rest.pop(0)
            if not field.discriminator:
                inner = [str(part) for part in rest if part != "[key]"]
                return _Place((*keys, *inner), None, len(inner))
            below = _tagged(members, str(field.discriminator), tag)
        else:
            below = _nested(owner, part)
    return _Place(tuple(keys), owner)


def _members(annotation: Any) -> list[Any]:
    """The types of a union but None, or the type itself."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    return [member for member in get_args(annotation) if member is not type(None)]


def _tagged(members: Sequence[Any], discriminator: str, tag: Any) -> Model | None:
    return next((m for m in members if tag in get_args(m.model_fields[discriminator].annotation)), None)


def _below(key: str, model: Model, components: Mapping[str, Model]) -> str:
    """A hint for a key that stands one level too high, or an empty string."""
    inner = {name: found for name in model.model_fields if (found := _nested(model, name))}
    places = [f"{name}.{key}" for name, found in {**inner, **components}.items() if key in found.model_fields]
    return f"; did you mean {' or '.join(map(repr, places))}?" if places else ""


def _nested(model: Model, name: str) -> Model | None:
    """The model of the keys below a field, if it has one."""
    field = model.model_fields.get(name)
    inner = _members(field.annotation) if field else []
    return next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), None)
