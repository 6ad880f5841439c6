"""SQuAD files: a row a question, what is wrong with one said by its row, and the real sets read whole."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from nlptk import registry
from nlptk.data import read_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings

Write = Callable[[str, str | bytes], Path]
CONTEXT = "Warsaw stands on the Vistula, 260 km from the sea."


def _file(*questions: Any, context: str = CONTEXT) -> dict[str, Any]:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return {"version": "v2.0", "data": [{"title": "Warsaw", "paragraphs": paragraphs}]}


def _question(text: str, *answers: tuple[str, int]) -> dict[str, Any]:
    found = [{"text": answer, "answer_start": start} for answer, start in answers]
    return {"id": text, "question": text, "answers": found, "is_impossible": not answers}


RIVER = _question("Which river?", ("Vistula", 21), ("the Vistula", 17))
MAYOR = _question("Who is its mayor?")


def _read(path: Path, *, targets: bool = True, **settings: Any) -> Dataset:
    task = registry.get_task("qa")
    how = DataSettings.model_validate(settings)
    return read_rows(path, task.columns, settings=how, targets=targets, rules=task.rules()).rows


@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
def test_every_question_is_a_row_with_its_context_and_answers(write: Write, name: str) -> None:
    content = json.dumps(_file(RIVER, MAYOR)).encode()
    rows = _read(write(name, gzip.compress(content) if name.endswith("gz") else content))
    assert rows["question"][:] == ["Which river?", "Who is its mayor?"]
    assert rows["context"][:] == [CONTEXT, CONTEXT]
    assert rows["answers"][:] == [
        {"text": ["Vistula", "the Vistula"], "answer_start": [21, 17]},
        {"text": [], "answer_start": []},
    ]


def test_articles_keep_their_questions_together_by_title(write: Write) -> None:
    content = _file(RIVER)
    content["data"].append({"title": "Cracow", "paragraphs": content["data"][0]["paragraphs"]})
    task, path = registry.get_task("qa"), write("rows.json", json.dumps(content))
    columns = [*task.columns[:2], type(task.columns[0])("title", "text", ("title",))]
    found = read_rows(path, columns, settings=DataSettings()).rows
    assert found["title"][:] == ["Warsaw", "Cracow"]


def test_questions_without_answers_can_be_predicted_and_not_measured(write: Write) -> None:
    path = write("rows.json", json.dumps(_file({"id": "1", "question": "Which river?"})))
    assert _read(path, targets=False)["question"][:] == ["Which river?"]
    with pytest.raises(DataError, match="expected columns for answers, or answer"):
        _read(path)


def test_a_wrong_start_is_refused_by_its_row(write: Write) -> None:
    path = write("rows.json", json.dumps(_file(RIVER, _question("How far?", ("260 km", 28)))))
    with pytest.raises(DataError, match=r"row 2: the answer '260 km' is not at character 28 .*', 260 ' is there"):
        _read(path, bad_rows="refuse")
    assert len(_read(path, bad_rows="drop")) == 1


def test_a_question_that_is_no_object_is_a_bad_row(write: Write) -> None:
    path = write("rows.json", json.dumps(_file(RIVER, "Which river?")))
    with pytest.raises(DataError, match="row 2: a text, not an object"):
        _read(path)


@pytest.mark.parametrize(
    ("articles", "place"),
    [
        ([{"paragraphs": []}, {"title": "x"}], r"data\[1\]: the keys title; .*'paragraphs'"),
        ([{"paragraphs": [{"context": "c"}]}], r"data\[0\]\.paragraphs\[0\]: the keys context; .*'qas'"),
        ([{"paragraphs": ["c"]}], r"data\[0\]\.paragraphs\[0\]: a str; .*'qas'"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place(write: Write, articles: list[Any], place: str) -> None:
    with pytest.raises(DataError, match=place):
        _read(write("rows.json", json.dumps({"data": articles})))


def test_a_list_of_rows_under_data_is_still_that(write: Write) -> None:
    rows = [{"question": "Which river?", "context": CONTEXT, "answers": {"text": ["Vistula"], "answer_start": [21]}}]
    assert _read(write("rows.json", json.dumps({"data": rows})))["answers"][0]["answer_start"] == [21]


@pytest.mark.parametrize(
    "name",
    [
        *(f"squad2/{split}.json" for split in ("train", "validation", "test")),
        pytest.param("covid_qa/all.json", marks=pytest.mark.slow),  # 40 MB of contexts
    ],
)
def test_the_real_sets_are_read_whole(shared: Callable[[str], Path], name: str) -> None:
    """As by a plain walk over the JSON."""
    folder, file = name.split("/")
    path = shared(folder) / file
    articles = json.loads(path.read_text())["data"]
    paragraphs = [(p["context"], q) for a in articles for p in a["paragraphs"] for q in p["qas"]]
    rows = _read(path)
    assert rows["question"][:] == [question["question"] for _, question in paragraphs]
    for row, (context, question) in zip(rows, paragraphs, strict=True):
        assert row["context"] == context
        assert row["answers"]["text"] == [answer["text"].strip() for answer in question["answers"]]
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert context[start : start + len(text)] == text
