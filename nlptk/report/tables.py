"""HTML tables: numbers to the right, long text wrapped, wide tables scrolling on their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nlptk.report.markup import cell, escape, is_number, number

_NUMBER_LIKE = re.compile(r"[+−-]?[\d.,]+(\s?%)?")
TALL = 60
LONG = 40
"""Characters from which a cell is given room and wrapped."""


def table_html(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in a box that scrolls sideways; a column whose cells are all numbers is set right, to equal decimals."""
    formats = [column_format([row[index] for row in rows]) for index in range(len(columns))]
    head = "".join(f'<th scope="col"{_style(formats[i])}>{escape(name)}</th>' for i, name in enumerate(columns))
    lines = []
    for row in rows:
        cells = "".join(_td(value, formats[index]) for index, value in enumerate(row))
        lines.append(f"<tr>{cells}</tr>")
    body = "".join(lines) or f'<tr><td colspan="{max(1, len(columns))}" class="none">no rows</td></tr>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return scrolling(table, rows=len(rows))


def scrolling(content: str, *, rows: int = 0) -> str:
    """Content in a box, reachable by keyboard, that scrolls sideways; from TALL rows on also up and down."""
    return f'<div class="scroll{" tall" if rows >= TALL else ""}" tabindex="0">{content}</div>'


def column_format(values: Sequence[Any]) -> str:
    """How a column is written: `fixed` (shares and scores, three decimals), `number`, or `text`."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if is_number(value)]
    if known and len(numbers) == len(known):
        fractions = any(value != int(value) for value in numbers)
        small = all(abs(value) < 10 for value in numbers) and not any(0 < abs(value) < 0.001 for value in numbers)
        return "fixed" if fractions and small else "number"
    number_like = known and all(is_number(v) or _NUMBER_LIKE.fullmatch(str(v)) for v in known)
    return "number" if number_like else "text"


def _td(value: Any, how: str) -> str:
    if is_number(value):
        return f'<td class="n">{f"{value:.3f}".replace("-", "−") if how == "fixed" else number(value)}</td>'
    long = isinstance(value, str) and len(value) > LONG
    style = ' class="long"' if long else _style(how)
    return f"<td{style}>{cell(value)}</td>"


def _style(how: str) -> str:
    return "" if how == "text" else ' class="n"'
