"""Labelled rows, tokenized: as vectors, as batches of chosen rows, and as a pool to draw episodes from.

The words of the classes' names can stand among them, as one example more of each class, which no episode draws and
every episode of the class learns from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets

from nlptk.data import fingerprint
from nlptk.data.normalize import text_key
from nlptk.errors import DataError
from nlptk.fewshot.episodes import Episode, Pool
from nlptk.task import Features, Preprocessing, Task
from nlptk.training.features import bars_if, make_features
from nlptk.training.inference import run_features
from nlptk.training.preparation import token_fetch
from nlptk.training.stored_features import kept_file, model_fingerprint

PLACE = "place"
"""Of a batch: (features,) which of the chosen rows each feature is of."""
LEAST_TOGETHER, MOST_PARTS = 8, 8
"""Of a batch that is read in parts, each of features of like length."""


@dataclass(frozen=True)
class LabelledRows:
    """rows: `text` and more; labels: (rows,) ids, 0 where there are none; names: of the labels; where: begins messages.

    names_from: place of the first of the rows that hold the words of the names, one a name in their order, the last of
    all rows; None: there are none.
    """

    rows: Dataset
    features: Features
    labels: np.ndarray
    names: Sequence[str]
    task: Task
    pad_id: int
    where: str
    names_from: int | None = None

    @cached_property
    def pool(self) -> Pool:
        """Of the rows that are no names; those that say the same as a name are not drawn. Raises: DataError, as
        `Pool`."""
        keys = [text_key([text]) for text in self.rows["text"]]
        rows = len(self.rows) if self.names_from is None else self.names_from
        said = set(keys[rows:])
        undrawn = [row for row, key in enumerate(keys[:rows]) if key in said]
        return Pool(self.labels[:rows], self.names, keys[:rows], where=self.where, undrawn=undrawn)

    def check_queries(self, lists: Mapping[int, Sequence[Episode]]) -> None:
        """Refuse lists of episodes, by shots, that draw what a class's name says. Raises: DataError."""
        undrawn = list(self.pool.undrawn)
        for shots, episodes in lists.items():
            if undrawn and any(np.isin(part, undrawn).any() for e in episodes for part in (e.support, e.query)):
                raise DataError(
                    f"{self.where}: the {shots}-shot episodes draw texts that are a class's name, which is learnt from "
                    "too: draw new ones, beginning with a method that reads class names, or leave task.class_names out"
                )

    @property
    def texts(self) -> list[str]:
        """Of the rows, without the classes' names."""
        found: list[str] = self.rows["text"][: self.names_from]
        return found

    @property
    def names_count(self) -> int:
        """Examples of each class beside those that an episode draws: its name's words, or none."""
        return 0 if self.names_from is None else 1

    def learnt_from(self, episode: Episode) -> np.ndarray:
        """(ways, shots + names_count) rows: the support set of an episode, and the names of its classes."""
        if self.names_from is None:
            return episode.support
        return np.concatenate([episode.support, self.names_from + episode.classes[:, None]], axis=1)

    def drawn(self, episodes: Sequence[Episode]) -> tuple[LabelledRows, list[Episode]]:
        """The rows that episodes draw, and the names; and these episodes with the places that the rows have there."""
        kept = np.unique(np.concatenate([part.ravel() for e in episodes for part in (e.support, e.query)]))
        names = np.arange(self.names_from or len(self.rows), len(self.rows))
        chosen = np.concatenate([kept, names])
        fewer = self.subset(chosen.tolist(), self.labels[chosen], self.names)
        placed = [Episode(e.classes, *(np.searchsorted(kept, part) for part in (e.support, e.query))) for e in episodes]
        return replace(fewer, names_from=None if self.names_from is None else len(kept)), placed

    def with_names(self, words: Sequence[str], preprocessing: Preprocessing) -> LabelledRows:
        """These rows, and for each class one with its words."""
        more = Dataset.from_dict({"text": list(words), "label": list(range(len(words)))})
        made = make_features(
            self.task, more, self.task.tokenizer, preprocessing, rows_fingerprint=fingerprint(more)
        ).dataset
        places = np.asarray(made["row"]) + len(self.rows)
        with bars_if(False):
            features = concatenate_datasets(
                [self.features.dataset, made.remove_columns("row").add_column("row", places)]
            )
            rows = concatenate_datasets([self.rows.select_columns("text"), more.select_columns("text")])
        return replace(
            self,
            rows=rows,
            features=Features(features, self.features.ledger),
            labels=np.concatenate([self.labels, np.arange(len(words))]),
            names_from=len(self.rows),
        )

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


def frozen_vectors(rows: LabelledRows, model: torch.nn.Module, *, batch_size: int) -> np.ndarray:
    """(rows, dim) float32, by an encoder that does not train: computed once and kept on disk, for other methods and
    later runs too."""
    task, dataset = rows.task, rows.features.dataset
    read = [name for name in ("row", *task.inputs) if name in dataset.column_names and name != "labels"]
    state = [
        task.name,
        {key: task.decision.get(key) for key in ("pooling", "mask", "start")},
        model_fingerprint(model),
        fingerprint(dataset.select_columns(read)),
    ]

    def compute(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, rows.vectors(model, batch_size=batch_size, show=True))

    name = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    found: np.ndarray = np.load(kept_file(name, compute), allow_pickle=False)
    return found


def row_vectors(task: Task, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(rows, dim), differentiable, of a `LabelledRows.batch`: the windows of a row are averaged."""
    place = batch[PLACE]
    inputs = {name: value for name, value in batch.items() if name != PLACE}
    parts = _of_like_length(inputs["attention_mask"])
    found = [task.forward(module, _part(inputs, chosen)).vectors for chosen in parts]
    vectors = found[0] if len(found) == 1 else torch.cat(found)[torch.cat(parts).argsort()]
    counts = torch.bincount(place)
    if len(counts) == len(vectors):
        return vectors
    summed = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, place, vectors)
    return summed / counts[:, None]


def _of_like_length(mask: torch.Tensor) -> list[torch.Tensor]:
    """Places of features that are read together. On a CPU the padding of one batch takes much of the time; an
    accelerator does better with all at once."""
    parts = min(MOST_PARTS, len(mask) // LEAST_TOGETHER) if mask.device.type == "cpu" else 1
    if parts < 2:
        return [torch.arange(len(mask), device=mask.device)]
    return list(mask.sum(dim=1).argsort(stable=True).tensor_split(parts))


def _part(inputs: dict[str, torch.Tensor], chosen: torch.Tensor) -> dict[str, torch.Tensor]:
    """Some features of a batch, without the columns in which they all are padding."""
    mask = inputs["attention_mask"]
    if len(chosen) == len(mask):
        return inputs
    longest = int(mask[chosen].sum(dim=1).max())
    return {
        name: value[chosen, :longest] if value.shape[:2] == mask.shape else value[chosen]
        for name, value in inputs.items()
    }
