"""Rows to predict or measure on, with a model whose labels are already settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nlptk.data import cache, leakage
from nlptk.data import labels as encodings
from nlptk.data.columns import check_mapping
from nlptk.data.encoding import open_dataset, write_part
from nlptk.data.fingerprint import fingerprint
from nlptk.data.inputs import Inputs
from nlptk.data.loading import described, label_counts, read_settings, refuse_bad_rows
from nlptk.data.pools import Part, build_pool
from nlptk.data.problems import REMEMBERED, dropped_entry
from nlptk.data.report import DataReport
from nlptk.data.rows import Rows, key_roles, read_source
from nlptk.data.sources import find_sources
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import NO_RULES, Column, LabelSpace, RowRules, input_forms

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = "rows"


class RowsRead(NamedTuple):
    """Rows in the order of their file, and what was found about them; the report's one split is called `rows`."""

    rows: Dataset
    report: DataReport


def read_rows(
    path: str | Path | list[str],
    columns: Sequence[Column],
    *,
    settings: DataSettings,
    labels: LabelSpace | None = None,
    targets: bool = False,
    rules: RowRules = NO_RULES,
) -> RowsRead:
    """The rows of a file in order, without targets, or with them to measure against.

    settings: columns, encoding, label_separator, label_names, bad_rows, unseen_labels and max_rows count here.
    targets: the target columns are read, and required where the task requires them. labels: the model's labels;
    a label column is encoded with them, and left out without them.

    Raises:
        DataError: as `load_splits`, for bad rows, missing columns and labels the model does not know.
    """
    wanted = [c for c in columns if not c.target or (targets and (c.kind != "label" or labels is not None))]
    check_mapping(settings.columns, columns)
    rules = rules if targets else without_targets(rules, columns)
    return _opened(_parts(path, wanted, settings, rules, whole=False), wanted, settings, labels, repeats=targets)


def read_whole_rows(
    path: str | Path | list[str], columns: Sequence[Column], *, settings: DataSettings, rules: RowRules = NO_RULES
) -> tuple[Dataset, Inputs, list[dict[str, Any]]]:
    """The rows of a file in order without targets, all their columns beside them, and what was dropped.

    Raises:
        DataError: as `read_rows`.
    """
    wanted = [column for column in columns if not column.target]
    check_mapping(settings.columns, columns)
    parts = _parts(path, wanted, settings, without_targets(rules, columns), whole=True)
    rows, report = _opened(parts, wanted, settings, None, repeats=False)
    names = dict.fromkeys(name for part in parts for name in part.present)
    # without targets no row is dropped but those behind max_rows, so the first ones are the same
    inputs = Inputs([part.inputs for part in parts if part.inputs is not None], list(names), len(rows))
    return rows, inputs, report.dropped


def without_targets(rules: RowRules, columns: Sequence[Column]) -> RowRules:
    """The rules for rows that are to be predicted."""
    return replace(rules, forms=tuple(input_forms(rules.forms, columns)))


def _parts(
    path: str | Path | list[str], wanted: list[Column], settings: DataSettings, rules: RowRules, *, whole: bool
) -> list[Rows]:
    """The good rows of every source, or a refusal of the bad ones."""
    roles = {column.role for column in wanted}
    mapping = {role: name for role, name in settings.columns.items() if role in roles}
    how = read_settings(settings.model_copy(update={"columns": mapping, "group": None}), wanted, rules)
    sources = find_sources(str(path) if isinstance(path, Path) else path, settings)
    parts = [read_source(source, replace(how, whole=whole)) for source in sources]
    if settings.bad_rows == "refuse":
        refuse_bad_rows(parts)
    if not sum(rows.count for rows in parts):
        raise DataError(f"{sources[0].name}: no usable row: {parts[0].problems.listed()}")
    return parts


def _opened(
    parts: list[Rows], wanted: list[Column], settings: DataSettings, labels: LabelSpace | None, *, repeats: bool
) -> RowsRead:
    known = labels.to_json() if labels is not None else None
    how_rows = [settings.max_rows, settings.unseen_labels, settings.label_names, known, repeats]
    identity = [[rows.source.name, rows.file.name] for rows in parts]
    key = cache.key_of("prediction", identity, [[c.role, c.kind] for c in wanted], how_rows)
    entry = cache.find(key)
    if entry is None:
        part, encoding, report = _chosen(parts, wanted, settings, labels, repeats=repeats)
        with cache.draft(key) as draft:
            write_part(part, draft.path(ROWS), wanted, encoding)
            report.fingerprint = fingerprint(open_dataset(draft.path(ROWS)))
            entry = draft.commit([ROWS], {"report": report.to_json()})
    return RowsRead(open_dataset(entry.files[ROWS]), DataReport.from_json(entry.meta["report"]))


def _chosen(
    rows: list[Rows], columns: Sequence[Column], settings: DataSettings, space: LabelSpace | None, *, repeats: bool
) -> tuple[Part, encodings.Encoding | None, DataReport]:
    """The rows to use, how their labels are encoded, and what was found about them, but for the fingerprint."""
    import numpy as np

    report = DataReport(sources={ROWS: [described(part) for part in rows]})
    report.notes += [f"{part.source.name}: {note}" for part in rows for note in part.notes]
    report.dropped += [
        dropped_entry(ROWS, part.source.name, "bad row", part.problems.count, part.problems.to_json()["first"])
        for part in rows
        if part.problems.count
    ]
    vocabulary: dict[str, int] = {}
    role = next((column.role for column in columns if column.kind == "label"), None)
    pool = build_pool(rows, vocabulary, label_role=role)
    part, encoding = Part(ROWS, pool, np.arange(pool.count)), None
    if space is not None and pool.label_offsets is not None:
        encodings.check_forms([part])
        form = "list" if space.multi else "single"
        for source in rows:
            if source.label_form not in (None, form):
                raise DataError(f"{source.source.name}: labels are {source.label_form}s; the model has {form} labels")
        encoding = encodings.encode_known(space, vocabulary, names=settings.label_names)
        if settings.unseen_labels != "drop":
            encodings.refuse_unseen(encodings.describe_unseen(part, encoding, vocabulary), space)
        places = encodings.unseen_rows(part, encoding)
        if len(places):
            first = [pool.place(int(row)) for row in part.rows[places[:REMEMBERED]]]
            report.dropped.append(dropped_entry(ROWS, None, "label that the model does not know", len(places), first))
        part = replace(part, rows=np.delete(part.rows, places))
    if settings.max_rows is not None:
        part = replace(part, rows=part.rows[: settings.max_rows])
    report.rows[ROWS] = len(part.rows)
    if encoding is not None:
        report.label_counts[ROWS] = label_counts(part, encoding)
    if repeats:
        _look_for_repeats(part, columns, list(vocabulary), report)
    return part, encoding, report


def _look_for_repeats(part: Part, columns: Sequence[Column], words: Sequence[str], report: DataReport) -> None:
    """Repeated texts, and equal texts with different labels: they decide how much the figures on these rows say."""
    roles = key_roles(columns, part.pool.parts[0].mapping)
    if not roles:
        return
    report.duplicates = leakage.find_duplicates([part], roles)[0]
    if part.pool.label_offsets is not None:
        report.conflicts = leakage.find_conflicts([part], roles, words)
