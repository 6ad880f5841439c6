"""`load_splits`: from a recipe's data settings to checked, encoded, memory-mapped splits and a report on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nlptk.data import cache, labels, leakage
from nlptk.data.columns import check_mapping
from nlptk.data.encoding import open_dataset, write_part
from nlptk.data.fingerprint import fingerprint
from nlptk.data.pools import Part, build_pool
from nlptk.data.problems import dropped_entry
from nlptk.data.report import DataReport
from nlptk.data.rows import ReadSettings, Rows, glance_at, key_roles, read_source
from nlptk.data.sources import SPLITS, Given, find_splits, is_hub_name
from nlptk.data.splits import sample, set_aside, units_of
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import NO_RULES, Column, LabelSpace, RowRules

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class Splits:
    """The splits of a recipe's data; a split that the recipe does not have is None.

    Columns: the roles that were found (label: int64 id, or a list of ids), `source_file`, `source_row` (place
    among the rows of its file, from 1; a header is no row), and `group` where the recipe names one.
    """

    train: Dataset | None
    validation: Dataset | None
    test: Dataset | None
    labels: LabelSpace | None
    report: DataReport


def load_splits(settings: DataSettings, columns: Sequence[Column], *, seed: int, rules: RowRules = NO_RULES) -> Splits:
    """Read, check, split and encode. The same settings, bytes and seed give the same rows in the same order.

    Raises:
        DataError: whatever the settings do not allow: bad rows, leakage, unseen labels, missing files or columns.
    """
    return prepare(settings, columns, seed=seed, refuse=True, rules=rules)


def glance(settings: DataSettings, columns: Sequence[Column], *, rules: RowRules = NO_RULES) -> None:
    """Refuse files that are missing, empty or lack a column, in no time and without torch; a Hub data set waits.

    Raises:
        DataError: as `load_splits`.
    """
    given = (settings.train, settings.validation, settings.test)
    if any(isinstance(value, str) and is_hub_name(value) for value in given):
        return
    check_mapping(settings.columns, columns)
    how = read_settings(settings, columns, rules)
    for sources in find_splits(settings).values():
        for source in sources if isinstance(sources, list) else ():
            glance_at(source, how)


def prepare(
    settings: DataSettings, columns: Sequence[Column], *, seed: int, refuse: bool, rules: RowRules = NO_RULES
) -> Splits:
    """`load_splits`, or with `refuse=False` the same report without refusing what a look at the data may show."""
    check_mapping(settings.columns, columns)
    if sum(column.kind == "label" for column in columns) > 1:
        raise DataError("a task has one column of the kind label at most")
    given = find_splits(settings)
    identity = {s: [[x.name, x.key] for x in g] if isinstance(g, list) else g for s, g in given.items()}
    kinds = [[c.role, c.kind, list(c.names), c.required, c.target, c.together] for c in columns]
    key = cache.key_of(
        "splits", identity, settings.model_dump(mode="json"), kinds, seed, refuse, rules.forms, rules.key
    )
    entry = cache.find(key)
    if entry is None:
        entry = _Preparation(settings, tuple(columns), seed, refuse, rules).run(given, key)
    space = entry.meta["labels"]
    opened = {split: open_dataset(path) for split, path in entry.files.items()}
    return Splits(
        train=opened.get("train"),
        validation=opened.get("validation"),
        test=opened.get("test"),
        labels=LabelSpace.from_json(space) if space is not None else None,
        report=DataReport.from_json(entry.meta["report"]),
    )


def read_settings(settings: DataSettings, columns: Sequence[Column], rules: RowRules) -> ReadSettings:
    """What of a recipe's settings, and of a task's rules, decides how a source is read."""
    mapping = dict(sorted(settings.columns.items()))
    how = (settings.group, settings.label_separator, settings.encoding)
    return ReadSettings(tuple(columns), mapping, *how, rules=rules)


def refuse_bad_rows(parts: Sequence[Rows]) -> None:
    """Raise if any source has rows that cannot be used.

    Raises:
        DataError: lists the first of them, by source.
    """
    bad = [rows for rows in parts if rows.problems.count]
    if not bad:
        return
    said = []
    for rows in bad:
        first, reason = rows.problems.first[0]
        if rows.problems.count == 1:
            said.append(f"{rows.source.name}, row {first}: {reason}")
        else:
            said.append(f"{rows.source.name}: {rows.problems.count} bad rows: {rows.problems.listed()}")
    raise DataError(f"{'; '.join(said)}; mend them or set data.bad_rows=drop")


class _Preparation:
    """The steps of one `prepare`, in order, with the report they fill."""

    def __init__(
        self, settings: DataSettings, columns: tuple[Column, ...], seed: int, refuse: bool, rules: RowRules
    ) -> None:
        self.settings, self.columns, self.seed, self.refuse, self.rules = settings, columns, seed, refuse, rules
        self.report = DataReport()
        self.vocabulary: dict[str, int] = {}
        self.encoding: labels.Encoding | None = None
        self.label_role = next((column.role for column in columns if column.kind == "label"), None)

    def run(self, given: Mapping[str, Given], key: str) -> cache.Entry:
        rows = self._read(given)
        parts = self._split(rows, given)
        if parts[0].pool.label_offsets is not None:
            parts = self._encode(parts)
        parts = self._check_leakage(parts)
        if self.settings.max_rows is not None:
            parts = [replace(p, rows=sample(p, self.settings.max_rows, seed=self.seed)) for p in parts]
        return self._write(self._without_empty(parts), key)

    def _without_empty(self, parts: list[Part]) -> list[Part]:
        for part in parts:
            if not len(part.rows):
                reasons = {item["reason"]: item["count"] for item in self.report.dropped if item["split"] == part.split}
                message = f"data: no {part.split} row is left; dropped: {reasons}"
                if self.refuse:
                    raise DataError(message)
                self.report.notes.append(message)
        return [part for part in parts if len(part.rows)]

    def _read(self, given: Mapping[str, Given]) -> dict[str, list[Rows]]:
        how = read_settings(self.settings, self.columns, self.rules)
        found: dict[str, list[Rows]] = {}
        for split, sources in given.items():
            if isinstance(sources, list):
                found[split] = [read_source(source, how) for source in sources]
        if self.refuse and self.settings.bad_rows == "refuse":
            refuse_bad_rows([rows for parts in found.values() for rows in parts])
        for split, parts in found.items():
            self.report.sources[split] = [described(rows) for rows in parts]
            for rows in parts:
                self.report.notes += [f"{rows.source.name}: {note}" for note in rows.notes]
                if rows.problems.count:
                    self._dropped(split, "bad row", rows.problems.count, rows.problems.to_json()["first"], rows)
            if not sum(rows.count for rows in parts):
                raise DataError(f"{parts[0].source.name}: no usable row: {parts[0].problems.listed()}")
        return found

    def _dropped(self, split: str, reason: str, count: int, rows: list[Any], source: Rows | None = None) -> None:
        name = source.source.name if source is not None else None
        self.report.dropped.append(dropped_entry(split, name, reason, count, rows))

    def _split(self, rows: Mapping[str, list[Rows]], given: Mapping[str, Given]) -> list[Part]:
        import numpy as np

        pools = {s: build_pool(parts, self.vocabulary, label_role=self.label_role) for s, parts in rows.items()}
        chosen = {split: np.arange(pool.count) for split, pool in pools.items()}
        fractions = {split: value for split, value in given.items() if isinstance(value, float)}
        if fractions:
            chosen.update(set_aside(pools["train"], fractions, seed=self.seed))
        for split, fraction in fractions.items():
            pools[split] = pools["train"]
            if len(chosen[split]):
                continue
            units = len(np.unique(units_of(pools["train"])))
            tied = f" (in {units} units that must not be parted)" if units < pools["train"].count else ""
            message = f"a {split} split of {fraction:g} of {pools['train'].count} rows{tied} comes out empty"
            cure = f"give data.{split} a larger fraction or a file, or none"
            if self.refuse and getattr(self.settings, split) is not None:
                raise DataError(f"{rows['train'][0].source.name}: {message}; {cure}")
            self.report.notes.append(f"{message}; {cure}")
            del pools[split]
        return [Part(split, pools[split], chosen[split]) for split in SPLITS if split in pools]

    def _encode(self, parts: list[Part]) -> list[Part]:
        import numpy as np

        parts_with = [part for part in parts if part.pool.label_offsets is not None]
        labels.check_forms(parts_with)
        train = parts[0]
        encoding = labels.encode(train, self.vocabulary, names=self.settings.label_names)
        if self.refuse:
            labels.check_enough(encoding, train)
        for part in parts_with[1:]:
            self.report.unseen_labels += labels.describe_unseen(part, encoding, self.vocabulary)
        if self.refuse and self.settings.unseen_labels != "drop":
            labels.refuse_unseen(self.report.unseen_labels, encoding.space)
        for index, part in enumerate(parts):
            if index == 0 or part.pool.label_offsets is None:
                continue
            places = labels.unseen_rows(part, encoding)
            if len(places):
                where = [part.pool.place(int(row)) for row in part.rows[places[:20]]]
                self._dropped(part.split, "label not in training", len(places), where)
                parts[index] = replace(part, rows=np.delete(part.rows, places))
        self.encoding = encoding
        self._note_labels(encoding, train)
        return parts

    def _note_labels(self, encoding: labels.Encoding, train: Part) -> None:
        used = set(encoding.ids[train.labels()[1]].tolist())
        unused = [name for index, name in encoding.space.id2label.items() if index not in used]
        if unused:
            self.report.notes.append(f"no training row has the label {', '.join(map(repr, unused[:20]))}")
        self.report.notes += labels.near_names(encoding.space) + labels.missing_names(encoding.space)
        if not encoding.space.multi:
            self.report.notes += labels.many_singles(encoding, train) + labels.packed_lists(encoding.space)

    def _check_leakage(self, parts: list[Part]) -> list[Part]:
        import numpy as np

        self.report.notes += leakage.shared_values(parts)
        roles = key_roles(self.columns, parts[0].pool.parts[0].mapping)
        if not roles:
            return parts
        self.report.duplicates, leaked = leakage.find_duplicates(parts, roles)
        if parts[0].pool.label_offsets is not None:
            self.report.conflicts = leakage.find_conflicts(parts, roles, list(self.vocabulary))
        if self.refuse and self.settings.duplicates == "refuse":
            leakage.refuse_leaks(self.report.duplicates["between"])
        if self.settings.duplicates != "drop":
            return parts
        for index, part in enumerate(parts):
            places = leaked.get(part.split)
            if places is not None and len(places):
                where = [part.pool.place(int(row)) for row in part.rows[places[:20]]]
                self._dropped(part.split, "text is also in an earlier split", len(places), where)
                parts[index] = replace(part, rows=np.delete(part.rows, places))
        return parts

    def _write(self, parts: list[Part], key: str) -> cache.Entry:
        space = self.encoding.space if self.encoding is not None else None
        with cache.draft(key) as draft:
            for part in parts:
                write_part(part, draft.path(part.split), self.columns, self.encoding)
                self.report.fingerprints[part.split] = fingerprint(open_dataset(draft.path(part.split)))
                self.report.rows[part.split] = len(part.rows)
                if space is not None and self.encoding is not None and part.pool.label_offsets is not None:
                    self.report.label_counts[part.split] = label_counts(part, self.encoding)
            state = [self.report.fingerprints, space.to_json() if space is not None else None]
            self.report.fingerprint = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
            meta = {"labels": state[1], "report": self.report.to_json()}
            return draft.commit([part.split for part in parts], meta)


def described(rows: Rows) -> dict[str, Any]:
    """A source as `DataReport.sources` has it."""
    noted = {"rows": rows.count, "columns": rows.mapping, "present": rows.present, "blank_lines": rows.blank_lines}
    return {"name": rows.source.name, **noted}


def label_counts(part: Part, encoding: labels.Encoding) -> dict[str, int]:
    """Label -> rows that have it."""
    import numpy as np

    counts = np.bincount(encoding.ids[part.labels()[1]], minlength=len(encoding.space.names))
    return dict(zip(encoding.space.names, counts.tolist(), strict=True))
