"""An artifact as a function from rows to predictions, the same in a notebook, a job and a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from pydantic import ValidationError

from nlptk import artifact, registry
from nlptk.data.values import is_missing, nested_half_pair, text_fault
from nlptk.errors import ArtifactError, DataError, RecipeError
from nlptk.faults import faults
from nlptk.nearest import did_you_mean
from nlptk.recipe import DataSettings
from nlptk.task import Column, Features, Ledger, Prediction, Task, input_forms

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = str | Mapping[str, Any] | tuple[str, ...]
"""A text, the roles by name, or the roles in their order."""
CHUNK_BATCHES = 4
"""Batches that a stream reads ahead, to run rows of like length together."""
CHUNK_CHARACTERS = 250_000
"""Of the rows that it reads ahead: fewer rows where they are long, so that the first answer does not wait for all."""


def load_task(manifest: artifact.Manifest, changed: Mapping[str, Any] | None = None) -> Task:
    """The task as it was trained: its options, labels and decisions. changed: options given anew.

    Raises: RecipeError for an option that only training can change, or a value that does not fit. ArtifactError for
    a pretrained checkpoint, which has no task yet.
    """
    from nlptk.text.saving import TASK as PRETRAINING

    if manifest.task["name"] == PRETRAINING:
        raise ArtifactError(
            "a model of nlptk pretrain has no task yet: give it to `nlptk train task=... model=DIR`, or load it with "
            "transformers"
        )
    cls = registry.get_task(manifest.task["name"])
    trained = manifest.task["options"]
    task = cls(cls.Options.model_validate(trained), labels=manifest.labels, decision=manifest.decision)
    if not changed:
        return task
    for name, value in changed.items():
        if name not in task.changeable:
            can = ", ".join(sorted(task.changeable)) or "nothing"
            hint = did_you_mean(name, task.changeable)
            raise RecipeError(f"pipeline: options.{name}: cannot be changed after training{hint}; what can: {can}")
        if value == "tuned" != trained.get(name):
            raise RecipeError(
                f"pipeline: options.{name}: tuned: nothing was tuned in training; give a number, or leave it out"
            )
    try:
        options = cls.Options.model_validate({**trained, **changed})
    except ValidationError as error:
        raise RecipeError(faults(error, cls.Options, where="pipeline", prefix="options.")) from None
    return cls(options, labels=manifest.labels, decision=manifest.decision)


def rows_as_trained(
    manifest: artifact.Manifest, columns: Sequence[Column], settings: DataSettings
) -> tuple[list[Column], DataSettings]:
    """How other rows are read where the caller does not say: columns by the names they had in training, too, labels
    separated and named as there."""
    given = manifest.recipe.get("data", {})
    mapped = given.get("columns", {})
    known = [
        replace(column, names=(mapped[column.role], *column.names)) if column.role in mapped else column
        for column in columns
    ]
    unset = [name for name in ("label_separator", "label_names") if name not in settings.model_fields_set]
    return known, settings.model_copy(update={name: given.get(name) for name in unset})


def pipeline(
    model: str | Path,
    *,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    verify: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Pipeline:
    """Load an artifact for prediction.

    model: the artifact's folder, or that of the run that made it. batch_size: rows in a forward pass.
    device: torch's name of it; default: the first GPU, else the CPU. verify: check every file's sha256 first.
    options: settings of the task to answer with in place of those of training, such as {"num_beams": 4}; which ones can
    be changed is said by the message that refuses another.

    Raises: ArtifactError naming the file and the cure. RecipeError for an option that cannot be changed. DataError for
    a batch size that is none.
    """
    import torch

    check_batch_size(batch_size)
    load = partial(_load, model, batch_size=batch_size, verify=verify, options=options)
    found = artifact.load_unchanged(model, load)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.nn.Module.to(found.model, device)
    return found


def check_batch_size(batch_size: Any) -> None:
    """Raises: DataError for what is no number of rows."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise DataError(f"batch_size: {batch_size!r}; give the rows of a forward pass, 1 or more")


def _load(model: str | Path, *, batch_size: int, verify: bool, options: Mapping[str, Any] | None) -> Pipeline:
    from nlptk.checkpoints import load_model, load_tokenizer

    folder, manifest = artifact.load_manifest(model, verify=verify)
    task = load_task(manifest, options)
    task.tokenizer = tokenizer = load_tokenizer(str(folder))
    loaded = load_model(str(folder), task, tokenizer)
    task.load_extra(folder)
    if loaded.new or loaded.reshaped:
        lacking = ", ".join([*loaded.new, *loaded.reshaped][:5])
        raise ArtifactError(
            f"{folder}: model.safetensors lacks {lacking}, so predictions would be random; train it again"
        )
    loaded.model.train(False)
    return Pipeline(folder.absolute(), manifest, task, tokenizer, loaded.model, batch_size=batch_size)


class Pipeline:
    """Rows in, predictions out, in order.

    A row is a text, or a mapping of the task's roles (`text`, `text_pair`), or a tuple of them in their order. A call
    takes one row or an iterable of rows. A tuple of texts by itself is one row to a model that reads several columns,
    to which single texts are no rows; to a model that reads one column, it is rows like a list.
    """

    def __init__(
        self,
        folder: Path,
        manifest: artifact.Manifest,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        *,
        batch_size: int,
    ):
        self.folder = folder
        self.manifest = manifest
        self.task = task
        self.tokenizer = tokenizer
        self.model = model
        self.batch_size = batch_size

    @overload
    def __call__(self, rows: str | Mapping[str, Any]) -> Prediction: ...  # type: ignore[overload-overlap]  # a str too is an iterable of str
    @overload
    def __call__(self, rows: tuple[str, ...]) -> Prediction | list[Prediction]: ...  # type: ignore[overload-overlap]  # such a tuple too is an iterable of rows
    @overload
    def __call__(self, rows: Iterable[Row]) -> list[Prediction]: ...

    def __call__(self, rows: Row | Iterable[Row]) -> Prediction | list[Prediction]:
        """Predict one row, or a list of them. Raises: DataError naming the row that cannot be read."""
        if isinstance(rows, str | Mapping) or (isinstance(rows, tuple) and self._is_row(rows)):
            return next(self.stream([rows]))
        return list(self.stream(rows))

    def stream(self, rows: Iterable[Row], *, where: Callable[[int], str] = "row {}".format) -> Iterator[Prediction]:
        """Predictions one by one while rows are read; memory does not grow with their number.

        where: what messages call a row, from its place, which begins at 0.

        Raises: DataError as a call does, and for a single row that is in no list.
        """
        self._check_iterable(rows)
        return self._stream(rows, where)

    def _is_row(self, given: tuple[Any, ...]) -> bool:
        texts = bool(given) and all(isinstance(value, str) for value in given)
        return texts and len(self.manifest.data["roles"]) > 1

    def _check_iterable(self, rows: Any) -> None:
        if hasattr(rows, "iterrows"):  # iterating over it would give its column names
            raise DataError("rows: a table; give one column of it, or its rows: table.to_dict('records')")
        if isinstance(rows, str | Mapping):
            raise DataError(f"rows: {rows!r:.40} is one row; a stream takes a list of rows: stream([row])")
        if isinstance(rows, bytes | bytearray) or not hasattr(rows, "__iter__"):
            raise DataError(f"rows: {rows!r:.40}; expected {self._expected()}, or a list of such rows")

    def _stream(self, rows: Iterable[Row], where: Callable[[int], str]) -> Iterator[Prediction]:
        chunk: list[dict[str, Any]] = []
        size = 0
        for index, row in enumerate(rows):
            chunk.append(self._row(row, partial(where, index)))
            size += _characters(chunk[-1])
            if len(chunk) == CHUNK_BATCHES * self.batch_size or size >= CHUNK_CHARACTERS:
                yield from self._predict(chunk)
                chunk, size = [], 0
        if chunk:
            yield from self._predict(chunk)

    def _row(self, row: Row, where: Callable[[], str]) -> dict[str, Any]:
        """Roles of one row, checked. where: begins messages about it."""
        inputs = [column for column in self.task.columns if not column.target]
        text = next((column.role for column in inputs if column.kind == "text"), inputs[0].role)
        given = {text: row} if isinstance(row, str) else row
        if isinstance(row, tuple) and len(row) == len(inputs):
            given = dict(zip((column.role for column in inputs), row, strict=True))
        found: dict[str, Any] = {}
        if not isinstance(given, Mapping):
            came = f"{type(row).__name__}{self._wrapping(row)}"
            raise DataError(f"{where()}: expected {self._expected()}, got {came}")
        for column in inputs:
            name = next((name for name in (column.role, *column.names) if name in given), None)
            if name is None:
                if column.required:
                    raise DataError(f"{where()}: no {column.role!r} among {sorted(given)}; expected {_roles(inputs)}")
                continue
            value = given[name]
            if is_missing(value) and not column.required:
                continue
            if column.kind == "text" and (fault := text_fault(value)) is not None:
                raise DataError(f"{where()}: {name} {fault}; every row needs a text")
            if column.kind == "json" and (fault := nested_half_pair(value)):
                raise DataError(f"{where()}: {name} {fault}; mend it")
            found[column.role] = value
        hint = "" if found else self._wrapping([row])
        self.check_roles(found, where, hint)
        try:
            return self.task.read_row(found)
        except ValueError as error:
            raise DataError(f"{where()}: {error}{hint}") from error

    def _expected(self) -> str:
        """What a row may be. A text alone is one where no other role must be given with it."""
        inputs = [column for column in self.task.columns if not column.target]
        alone = sum(column.required for column in inputs) < 2 and any(column.kind == "text" for column in inputs)
        return f"{'a text or ' if alone else ''}a mapping of {_roles(inputs)}"

    def _wrapping(self, value: Any) -> str:
        """How to give what is the bare value of a nested column, such as a list of messages; "" for anything else."""
        for column in self.task.columns:
            if column.kind == "json" and not column.target and isinstance(value, list):
                try:
                    self.task.read_row({column.role: value})
                except ValueError:
                    continue
                return f"; a row of {column.role} is given as {{{column.role!r}: [...]}}"
        return ""

    def check_roles(self, found: Iterable[str], where: Callable[[], str], hint: str = "") -> None:
        """Refuse roles that this model was not trained on, or too few. Raises: DataError."""
        has, trained = ", ".join(found) or "nothing to read", self.manifest.data["roles"]
        forms = input_forms(self.task.forms, self.task.columns)
        if forms:
            if not any(set(form) <= set(found) for form in forms):
                wanted = ", or ".join(" and ".join(form) for form in forms)
                raise DataError(f"{where()}: has {has}; expected {wanted}{hint}")
        elif sorted(found) != sorted(trained):
            raise DataError(f"{where()}: has {has}; this model was trained on {', '.join(trained)}{hint}")

    def embed(self, texts: str | Iterable[str], *, normalize: bool = True) -> np.ndarray:
        """Embeddings of texts, (texts, dim) float32, or (dim,) of a single one; see `nlptk.pipelines.embedding`."""
        from nlptk.pipelines import embedding

        return embedding.embed(self, texts, normalize=normalize)

    def search(self, queries: str | Iterable[str], corpus: Iterable[str] | np.ndarray, *, top_k: int = 10) -> list[Any]:
        """The texts of a corpus nearest to a query, or to each of several; see `nlptk.pipelines.embedding`."""
        from nlptk.pipelines import embedding

        return embedding.search(self, queries, corpus, top_k=top_k)

    def add_class(
        self,
        name: str,
        examples: Iterable[str] = (),
        *,
        words: str | None = None,
        output: str | Path | None = None,
    ) -> Path:
        """A few-shot model that knows one class more, saved as a new version; see `nlptk.pipelines.few_shot`."""
        from nlptk.pipelines import few_shot

        return few_shot.add_class(self, name, examples, words=words, output=output)

    def remove_class(self, name: str, *, output: str | Path | None = None) -> Path:
        """A few-shot model without one of its classes, saved as a new version; see `nlptk.pipelines.few_shot`."""
        from nlptk.pipelines import few_shot

        return few_shot.remove_class(self, name, output=output)

    def _predict(self, rows: list[dict[str, Any]]) -> list[Prediction]:
        by_form: dict[tuple[str, ...], list[int]] = {}
        for place, row in enumerate(rows):
            by_form.setdefault(tuple(sorted(row)), []).append(place)
        found: dict[int, Prediction] = {}
        for places in by_form.values():
            found |= zip(places, self._predict_alike([rows[place] for place in places]), strict=True)
        return [found[place] for place in range(len(rows))]

    def _predict_alike(self, rows: list[dict[str, Any]]) -> list[Prediction]:
        """Of rows that have the same roles."""
        columns = {role: [row[role] for row in rows] for role in rows[0]}
        found = self.task.featurize(columns, self.tokenizer, self.manifest.preprocessing)
        outputs, features = self.run(found, rows=len(rows))
        return self.task.decode(self.task.pool(outputs, features), columns, features)

    def run(self, found: Mapping[str, list[Any]], *, rows: int) -> tuple[list[np.ndarray], Features]:
        """Features as a task makes them -> what its `infer` keeps of each, in order, and the columns that go on."""
        from datasets import Dataset

        from nlptk.training.inference import run_features

        inputs = [key for key in (*self.task.inputs, *self.task.measuring) if key in found]
        kept = {key: values for key, values in found.items() if key not in inputs}
        features = Features(Dataset.from_dict(kept), Ledger(rows=rows))
        pad_id = self.tokenizer.pad_token_id
        outputs, _ = run_features(
            self.model,
            self.task,
            found["length"],
            lambda indices: self.task.collate([{key: found[key][i] for key in inputs} for i in indices], pad_id),
            batch_size=self.batch_size,
            show_progress=False,
        )
        return outputs, features


def _characters(value: Any) -> int:
    """Of all texts in a row, however nested."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0


def _roles(columns: Iterable[Any]) -> str:
    return ", ".join(column.role for column in columns)
