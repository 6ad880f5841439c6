"""What was found about the data, JSON-able: it goes into the artifact and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class DataReport:
    """What `load_splits` read, split, dropped and noticed.

    sources: per split its sources: {"name", "rows", "columns" (role -> column name), "present", "blank_lines"}.
    rows, fingerprints: per split. fingerprint: of all splits and the label names.
    dropped: {"split", "file", "reason", "count", "rows"}, the first 20 rows or {"row", "reason"} each.
    unseen_labels: {"split", "label", "count", "rows"}. duplicates: {"within", "between"} with counts and examples.
    conflicts: equal texts with different labels. label_counts: split -> label -> rows that have it.
    """

    sources: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    dropped: list[dict[str, Any]] = field(default_factory=list)
    unseen_labels: list[dict[str, Any]] = field(default_factory=list)
    duplicates: dict[str, Any] = field(default_factory=dict)
    conflicts: dict[str, Any] = field(default_factory=dict)
    label_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> DataReport:
        return cls(**{item.name: state[item.name] for item in fields(cls)})
