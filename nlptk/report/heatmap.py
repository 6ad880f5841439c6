"""Heat maps of matrices such as confusion counts: with numbers while they can be read, as shades beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlptk.report import svg
from nlptk.report.markup import number, shortened
from nlptk.report.tables import scrolling, table_html

MOST_NUMBERED = 30
"""Rows and columns up to which cells carry numbers and labels."""
FEW = 12
"""Rows and columns up to which a heat map says all at a glance; beyond, the largest cells are listed too."""
ROOM = 870.0
"""Width of the page's column, into which a heat map with numbers is made to fit where its cells stay legible."""
SMALLEST = 21.0
SHADES = 8
PAIRS = 20
Values = Sequence[Sequence[float | None]]


def matrix(section: Mapping[str, Any]) -> str:
    """A cell's shade is its share of its row, so that rare labels show as well as frequent ones."""
    rows, columns = section["row_labels"], section["column_labels"]
    if not rows or not columns:
        return '<p class="aside">Nothing to draw: no labels.</p>'
    shares = row_shares(section["values"])
    title = f"{section['title']}: {section['row_axis']} by {section['column_axis']}"
    largest = max(len(rows), len(columns))
    if largest <= MOST_NUMBERED:
        return numbered(section, shares, title) + (confused_pairs(section) if largest > FEW else "")
    return shaded(section, shares, title) + confused_pairs(section)


def row_shares(values: Values) -> list[list[float]]:
    """Each value over its row's sum (of absolute values); 0 for an empty row."""
    shares = []
    for row in values:
        total = sum(abs(value or 0.0) for value in row) or 1.0
        shares.append([abs(value or 0.0) / total for value in row])
    return shares


def numbered(section: Mapping[str, Any], shares: list[list[float]], title: str) -> str:
    """Squares with their numbers; column labels slanted above."""
    rows, columns, values = section["row_labels"], section["column_labels"], section["values"]
    names = [shortened(name, 22) for name in rows]
    heads = [shortened(name, 22) for name in columns]
    left = 36 + 7.6 * max(map(len, names))
    top = 36 + 5.8 * max(map(len, heads))
    overhang = 5.4 * len(heads[-1]) + 12  # of the last, slanted head
    size = cell_size(len(columns), room=ROOM - left - overhang, values=values)
    right = left + size * len(columns)
    width, height = right + overhang, top + size * len(rows) + 8
    drawn = [svg.text(left, 14, section["column_axis"], "label")]
    drawn.append(svg.text(14, (top + height) / 2, section["row_axis"], "label mid", rotate=-90))
    for j, head in enumerate(heads):
        x = left + size * (j + 0.5)
        drawn.append(svg.text(x, top - 8, head, "head", rotate=-45, title=columns[j]))
    for i, name in enumerate(names):
        y = top + size * (i + 0.5)
        drawn.append(svg.text(left - 8, y + 4.5, name, "head end", title=rows[i]))
        for j, value in enumerate(values[i]):
            if value is None:
                continue
            place = (left + size * j + 1, y - size / 2 + 1, size - 2, size - 2)
            tip = f"{section['row_axis']} {rows[i]}, {section['column_axis']} {columns[j]}: {number(value)}"
            drawn.append(svg.rect(*place, "cell", opacity=1))
            if value:
                drawn.append(
                    svg.rect(*place, "heat", title=f"{tip} ({shares[i][j]:.0%} of its row)", opacity=shares[i][j])
                )
            written = svg.text(
                left + size * (j + 0.5), y + 4, cell_number(value), "cell-number mid" + tone(value, shares[i][j])
            )
            drawn.append(written)
    return scrolling(svg.drawing(width, height, "".join(drawn), title=title, style="chart fixed"))


def cell_size(columns: int, *, room: float, values: Values) -> float:
    """Side of a square: large for few columns, and for many as large as the room allows and its numbers need."""
    digits = max(len(cell_number(value)) for row in values for value in [0.0, *row] if value is not None)
    wanted = 56.0 if columns <= 6 else 44.0 if columns <= FEW else 34.0
    return min(wanted, max(room / columns, SMALLEST, 6 + 7.0 * digits))


def cell_number(value: float) -> str:
    """A number that fits a cell: 4 digits whole, then 12k."""
    if abs(value) >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def tone(value: float, share: float) -> str:
    return " faint" if not value else " on-heat" if share > 0.55 else ""


def shaded(section: Mapping[str, Any], shares: list[list[float]], title: str) -> str:
    """Shades only, one path for each of SHADES steps so that 150 labels stay small."""
    rows, columns = len(shares), len(section["column_labels"])
    size = max(2.0, 520 / max(rows, columns))
    left, top, side = 28.0, 24.0, svg.at(size)
    paths: dict[int, list[str]] = {}
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share > 0:
                shade = min(SHADES, int(share * SHADES) + 1)
                corner = f"M{svg.at(left + j * size)} {svg.at(top + i * size)}"
                paths.setdefault(shade, []).append(f"{corner}h{side}v{side}h-{side}z")
    right, bottom = left + size * columns, top + size * rows
    drawn = [svg.rect(left, top, right - left, bottom - top, "cell")]
    drawn += [
        f'<path d="{"".join(paths[shade])}" class="heat" fill-opacity="{svg.at(max(0.15, shade / SHADES))}"/>'
        for shade in sorted(paths)
    ]
    across, down = f"{section['column_axis']} (1 to {columns})", f"{section['row_axis']} (1 to {rows})"
    drawn.append(svg.text((left + right) / 2, 15, across, "label mid"))
    drawn.append(svg.text(17, (top + bottom) / 2, down, "label mid", rotate=-90))
    return svg.drawing(right + 6, bottom + 6, "".join(drawn), title=title)


def confused_pairs(section: Mapping[str, Any], most: int = PAIRS) -> str:
    """The largest cells off the diagonal (where rows and columns are the same labels), as a table."""
    rows, columns, values = section["row_labels"], section["column_labels"], section["values"]
    same = rows == columns
    cells = [
        (value, i, j) for i, row in enumerate(values) for j, value in enumerate(row) if value and not (same and i == j)
    ]
    found = sorted(cells, key=lambda cell: (-cell[0], cell[1], cell[2]))[:most]
    shares = row_shares(values)
    heads = [section["row_axis"], section["column_axis"], "count", "share of row"]
    lines = [[rows[i], columns[j], value, f"{shares[i][j]:.0%}"] for value, i, j in found]
    what = "most confused pairs" if same else "largest cells"
    return f"<h4>The {len(lines)} {what}</h4>" + table_html(heads, lines)
