"""Random splits, leakage between given ones, and where splits come from."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from nlptk.data import Splits, load_splits
from nlptk.data.normalize import normalize
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column

Write = Callable[[str, str | bytes], Path]


def _load(train: Path | str, columns: Sequence[Column], *, seed: int = 0, **changes: Any) -> Splits:
    return load_splits(DataSettings.model_validate({"train": str(train), **changes}), columns, seed=seed)


def _rows(splits: Splits) -> dict[str, list[int]]:
    every = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: list(rows["source_row"]) for name, rows in every.items() if rows is not None}


def _many(count: int, labels: Sequence[str] = ("a", "b")) -> str:
    return "text,label\n" + "".join(f"text number {i},{labels[i % len(labels)]}\n" for i in range(count))


def test_without_held_out_data_a_tenth_goes_to_each_and_no_row_is_lost(
    write: Write, columns: tuple[Column, ...]
) -> None:
    rows = _rows(_load(write("all.csv", _many(200)), columns))
    assert {name: len(found) for name, found in rows.items()} == {"train": 160, "validation": 20, "test": 20}
    assert sorted(row for found in rows.values() for row in found) == list(range(1, 201))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"test": 0.2}, {"train": 70, "validation": 10, "test": 20}),
        ({"validation": 0.2}, {"train": 80, "validation": 20}),
        ({"validation": "none"}, {"train": 100}),
        ({"test": "none"}, {"train": 90, "validation": 10}),
        ({"validation": "none", "test": 0.3}, {"train": 70, "test": 30}),
    ],
)
def test_what_is_not_given_follows_from_what_is(
    write: Write, columns: tuple[Column, ...], given: dict[str, Any], expected: dict[str, int]
) -> None:
    assert _load(write("all.csv", _many(100)), columns, **given).report.rows == expected


def test_every_label_keeps_its_share_in_every_split(write: Write, columns: tuple[Column, ...]) -> None:
    splits = _load(write("all.csv", _many(400, ["a", "a", "a", "b"])), columns, validation=0.2, test=0.1)
    assert splits.report.label_counts == {
        "train": {"a": 210, "b": 70},
        "validation": {"a": 60, "b": 20},
        "test": {"a": 30, "b": 10},
    }


def test_the_seed_alone_decides_the_rows(write: Write, columns: tuple[Column, ...]) -> None:
    one = _rows(_load(write("one.csv", _many(100)), columns, seed=3))
    lines = [line.split(",") for line in _many(100).splitlines()[1:]]
    as_json = "".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in lines)
    same = _rows(_load(write("elsewhere/two.jsonl", as_json), columns, seed=3))
    assert one == same
    assert _rows(_load(write("one.csv", _many(100)), columns, seed=4)) != one


def test_equal_texts_never_part_in_a_random_split(write: Write, columns: tuple[Column, ...]) -> None:
    variants = ["Text {}", "text {}!", "  TEXT   {} ", '"text, {}"']
    lines = [f"{v.format(i)},{'ab'[i % 2]}" for i in range(60) for v in variants]
    splits = _load(write("all.csv", "text,label\n" + "\n".join(lines) + "\n"), columns)
    seen = [
        {normalize(text) for text in rows["text"]}
        for rows in (splits.train, splits.validation, splits.test)
        if rows is not None
    ]
    assert len(seen) == 3
    assert sum(map(len, seen)) == len(set.union(*seen)) == 60


def test_a_group_never_parts_in_a_random_split(write: Write, columns: tuple[Column, ...]) -> None:
    lines = [f"text {i},{'ab'[i % 2]},customer {i // 7}" for i in range(280)]
    splits = _load(write("all.csv", "text,label,who\n" + "\n".join(lines) + "\n"), columns, group="who")
    groups = [set(r["group"]) for r in (splits.train, splits.validation, splits.test) if r is not None]
    assert len(groups) == 3
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40


def _questions(contexts: Sequence[str]) -> str:
    rows = ({"question": f"question {i}", "context": context} for i, context in enumerate(contexts))
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_equal_values_of_a_column_that_keeps_rows_together_never_part(
    write: Write, together_columns: tuple[Column, ...]
) -> None:
    variants = ["Paragraph {}", "paragraph {}!", " PARAGRAPH  {}"]
    path = write("all.jsonl", _questions([variants[i % 3].format(i // 6) for i in range(240)]))
    splits = _load(path, together_columns)
    seen = [
        {normalize(text) for text in rows["context"]}
        for rows in (splits.train, splits.validation, splits.test)
        if rows is not None
    ]
    assert len(seen) == 3
    assert sum(map(len, seen)) == len(set.union(*seen)) == 40


def test_such_a_column_keeps_rows_together_beside_a_group(write: Write, together_columns: tuple[Column, ...]) -> None:
    rows = [{"question": f"q {i}", "context": f"c {i // 2}", "who": f"w {(i + 1) // 2}"} for i in range(40)]
    chain = write("chain.jsonl", "".join(json.dumps(row) + "\n" for row in rows))  # each row is tied to the next one
    splits = _load(chain, together_columns, group="who")
    assert splits.report.rows == {"train": 40}
    assert any("40 rows (in 1 units that must not be parted) comes out empty" in note for note in splits.report.notes)


def test_rows_without_a_value_of_such_a_column_are_not_tied_by_its_lack(write: Write) -> None:
    columns = (
        Column("text", "text", ("text",)),
        Column("source", "text", ("source",), required=False, target=True, together=True),
    )
    path = write("all.jsonl", "".join(json.dumps({"text": f"text {i}", "source": None}) + "\n" for i in range(50)))
    assert _load(path, columns).report.rows == {"train": 40, "validation": 5, "test": 5}


def test_values_of_such_a_column_that_given_splits_share_are_noted_with_counts_and_cure(
    write: Write, together_columns: tuple[Column, ...]
) -> None:
    train = write("train.jsonl", _questions(["one", "two", "two"]))
    held = [{"question": f"other {i}", "context": context} for i, context in enumerate(["One.", "one", "TWO", "new"])]
    dev = write("dev.jsonl", "".join(json.dumps(row) + "\n" for row in held))
    notes = _load(train, together_columns, validation=str(dev)).report.notes
    assert [note.partition(";")[0] for note in notes] == [
        "3 rows of validation have a context that train has too (2 values of it)"
    ]
    assert "give all rows as data.train and a fraction as data.validation" in notes[0]


def test_a_random_split_has_nothing_of_such_a_column_to_note(
    write: Write, together_columns: tuple[Column, ...]
) -> None:
    splits = _load(write("all.jsonl", _questions([f"c {i // 2}" for i in range(40)])), together_columns)
    assert splits.report.notes == []
    assert set(splits.report.rows) == {"train", "validation", "test"}


def test_rare_labels_stay_in_training(write: Write, columns: tuple[Column, ...]) -> None:
    splits = _load(write("all.csv", _many(60) + "once,rare\ntwice,odd\nthrice,odd\n"), columns)
    counts = splits.report.label_counts
    assert counts["train"]["rare"] == 1
    assert counts["train"]["odd"] >= 1
    assert splits.labels is not None
    assert splits.labels.names == ("a", "b", "odd", "rare")


def test_a_source_too_small_to_split_trains_whole_and_says_so(write: Write, columns: tuple[Column, ...]) -> None:
    splits = _load(write("two.csv", "text,label\none,a\ntwo,b\n"), columns)
    assert splits.report.rows == {"train": 2}
    assert any("comes out empty" in note for note in splits.report.notes)


def test_a_text_of_train_in_validation_is_refused_with_files_rows_and_cure(
    write: Write, columns: tuple[Column, ...]
) -> None:
    train = write("train.csv", "text,label\nGreat film!,pos\nso bad,neg\n")
    validation = write("dev.csv", "text,label\nnew,pos\ngreat   FILM,pos\n")
    with pytest.raises(DataError) as caught:
        _load(train, columns, validation=str(validation))
    message = str(caught.value)
    assert "1 row of validation has a text that train has too" in message
    assert f"{validation} row 2 = {train} row 1: 'great   FILM'" in message
    assert "data.duplicates=drop" in message


def test_dropped_leaks_leave_the_later_split_and_are_reported(write: Write, columns: tuple[Column, ...]) -> None:
    train = write("train.csv", "text,label\none,pos\ntwo,neg\n")
    validation = write("dev.csv", "text,label\nthree,pos\none,pos\n")
    test = write("test.csv", "text,label\nthree,pos\ntwo,neg\nfour,neg\n")
    splits = _load(train, columns, validation=str(validation), test=str(test), duplicates="drop")
    assert _rows(splits) == {"train": [1, 2], "validation": [1], "test": [3]}
    between = {pair: found["count"] for pair, found in splits.report.duplicates["between"].items()}
    assert between == {"validation/train": 1, "test/train": 1, "test/validation": 1}


def test_a_pair_leaks_only_as_a_pair(write: Write, pair_columns: tuple[Column, ...]) -> None:
    train = write("train.csv", "sentence1,sentence2,label\na,b,0\nc,d,1\n")
    validation = write("dev.csv", "sentence1,sentence2,label\na,d,1\nA,B.,0\n")
    splits = _load(train, pair_columns, validation=str(validation), duplicates="keep")
    assert splits.report.duplicates["between"]["validation/train"]["count"] == 1


def test_texts_of_punctuation_alone_are_compared_as_they_stand(write: Write, columns: tuple[Column, ...]) -> None:
    train = write("train.csv", "text,label\n:),pos\n:(,neg\n")
    validation = write("dev.csv", "text,label\n:|,pos\n!!,neg\n")
    assert _load(train, columns, validation=str(validation)).report.rows == {"train": 2, "validation": 2}


def test_conflicting_labels_on_equal_texts_are_reported(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("train.csv", "text,label\nsame,pos\nSame!,neg\nother,pos\nother,pos\n")
    report = _load(path, columns, validation="none").report
    assert report.conflicts["count"] == 1
    rows = report.conflicts["examples"][0]["rows"]
    assert [(row["row"], row["labels"]) for row in rows] == [(1, ["pos"]), (2, ["neg"])]
    assert report.duplicates["within"]["train"]["count"] == 2


def test_a_folder_offers_its_files_as_splits(write: Write, columns: tuple[Column, ...], tmp_path: Path) -> None:
    write("set/train_1.csv", "text,label\na,x\nb,y\n")
    write("set/train_2.csv", "text,label\nc,x\n")
    write("set/dev.csv", "text,label\nd,x\n")
    write("set/test.csv", "text,label\ne,y\n")
    write("set/README.md", "# a set")
    splits = _load(tmp_path / "set", columns)
    assert splits.report.rows == {"train": 3, "validation": 1, "test": 1}
    assert splits.train is not None
    assert [Path(name).name for name in splits.train["source_file"]] == ["train_1.csv", "train_1.csv", "train_2.csv"]


def test_a_saved_dataset_dict_offers_its_splits(columns: tuple[Column, ...], tmp_path: Path) -> None:
    parts = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    made = {n: Dataset.from_dict({"text": t, "label": ["x", "y"][: len(t)]}) for n, t in parts.items()}
    DatasetDict(made).save_to_disk(str(tmp_path / "saved"))
    assert _load(tmp_path / "saved", columns).report.rows == {"train": 2, "validation": 1, "test": 1}


def test_lists_and_globs_read_all_their_files(write: Write, columns: tuple[Column, ...], tmp_path: Path) -> None:
    one = write("part-1.jsonl", '{"text": "a", "label": "x"}\n')
    two = write("part-2.jsonl", '{"text": "b", "label": "y"}\n')
    by_list = _load_train_texts([str(one), str(two)], columns)
    assert by_list == _load_train_texts(str(tmp_path / "part-*.jsonl"), columns) == ["a", "b"]


def _load_train_texts(train: str | list[str], columns: Sequence[Column]) -> list[str]:
    settings = DataSettings.model_validate({"train": train, "validation": "none"})
    rows = load_splits(settings, columns, seed=0).train
    assert rows is not None
    return list(rows["text"])


def test_files_of_different_kinds_in_one_list_are_refused(write: Write, columns: tuple[Column, ...]) -> None:
    files = [str(write("a.csv", _many(3))), str(write("b.jsonl", "{}"))]
    with pytest.raises(DataError, match=r"files of different kinds: a\.csv \(csv\), b\.jsonl \(jsonl\)"):
        _load_train_texts(files, columns)


def test_a_missing_file_names_the_nearest_one(write: Write, columns: tuple[Column, ...], tmp_path: Path) -> None:
    write("reviews.csv", _many(3))
    with pytest.raises(DataError, match=r"file not found; did you mean 'reviews\.csv'"):
        _load(tmp_path / "review.csv", columns)


def test_a_trial_run_keeps_every_label_and_at_most_so_many_rows(write: Write, columns: tuple[Column, ...]) -> None:
    ordered = "text,label\n" + "".join(f"text {i},{'ab'[i >= 290]}\n" for i in range(300))
    splits = _load(write("all.csv", ordered), columns, max_rows=10)
    assert splits.report.rows == {"train": 10, "validation": 10, "test": 10}
    assert all(counts["b"] >= 1 for counts in splits.report.label_counts.values())


def test_stratification_of_several_labels_goes_by_the_rarest(write: Write, columns: tuple[Column, ...]) -> None:
    labels = [["common", "rare"] if i % 10 == 0 else ["common"] for i in range(400)]
    lines = "".join(json.dumps({"text": f"t{i}", "label": found}) + "\n" for i, found in enumerate(labels))
    splits = _load(write("multi.jsonl", lines), columns, validation=0.25, test="none")
    assert Counter(splits.report.label_counts["validation"]) == Counter({"common": 100, "rare": 10})
