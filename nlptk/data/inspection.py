"""A look at the data before any training: everything that is there to know, and no refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nlptk.data.formats import ABSENT
from nlptk.data.loading import Splits, prepare
from nlptk.data.problems import REMEMBERED, Problems
from nlptk.data.rows import FILE, ROW, open_reader
from nlptk.data.sources import find_splits
from nlptk.errors import NlptkError
from nlptk.recipe import DataSettings
from nlptk.task import NO_RULES, Column, Look, RowRules, Task

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

QUANTILES = {"min": 0, "p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99, "max": 100}
USUAL_LENGTHS = (128, 256, 512)
_BATCH_ROWS = 1_000
_GUESSED_ROWS = 1_000


def inspect_data(
    settings: DataSettings,
    columns: Sequence[Column],
    *,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    rules: RowRules = NO_RULES,
    task: type[Task] | None = None,
) -> dict[str, Any]:
    """What is in the data, JSON-able. task: shows what it sees in nested columns, and what it would refuse to train on.

    Keys: `report` (of `load_splits`: sources, rows, dropped, unseen labels, duplicates, conflicts, label counts),
    `columns` (name -> guessed type, of the training sources), `labels` (names, multi), `imbalance` (split -> rows of
    the commonest over rows of the rarest label), `counts` (split -> what is counted -> name -> how often: what the task
    finds inside the rows), `lengths` (split -> role -> characters, words, tokens -> quantiles) and, with a tokenizer,
    `truncation` (split -> max_length -> rows and tokens of the inputs that would be lost).
    Bad rows and rows with unseen labels are reported and left out of the figures; leaked rows, and rows whose unseen
    labels stand inside nested columns, are reported and kept.

    Raises:
        DataError: only where nothing can be looked at: missing files or columns, a wrong encoding, damage.
    """
    open_minded = settings.model_copy(update={"bad_rows": "drop", "unseen_labels": "drop", "duplicates": "keep"})
    splits = prepare(open_minded, columns, seed=seed, refuse=False, rules=rules)
    if task is not None and splits.train is not None:
        _foresee(task, splits, splits.train)
    counts = {split: list(by_label.values()) for split, by_label in splits.report.label_counts.items()}
    found: dict[str, Any] = {
        "report": splits.report.to_json(),
        "columns": _guessed_types(settings),
        "labels": splits.labels.to_json() if splits.labels is not None else None,
        "imbalance": {split: _imbalance(values) for split, values in counts.items()},
        "counts": {},
        "lengths": {},
    }
    limits = (max_length,) if max_length is not None else USUAL_LENGTHS
    if tokenizer is not None:
        found["truncation"] = {}
    for split, dataset in _present(splits):
        measured = _measure(dataset, columns, tokenizer, look=task.look if task is not None else _nothing)
        lengths = measured.lengths
        found["counts"][split] = {what: dict(names) for what, names in measured.counts.items()}
        found["lengths"][split] = {r: {u: _quantiles(v) for u, v in by.items()} for r, by in lengths.items()}
        if tokenizer is not None:
            inputs = [c.role for c in columns if c.kind == "text" and not c.target and c.role in lengths]
            found["truncation"][split] = _truncation([lengths[role]["tokens"] for role in inputs], tokenizer, limits)
    return found


def _foresee(kind: type[Task], splits: Splits, train: Dataset) -> None:
    """Add to the report what the task itself, with its default settings, would refuse after the rows are read."""
    report = splits.report
    try:
        task = kind(kind.Options(), labels=splits.labels)
        task.fit(train)
    except (NlptkError, ValueError) as error:  # pydantic's, for a task that cannot do without a setting, is the latter
        report.notes.append(f"with its default settings, task {kind.name} would refuse to train: {error}")
        return
    for split, rows in _present(splits):
        found: dict[str, list[int]] = {}
        for index, label in task.unseen(rows) if split != "train" else ():
            found.setdefault(label, []).append(index)
        for label, indices in found.items():
            first = rows.select(indices[:REMEMBERED])
            places = [{"file": row[FILE], "row": row[ROW]} for row in first]
            report.unseen_labels.append({"split": split, "label": label, "count": len(indices), "rows": places})


def _nothing(rows: Mapping[str, list[Any]]) -> Look:
    return Look()


def _present(splits: Splits) -> list[tuple[str, Dataset]]:
    every = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return [(split, dataset) for split, dataset in every.items() if dataset is not None]


def _imbalance(counts: list[int]) -> float | None:
    present = [count for count in counts if count]
    return max(present) / min(present) if present else None


@dataclass
class _Measured:
    """What is known of a split's rows. lengths: role -> unit -> of every row; counts: see `Look`."""

    lengths: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, role: str, unit: str, values: Sequence[int]) -> None:
        import numpy as np

        units = self.lengths.setdefault(role, {})
        units[unit] = np.concatenate([units.get(unit, np.zeros(0, np.int64)), np.asarray(values, np.int64)])


def _measure(
    dataset: Dataset,
    columns: Sequence[Column],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    look: Callable[[Mapping[str, list[Any]]], Look],
) -> _Measured:
    roles = [column.role for column in columns if column.role in dataset.column_names]
    plain = [column.role for column in columns if column.kind == "text" and column.role in roles]
    found = _Measured()
    for rows in dataset.select_columns(roles).iter(batch_size=_BATCH_ROWS):
        seen = look(rows)
        for what, names in seen.counts.items():
            found.counts.setdefault(what, Counter()).update(names)
        for role, values in {**{role: rows[role] for role in plain}, **seen.texts}.items():
            texts = [text or "" for text in values]
            found.add(role, "characters", [len(text) for text in texts])
            found.add(role, "words", [len(text.split()) for text in texts])
            if tokenizer is not None:
                ids = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
                found.add(role, "tokens", [len(row) for row in ids])
        for role, units in seen.lengths.items():
            for unit, numbers in units.items():
                found.add(role, unit, numbers)
    return found


def _quantiles(values: np.ndarray) -> dict[str, float]:
    import numpy as np

    found = np.percentile(values, list(QUANTILES.values()))
    return {name: float(value) for name, value in zip(QUANTILES, found, strict=True)}


def _truncation(
    tokens: list[np.ndarray], tokenizer: PreTrainedTokenizerBase, limits: Sequence[int]
) -> dict[str, dict[str, int]]:
    """Per limit: rows that do not fit with their special tokens, and the tokens over."""
    if not tokens:
        return {}
    special = tokenizer.num_special_tokens_to_add(pair=len(tokens) > 1)
    totals = sum(tokens[1:], start=tokens[0]) + special
    over = {limit: (totals - limit).clip(min=0) for limit in limits}
    return {str(limit): {"rows": int((lost > 0).sum()), "tokens": int(lost.sum())} for limit, lost in over.items()}


def _guessed_types(settings: DataSettings) -> dict[str, str]:
    """Every column of the first training source -> what its first 1000 rows look like."""
    sources = find_splits(settings)["train"]
    assert isinstance(sources, list)
    reader = open_reader(sources[0], settings.encoding)
    for batch in reader.batches(reader.columns, Problems()):
        return {name: _guess(values[:_GUESSED_ROWS], reader.cells) for name, values in batch.columns.items()}
    return dict.fromkeys(reader.columns, "empty")


def _guess(values: list[object], cells: bool) -> str:
    present = [value for value in values if value is not None and value is not ABSENT and value != ""]
    if cells:
        present = [_as_number(str(value)) for value in present]
    kinds = {"list" if isinstance(v, list) else "object" if isinstance(v, dict) else type(v).__name__ for v in present}
    if not kinds:
        return "empty"
    if kinds <= {"int", "float"}:
        return "whole number" if kinds == {"int"} else "number"
    names = {"str": "text", "bool": "true or false"}
    kind = names.get(next(iter(kinds)), next(iter(kinds))) if len(kinds) == 1 else "mixed"
    if kind == "text" or (cells and kind == "mixed"):
        distinct = len(set(map(str, values)))
        return f"text, {distinct} distinct" if distinct <= len(values) // 5 else "text"
    return kind


def _as_number(cell: str) -> object:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
