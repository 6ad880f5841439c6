"""What the commands print for people: tables with aligned columns, and the summary of a data set."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nlptk.data.leakage import sharing
from nlptk.data.problems import conflicting, counted, listed_places

WIDTH = 120
EXAMPLES = 3
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


def task_columns(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of each task, as `nlptk tasks --json` has them, and the names that they are found by."""
    rows = [
        [task["name"] if first else "", column["role"], _part_played(column), ", ".join(column["names"])]
        for task in found
        for first, column in zip((True, *(False for _ in task["columns"])), task["columns"], strict=False)
    ]
    lines = ["columns that are found by their names; of another name: data.columns.COLUMN=NAME", ""]
    lines += aligned(["task", "column", "is", "names in files, tried in this order"], rows)
    forms = [
        f"{task['name']}: rows have {', or '.join(' and '.join(form) for form in task['forms'])}"
        for task in found
        if task["forms"]
    ]
    return [*lines, "", *forms]


def _part_played(column: Mapping[str, Any]) -> str:
    played = "to predict" if column["target"] else "read"
    return played if column["required"] else f"{played}, optional"


def inspection(found: Mapping[str, Any]) -> list[str]:
    """The summary of what `nlptk.inspect` returns, a block for each question one has."""
    report = found["report"]
    blocks = [
        _sources(found),
        _labels(found),
        *_counts(found["counts"]),
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


def _counts(counts: Mapping[str, Any]) -> list[list[str]]:
    """A table for each thing that the task counts, with shares in per cent."""
    tables = []
    for what in dict.fromkeys(what for found in counts.values() for what in found):
        by_split = {split: found.get(what, {}) for split, found in counts.items()}
        totals = {split: sum(names.values()) for split, names in by_split.items()}
        ordered = dict.fromkeys(name for names in by_split.values() for name, _ in Counter(names).most_common())
        shown, rest = list(ordered)[:_LABELS_SHOWN], list(ordered)[_LABELS_SHOWN:]
        lines = {name: [name] for name in shown} | ({f"({len(rest)} more)": rest} if rest else {})
        rows: list[list[Any]] = [
            [line, *(value for split in by_split for value in _share(by_split[split], names, totals[split]))]
            for line, names in lines.items()
        ]
        tables.append(aligned([what, *(head for split in by_split for head in (split, "%"))], rows))
    return tables


def _share(counts: Mapping[str, int], names: Sequence[str], total: int) -> tuple[int, float]:
    count = sum(counts.get(name, 0) for name in names)
    return count, 100 * count / max(1, total)


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
    """A paragraph for each kind of finding, with its first examples below it."""
    found: list[tuple[str, list[str]]] = []
    for item in report["dropped"]:
        found.append((f"{item['split']}: {counted(item['count'], 'row')} left out ({item['reason']})", _left_out(item)))
    for split, item in report["duplicates"].get("within", {}).items():
        repeat = "row repeats" if item["count"] == 1 else "rows repeat"
        found.append((f"{split}: {item['count']} {repeat} a text of the same split", _repeated(item)))
    for pair, item in report["duplicates"].get("between", {}).items():
        later, earlier = pair.split("/")
        found.append((f"LEAKAGE: {sharing(item['count'], later)} a text that {earlier} has too", _repeated(item)))
    if report["conflicts"].get("count"):
        item = report["conflicts"]
        shown = [_conflict(example) for example in item["examples"][:EXAMPLES]]
        found.append((conflicting(item), shown))
    for item in report["unseen_labels"]:
        said = (
            f"{item['split']}: {counted(item['count'], 'row')} with the label {item['label']!r}, which training lacks"
        )
        found.append((said, [listed_places(item["rows"], item["count"], shown=EXAMPLES)]))
    lines = [line for said, examples in found if examples for line in (f"  {said}:", *(f"    {e}" for e in examples))]
    lines += [f"  {note}" for note in report["notes"]]
    return [part for line in lines for part in _wrapped(line)] or [
        "  none: no bad rows, repeated texts, leakage, conflicting or unseen labels"
    ]


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _left_out(item: Mapping[str, Any]) -> list[str]:
    """The first rows: with their reasons where each has its own, else with their files."""
    shown = item["rows"][:EXAMPLES]
    if "reason" not in shown[0]:
        return [listed_places(item["rows"], item["count"], shown=EXAMPLES)]
    more = [f"and {item['count'] - len(shown)} more"] if item["count"] > len(shown) else []
    return [*(f"{item['file']} row {row['row']}: {row['reason']}" for row in shown), *more]


def _repeated(item: Mapping[str, Any]) -> list[str]:
    said = []
    for example in item["examples"][:EXAMPLES]:
        here, there = example["row"], example["same_as"]
        said.append(f"{here['file']} row {here['row']} = {there['file']} row {there['row']}, {example['text']!r}")
    return said


def _conflict(example: Mapping[str, Any]) -> str:
    rows = [f"{row['file']} row {row['row']}: {', '.join(row['labels'])}" for row in example["rows"][:EXAMPLES]]
    return f"{example['text']!r} ({'; '.join(rows)})"
