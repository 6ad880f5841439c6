"""What the commands print for people: tables with aligned columns, and the summary of a data set."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 120
GAP = 2
_LABELS_SHOWN = 30
_LENGTHS = ("min", "p25", "p50", "p75", "p95", "p99", "max")


def aligned(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table at most 120 wide: numbers to the right, the last column wrapped below itself."""
    cells = [list(headers), *([_cell(value) for value in row] for row in rows)]
    numeric = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(headers))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    room = max(20, WIDTH - sum(width + GAP for width in widths[:-1]))
    lines = []
    for row in cells:
        placed = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)]
        wrapped = [placed[-1]] if numeric[-1] else textwrap.wrap(row[-1], room) or [""]
        first = (" " * GAP).join([*placed[:-1], wrapped[0]])
        indent = " " * (len(first) - len(wrapped[0]))
        lines += [first.rstrip(), *(indent + more for more in wrapped[1:])]
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    return str(value)


def inspection(found: Mapping[str, Any]) -> list[str]:
    """The summary of what `nlptk.inspect` returns, a block for each question one has."""
    report = found["report"]
    blocks = [
        _sources(found),
        _labels(found),
        _lengths(found["lengths"]),
        _truncation(found.get("truncation") or {}, report["rows"]),
        ["findings", *_findings(report)],
    ]
    lines: list[str] = []
    for block in blocks:
        lines += ["", *block] if lines and block else block
    return lines


def _sources(found: Mapping[str, Any]) -> list[str]:
    report = found["report"]
    named = [source for sources in report["sources"].values() for source in sources]
    rows = [
        [
            split,
            source["rows"],
            source["name"],
            ", ".join(f"{role}={column}" for role, column in source["columns"].items()),
        ]
        for split, sources in report["sources"].items()
        for source in sources
    ]
    lines = aligned(["file of", "rows", "source", "read as"], rows)
    cut = [f"{split} {count}" for split, count in report["rows"].items()]
    lines += ["", f"splits   {', '.join(cut)}"]
    read = {column for source in named for column in source["columns"].values()}
    kinds = [f"{name} ({kind}{'' if name in read else ', not read'})" for name, kind in found["columns"].items()]
    return [*lines, *textwrap.wrap(f"columns  {', '.join(kinds)}", WIDTH, subsequent_indent=" " * 9)]


def _labels(found: Mapping[str, Any]) -> list[str]:
    counts = found["report"]["label_counts"]
    if not counts:
        return []
    splits = list(counts)
    names = sorted(counts[splits[0]], key=lambda name: -counts[splits[0]][name])
    rows: list[list[Any]] = [[name, *(counts[split].get(name, 0) for split in splits)] for name in names]
    rest = rows[_LABELS_SHOWN:]
    rows = rows[:_LABELS_SHOWN]
    if rest:
        rows.append([f"({len(rest)} more labels)", *(sum(row[i + 1] for row in rest) for i in range(len(splits)))])
    rows.append(["commonest / rarest", *(found["imbalance"].get(split) for split in splits)])
    kind = "labels (several a row)" if found["labels"] and found["labels"]["multi"] else "labels"
    return aligned([kind, *splits], rows)


def _lengths(lengths: Mapping[str, Any]) -> list[str]:
    rows = [
        [split, role, unit, *(quantiles[name] for name in _LENGTHS)]
        for split, roles in lengths.items()
        for role, units in roles.items()
        for unit, quantiles in units.items()
    ]
    return aligned(["length", "of", "in", *_LENGTHS], rows) if rows else []


def _truncation(truncation: Mapping[str, Any], rows: Mapping[str, int]) -> list[str]:
    found = [
        [split, int(limit), lost["rows"], 100 * lost["rows"] / max(1, rows.get(split, 0)), lost["tokens"]]
        for split, limits in truncation.items()
        for limit, lost in limits.items()
    ]
    return aligned(["truncated", "at tokens", "rows", "% of rows", "tokens lost"], found) if found else []


def _findings(report: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for item in report["dropped"]:
        first = item["rows"][0] if item["rows"] else {}
        shown = f" (row {first.get('row')}{': ' + first['reason'] if 'reason' in first else ''})" if first else ""
        lines.append(f"{item['split']}: {item['count']} rows left out: {item['reason']}{shown}")
    for split, item in report["duplicates"].get("within", {}).items():
        if item["count"]:
            lines.append(f"{split}: {item['count']} rows repeat a text of the same split{_example(item)}")
    for pair, item in report["duplicates"].get("between", {}).items():
        if item["count"]:
            later, earlier = pair.split("/")
            lines.append(f"LEAKAGE: {item['count']} rows of {later} have a text that {earlier} has too{_example(item)}")
    if report["conflicts"].get("count"):
        found = report["conflicts"]
        text = found["examples"][0]["text"] if found["examples"] else ""
        lines.append(f"{found['count']} texts come with different labels, on {found['rows']} rows: {text!r}")
    for item in report["unseen_labels"]:
        lines.append(f"{item['split']}: {item['count']} rows have the label {item['label']!r}, which training lacks")
    lines += report["notes"]
    if not lines:
        return ["  none: no bad rows, repeated texts, leakage, conflicting or unseen labels"]
    return [
        part for line in lines for part in textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]


def _example(item: Mapping[str, Any]) -> str:
    if not item["examples"]:
        return ""
    first = item["examples"][0]
    here, there = first["row"], first["same_as"]
    return f": {here['file']} row {here['row']} = {there['file']} row {there['row']}, {first['text']!r}"
