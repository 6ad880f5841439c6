"""SQuAD files, 1.1 and 2.0: articles of paragraphs of questions -> a row a question.

The form is that of Rajpurkar et al. 2016 (arXiv:1606.05250) and Rajpurkar, Jia and Liang 2018 (arXiv:1806.03822):

    {"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [
        {"id": ..., "question": ..., "answers": [{"text": ..., "answer_start": ...}], "is_impossible": false}]}]}]}

`answer_start` counts characters from 0. Rows are numbered as the questions stand in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nlptk.errors import DataError

Row = dict[str, Any]


def is_squad(content: Any) -> bool:
    """Whether a JSON file's content is a list of articles under "data"."""
    articles = content.get("data") if isinstance(content, dict) else None
    return (
        isinstance(articles, list) and bool(articles) and isinstance(articles[0], dict) and "paragraphs" in articles[0]
    )


def squad_rows(content: Any, path: Path) -> list[Any]:
    """A row a question: its own keys, and `title`, `context`, `answers`.

    answers: {"text": [...], "answer_start": [...]}, empty lists where the question has none; absent where the file has
    no key of that name (questions to predict). A question that is no object is passed on for the reader to report.

    Raises:
        DataError: an article or paragraph without its parts; the message gives its place.
    """
    return [_row(question, title, context) for title, context, question in _questions(content["data"], path)]


def _questions(articles: list[Any], path: Path) -> Iterator[tuple[Any, Any, Any]]:
    for number, article in enumerate(articles):
        place = f"data[{number}]"
        for below, paragraph in enumerate(_part(article, "paragraphs", f"{path}: {place}")):
            for question in _part(paragraph, "qas", f"{path}: {place}.paragraphs[{below}]"):
                yield article.get("title"), paragraph.get("context"), question


def _part(value: Any, key: str, where: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if isinstance(found, list):
        return found
    came = f"the keys {', '.join(value)}" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise DataError(f"{where}: {came}; SQuAD files have a list {key!r} there")


def _row(question: Any, title: Any, context: Any) -> Any:
    if not isinstance(question, dict):
        return question
    row = {"title": title, "context": context, **question}
    if isinstance(answers := question.get("answers"), list):
        row["answers"] = _columns(answers)
    return row


def _columns(answers: list[Any]) -> Any:
    """Answers by column; as they came where one of them is no object, for the task to refuse."""
    if not all(isinstance(answer, dict) for answer in answers):
        return answers
    return {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")}
