"""Plain text: a row a line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_dataset

import nlptk
from nlptk.data import read_rows
from nlptk.data.prediction import read_whole_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column

COLUMNS = (Column("text", "text", ("text",)),)
LINES = '  an indented line\n"quoted", with a comma\n\nünïcödé\u2028one line\r\n \t\nthe last, without a break'
ROWS = ["  an indented line", '"quoted", with a comma', "ünïcödé\u2028one line", "the last, without a break"]


def _read(path: Path, **settings: Any) -> Dataset:
    return read_rows(path, COLUMNS, settings=DataSettings.model_validate(settings)).rows


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.txt.gz"])
def test_a_row_is_a_line_that_is_not_blank(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(LINES.encode()) if name.endswith(".gz") else LINES.encode())
    rows = _read(path)
    assert rows["text"][:] == ROWS
    assert rows["source_row"][:] == [1, 2, 3, 4]


def test_the_lines_are_those_of_the_text_loader_of_datasets(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n two \n\nthree, four\n", encoding="utf-8")
    theirs = load_dataset("text", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))["text"]
    assert _read(path)["text"][:] == [line for line in theirs if line.strip()]


def test_lines_are_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlptk.data.plain_text.BATCH_ROWS", 2)
    (tmp_path / "a.txt").write_text("".join(f"line {n}\n\n" for n in range(5)))
    rows, inputs, _ = read_whole_rows(tmp_path / "a.txt", COLUMNS, settings=DataSettings.model_validate({}))
    assert rows["text"][:] == [f"line {n}" for n in range(5)]
    assert rows["source_row"][:] == [1, 2, 3, 4, 5]
    assert inputs.names == ["text"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.txt: the file is empty; expected a text a line"),
        (b" \n\n", "a.txt: the file is empty; expected a text a line"),
        (b"one\ncaf\xe9\n", "a.txt, line 2: byte 0xe9 .* is not utf-8"),
        (b"one\ntwo \0\n", "a.txt, row 2: text holds a NUL byte"),
    ],
)
def test_what_cannot_be_read_says_where(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        _read(tmp_path / "a.txt")


def test_data_format_reads_a_file_of_another_name_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one\ntwo\n")
    assert _read(tmp_path / "a.md", format="text")["text"][:] == ["one", "two"]


def test_txt_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"out\.txt: \.txt is not a kind of file nlptk writes"):
        nlptk.predict("nowhere", tmp_path / "a.txt", tmp_path / "out.txt")


def test_inspecting_a_text_counts_its_lines_and_finds_repeated_ones(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\none\n" + "".join(f"line {n}\n" for n in range(30)))
    data = {"train": tmp_path / "a.txt", "validation": "none", "test": "none"}
    found = nlptk.inspect(data, task="generation")
    assert found["report"]["rows"] == {"train": 33}
    assert found["report"]["duplicates"]["within"]["train"]["count"] == 1
    json.dumps(found)
