"""The real data sets, read by nlptk and by pandas or datasets: the same rows, and the counts their README states."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # ships no types; its stubs lag behind it
import pytest
from datasets import load_dataset

from nlptk.data import load_splits
from nlptk.data.normalize import normalize
from nlptk.recipe import DataSettings
from nlptk.task import Column

Shared = Callable[[str], Path]
CLASSES = (Column("text", "text", ("text",)), Column("label", "label", ("label", "labels"), target=True))
PAIRS = (Column("text", "text", ("sentence1",)), Column("text_pair", "text", ("sentence2",)), CLASSES[1])
SUMMARIES = (Column("document", "text", ("document",)), Column("summary", "text", ("summary",), target=True))


def _settings(train: Path, **changes: object) -> DataSettings:
    return DataSettings.model_validate({"train": str(train), "duplicates": "keep", **changes})


@pytest.mark.parametrize(
    ("name", "columns", "rows", "labels"),
    [
        ("sst2", CLASSES, (6920, 872, 1821), 2),
        ("ag_news", CLASSES, (5000, 1000, 1600), 4),
        ("goemotions", CLASSES, (43410, 5426, 5427), 28),
        ("mrpc", PAIRS, (3576, 500, 1725), 2),
        ("clinc150", CLASSES, (15100, 3100, 5500), 151),
        ("wikinews", SUMMARIES, (15468, 1000, 1000), None),
    ],
)
def test_a_real_folder_has_the_rows_and_labels_its_readme_states(
    shared: Shared, name: str, columns: tuple[Column, ...], rows: tuple[int, int, int], labels: int | None
) -> None:
    splits = load_splits(_settings(shared(name)), columns, seed=0)
    assert tuple(splits.report.rows.values()) == rows
    assert (len(splits.labels.names) if splits.labels is not None else None) == labels


def test_sst2_is_read_as_pandas_reads_it(shared: Shared) -> None:
    path = shared("sst2") / "train.csv"
    splits = load_splits(_settings(path, validation="none"), CLASSES, seed=0)
    expected = pd.read_csv(path, keep_default_na=False)
    assert splits.train is not None
    assert splits.labels is not None
    assert list(splits.train["text"]) == expected["text"].tolist()
    assert [splits.labels.names[i] for i in splits.train["label"]] == expected["label"].tolist()


def test_wikinews_is_read_as_datasets_reads_it(shared: Shared, tmp_path: Path) -> None:
    path = shared("wikinews") / "validation.jsonl.gz"
    splits = load_splits(_settings(path, validation="none"), SUMMARIES, seed=0)
    expected = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert splits.train is not None
    for role in ("document", "summary"):
        assert list(splits.train[role]) == list(expected[role])


def test_goemotions_keeps_every_label_of_every_row(shared: Shared) -> None:
    path = shared("goemotions") / "test.parquet"
    splits = load_splits(_settings(path, validation="none"), CLASSES, seed=0)
    expected = [sorted(labels) for labels in pd.read_parquet(path)["labels"]]
    assert splits.train is not None
    assert splits.labels is not None
    assert [[splits.labels.names[i] for i in ids] for ids in splits.train["label"]] == expected


@pytest.mark.parametrize(("name", "between"), [("goemotions", 98), ("clinc150", 26), ("sst2", 2), ("mrpc", 4)])
def test_known_leaks_between_test_and_train_are_found(shared: Shared, name: str, between: int) -> None:
    columns = PAIRS if name == "mrpc" else CLASSES
    report = load_splits(_settings(shared(name)), columns, seed=0).report
    assert report.duplicates["between"]["test/train"]["count"] == between


def test_leaks_of_goemotions_are_those_a_plain_set_finds(shared: Shared) -> None:
    folder = shared("goemotions")
    report = load_splits(_settings(folder), CLASSES, seed=0).report
    texts = {split: pd.read_parquet(folder / f"{split}.parquet")["text"].map(normalize) for split in report.rows}
    for pair, found in report.duplicates["between"].items():
        later, earlier = pair.split("/")
        assert found["count"] == int(texts[later].isin(set(texts[earlier])).sum())
