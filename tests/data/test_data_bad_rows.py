"""Files as people really have them: every bad row is named, none is skipped in silence."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # ships no types; its stubs lag behind it
import pytest

from nlptk.data import load_splits, read_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column

Write = Callable[[str, str | bytes], Path]
GOOD = "text,label\na good film,pos\na bad film,neg\nquite nice,pos\nso dull,neg\n"


def _settings(path: Path, **changes: object) -> DataSettings:
    return DataSettings.model_validate({"train": str(path), "validation": "none", "test": "none", **changes})


def _refusal(path: Path, columns: Sequence[Column], **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        load_splits(_settings(path, **changes), columns, seed=0)
    return str(caught.value)


def _texts(path: Path, columns: Sequence[Column], **changes: object) -> list[str]:
    train = load_splits(_settings(path, **changes), columns, seed=0).train
    assert train is not None
    return list(train["text"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",pos", "text is empty"),
        ("   ,pos", "text is only white space"),
        ("\u200b\ufeff,pos", "text is only white space"),
        ("fine,", "label is empty"),
        ("fine, ", "label is only white space"),
        (",", "text is empty and label is empty"),
        ("one,two,three", "3 fields where the header has 2 (line 6)"),
        ("lonely", "1 field where the header has 2 (line 6)"),
        ("with a nul \0 byte,pos", "text holds a NUL byte at character 11"),
    ],
)
def test_a_bad_csv_line_is_refused_with_its_row_number_and_reason(
    write: Write, columns: tuple[Column, ...], line: str, reason: str
) -> None:
    message = _refusal(write("bad.csv", f"{GOOD}{line}\n"), columns)
    assert f"bad.csv, row 5: {reason}" in message
    assert "data.bad_rows=drop" in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": 3, "label": "pos"}', "text is the number 3; expected a text"),
        ('{"text": ["a", "b"], "label": "pos"}', "text is a list; expected a text"),
        ('{"text": {"a": 1}, "label": "pos"}', "text is an object; expected a text"),
        ('{"text": true, "label": "pos"}', "text is true, not a text; expected a text"),
        ('{"text": null, "label": "pos"}', "text is missing"),
        ('{"text": NaN, "label": "pos"}', "text is missing (NaN)"),
        ('{"text": "fine"}', "label is missing"),
        ('{"text": "fine", "label": NaN}', "label is missing (NaN)"),
        ('{"text": "fine", "label": 0.5}', "label is the number 0.5; expected a name or a whole number"),
        ('{"text": "fine", "label": ["pos"]}', "label is a list where the rows before have single labels"),
        ('{"text": "half \\ud83d", "label": "pos"}', "text holds half a surrogate pair at character 5"),
        ('["fine", "pos"]', "a list, not an object"),
        ("7", "a number, not an object"),
        ('{"text": "fine", "label": "pos"', "not valid JSON: Expecting ',' delimiter at column 32"),
        ('{"text": "fine', "not valid JSON: Unterminated string starting at column 10"),
    ],
)
def test_a_bad_json_line_is_refused_with_its_line_number_and_reason(
    write: Write, columns: tuple[Column, ...], line: str, reason: str
) -> None:
    good = '{"text": "a good film", "label": "pos"}\n{"text": "a bad film", "label": "neg"}\n'
    assert f"bad.jsonl, row 3: {reason}" in _refusal(write("bad.jsonl", good + line + "\n"), columns)


def test_many_bad_rows_are_counted_and_the_first_five_listed(write: Write, columns: tuple[Column, ...]) -> None:
    message = _refusal(write("bad.csv", GOOD + ",pos\n" * 7), columns)
    assert "7 bad rows: row 5: text is empty; row 6" in message
    assert "row 9: text is empty; and 2 more" in message


def test_dropping_bad_rows_keeps_the_good_ones_and_reports_the_others(
    write: Write, columns: tuple[Column, ...]
) -> None:
    path = write("bad.csv", GOOD + ",pos\nstill good,neg\nragged\n")
    splits = load_splits(_settings(path, bad_rows="drop"), columns, seed=0)
    assert splits.train is not None
    assert splits.train["source_row"][:] == [1, 2, 3, 4, 6]
    (dropped,) = splits.report.dropped
    assert dropped["count"] == 2
    assert [row["row"] for row in dropped["rows"]] == [5, 7]


@pytest.mark.parametrize("word", ["nan", "null", "None", "NA", "NaN", "#N/A"])
def test_words_that_look_like_missing_values_are_text_in_csv(
    write: Write, columns: tuple[Column, ...], word: str
) -> None:
    assert _texts(write("words.csv", f"{GOOD}{word},pos\n"), columns)[-1] == word


def test_a_text_that_is_a_word_for_a_missing_value_is_kept_and_noted(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("words.csv", f"{GOOD}NaN,pos\nNaN,nan\n")
    notes = load_splits(_settings(path), columns, seed=0).report.notes
    assert f"{path}: text: the text is 'NaN' (2 rows); is it a missing value?" in notes
    assert "a label is called 'nan'; is it a missing value?" in notes


@pytest.mark.parametrize("rest", ["", '"and this one,neg\n', 'a "quoted" word,neg\n', '"a ""quoted"" word",neg\n'])
@pytest.mark.parametrize("name", ["open.csv", "open.tsv"])
def test_a_quote_that_is_not_closed_takes_no_other_line_along(
    write: Write, columns: tuple[Column, ...], name: str, rest: str
) -> None:
    lines = [*(f"before {n},pos\n" for n in range(3)), '"Great place,pos\n', *(f"behind {n},neg\n" for n in range(4))]
    content = "".join(["text,label\n", *lines, *([rest] if rest else []), "the last one,pos\n"])
    path = write(name, content if name.endswith("csv") else content.replace(",", "\t"))
    assert "row 4: not valid csv" in _refusal(path, columns)
    splits = load_splits(_settings(path, bad_rows="drop"), columns, seed=0)
    assert splits.train is not None
    expected = [1, 2, 3, 5, 6, 7, 8, *([9] if rest.startswith(("a", '"a')) and "and" not in rest else [])]
    assert splits.train["source_row"][:] == [*expected, 10 if rest else 9]
    assert splits.train["text"][-1] == "the last one"


def test_a_quoted_line_break_does_not_shift_the_row_numbers(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("broken.csv", 'text,label\n"one\ntwo\nthree",pos\nfour,neg\n,pos\n')
    assert "row 3: text is empty" in _refusal(path, columns)
    train = load_splits(_settings(path, bad_rows="drop"), columns, seed=0).train
    assert train is not None
    assert train["source_row"][:] == [1, 2]
    assert train["text"][0] == "one\ntwo\nthree"


def test_an_unclosed_quote_is_refused_where_it_opens(write: Write, columns: tuple[Column, ...]) -> None:
    message = _refusal(write("q.csv", 'text,label\nfine,pos\n"open,neg\nmore,pos\n'), columns)
    assert "row 2: not valid csv" in message
    assert "(line 3)" in message


def test_a_text_of_a_million_characters_is_read_whole(write: Write, columns: tuple[Column, ...]) -> None:
    assert len(_texts(write("long.csv", GOOD + "x" * 1_000_000 + ",pos\n"), columns)[-1]) == 1_000_000


def test_blank_lines_are_no_rows_and_are_counted(write: Write, columns: tuple[Column, ...]) -> None:
    splits = load_splits(_settings(write("gaps.csv", GOOD.replace("quite", "\nquite") + "\n\n")), columns, seed=0)
    assert splits.report.rows == {"train": 4}
    assert splits.report.sources["train"][0]["blank_lines"] == 3
    assert splits.train is not None
    assert splits.train["source_row"][:] == [1, 2, 3, 4]


@pytest.mark.parametrize("extension", ["csv", "tsv", "json", "jsonl", "parquet", "jsonl.gz"])
def test_a_row_has_one_number_whatever_its_format(tmp_path: Path, columns: tuple[Column, ...], extension: str) -> None:
    frame = pd.DataFrame({"text": ["one\nline more", "two", " ", "four", "five"], "label": list("aabba")})
    path = tmp_path / f"rows.{extension}"
    match extension:
        case "csv" | "tsv":
            frame.to_csv(path, index=False, sep="," if extension == "csv" else "\t")
        case "parquet":
            frame.to_parquet(path)
        case _:
            frame.to_json(path, orient="records", lines="l" in extension.removeprefix("json"))
    assert f"{path}, row 3: text is only white space" in _refusal(path, columns)
    train = load_splits(_settings(path, bad_rows="drop"), columns, seed=0).train
    assert train is not None
    # pandas counts the rows from 0
    assert dict(zip(train["source_row"][:], train["text"][:], strict=True)) == {
        index + 1: text for index, text in enumerate(frame["text"]) if text != " "
    }


def test_a_malformed_json_line_behind_blank_ones_has_its_row_and_its_line(
    write: Write, columns: tuple[Column, ...]
) -> None:
    path = write("gaps.jsonl", '{"text": "fine", "label": "a"}\n\n\n{"text": \n{"text": "", "label": "b"}\n')
    message = _refusal(path, columns)
    assert "row 2: not valid JSON: Expecting value at column 9 (line 4)" in message
    assert "row 3: text is empty" in message


def test_wrong_encoding_names_line_byte_and_cure(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("latin.csv", GOOD.encode() + "un café,pos\n".encode("latin-1"))
    message = _refusal(path, columns, bad_rows="drop")
    assert "latin.csv, line 6: byte 0xe9" in message
    assert "data.encoding" in message
    assert _texts(path, columns, encoding="latin-1")[-1] == "un café"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_settles_the_encoding(write: Write, columns: tuple[Column, ...], encoding: str) -> None:
    path = write("marked.csv", (GOOD + "un café,pos\n").encode(encoding))
    assert _texts(path, columns)[-1] == "un café"


def test_an_unknown_encoding_is_refused(write: Write, columns: tuple[Column, ...]) -> None:
    assert "no such encoding" in _refusal(write("a.csv", GOOD), columns, encoding="utf-9")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", "", "the file is empty"),
        ("empty.jsonl", "\n\n", "the file is empty"),
        ("empty.json", "", "the file is empty"),
        ("header.csv", "text,label\n", "no rows"),
        ("none.json", "[]", "not one row could be read"),
        ("twice.csv", "text,label,text\na,b,c\n", "the header names 'text' twice"),
        ("lines.json", '{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}\n', "is named .jsonl"),
        ("object.json", '{"rows": []}', 'expected an array of objects, or {"data": [...]}'),
        ("broken.json", '[{"text": "a",}]', "not valid JSON"),
        ("broken.jsonl", "text,label\na,b\n", "row 1: not valid JSON"),
        ("not.parquet", "text,label\n", "not a whole parquet file"),
        ("cut.csv.gz", gzip.compress(GOOD.encode() * 99, mtime=0)[:-20], "not a whole gzip file"),
        ("plain.csv.gz", GOOD, "not a whole gzip file"),
        ("notes.doc", GOOD, ".doc is not a kind of file nlptk knows; expected .csv, .tsv"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_it_is(
    write: Write, columns: tuple[Column, ...], name: str, content: str | bytes, said: str
) -> None:
    message = _refusal(write(name, content), columns, bad_rows="drop")
    assert name in message
    assert said in message


def test_reading_to_predict_refuses_bad_rows_by_line(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("new.jsonl", "\n".join(json.dumps({"text": text}) for text in ["fine", "", "good"]))
    with pytest.raises(DataError, match=r"new\.jsonl, row 2: text is empty"):
        read_rows(path, columns, settings=DataSettings.model_validate({}))


@pytest.mark.parametrize(
    "value", ['["ok", "a\\ud800b"]', '{"de": "a\\ud800b"}', '[{"a\\ud800b": 1}]', '[[["\\udc00"]]]']
)
def test_half_a_surrogate_pair_inside_a_value_is_a_bad_row(write: Write, value: str) -> None:
    columns = (Column("text", "text", ("text",)), Column("more", "json", ("more",), target=True))
    good = '{"text": "fine", "more": ["\\ud83d\\ude42"]}\n'
    path = write("bad.jsonl", good + f'{{"text": "late", "more": {value}}}\n')
    message = _refusal(path, columns)
    assert "bad.jsonl, row 2: more holds half a surrogate pair at character" in message
    train = load_splits(_settings(path, bad_rows="drop"), columns, seed=0).train
    assert train is not None
    assert train["more"][:] == [["\N{SLIGHTLY SMILING FACE}"]]
