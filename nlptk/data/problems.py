"""Rows that cannot be used: counted all, remembered the first few, refused or dropped by the caller."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REMEMBERED = 20
SHOWN = 5


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed_places(places: Sequence[Mapping[str, Any]], count: int, *, shown: int = SHOWN) -> str:
    """The first places of some rows, by file. count: of all the rows.

    >>> listed_places([{"file": "a.csv", "row": 3}, {"file": "a.csv", "row": 8}, {"file": "b.csv", "row": 1}], 43)
    'a.csv: rows 3, 8; b.csv: row 1 (and 40 more)'
    """
    by_file: dict[str, list[str]] = {}
    for place in places[:shown]:
        by_file.setdefault(place["file"], []).append(str(place["row"]))
    said = [f"{file}: {'rows' if len(rows) > 1 else 'row'} {', '.join(rows)}" for file, rows in by_file.items()]
    left = count - len(places[:shown])
    return "; ".join(said) + (f" (and {left} more)" if left else "")


def dropped_entry(split: str, file: str | None, reason: str, count: int, rows: Sequence[Any]) -> dict[str, Any]:
    """One of `DataReport.dropped`. rows: the first of them: {"row", "reason"} where `file` is given, else {"file",
    "row"}."""
    return {"split": split, "file": file, "reason": reason, "count": count, "rows": list(rows)}


def dropped_lines(dropped: Sequence[Mapping[str, Any]]) -> list[str]:
    """A warning for every kind of row that was left out: how many, why, and where the first ones are."""
    said = []
    for item in dropped:
        places = [{"file": row.get("file", item["file"]), "row": row["row"]} for row in item["rows"]]
        first = next((f", the first because {row['reason']}" for row in item["rows"] if "reason" in row), "")
        listed = f" ({listed_places(places, item['count'])})" if places else ""
        said.append(f"{item['split']}: {counted(item['count'], 'row')} left out: {item['reason']}{first}{listed}")
    return said


def conflicting(conflicts: Mapping[str, Any]) -> str:
    """How many texts of `DataReport.conflicts` contradict themselves."""
    come = "text comes" if conflicts["count"] == 1 else "texts come"
    return f"{conflicts['count']} {come} with different labels, on {conflicts['rows']} rows"


def conflict_lines(conflicts: Mapping[str, Any]) -> list[str]:
    """A warning of equal texts with different labels (`DataReport.conflicts`), if there are any."""
    if not conflicts.get("count"):
        return []
    places = [place for example in conflicts["examples"] for place in example["rows"]]
    return [f"{conflicting(conflicts)} ({listed_places(places, conflicts['rows'])})"]


@dataclass
class Problems:
    """The bad rows of one source: how many, and row number and reason of the first 20."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: int, reason: str) -> None:
        self.count += 1
        if len(self.first) < REMEMBERED or row < self.first[-1][0]:
            bisect.insort(self.first, (row, reason))
            del self.first[REMEMBERED:]

    def listed(self) -> str:
        """`row 3: text is empty; row 9: label is empty; and 4 more`."""
        shown = [f"row {row}: {reason}" for row, reason in self.first[:SHOWN]]
        if self.count > len(shown):
            shown.append(f"and {self.count - len(shown)} more")
        return "; ".join(shown)

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "first": [{"row": row, "reason": reason} for row, reason in self.first]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Problems:
        return cls(int(state["count"]), [(int(item["row"]), str(item["reason"])) for item in state["first"]])
