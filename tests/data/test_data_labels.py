"""Labels: where their names and order come from, and what does not fit them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from nlptk.data import Splits, load_splits, read_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column, LabelSpace

Write = Callable[[str, str | bytes], Path]
TEXTS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]


def _load(path: Path, columns: Sequence[Column], **changes: object) -> Splits:
    given = {"train": str(path), "validation": "none", "test": "none", **changes}
    return load_splits(DataSettings.model_validate(given), columns, seed=0)


def _jsonl(labels: Sequence[object]) -> str:
    rows = zip(TEXTS, labels, strict=False)
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)


@pytest.mark.parametrize(
    ("labels", "names", "ids"),
    [
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        ([10, 9, 2], ("2", "9", "10"), [2, 1, 0]),
        (["10", "9", "2"], ("2", "9", "10"), [2, 1, 0]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        ([1, "neg", 1], ("1", "neg"), [0, 1, 0]),
        ([["b", "a"], [], ["a"]], ("a", "b"), [[0, 1], [], [0]]),
    ],
)
def test_names_and_ids_follow_the_type_of_the_labels(
    write: Write, columns: tuple[Column, ...], labels: list[object], names: tuple[str, ...], ids: list[object]
) -> None:
    splits = _load(write("labels.jsonl", _jsonl(labels)), columns)
    assert splits.labels == LabelSpace(names, multi=isinstance(labels[0], list))
    assert splits.train is not None
    assert splits.train["label"][:] == ids


def test_a_separator_makes_csv_cells_multi_label_and_an_empty_cell_no_label(
    write: Write, columns: tuple[Column, ...]
) -> None:
    path = write("multi.csv", "text,label\na,joy|anger\nb,\nc,anger\n")
    splits = _load(path, columns, label_separator="|")
    assert splits.labels == LabelSpace(("anger", "joy"), multi=True)
    assert splits.train is not None
    assert splits.train["label"][:] == [[0, 1], [], [0]]


def test_given_names_replace_whole_numbers(write: Write, columns: tuple[Column, ...]) -> None:
    splits = _load(write("n.jsonl", _jsonl([1, 0, 1])), columns, label_names=["bad", "good"])
    assert splits.labels == LabelSpace(("bad", "good"))
    assert splits.train is not None
    assert splits.train["label"][:] == [1, 0, 1]


def test_a_number_without_a_given_name_is_refused_with_its_row(write: Write, columns: tuple[Column, ...]) -> None:
    with pytest.raises(DataError, match=r"n\.jsonl, row 3: label '2'; expected one of bad, good or 0\.\.1"):
        _load(write("n.jsonl", _jsonl([1, 0, 2])), columns, label_names=["bad", "good"])


@pytest.mark.parametrize("form", ["disk", "parquet"])
def test_class_label_names_and_their_order_are_kept(tmp_path: Path, columns: tuple[Column, ...], form: str) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["zebra", "ant", "unused"])})
    dataset = Dataset.from_dict({"text": TEXTS[:3], "label": [0, 1, 0]}, features=features)
    path = tmp_path / ("saved" if form == "disk" else "rows.parquet")
    if form == "disk":
        dataset.save_to_disk(str(path))
    else:
        dataset.to_parquet(str(path))
    splits = _load(path, columns)
    assert splits.labels == LabelSpace(("zebra", "ant", "unused"))
    assert splits.train is not None
    assert splits.train["label"][:] == [0, 1, 0]
    assert "no training row has the label 'unused'" in splits.report.notes


def test_a_list_of_class_labels_is_multi_label(tmp_path: Path, columns: tuple[Column, ...]) -> None:
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["joy", "anger"]))})
    dataset = Dataset.from_dict({"text": TEXTS[:3], "labels": [[1, 0], [], [1]]}, features=features)
    DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "saved"))
    splits = _load(tmp_path / "saved", columns)
    assert splits.labels == LabelSpace(("joy", "anger"), multi=True)
    assert splits.train is not None
    assert splits.train["label"][:] == [[0, 1], [], [1]]


def test_an_unlabelled_row_of_a_class_label_column_is_a_bad_row(tmp_path: Path, columns: tuple[Column, ...]) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": TEXTS[:3], "label": [0, 1, -1]}, features=features).save_to_disk(str(tmp_path / "glue"))
    with pytest.raises(DataError, match="row 3: label is -1, which says the row has no label"):
        _load(tmp_path / "glue", columns)


def test_a_label_only_in_validation_is_refused_with_count_and_rows(write: Write, columns: tuple[Column, ...]) -> None:
    train = write("train.csv", "text,label\na,pos\nb,neg\n")
    validation = write("dev.csv", "text,label\nc,pos\nd,positive\ne,positive\n")
    with pytest.raises(DataError) as caught:
        _load(train, columns, validation=str(validation))
    message = str(caught.value)
    assert f"'positive' in validation, {validation}: rows 2, 3; correct them" in message
    assert "data.unseen_labels=drop" in message


def test_rows_with_an_unseen_label_are_listed_by_file_with_the_count_of_the_others(
    write: Write, columns: tuple[Column, ...]
) -> None:
    train = write("train.csv", "text,label\na,pos\nb,neg\n")
    one = write("dev/a.csv", "text,label\nc,other\nd,pos\ne,other\n")
    two = write("dev/b.csv", "text,label\nf,pos\n" + "".join(f"g{i},other\n" for i in range(40)))
    with pytest.raises(DataError) as caught:
        _load(train, columns, validation=[str(one), str(two)])
    message = str(caught.value)
    # 42 such rows, of which five are named
    assert f"'other' in validation, {one}: rows 1, 3; {two}: rows 2, 3, 4 (and 37 more);" in message
    assert message.count(str(one)) == message.count(str(two)) == 1


def test_dropping_unseen_labels_keeps_the_other_rows_and_reports(write: Write, columns: tuple[Column, ...]) -> None:
    train = write("train.csv", "text,label\na,pos\nb,neg\n")
    validation = write("dev.csv", "text,label\nc,pos\nd,other\n")
    splits = _load(train, columns, validation=str(validation), unseen_labels="drop")
    assert splits.validation is not None
    assert splits.validation["text"][:] == ["c"]
    assert splits.labels == LabelSpace(("neg", "pos"))
    assert splits.report.dropped[0]["reason"] == "label not in training"
    assert splits.report.dropped[0]["rows"][0]["row"] == 2


def test_a_single_training_label_is_refused(write: Write, columns: tuple[Column, ...]) -> None:
    with pytest.raises(DataError, match="every row has the label 'pos'"):
        _load(write("one.jsonl", _jsonl(["pos", "pos"])), columns)


def test_labels_that_differ_only_by_case_are_noted(write: Write, columns: tuple[Column, ...]) -> None:
    splits = _load(write("case.jsonl", _jsonl(["pos", "Pos", "neg"])), columns)
    assert splits.report.notes == ["the labels 'Pos' and 'pos' differ only by letter case or spaces"]


def test_whole_numbers_that_pandas_wrote_with_a_point_are_those_of_jsonl(
    write: Write, columns: tuple[Column, ...]
) -> None:
    rows = [*zip(TEXTS, ["1.0", "0.0", "1.0", "-1.0", "1.5", "2.00"], strict=True)]
    cells = _load(write("a.csv", "text,label\n" + "".join(f"{t},{n}\n" for t, n in rows)), columns).labels
    assert cells is not None
    assert cells.names == ("-1", "0", "1", "1.5", "2")


def test_labels_with_one_row_each_are_noted_as_perhaps_no_classes(write: Write, columns: tuple[Column, ...]) -> None:
    rows = "".join(f"text {n},{n}.5\n" for n in range(25))
    notes = _load(write("numbers.csv", f"text,label\n{rows}"), columns).report.notes
    assert notes == ["25 of 25 labels have one training row each; are they classes, or a number or name of each row?"]


@pytest.mark.parametrize(
    ("labels", "mark"),
    [
        (["a|b", "b", "a|c", "c"], "|"),
        (["joy, anger", "anger, fear", "fear", "joy"], ","),
        (["Paris, France", "Rome, Italy", "Oslo"], None),  # parts that come once are no labels of their own
        (["a;b", "b", "a", "b"], None),
    ],
)
def test_cells_that_seem_to_hold_several_labels_are_noted_with_the_cure(
    write: Write, columns: tuple[Column, ...], labels: list[str], mark: str | None
) -> None:
    notes = _load(write("cells.jsonl", _jsonl(labels)), columns).report.notes
    assert [f"set data.label_separator={mark!r}" in note for note in notes] == [True] * (mark is not None)


def test_rows_to_measure_on_are_encoded_with_the_models_labels(write: Write, columns: tuple[Column, ...]) -> None:
    space = LabelSpace(("zebra", "pos", "neg"))
    path = write("gold.jsonl", _jsonl(["pos", "neg"]))
    rows = read_rows(path, columns, settings=DataSettings.model_validate({}), labels=space, targets=True).rows
    assert rows["label"][:] == [1, 2]


@pytest.mark.parametrize("multi", [False, True])
def test_every_split_has_its_own_labels_whatever_order_they_first_come_in(
    columns: Sequence[Column], write: Write, multi: bool
) -> None:
    files = {"train": ["a", "b", "c", "a", "b", "c"], "validation": ["c", "b", "a"], "test": ["b", "c"]}
    paths = {}
    for number, (split, labels) in enumerate(files.items()):
        rows = [{"text": f"{split} {i} {number}", "label": [x] if multi else x} for i, x in enumerate(labels)]
        paths[split] = str(write(f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    splits = load_splits(DataSettings.model_validate(paths), columns, seed=0)
    assert splits.labels is not None
    names = splits.labels.names
    for split, labels in files.items():
        found = getattr(splits, split)["label"][:]
        assert [names[x[0] if multi else x] for x in found] == labels


def test_training_rows_from_several_files_keep_their_labels(columns: Sequence[Column], write: Write) -> None:
    one = write("one.jsonl", '{"text": "x", "label": "b"}\n{"text": "y", "label": "a"}\n')
    two = write("two.jsonl", '{"text": "z", "label": "a"}\n{"text": "w", "label": "b"}\n')
    given = {"train": [str(one), str(two)], "validation": "none", "test": "none"}
    splits = load_splits(DataSettings.model_validate(given), columns, seed=0)
    assert splits.train is not None
    assert splits.train["label"][:] == [1, 0, 0, 1]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_labels_of_sst2_are_those_that_pandas_reads(
    columns: Sequence[Column], shared: Callable[[str], Path], split: str
) -> None:
    import pandas as pd  # type: ignore[import-untyped]  # it ships no types

    folder = shared("sst2")
    paths = {name: str(folder / f"{name}.csv") for name in ("train", "validation", "test")}
    splits = load_splits(DataSettings.model_validate({**paths, "duplicates": "keep"}), columns, seed=0)
    assert splits.labels is not None
    found = [splits.labels.names[label] for label in getattr(splits, split)["label"]]
    assert found == pd.read_csv(folder / f"{split}.csv", keep_default_na=False)["label"].tolist()
