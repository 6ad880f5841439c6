"""A file of rows -> a file of predictions, in input order, going on after an interruption.

Predictions are appended to `TARGET.partial` as they come, after a first line that names the model and the rows. A
second call with the same model and rows goes on behind the last whole line; with others it starts again. The target
itself appears only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from nlptk.artifact import MANIFEST, sha256
from nlptk.data import fingerprint, read_rows, write_rows
from nlptk.data.cache import disk_errors
from nlptk.data.text_files import known_format
from nlptk.errors import DataError
from nlptk.pipelines.artifact import Pipeline, pipeline
from nlptk.recipe import DataSettings

if TYPE_CHECKING:
    from datasets import Dataset

FLUSH_ROWS = 256


@dataclass(frozen=True)
class PredictionResult:
    """rows: predictions in the target; resumed: how many of them an interrupted call had already made."""

    target: Path
    rows: int
    resumed: int
    truncated: int


def predict(
    model: str | Path, source: str | Path, target: str | Path, *, batch_size: int, settings: DataSettings
) -> PredictionResult:
    """Predict every row of a file. Raises: DataError, ArtifactError."""
    path = Path(target)
    _check_target(path, source)
    partial = path.with_name(f"{path.name}.partial")
    lock = FileLock(str(path.with_name(f".{path.name}.lock")))
    with disk_errors(path, elsewhere="give another target; what is predicted so far is kept"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lock.acquire(timeout=0):
                return _predict(model, source, path, partial, batch_size=batch_size, settings=settings)
        except Timeout:
            raise DataError(f"{path}: another process is writing it; wait for it or give another target") from None


def _check_target(path: Path, source: str | Path) -> None:
    """Refuse what would only be found at the end. Raises: DataError."""
    known_format(path)
    if path.is_dir():
        raise DataError(f"{path}: a folder; give the file to write the predictions to")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise DataError(f"{path}: the rows themselves; give another target, so that they are not overwritten")


def _predict(
    model: str | Path, source: str | Path, target: Path, partial: Path, *, batch_size: int, settings: DataSettings
) -> PredictionResult:
    loaded = pipeline(model, batch_size=batch_size)
    rows = read_rows(str(source), loaded.task.columns, settings=settings)
    identity = _identity(loaded, rows)
    done = _resume(partial, identity)
    with partial.open("a", encoding="utf-8") as file:
        if done is None:
            file.write(json.dumps(identity) + "\n")
        for count, prediction in enumerate(_predictions(loaded, rows, done or 0), start=1):
            file.write(json.dumps(prediction, ensure_ascii=False) + "\n")
            if count % FLUSH_ROWS == 0:
                file.flush()
    truncated = 0

    def finished() -> Iterator[dict[str, Any]]:
        nonlocal truncated
        roles = [column.role for column in loaded.task.columns if column.role in rows.column_names]
        with partial.open(encoding="utf-8") as lines:
            next(lines)
            for row, line in zip(rows, lines, strict=True):
                prediction = json.loads(line)
                truncated += bool(prediction["truncated"])
                yield {"row": row["source_row"], **{role: row[role] for role in roles}, **prediction}

    write_rows(target, finished())
    partial.unlink()
    return PredictionResult(target, len(rows), done or 0, truncated)


def _predictions(loaded: Pipeline, rows: Dataset, done: int) -> Iterator[Mapping[str, Any]]:
    from tqdm.auto import tqdm

    if done == len(rows):
        return iter(())
    roles = [column.role for column in loaded.task.columns if column.role in rows.column_names]
    remaining = rows.select_columns(roles).select(range(done, len(rows)))
    return iter(tqdm(loaded.stream(remaining), desc="predicting", total=len(rows), initial=done, delay=2, unit="row"))


def _identity(loaded: Pipeline, rows: Dataset) -> dict[str, str]:
    model = sha256(loaded.folder / MANIFEST)
    return {"model": model, "rows": hashlib.sha256(fingerprint(rows).encode()).hexdigest()}


def _resume(partial: Path, identity: Mapping[str, str]) -> int | None:
    """Predictions already made for the same model and rows, None without any such call; a cut last line is removed."""
    if not partial.is_file():
        return None
    count, whole = 0, 0
    with partial.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n") or (count == 0 and not _same(line, identity)):
                break
            count, whole = count + 1, whole + len(line)
        file.truncate(whole)
    return count - 1 if count else None


def _same(line: bytes, identity: Mapping[str, str]) -> bool:
    try:
        return bool(json.loads(line) == dict(identity))
    except ValueError:
        return False
