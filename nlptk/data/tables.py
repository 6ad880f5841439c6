"""Readers of columnar sources: parquet files and opened `datasets.Dataset` objects."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk.data.cache import disk_errors
from nlptk.data.formats import BATCH_CHARACTERS, BATCH_ROWS, Batch
from nlptk.data.problems import Problems
from nlptk.data.text_files import open_bytes, reading
from nlptk.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def class_names_of(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The names of integer labels, by column: ClassLabel itself, or a list of it."""
    found = {}
    for column, feature in features.items():
        inner = getattr(feature, "feature", feature)
        names = getattr(inner, "names", None)
        if isinstance(names, list):
            found[column] = tuple(map(str, names))
    return found


@dataclass
class ParquetReader:
    """A parquet file. ClassLabel names in its Hugging Face metadata are kept."""

    path: Path
    columns: list[str] = field(init=False)
    class_names: Mapping[str, tuple[str, ...]] = field(init=False)
    total: int | None = field(init=False)
    cells: bool = False
    blank_lines: int = 0

    def __post_init__(self) -> None:
        import pyarrow.parquet as pq

        with self._opened() as stream:
            file = pq.ParquetFile(stream)
            schema, self.total = file.schema_arrow, file.metadata.num_rows
        self.columns = list(schema.names)
        self.class_names = _declared(schema.metadata or {})

    def _opened(self) -> _Parquet:
        return _Parquet(self.path)

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._opened() as stream:
            file = pq.ParquetFile(stream)
            groups = range(file.metadata.num_row_groups)
            size = sum(file.metadata.row_group(index).total_byte_size for index in groups)
            average = max(1, size // max(1, file.metadata.num_rows))
            rows = max(1, min(BATCH_ROWS, BATCH_CHARACTERS // average))
            number = 1
            for part in file.iter_batches(batch_size=rows, columns=None if whole else list(wanted)):
                inputs = pa.Table.from_batches([part]) if whole else None
                yield Batch(list(range(number, number + part.num_rows)), part.select(wanted).to_pydict(), inputs)
                number += part.num_rows


class _Parquet:
    """A parquet file opened for random access, decompressed into a temporary file first where it is a .gz."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Any:
        with reading(self.path, "utf-8"):
            if self.path.name.lower().endswith(".gz"):
                with open_bytes(self.path) as packed, disk_errors(Path(tempfile.gettempdir()), elsewhere="set TMPDIR"):
                    self.stream: Any = tempfile.TemporaryFile()
                    shutil.copyfileobj(packed, self.stream)
                    self.stream.seek(0)
            else:
                self.stream = self.path.open("rb")
            return self.stream

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        self.stream.close()
        if isinstance(error, (pa.ArrowException, OSError)):
            raise DataError(f"{self.path}: not a whole parquet file ({error}); write or fetch it again") from error


def _declared(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    raw = metadata.get(b"huggingface")
    if raw is None:
        return {}
    from datasets import Features

    try:
        return class_names_of(Features.from_dict(json.loads(raw)["info"]["features"]))
    except (KeyError, TypeError, ValueError):  # metadata of another version: the values themselves still read
        return {}


@dataclass
class DatasetReader:
    """An opened data set (from `save_to_disk` or the Hub)."""

    dataset: Dataset
    columns: list[str] = field(init=False)
    class_names: Mapping[str, tuple[str, ...]] = field(init=False)
    total: int | None = field(init=False)
    cells: bool = False
    blank_lines: int = 0

    def __post_init__(self) -> None:
        self.columns, self.total = list(self.dataset.column_names), len(self.dataset)
        self.class_names = class_names_of(self.dataset.features)

    def batches(self, wanted: Sequence[str], problems: Problems, *, whole: bool = False) -> Iterator[Batch]:
        number = 1
        view = (self.dataset if whole else self.dataset.select_columns(list(wanted))).with_format("arrow")
        for part in view.iter(batch_size=BATCH_ROWS // 10):
            columns = part.select(list(wanted)).to_pydict()
            yield Batch(list(range(number, number + part.num_rows)), columns, part if whole else None)
            number += part.num_rows
