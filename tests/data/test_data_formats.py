"""Every format, written and read: the same rows, and the same fingerprint whatever the file."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # ships no types; its stubs lag behind it
import pytest
from datasets import Dataset
from tqdm import tqdm

from nlptk.data import fingerprint, load_splits, read_rows, write_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column

Write = Callable[[str, str | bytes], Path]
NAMES = ["csv", "tsv", "json", "jsonl", "ndjson", "parquet"]
EXTENSIONS = [*NAMES, *(f"{name}.gz" for name in NAMES)]
ROWS: list[dict[str, Any]] = [
    {"text": 'a "quoted", plain\ttext', "score": 1.5},
    {"text": "two\nlines", "score": -2.0},
    {"text": "ünïcödé 🙂\u2028still one", "score": 0.0},
    {"text": "NA", "score": 3.0},
]
COLUMNS = (Column("text", "text", ("text",)), Column("score", "number", ("score",), target=True))
SETTINGS = DataSettings.model_validate({})


def _read(path: Path) -> Dataset:
    return read_rows(path, COLUMNS, settings=SETTINGS, targets=True).rows


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_is_written_is_read_back(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"rows.{extension}"
    write_rows(path, iter(ROWS))
    rows = _read(path)
    assert rows.select_columns(["text", "score"]).to_list() == ROWS


def test_the_fingerprint_does_not_depend_on_format_compression_or_path(tmp_path: Path) -> None:
    found = set()
    for extension in EXTENSIONS:
        path = tmp_path / extension / f"rows.{extension}"
        write_rows(path, ROWS)
        found.add(fingerprint(_read(path)))
    assert len(found) == 1


@pytest.mark.parametrize(
    "changed",
    [
        ROWS[::-1],
        ROWS[:-1],
        [{**ROWS[0], "score": 1.25}, *ROWS[1:]],
        [{**ROWS[0], "text": ROWS[0]["text"] + "t"}, {**ROWS[1], "text": ROWS[1]["text"][1:]}, *ROWS[2:]],
    ],
)
def test_the_fingerprint_changes_with_order_count_and_any_value(tmp_path: Path, changed: list[dict[str, Any]]) -> None:
    write_rows(tmp_path / "a.jsonl", ROWS)
    write_rows(tmp_path / "b.jsonl", changed)
    assert fingerprint(_read(tmp_path / "a.jsonl")) != fingerprint(_read(tmp_path / "b.jsonl"))


def test_the_fingerprint_of_selected_rows_is_that_of_a_copy(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", ROWS)
    chosen = _read(tmp_path / "a.jsonl").select([2, 0])
    write_rows(tmp_path / "b.jsonl", [ROWS[2], ROWS[0]])
    assert fingerprint(chosen) == fingerprint(_read(tmp_path / "b.jsonl"))


def test_written_csv_is_what_pandas_reads(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv.gz", ROWS)
    assert pd.read_csv(tmp_path / "a.csv.gz", keep_default_na=False).to_dict("records") == ROWS


def test_nested_values_become_json_text_in_csv_and_are_read_back_for_a_json_column(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"tokens": ["a", "b,c"]}, {"tokens": []}]
    write_rows(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(newline="") as stream:
        assert [json.loads(row["tokens"]) for row in csv.DictReader(stream)] == [["a", "b,c"], []]
    columns = (Column("tokens", "json", ("tokens",)),)
    found = read_rows(tmp_path / "a.csv", columns, settings=SETTINGS).rows
    assert found["tokens"][:] == [["a", "b,c"], []]


@pytest.mark.parametrize("extension", ["json", "jsonl", "parquet"])
def test_json_columns_keep_their_structure(tmp_path: Path, extension: str) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "entities": []},
        {"text": "b", "entities": [{"start": 0, "end": 1, "label": "X"}]},
    ]
    path = tmp_path / f"a.{extension}"
    write_rows(path, rows)
    columns = (COLUMNS[0], Column("entities", "json", ("entities",), target=True))
    assert read_rows(path, columns, settings=SETTINGS, targets=True).rows["entities"][:] == [
        r["entities"] for r in rows
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_rows(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(DataError, match="row 2: cannot be written as JSON"):
        write_rows(path, [{"text": "fine"}, {"text": object()}])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".tmp"] == []


def test_the_same_rows_give_the_same_gzip_bytes(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl.gz", ROWS)
    write_rows(tmp_path / "b.jsonl.gz", ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_an_unknown_extension_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.xlsx is not a kind of file .* \.csv, \.tsv, \.json"):
        write_rows(tmp_path / "a.xlsx", ROWS)


def test_a_missing_column_lists_what_is_there_and_the_cure(write: Write) -> None:
    path = write("a.csv", "txt,score\na,1\n")
    with pytest.raises(DataError) as caught:
        _read(path)
    message = str(caught.value)
    assert "no column for 'text' (looked for text); did you mean 'txt'?" in message
    assert "the columns are 'txt', 'score'" in message
    assert "data.columns.text=<name>" in message


def test_fields_separated_by_semicolons_are_recognised_in_the_message(write: Write) -> None:
    with pytest.raises(DataError, match="seem to be separated by ';'"):
        _read(write("a.csv", "text;score\na;1\n"))


def test_columns_are_found_whatever_their_letter_case(write: Write) -> None:
    assert _read(write("a.csv", "TEXT, Score \na,1\n")).to_list()[0]["text"] == "a"


def test_a_mapped_column_wins_over_the_conventional_one(write: Write) -> None:
    path = write("a.csv", "text,body,score\nno,yes,1\n")
    settings = DataSettings.model_validate({"columns": {"text": "body"}})
    assert read_rows(path, COLUMNS, settings=settings).rows["text"][:] == ["yes"]


def test_an_unknown_role_names_the_nearest(write: Write) -> None:
    settings = DataSettings.model_validate({"columns": {"txet": "body"}, "train": str(write("a.csv", "text\na\n"))})
    with pytest.raises(DataError, match=r"data\.columns\.txet=body: no such role; did you mean 'text'"):
        load_splits(settings, COLUMNS, seed=0)


def test_targets_are_neither_needed_nor_read_for_prediction(write: Write) -> None:
    path = write("a.csv", "text,score\na,not a number\n")
    assert read_rows(path, COLUMNS, settings=SETTINGS).rows.column_names == ["text", "source_file", "source_row"]


def test_a_json_column_of_different_types_is_refused_with_file_and_column(write: Write) -> None:
    path = write("a.jsonl", '{"tokens": ["a"]}\n{"tokens": {"b": 1}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl: column 'tokens': the rows hold values of different types"):
        read_rows(path, (Column("tokens", "json", ("tokens",)),), settings=SETTINGS)


def test_a_target_that_is_a_folder_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match=r"a\.csv: cannot be written: Is a directory; give another path"):
        write_rows(tmp_path / "a.csv", ROWS)


def test_which_texts_are_compared_follows_the_task_not_an_earlier_reading(write: Write) -> None:
    train = write("train.csv", "text,summary\na,one\nb,two\n")
    dev = write("dev.csv", "text,summary\na,three\n")
    settings = DataSettings.model_validate({"train": str(train), "validation": str(dev), "duplicates": "keep"})
    found = []
    for target in (False, True):
        columns = (COLUMNS[0], Column("summary", "text", ("summary",), target=target))
        between = load_splits(settings, columns, seed=0).report.duplicates["between"]
        found.append(between["validation/train"]["count"])
    assert found == [0, 1]


@pytest.mark.parametrize("extension", ["csv", "jsonl", "json", "parquet"])
def test_a_bar_counts_the_rows_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    bars: list[Any] = []

    class Watched(tqdm):  # type: ignore[misc]  # tqdm ships no types
        def __init__(self, **given: Any) -> None:
            assert given["delay"] == 2
            assert given["disable"] is None  # tqdm's own word for "only on a terminal"
            super().__init__(**{**given, "delay": 0, "disable": False, "file": io.StringIO(), "mininterval": 0})
            self.steps: list[int] = []
            bars.append(self)

        def update(self, n: float = 1) -> None:
            self.steps.append(int(n))
            super().update(n)

    monkeypatch.setattr("nlptk.data.formats.BATCH_ROWS", 2)
    monkeypatch.setattr("nlptk.data.tables.BATCH_ROWS", 2)
    monkeypatch.setattr("tqdm.auto.tqdm", Watched)
    write_rows(tmp_path / f"a.{extension}", ROWS)
    _read(tmp_path / f"a.{extension}")
    (bar,) = bars
    assert bar.desc.startswith(f"reading a.{extension}")
    assert sum(bar.steps) == len(ROWS)
    assert len([step for step in bar.steps if step]) == len(ROWS) // 2
    assert bar.total == (len(ROWS) if extension in ("json", "parquet") else None)


@pytest.mark.parametrize("extension", ["json", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize("late", [0, 1_500])
def test_an_optional_column_counts_wherever_its_first_row_stands(tmp_path: Path, extension: str, late: int) -> None:
    rows: list[dict[str, Any]] = [{"text": f"order {n}"} for n in range(1_600)]
    rows[late] |= {"note": "urgent", "references": ["a", "b"]}
    path = tmp_path / f"rows.{extension}"
    write_rows(path, iter(rows))
    columns = (
        Column("text", "text", ("text",)),
        Column("note", "text", ("note",), required=False, target=True),
        Column("references", "json", ("references",), required=False, target=True),
    )
    found = read_rows(path, columns, settings=SETTINGS, targets=True).rows
    assert len(found) == len(rows)
    assert found["note"][late] == "urgent"
    assert found["references"][late] == ["a", "b"]
    assert found["note"][:].count(None) == len(rows) - 1
    again = read_rows(path, columns, settings=SETTINGS, targets=True).rows  # from the cache
    assert again[late] == found[late]
