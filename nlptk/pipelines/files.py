"""A file of rows -> a file of predictions, in input order, going on after an interruption.

Predictions are appended to `TARGET.partial` as they come, after a first line that names the model and the rows. A
second call with the same model and rows goes on behind the last whole line; with others it says so and starts again.
Rows are the same where the columns that the model reads are: all other columns join the predictions at the end, as the
source has them in the call that ends. The target itself appears only when it is complete.

A row of the target has `row` (its place among the rows of its file, from 1; a csv header is no row), every column of
the source under its own name and in its place, and the prediction. A column of the source with a name that one of the
other keys has comes as `input_NAME`. Values are written as they were read, those of csv and tsv as texts. A target in
csv or tsv takes nested values as JSON text, but has a column `scores.LABEL` for the score of each label; parquet takes
columns of mixed types as JSON text; dates, decimals and binary data (base64) become text but in parquet.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from nlptk.artifact import MANIFEST, held, sha256
from nlptk.data import Inputs, fingerprint, read_whole_rows, write_rows
from nlptk.data.cache import disk_errors
from nlptk.data.inputs import free_names
from nlptk.data.rows import FILE, ROW
from nlptk.data.text_files import Format, written_format
from nlptk.errors import DataError
from nlptk.pipelines.artifact import Pipeline, pipeline, rows_as_trained
from nlptk.recipe import DataSettings

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class PredictionResult:
    """rows: predictions in the target; resumed: how many of them an interrupted call had already made; truncated: how
    many are of texts that were cut; dropped: rows left out, as in `nlptk.data.DataReport`."""

    target: Path
    rows: int
    resumed: int
    truncated: int
    dropped: list[dict[str, Any]]


def predict(
    model: str | Path, source: str | Path, target: str | Path, *, batch_size: int, settings: DataSettings
) -> PredictionResult:
    """Predict every row of a file. Raises: DataError, ArtifactError."""
    path = Path(target)
    _check_target(path, source)
    partial = path.with_name(f"{path.name}.partial")
    with disk_errors(path, elsewhere="give another target; what is predicted so far is kept"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with held(path.with_name(f".{path.name}.lock")):
                return _predict(model, source, path, partial, batch_size=batch_size, settings=settings)
        except Timeout:
            raise DataError(f"{path}: another process is writing it; wait for it or give another target") from None


def _check_target(path: Path, source: str | Path) -> None:
    """Refuse what would only be found at the end. Raises: DataError."""
    written_format(path)
    if path.is_dir():
        raise DataError(f"{path}: a folder; give the file to write the predictions to")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise DataError(f"{path}: the rows themselves; give another target, so that they are not overwritten")


def _predict(
    model: str | Path, source: str | Path, target: Path, partial: Path, *, batch_size: int, settings: DataSettings
) -> PredictionResult:
    loaded = pipeline(model, batch_size=batch_size)
    task = loaded.task
    columns, settings = rows_as_trained(loaded.manifest, task.columns, settings)
    rows, inputs, dropped = read_whole_rows(str(source), columns, settings=settings, rules=task.rules())
    roles = [column.role for column in task.columns if column.role in rows.column_names]
    loaded.check_roles(roles, lambda: str(source), "; of another name: data.columns.ROLE=NAME")
    identity = _identity(loaded, rows)
    done = _resume(partial, identity)
    with partial.open("a", encoding="utf-8", buffering=1) as file:  # a line is on the disk as soon as it is written
        if done is None:
            file.write(json.dumps(identity) + "\n")
        for prediction in _predictions(loaded, rows, done or 0):
            file.write(json.dumps(prediction, ensure_ascii=False) + "\n")
    space = loaded.manifest.labels
    truncated = _join(target, partial, rows, inputs, labels=space.names if space is not None else ())
    partial.unlink()
    return PredictionResult(target, len(rows), done or 0, truncated, dropped)


def _join(target: Path, partial: Path, rows: Dataset, inputs: Inputs, *, labels: Sequence[str]) -> int:
    """Write numbers, inputs and predictions side by side. Returns: rows that were truncated."""
    kind = written_format(target)
    keys = dict.fromkeys(key for prediction in _saved(partial, kind, labels) for key in prediction)
    names = free_names(inputs.names, ["row", *keys])
    found, types = inputs.typed() if kind == "parquet" else (inputs.plain(), None)
    lacking = {} if kind in ("json", "jsonl") else dict.fromkeys(names.values())
    truncated = 0

    def joined() -> Iterator[dict[str, Any]]:
        nonlocal truncated
        numbers = (row[ROW] for row in rows.select_columns([ROW]))
        for number, given, prediction in zip(numbers, found, _saved(partial, kind, labels), strict=True):
            truncated += bool(prediction["truncated"])
            yield {"row": number, **lacking, **{names[name]: value for name, value in given.items()}, **prediction}

    write_rows(target, joined(), types=types and {names[name]: arrow for name, arrow in types.items()})
    return truncated


def _saved(partial: Path, kind: Format, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The predictions made; for csv and tsv a mapping from the labels has a key `KEY.LABEL` for each of them."""
    flat = kind in ("csv", "tsv") and labels
    with partial.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            prediction = json.loads(line)
            yield _flat(prediction, labels) if flat else prediction


def _flat(prediction: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key, value in prediction.items():
        if isinstance(value, Mapping) and set(value) == set(labels):
            cells.update({f"{key}.{label}": value[label] for label in labels})
        else:
            cells[key] = value
    return cells


def _predictions(loaded: Pipeline, rows: Dataset, done: int) -> Iterator[Mapping[str, Any]]:
    from tqdm.auto import tqdm

    if done == len(rows):
        return iter(())
    roles = [column.role for column in loaded.task.columns if column.role in rows.column_names]
    remaining = rows.select_columns(roles).select(range(done, len(rows)))
    places = rows.select_columns([FILE, ROW])

    def where(index: int) -> str:
        place = places[done + index]
        return f"{place[FILE]}, row {place[ROW]}"

    bar: dict[str, Any] = {"initial": done, "delay": 2, "unit": "row", "disable": None}
    return iter(tqdm(loaded.stream(remaining, where=where), desc="predicting", total=len(rows), **bar))


def _identity(loaded: Pipeline, rows: Dataset) -> dict[str, str]:
    model = sha256(loaded.folder / MANIFEST)
    return {"model": model, "rows": hashlib.sha256(fingerprint(rows).encode()).hexdigest()}


def _resume(partial: Path, identity: Mapping[str, str]) -> int | None:
    """Predictions already made for the same model and rows, None without any such call; a cut last line is removed.

    Those that cannot be used are removed, too, and counted on standard error: making them took time.
    """
    if not partial.is_file():
        return None
    count, whole = 0, 0
    with partial.open("r+b") as file:
        changed = _changed(file.readline(), identity)
        file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            count, whole = count + 1, whole + len(line)
        file.truncate(0 if changed else whole)
    if changed:
        print(f"{partial}: {max(0, count - 1)} predictions are discarded: {changed}", file=sys.stderr)
        return None
    return count - 1


def _changed(line: bytes, identity: Mapping[str, str]) -> str | None:
    """Why the predictions behind a first line are of no use, or None where they are."""
    try:
        found = json.loads(line)
        before = {key: str(found[key]) for key in identity}
    except (ValueError, KeyError, TypeError):
        return "its first line does not say of which model and rows they are"
    parts = [key for key in identity if before[key] != identity[key]]
    if not parts:
        return None if line.endswith(b"\n") else "its first line is cut"
    return f"the {' and the '.join(parts)} {'have' if 'rows' in parts else 'has'} changed since"
