"""The kinds of report sections, and a builder for each.

A section is a dict with `kind` and `title`, optionally `note` (a sentence or two under the title: what to look for,
how it was measured) and `group` (the heading it stands under: "Data", "Training", "Results", "Model", ...). The other
keys depend on the kind; the TypedDicts below are the schema of `report.json`. Numbers may be numpy's, missing ones
None or NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, Required, TypedDict

from nlptk.errors import NlptkError
from nlptk.nearest import did_you_mean
from nlptk.task import Figure, Ledger, Section


class SectionBase(TypedDict, total=False):
    """What every section has."""

    title: Required[str]
    note: str
    group: str


class FactsSection(SectionBase):
    """Names and values, such as a data set's or a model's particulars."""

    kind: Literal["facts"]
    facts: dict[str, Any]


class TableSection(SectionBase):
    """Rows of cells; a column of numbers is set right."""

    kind: Literal["table"]
    columns: list[str]
    rows: list[list[Any]]


class FigureState(TypedDict):
    """A measured value and its 95 % interval, None where there is none."""

    value: float | None
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class FiguresSection(SectionBase):
    """Measured values with their intervals, listed and drawn on a common scale."""

    kind: Literal["figures"]
    figures: dict[str, FigureState]


class CurvesSection(SectionBase):
    """Lines over a common x: name -> [x, y] points in x order; a y of None breaks the line."""

    kind: Literal["curves"]
    x_label: str
    y_label: str
    series: dict[str, list[list[float | None]]]


class MatrixSection(SectionBase):
    """Counts or shares, (rows, columns); a cell's shade is its share of its row."""

    kind: Literal["matrix"]
    row_labels: list[str]
    column_labels: list[str]
    values: list[list[float]]
    row_axis: str
    column_axis: str


class BinState(TypedDict):
    """One bin: mean stated probability, observed share, decisions, and the share's 95 % interval."""

    confidence: float
    accuracy: float
    count: int
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class ReliabilitySection(SectionBase):
    """Stated against observed probability; `nlptk.metrics.reliability_bins` makes the bins."""

    kind: Literal["reliability"]
    bins: list[BinState]
    ece: float | None


class HistogramSection(SectionBase):
    """Counts between edges (one edge more) for one or several series; marks: name -> x of a vertical line."""

    kind: Literal["histogram"]
    x_label: str
    edges: list[float]
    counts: dict[str, list[float]]
    marks: dict[str, float]


class BarsSection(SectionBase):
    """One horizontal bar a label."""

    kind: Literal["bars"]
    labels: list[str]
    values: list[float | None]
    x_label: str


class CodeSection(SectionBase):
    """Text in a fixed-width face, such as the recipe."""

    kind: Literal["code"]
    text: str
    language: str


class ExamplesSection(SectionBase):
    """Rows worth reading; the key `text` is set as text, every other key as a name and a value."""

    kind: Literal["examples"]
    rows: list[dict[str, Any]]


KEYS: dict[str, tuple[str, ...]] = {
    "facts": ("facts",),
    "table": ("columns", "rows"),
    "figures": ("figures",),
    "curves": ("x_label", "y_label", "series"),
    "matrix": ("row_labels", "column_labels", "values", "row_axis", "column_axis"),
    "reliability": ("bins", "ece"),
    "histogram": ("x_label", "edges", "counts", "marks"),
    "bars": ("labels", "values", "x_label"),
    "code": ("text", "language"),
    "examples": ("rows",),
}
"""Kind -> the keys it needs besides `kind` and `title`."""


def check_section(section: Mapping[str, Any], where: str) -> None:
    """Refuses a section that cannot be drawn.

    Raises:
        NlptkError: no title, an unknown kind, a missing or unknown key, or lengths that do not fit each other.
    """
    kind = section.get("kind")
    title = section.get("title")
    if not isinstance(title, str) or not title:
        raise NlptkError(f"{where}: no title; give every section a title (kind {kind!r})")
    where = f"{where} {title!r}"
    if kind not in KEYS:
        raise NlptkError(
            f"{where}: kind {kind!r} is unknown{did_you_mean(str(kind), KEYS)}; expected one of {list(KEYS)}"
        )
    missing = [key for key in KEYS[kind] if key not in section]
    if missing:
        raise NlptkError(f"{where}: {kind} without {missing}; build it with nlptk.report.{kind}(...)")
    known = {"kind", "title", "note", "group", *KEYS[kind]}
    for key in section:
        if key not in known:
            raise NlptkError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")
    _check_lengths(section, where)


def _check_lengths(section: Mapping[str, Any], where: str) -> None:
    for what, got, expected in _lengths(section):
        if got != expected:
            raise NlptkError(f"{where}: {what} has {got} items; expected {expected}")


def _lengths(section: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """What must be as long as what: (name, length, expected length)."""
    kind = section["kind"]
    if kind == "table":
        return [(f"row {i}", len(row), len(section["columns"])) for i, row in enumerate(section["rows"])]
    if kind == "matrix":
        wide = len(section["column_labels"])
        rows = [(f"row {i}", len(row), wide) for i, row in enumerate(section["values"])]
        return [("values", len(section["values"]), len(section["row_labels"])), *rows]
    if kind == "histogram":
        return [(f"series {n!r}", len(c), len(section["edges"]) - 1) for n, c in section["counts"].items()]
    if kind == "curves":
        points = [(name, i, point) for name, line in section["series"].items() for i, point in enumerate(line)]
        return [(f"point {i} of {name!r}", len(p), 4 if len(p) > 2 else 2) for name, i, p in points]
    if kind == "bars":
        return [("values", len(section["values"]), len(section["labels"]))]
    return []


def _section(kind: str, title: str, *, note: str | None, group: str | None, content: Mapping[str, Any]) -> Section:
    asides = {key: value for key, value in (("note", note), ("group", group)) if value is not None}
    return {"kind": kind, "title": title, **asides, **content}


def facts(title: str, facts: Mapping[str, Any], *, note: str | None = None, group: str | None = None) -> Section:
    """Names and values."""
    return _section("facts", title, note=note, group=group, content={"facts": dict(facts)})


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    note: str | None = None,
    group: str | None = None,
) -> Section:
    """A table; every row has one cell a column."""
    content = {"columns": list(columns), "rows": [list(row) for row in rows]}
    return _section("table", title, note=note, group=group, content=content)


def figures(title: str, figures: Mapping[str, Figure], *, note: str | None = None, group: str | None = None) -> Section:
    """Measured values with their intervals."""
    content = {"figures": {name: figure.to_json() for name, figure in figures.items()}}
    return _section("figures", title, note=note, group=group, content=content)


def curves(
    title: str,
    series: Mapping[str, Sequence[Sequence[float | None]]],
    *,
    x_label: str,
    y_label: str,
    note: str | None = None,
    group: str | None = None,
) -> Section:
    """Lines: series maps a name to its [x, y] points in x order, or [x, y, low, high] with an interval of y. Labels
    carry the unit: "loss (nats)"."""
    points = {name: [list(point) for point in line] for name, line in series.items()}
    content = {"x_label": x_label, "y_label": y_label, "series": points}
    return _section("curves", title, note=note, group=group, content=content)


def matrix(
    title: str,
    values: Any,
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_axis: str = "gold label",
    column_axis: str = "predicted label",
    note: str | None = None,
    group: str | None = None,
) -> Section:
    """A heat map of a (rows, columns) array or nested list, such as `nlptk.metrics.confusion` gives."""
    content = {
        "row_labels": list(row_labels),
        "column_labels": list(column_labels),
        "values": [list(row) for row in values],
        "row_axis": row_axis,
        "column_axis": column_axis,
    }
    return _section("matrix", title, note=note, group=group, content=content)


def reliability(
    title: str,
    bins: Sequence[Mapping[str, Any]],
    *,
    ece: float | None,
    note: str | None = None,
    group: str | None = None,
) -> Section:
    """A reliability diagram of bins as `nlptk.metrics.reliability_bins` gives them."""
    keep = ("confidence", "accuracy", "count", "low", "high")
    content = {"bins": [{key: bin_[key] for key in keep if key in bin_} for bin_ in bins], "ece": ece}
    return _section("reliability", title, note=note, group=group, content=content)


def histogram(
    title: str,
    counts: Mapping[str, Sequence[float]],
    *,
    edges: Sequence[float],
    x_label: str,
    marks: Mapping[str, float] | None = None,
    note: str | None = None,
    group: str | None = None,
) -> Section:
    """Histograms over common edges (one more than there are counts): series name -> counts; marks: name -> x."""
    series = {name: list(values) for name, values in counts.items()}
    content = {"x_label": x_label, "edges": list(edges), "counts": series, "marks": dict(marks or {})}
    return _section("histogram", title, note=note, group=group, content=content)


def bars(
    title: str, values: Mapping[str, float | None], *, x_label: str, note: str | None = None, group: str | None = None
) -> Section:
    """One horizontal bar a label, in the order given; x_label carries the unit."""
    content = {"labels": list(values), "values": list(values.values()), "x_label": x_label}
    return _section("bars", title, note=note, group=group, content=content)


def code(title: str, text: str, *, language: str, note: str | None = None, group: str | None = None) -> Section:
    """Text in a fixed-width face; language is shown, nothing is highlighted."""
    return _section("code", title, note=note, group=group, content={"text": text, "language": language})


def examples(
    title: str, rows: Sequence[Mapping[str, Any]], *, note: str | None = None, group: str | None = None
) -> Section:
    """Rows worth reading, such as the hardest ones: {"text": ..., "gold": ..., "predicted": ..., "loss": ...}."""
    return _section("examples", title, note=note, group=group, content={"rows": [dict(row) for row in rows]})


def ledger(title: str, splits: Mapping[str, Ledger], *, note: str | None = None, group: str | None = None) -> Section:
    """What did not reach the model, a row for each split."""
    columns = ["split", *(name.replace("_", " ") for name in Ledger().to_json()), "share of tokens lost"]
    rows = [[name, *kept.to_json().values(), _share(kept.tokens_lost, kept.tokens)] for name, kept in splits.items()]
    return table(title, columns, rows, note=note, group=group)


def _share(part: int, whole: int) -> str | None:
    return f"{100 * part / whole:.2f} %" if whole else None


CheckState = Literal["pass", "warn", "fail", "skip"]
SIGNS: dict[CheckState, str] = {
    "pass": "✓\N{NO-BREAK SPACE}pass",
    "warn": "!\N{NO-BREAK SPACE}warn",
    "fail": "✗\N{NO-BREAK SPACE}fail",
    "skip": "–\N{NO-BREAK SPACE}skip",
}


def checks(
    title: str,
    rows: Sequence[tuple[str, CheckState, str]],
    *,
    note: str | None = None,
    group: str | None = None,
) -> Section:
    """Checks as (name, state, detail), as a table."""
    return table(title, ["check", "result", "detail"], [[n, SIGNS[s], d] for n, s, d in rows], note=note, group=group)
