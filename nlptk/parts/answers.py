"""Gold answers to questions about a context, where they stand in it, and how answers are shown in a report.

Answers come as SQuAD has them, {"text": [...], "answer_start": [...]}, or in flat columns, `answer` and `answer_start`;
starts count characters from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlptk.task import Section

if TYPE_CHECKING:
    from datasets import Dataset

FORM = 'expected {"text": [...], "answer_start": [...]}, as SQuAD has it'
NOT_GIVEN = -1
"""The start of an answer that stands nowhere in its context, or in several places."""
FIRST_WORDS = 10  # kinds of questions in the report
HARDEST = 20
LONGEST_SHOWN = 400  # characters of a context in the report


@dataclass(frozen=True)
class Gold:
    """An answer that a person gave. start: its first character in the context, or NOT_GIVEN; end: one past its last."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def read_answers(row: dict[str, Any]) -> dict[str, Any]:
    """A row's answers in one form, without the white space around them and without empty ones.

    A start in front of white space is moved behind it. Without a start an answer takes the one place where its text
    stands, or NOT_GIVEN. In a row that has been read, nothing changes.

    Raises: ValueError where the context has another text at an answer's start, answers have another form, or the row
    is said to be impossible to answer (SQuAD 2.0's `is_impossible`) and has one.
    """
    context = row.get("context")
    if not isinstance(context, str):
        return row  # refused as a column
    row = dict(row)
    if "answers" in row:
        golds = [_placed(context, text, start) for text, start in _pairs(row["answers"]) if text.strip()]
        row["answers"] = {"text": [gold.text for gold in golds], "answer_start": [gold.start for gold in golds]}
    if isinstance(row.get("answer"), str) and row["answer"].strip():
        gold = _placed(context, row["answer"], row.get("answer_start"))
        row["answer"] = gold.text
        if "answer_start" in row:
            row["answer_start"] = gold.start
    if str(row.get("is_impossible")).lower() in ("true", "1", "1.0") and (golds := gold_answers(row)):
        raise ValueError(f"is_impossible beside the answer {golds[0].text[:40]!r}; take away the one or the other")
    return row


def gold_answers(row: Mapping[str, Any]) -> list[Gold]:
    """The answers of a row that was read; none where the question has no answer."""
    answers = row.get("answers")
    if answers is not None:
        return [Gold(text, int(start)) for text, start in zip(answers["text"], answers["answer_start"], strict=True)]
    text, start = row.get("answer"), row.get("answer_start")
    if not text:
        return []
    return [Gold(text, _only_place(row["context"], text) if start is None else int(start))]


def _pairs(answers: Any) -> list[tuple[str, Any]]:
    """(text, start) of every answer: of lists by column, of a list of answers, or of one answer."""
    if isinstance(answers, str):
        answers = [answers]
    if isinstance(answers, list | tuple):
        objects = [answer if isinstance(answer, dict) else {"text": answer} for answer in answers]
        answers = {key: [item.get(key) for item in objects] for key in ("text", "answer_start")}
    if not isinstance(answers, dict):
        raise ValueError(f"answers is a {type(answers).__name__}; {FORM}")
    texts, starts = answers.get("text"), answers.get("answer_start")
    if isinstance(texts, str):
        texts, starts = [texts], [starts]
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"answers: no list of texts; {FORM}")
    starts = [None] * len(texts) if starts is None else starts
    if not isinstance(starts, list | tuple) or len(starts) != len(texts):
        raise ValueError(f"answers: {len(texts)} texts and another number of starts; {FORM}")
    return list(zip(texts, starts, strict=True))


def _placed(context: str, text: str, start: Any) -> Gold:
    text = text.strip()
    place = _whole_number(start)
    if place == NOT_GIVEN:
        return Gold(text, _only_place(context, text))
    moved = place + len(context[place:]) - len(context[place:].lstrip())
    if place < 0 or not context.startswith(text, moved):
        there = context[max(place, 0) :][: len(text)]
        raise ValueError(
            f"the answer {text[:40]!r} is not at character {place} of the context ({there[:40]!r} is there); correct "
            "answer_start, which counts characters from 0"
        )
    return Gold(text, moved)


def _whole_number(start: Any) -> int:
    try:
        number = float(NOT_GIVEN if start is None or (isinstance(start, str) and not start.strip()) else start)
    except (TypeError, ValueError):
        number = 0.5
    if not number.is_integer():
        raise ValueError(f"answer_start is {start!r}; expected a whole number, characters counted from 0")
    return int(number)


def _only_place(context: str, text: str) -> int:
    place = context.find(text)
    return place if context.find(text, place + 1) < 0 else NOT_GIVEN


def answer_sections(
    said: Sequence[str],
    references: Sequence[Sequence[str]],
    rows: Dataset,
    *,
    margins: Sequence[float],
    threshold: float | None,
) -> list[Section]:
    """Answered or not, figures by the questions' first words, the scores of no answer, and the hardest rows.

    said: the final answer of each row, "" for none; references: its gold answers. margins: by how much the score of no
    answer exceeds that of the best answer; threshold: answers with a higher margin are withheld, None: nowhere.
    """
    from nlptk.metrics.answers import score_answers
    from nlptk.report import sections

    scores = score_answers(said, references)
    outcomes = [[0, 0], [0, 0]]
    for text, golds in zip(said, references, strict=True):
        outcomes[not golds][not text] += 1
    names = ["answer", "none"]
    parts = [
        sections.matrix(
            "Answered or not", outcomes, row_labels=names, column_labels=names, row_axis="gold", column_axis="predicted"
        ),
        _by_first_word(rows["question"], scores),
    ]
    if threshold is not None:
        parts.append(_margins(margins, references, threshold))
    hardest = _hardest(said, references, rows, f1=scores.f1.tolist(), margins=margins)
    return [*parts, sections.examples("Hardest rows", hardest, note="The surest of the wrong answers first.")]


def _by_first_word(questions: Sequence[str], scores: Any) -> Section:
    from nlptk.report import sections

    words = [question.split()[0].casefold() for question in questions]
    common = [word for word, _ in Counter(words).most_common(FIRST_WORDS)]
    kinds = [word if word in common else "others" for word in words]
    lines = []
    for kind in dict.fromkeys([*common, *kinds]):
        places = [place for place, other in enumerate(kinds) if other == kind]
        means = [float(values[places].mean()) for values in (scores.has_answer, scores.exact_match, scores.f1)]
        lines.append([kind, len(places), *means])
    columns = ["first word", "rows", "share with an answer", "exact match", "F1"]
    return sections.table("By the question's first word", columns, lines)


def _margins(margins: Sequence[float], references: Sequence[Sequence[str]], threshold: float) -> Section:
    import numpy as np

    from nlptk.report import sections

    values, answerable = np.asarray(margins), np.array([bool(golds) for golds in references])
    edges = np.histogram_bin_edges(values, bins=30)
    series = {"with an answer": values[answerable], "without": values[~answerable]}
    return sections.histogram(
        "Score of no answer, less that of the best answer",
        {name: np.histogram(found, edges)[0].tolist() for name, found in series.items()},
        edges=edges.tolist(),
        x_label="difference of scores",
        marks={"threshold": threshold},
        note="Answers to the right of the threshold are withheld.",
    )


def _hardest(
    said: Sequence[str],
    references: Sequence[Sequence[str]],
    rows: Dataset,
    *,
    f1: Sequence[float],
    margins: Sequence[float],
) -> list[dict[str, Any]]:
    wrong = [row for row in range(len(said)) if f1[row] < 1]
    hardest = []
    for row in sorted(wrong, key=lambda row: (f1[row], margins[row] if said[row] else -margins[row]))[:HARDEST]:
        source = rows[row]
        hardest.append(
            {
                "text": f"{source['question']} ⟂ {source['context'][:LONGEST_SHOWN]}",
                "gold": " | ".join(dict.fromkeys(references[row])) or "none",
                "predicted": said[row] or "none",
                "F1": f1[row],
                "source": f"{source['source_file']}, row {source['source_row']}",
            }
        )
    return hardest
