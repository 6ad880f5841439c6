"""The rows of a few-shot job: support set, held-out rows, and the files of other classes to meta-train on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from datasets import Dataset

from nlptk.data import fingerprint, load_splits, read_rows
from nlptk.data.normalize import text_key
from nlptk.errors import DataError, RecipeError
from nlptk.fewshot.episodes import check_disjoint
from nlptk.fewshot.rows import LabelledRows
from nlptk.parts.class_names import class_words
from nlptk.recipe import DataSettings, Recipe
from nlptk.task import Preprocessing, Task
from nlptk.training.features import make_features
from nlptk.training.preparation import Prepared


def split_rows(prepared: Prepared, split: str) -> LabelledRows:
    """A split of the job's own rows."""
    found, task = prepared.splits[split], prepared.task
    assert task.labels is not None
    pad_id = prepared.tokenizer.pad_token_id
    labels = label_ids(found.rows)
    return LabelledRows(found.rows, found.features, labels, task.labels.names, task, pad_id, where=f"data.{split}")


def with_class_names(rows: LabelledRows, preprocessing: Preprocessing) -> LabelledRows:
    """The rows, and with them the words of the classes' names where `task.class_names` asks for that.

    Raises: RecipeError for names without words.
    """
    options: Any = rows.task.options
    if not options.class_names:
        return rows
    given = options.class_names if isinstance(options.class_names, Mapping) else {}
    return rows.with_names(class_words(rows.names, given), preprocessing)


def refuse_unknown_names(task: Task, files: Iterable[LabelledRows]) -> None:
    """Refuse words of `task.class_names` for classes that are in none of the files. Raises: RecipeError."""
    options: Any = task.options
    names = list(dict.fromkeys(name for rows in files for name in rows.names))
    given = options.class_names if isinstance(options.class_names, Mapping) else {}
    if unknown := sorted(given.keys() - set(names)):
        raise RecipeError(f"task.class_names: no class {unknown[0]!r}; there are {names[:20]}")


def label_ids(rows: Dataset) -> np.ndarray:
    """(rows,) label ids."""
    return np.asarray(rows["label"], dtype=np.int64)


def labelled_file(
    path: str, settings: DataSettings, task: Task, preprocessing: Preprocessing, *, where: str, seed: int
) -> LabelledRows:
    """A file of labelled rows with classes of its own. settings: columns, encoding, duplicates and the like."""
    of_the_others = {"validation": "none", "test": "none", "group": None, "label_names": None}
    alone = settings.model_copy(update={"train": path, **of_the_others})
    found = load_splits(alone, task.columns, seed=seed, rules=task.rules())
    rows = found.train
    assert rows is not None
    if found.labels is None or found.labels.multi:
        raise DataError(f"{where}: {path}: expected one label a row; name the column with data.columns.label")
    if settings.duplicates == "drop":
        rows = without_repeats(rows)
    features = make_features(task, rows, task.tokenizer, preprocessing, rows_fingerprint=fingerprint(rows))
    pad_id = task.tokenizer.pad_token_id
    names = found.labels.names
    return LabelledRows(rows, features, label_ids(rows), names, task, pad_id, where=f"{where} ({path})")


def without_repeats(rows: Dataset) -> Dataset:
    """The first of every row whose text is the same."""
    keys = np.array([text_key([text]) for text in rows["text"]])
    return rows.select(np.sort(np.unique(keys, return_index=True)[1]))


def meta_rows(recipe: Recipe, prepared: Prepared) -> Mapping[str, LabelledRows]:
    """The rows to meta-train and to validate on, by split. Raises: DataError where they share a class."""
    meta = prepared.task.options.meta  # type: ignore[attr-defined]  # of the few-shot task
    files = {"train": meta.train, "validation": meta.validation}
    found = {
        split: with_class_names(
            labelled_file(
                path, recipe.data, prepared.task, prepared.preprocessing, where=f"task.meta.{split}", seed=recipe.seed
            ),
            prepared.preprocessing,
        )
        for split, path in files.items()
        if path is not None
    }
    check_disjoint([rows.pool for rows in found.values()])
    return found


def refuse_classes_without_rows(support: LabelledRows) -> None:
    """Refuse a support set in which a class has no example. Raises: DataError."""
    counts = np.bincount(support.labels, minlength=len(support.names))
    if empty := [support.names[place] for place in np.flatnonzero(counts == 0).tolist()]:
        raise DataError(
            f"{support.where}: no row has the label {empty[0]!r} ({len(empty)} of {len(counts)} classes are so); give "
            "each an example, or name only the others as data.label_names"
        )


def refuse_shared_texts(files: Iterable[LabelledRows], measured: LabelledRows) -> None:
    """Refuse files with texts of the rows that a model is measured on. Raises: DataError."""
    known = {text_key([text]) for text in measured.texts}
    for rows in files:
        shared = [text for text in rows.texts if text_key([text]) in known]
        if shared:
            raise DataError(
                f"{rows.where}: {len(shared)} texts stand in {measured.where} too, such as {shared[0][:60]!r}; what is "
                "measured must not be learnt from: take them out of one of the two"
            )


def unlabelled_file(
    path: str, settings: DataSettings, task: Task, preprocessing: Preprocessing, *, where: str
) -> LabelledRows:
    """A file of texts of no class."""
    rows = read_rows(path, task.columns, settings=settings, rules=task.rules()).rows
    features = make_features(task, rows, task.tokenizer, preprocessing, rows_fingerprint=fingerprint(rows))
    nothing = np.zeros(len(rows), dtype=np.int64)
    return LabelledRows(rows, features, nothing, (), task, task.tokenizer.pad_token_id, where=f"{where} ({path})")
