"""Raw values of one role -> checked values that Arrow takes; what is wrong with a value is said row by row."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nlptk.data.formats import ABSENT
from nlptk.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Wrong = dict[int, list[str]]
"""Place in the batch -> what is wrong with the row."""


MISSING_WORDS = frozenset({"NaN", "nan", "null", "NULL", "#N/A"})
"""What a missing value becomes where it is written as text, 4 letters at most: kept, as it may be meant, and noted."""


class Values(Protocol):
    """The checker of one role. `convert` returns a value for every row, anything where the row is wrong."""

    role: str

    def convert(self, raw: list[Any], wrong: Wrong) -> list[Any]: ...

    def arrow(self, values: list[Any]) -> pa.Array: ...


def described(value: Any) -> str:
    """What came, for an error message."""
    if value is None or value is ABSENT:
        return "missing"
    if isinstance(value, bool):
        return f"{str(value).lower()}, not a text"
    if isinstance(value, int | float):
        return "missing (NaN)" if value != value else f"the number {value}"
    if isinstance(value, str):
        return "empty" if not value else "only white space" if is_blank(value) else f"the text {value[:40]!r}"
    return "a list" if isinstance(value, list | tuple) else "an object" if isinstance(value, dict) else "binary data"


def _note(wrong: Wrong, place: int, reason: str) -> None:
    wrong.setdefault(place, []).append(reason)


def is_missing(value: Any) -> bool:
    """Whether a value is none: null, NaN, or a key that its object does not have."""
    return value is None or value is ABSENT or (isinstance(value, float) and math.isnan(value))


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: white space, and characters without a width.

    >>> is_blank(" \u200b\ufeff"), is_blank("a")
    (True, False)
    """
    if not text or text.isspace():
        return True
    return not text.isascii() and all(mark.isspace() or unicodedata.category(mark) == "Cf" for mark in text)


def half_pair(text: str) -> str | None:
    """What is wrong with a text that has no UTF-8 form, and that no file and no tokenizer takes; or None."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"holds half a surrogate pair at character {error.start}"
    return None


def nested_half_pair(value: Any) -> str | None:
    """As `half_pair`, of the first text in a value that is so, however nested."""
    if isinstance(value, str):
        return half_pair(value)
    parts = [*value, *value.values()] if isinstance(value, Mapping) else value
    if not isinstance(parts, list | tuple):
        return None
    return next(filter(None, map(nested_half_pair, parts)), None)


def text_fault(value: Any) -> str | None:
    """Why a value is no text to learn from, or None."""
    if type(value) is not str:
        return f"is {described(value)}" + ("" if is_missing(value) else "; expected a text")
    if is_blank(value):
        return f"is {described(value)}"
    if "\0" in value:
        return f"holds a NUL byte at character {value.index(chr(0))}"
    return half_pair(value)


@dataclass
class TextValues:
    """Texts, not empty and encodable; missing values pass only where the role is optional.

    missing_words: how many texts are one of `MISSING_WORDS`.
    """

    role: str
    required: bool = True
    missing_words: Counter[str] = field(default_factory=Counter)

    def convert(self, raw: list[Any], wrong: Wrong) -> list[Any]:
        for place, value in enumerate(raw):
            # the usual case first: this loop sees every text of the data
            if type(value) is str and value.isascii() and value and not value.isspace() and "\0" not in value:
                if len(value) <= 4 and value in MISSING_WORDS:
                    self.missing_words[value] += 1
                continue
            fault = text_fault(value)
            if fault is None:
                continue
            if not self.required and (is_missing(value) or (isinstance(value, str) and is_blank(value))):
                raw[place] = None
                continue
            if not any(reason.startswith(f"{self.role} ") for reason in wrong.get(place, ())):  # by the task, before
                _note(wrong, place, f"{self.role} {fault}")
        return raw

    def arrow(self, values: list[Any]) -> pa.Array:
        import pyarrow as pa

        return pa.array(values, pa.string())


@dataclass
class NumberValues:
    """Finite numbers; in delimited files any text that Python reads as one."""

    role: str
    required: bool = True
    cells: bool = False

    def convert(self, raw: list[Any], wrong: Wrong) -> list[Any]:
        values: list[float | None] = []
        for place, value in enumerate(raw):
            absent = is_missing(value) or (isinstance(value, str) and self.cells and not value.strip())
            number = None if absent else self._number(value)
            values.append(number)
            if number is None and (self.required or not absent):
                _note(wrong, place, f"{self.role} is {described(value)}" + ("" if absent else "; expected a number"))
        return values

    def _number(self, value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float | (str if self.cells else int)):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def arrow(self, values: list[Any]) -> pa.Array:
        import pyarrow as pa

        return pa.array(values, pa.float64())


_WHOLE_FLOAT = re.compile(r"(-?\d+)\.0+")
"""What pandas makes of whole numbers in a column that has, or had, gaps."""


@dataclass
class LabelValues:
    """Labels as numbers of a growing vocabulary, always as a list; `form` says whether the rows held lists."""

    role: str
    required: bool = True
    cells: bool = False
    separator: str | None = None
    class_names: tuple[str, ...] | None = None
    vocabulary: dict[str, int] = field(default_factory=dict)
    form: Literal["single", "list"] | None = None

    def __post_init__(self) -> None:
        if self.cells and self.separator:
            self.form = "list"

    def convert(self, raw: list[Any], wrong: Wrong) -> list[Any]:
        known = self.vocabulary
        singles = {name: [place] for name, place in known.items()} if self.form == "single" else {}
        values: list[list[int] | None] = []
        for place, value in enumerate(raw):
            # the usual case first: this loop sees every label of the data
            if type(value) is str and (single := singles.get(value)) is not None:
                values.append(single)
                continue
            if self.cells and self.separator:
                value = [part.strip() for part in value.split(self.separator)] if value.strip() else []
            elif not self.required and is_missing(value):
                values.append(None)
                continue
            names, fault = self._names(value)
            if fault is not None:
                _note(wrong, place, f"{self.role} {fault}")
                values.append(None)
            else:
                found = [known.setdefault(name, len(known)) for name in names]
                values.append(found)
                if self.form == "single" and isinstance(value, str):
                    singles[value] = found
        return values

    def _names(self, value: Any) -> tuple[list[str], str | None]:
        is_list = isinstance(value, list | tuple)
        if is_missing(value) or (isinstance(value, str) and is_blank(value)):
            return [], f"is {described(value)}"
        form: Literal["single", "list"] = "list" if is_list else "single"
        self.form = self.form or form
        if form != self.form:
            other = "single labels" if is_list else "lists of labels"
            return [], f"is {described(value)} where the rows before have {other}"
        names: list[str] = []
        for item in value if is_list else (value,):
            name, fault = self._name(item)
            if name is None:
                return [], f"holds a label that {fault}" if is_list else fault
            names.append(name)
        return (list(dict.fromkeys(names)) if is_list else names), None

    def _name(self, value: Any) -> tuple[str | None, str]:
        if isinstance(value, str):
            if self.cells and (whole := _WHOLE_FLOAT.fullmatch(value.strip())):
                value = whole[1]
                if self.class_names is not None:
                    return self._name(int(value))
            return (value, "") if not is_blank(value) and "\0" not in value else (None, f"is {described(value)}")
        if isinstance(value, bool):
            return str(value).lower(), ""
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            number = int(value)
            if self.class_names is None:
                return str(number), ""
            if 0 <= number < len(self.class_names):
                return self.class_names[number], ""
            reason = "says the row has no label" if number == -1 else f"is outside 0..{len(self.class_names) - 1}"
            return None, f"is {number}, which {reason}"
        return None, f"is {described(value)}; expected a name or a whole number"

    def arrow(self, values: list[Any]) -> pa.Array:
        import pyarrow as pa

        return pa.array(values, pa.list_(pa.int32()))


_BOOLEANS = {"True": True, "False": False}
"""Cells as Python and pandas write them, which are not JSON."""


@dataclass
class JsonValues:
    """Nested values, kept as JSON text until the type of all of them is known (`type` grows with every batch).

    class_names: of the numbers in the lists, where the source declares them (a list of ClassLabel).
    """

    role: str
    where: str
    required: bool = True
    cells: bool = False
    class_names: tuple[str, ...] | None = None
    type: pa.DataType | None = None

    def parse(self, raw: list[Any], wrong: Wrong) -> None:
        """Turn the cells of a delimited file into the values they say, and numbers of classes into their names, in
        place; before `convert`."""
        if self.class_names is not None:
            for place, value in enumerate(raw):
                raw[place] = self._named(value, self.class_names, place, wrong)
        if not self.cells:
            return
        for place, cell in enumerate(raw):
            try:
                known = _BOOLEANS.get(cell)
                raw[place] = json.loads(cell) if known is None and cell.strip() else known
            except (ValueError, RecursionError) as error:
                _note(wrong, place, f"{self.role} is not JSON: {error}")

    def _named(self, value: Any, names: tuple[str, ...], place: int, wrong: Wrong) -> Any:
        if not isinstance(value, list):
            return value
        strange = [item for item in value if isinstance(item, int) and not 0 <= item < len(names)]
        if strange:
            _note(wrong, place, f"{self.role} holds {strange[0]}, which is outside 0..{len(names) - 1}")
            return value
        return [names[item] if isinstance(item, int) else item for item in value]

    def convert(self, raw: list[Any], wrong: Wrong) -> list[Any]:
        texts: list[str | None] = []
        parsed: list[Any] = []
        for place, value in enumerate(raw):
            text = None
            if place in wrong:  # a bad row has no say in the type of the others
                pass
            elif is_missing(value):
                if self.required:
                    _note(wrong, place, f"{self.role} is {described(value)}")
            else:
                try:
                    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
                    if "\\ud" in text and (fault := nested_half_pair(value)):
                        _note(wrong, place, f"{self.role} {fault}")
                    else:
                        parsed.append(value)
                except (ValueError, TypeError, RecursionError) as error:
                    _note(wrong, place, f"{self.role} is not JSON: {error}")
            texts.append(text)
        self._widen(parsed)
        return texts

    def _widen(self, values: list[Any]) -> None:
        import pyarrow as pa

        try:
            found = pa.array(values).type
            schemas = [pa.schema([pa.field("value", kind)]) for kind in (self.type or pa.null(), found)]
            self.type = pa.unify_schemas(schemas, promote_options="permissive").field("value").type
        except (pa.ArrowException, OverflowError) as error:
            raise DataError(
                f"{self.where}: column {self.role!r}: the rows hold values of different types: {error}"
            ) from error

    def arrow(self, values: list[Any]) -> pa.Array:
        import pyarrow as pa

        return pa.array(values, pa.string())
