"""Labelled rows, tokenized: as vectors, as batches of chosen rows, and as a pool to draw episodes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from datasets import Dataset

from nlptk.data.normalize import text_key
from nlptk.fewshot.episodes import Pool
from nlptk.task import Features, Task
from nlptk.training.features import bars_if
from nlptk.training.inference import run_features
from nlptk.training.preparation import token_fetch

PLACE = "place"
"""Of a batch: (features,) which of the chosen rows each feature is of."""


@dataclass(frozen=True)
class LabelledRows:
    """rows: `text` and more; labels: (rows,) ids, 0 where there are none; names: of the labels; where: begins
    messages."""

    rows: Dataset
    features: Features
    labels: np.ndarray
    names: Sequence[str]
    task: Task
    pad_id: int
    where: str

    @cached_property
    def pool(self) -> Pool:
        """Raises: DataError, as `Pool`."""
        keys = [text_key([text]) for text in self.rows["text"]]
        return Pool(self.labels, self.names, keys, where=self.where)

    @cached_property
    def _starts(self) -> np.ndarray:
        """(rows + 1,) the first feature of each row."""
        of_row = np.asarray(self.features.dataset["row"])
        return np.searchsorted(of_row, np.arange(len(self.rows) + 1))

    def subset(self, chosen: Sequence[int], labels: np.ndarray, names: Sequence[str]) -> LabelledRows:
        """Some of the rows, with labels of their own."""
        spans = [range(self._starts[row], self._starts[row + 1]) for row in chosen]
        kept = self.features.dataset.select([index for span in spans for index in span]).remove_columns("row")
        places = np.repeat(np.arange(len(chosen)), [len(span) for span in spans])
        with bars_if(False):
            features = Features(kept.add_column("row", places), self.features.ledger)
        return LabelledRows(self.rows.select(chosen), features, labels, names, self.task, self.pad_id, self.where)

    def batch(self, chosen: Sequence[int]) -> dict[str, torch.Tensor]:
        """The features of some rows, padded, and `place`: which of the chosen each is of."""
        spans = [range(self._starts[row], self._starts[row + 1]) for row in chosen]
        fetched = token_fetch(self.task, self.features, self.pad_id)([index for span in spans for index in span])
        batch = {name: value for name, value in fetched.items() if name != "labels"}
        places = np.repeat(np.arange(len(chosen)), [len(span) for span in spans])
        return {**batch, PLACE: torch.from_numpy(places)}

    def vectors(
        self, model: torch.nn.Module, *, batch_size: int, rank: int = 0, world_size: int = 1, show: bool = False
    ) -> np.ndarray:
        """(rows, dim) float32, by a model in eval mode."""
        fetch = token_fetch(self.task, self.features, self.pad_id)
        lengths = self.features.dataset["length"][:]
        outputs, _ = run_features(
            model,
            self.task,
            lengths,
            fetch,
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            show_progress=show,
        )
        return np.asarray(self.task.pool(outputs, self.features), dtype=np.float32)


def row_vectors(task: Task, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(rows, dim), differentiable, of a `LabelledRows.batch`: the windows of a row are averaged."""
    place = batch[PLACE]
    read = task.forward(module, {name: value for name, value in batch.items() if name != PLACE})
    vectors: torch.Tensor = read.vectors
    counts = torch.bincount(place)
    if len(counts) == len(vectors):
        return vectors
    summed = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, place, vectors)
    return summed / counts[:, None]
