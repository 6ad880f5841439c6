"""What extractive and generative question answering share: settings, columns, the no-answer threshold, the figures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from nlptk.errors import DataError
from nlptk.parts.answers import NOT_GIVEN, answer_sections, gold_answers, read_answers
from nlptk.parts.generation_settings import GenerationOptions
from nlptk.task import Column, Features, LongText, Look, Prediction, Scores, Task, TaskOptions

if TYPE_CHECKING:
    from datasets import Dataset

LEAST = -1e4  # the score of an answer where there is none at all: below any other


class AnswerOptions(GenerationOptions):
    """Settings of the qa task; those of generation have no effect on extraction."""

    max_new_tokens: int = Field(32, ge=1, description="Tokens of the longest answer to write; longer ones are cut")
    method: Literal["extractive", "generative"] = Field(
        "extractive", description="The answer is a span of the context, or a text that the model writes"
    )
    max_answer_length: int = Field(30, ge=1, description="Extractive: tokens that an answer has at most")
    n_best: int = Field(20, ge=1, description="Extractive: spans kept of each window, and of each row")
    n_best_shown: int = Field(0, ge=0, description="Answers that a prediction lists under n_best")
    no_answer_threshold: Literal["tuned", "never"] | float = Field(
        "tuned",
        description="An answer is withheld where the score of none exceeds its own by more than this; tuned: the best "
        "F1 on validation; never: there always is an answer",
    )

    @field_validator("max_answer_length", "n_best")
    @classmethod
    def _only_of_extraction(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("method") == "generative" and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("without effect with method=generative; leave it out")
        return value


@dataclass(frozen=True)
class Answer:
    """A possible answer. start: its first character in the context, None where it stands nowhere."""

    text: str
    start: int | None
    score: float


class Answering(Task):
    """What both methods share. A row is pooled to its possible answers, best first, and the score of no answer."""

    Options: ClassVar[type[TaskOptions]] = AnswerOptions
    columns = (
        Column("question", "text", ("question", "query")),
        Column("context", "text", ("context", "passage", "paragraph", "document"), together=True),
        Column("answers", "json", ("answers",), required=False, target=True),
        Column("answer", "text", ("answer", "answer_text"), required=False, target=True),
        Column("answer_start", "number", ("answer_start",), required=False, target=True),
        Column("is_impossible", "json", ("is_impossible",), required=False, target=True),
    )
    forms = (("answers",), ("answer",))
    long_texts: ClassVar[tuple[LongText, ...]] = ("window",)
    changeable: ClassVar[frozenset[str]] = frozenset({"n_best_shown", "no_answer_threshold"})
    headline = ("exact_match", "has_answer_f1", "no_answer_exact_match")

    @property
    def settings(self) -> AnswerOptions:
        assert isinstance(self.options, AnswerOptions)
        return self.options

    @classmethod
    def read_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        return read_answers(row)

    @classmethod
    def look(cls, rows: Mapping[str, list[Any]]) -> Look:
        found = [gold_answers(dict(zip(rows, row, strict=True))) for row in zip(*rows.values(), strict=True)]
        answered = sum(map(bool, found))
        return Look({"questions": {"with an answer": answered, "without": len(found) - answered}})

    @abstractmethod
    def answers(self, pooled: Any, context: str) -> list[Answer]:
        """The possible answers of a row, best first."""

    def fit(self, train: Dataset) -> None:
        """Until it is tuned, an answer is withheld where none scores higher; never where every training row has one."""
        references = _references(train)
        if not any(references):
            raise DataError("train: no row has an answer; give rows that have one")
        given = self.settings.no_answer_threshold
        if given == "tuned":
            given = "never" if all(references) else 0.0
        self.decision["no_answer_threshold"] = None if given == "never" else given

    def tune(self, pooled: Sequence[Any], rows: Dataset) -> None:
        from nlptk.metrics import best_threshold

        references = _references(rows)
        if self.settings.no_answer_threshold == "tuned" and not all(references):
            texts, margins = self._best(pooled, rows["context"])
            self.decision["no_answer_threshold"] = best_threshold(texts, references, margins)[1]

    def _best(self, pooled: Sequence[Any], contexts: Sequence[str]) -> tuple[list[str], list[float]]:
        """Each row's best answer, and by how much the score of none exceeds its own."""
        texts, margins = [], []
        for item, context in zip(pooled, contexts, strict=True):
            best = next(iter(self.answers(item, context)), Answer("", None, LEAST))
            texts.append(best.text)
            margins.append(item.none - best.score)
        return texts, margins

    def _threshold(self) -> float | None:
        """Answers with a higher margin are withheld; None: nowhere."""
        given = self.settings.no_answer_threshold
        tuned: float | None = self.decision.get("no_answer_threshold")
        return tuned if given == "tuned" else None if given == "never" else given

    def _withholds(self, margin: float) -> bool:
        threshold = self._threshold()
        return threshold is not None and margin > threshold

    def decode(self, pooled: Sequence[Any], rows: Mapping[str, Sequence[Any]], features: Features) -> list[Prediction]:
        """`answer` ("" for none), `score`, `start` and `end` (characters, end exclusive; None where the context has no
        such text), `no_answer_probability`, `n_best`. The scores of the answers kept and of none sum to 1."""
        lost = {row for row, n in zip(features.dataset["row"], features.dataset["lost"], strict=True) if n > 0}
        return [
            {**self._prediction(item.none, self.answers(item, context)), "truncated": row in lost}
            for row, (item, context) in enumerate(zip(pooled, rows["context"], strict=True))
        ]

    def _prediction(self, none: float, answers: list[Answer]) -> Prediction:
        from scipy.special import softmax

        no_answer, *chances = softmax([none, *(answer.score for answer in answers)]).tolist()
        listed = [
            {
                "answer": answer.text,
                "score": chance,
                "start": answer.start,
                "end": None if answer.start is None else answer.start + len(answer.text),
            }
            for answer, chance in zip(answers, chances, strict=True)
        ]
        withheld = not answers or self._withholds(none - answers[0].score)
        best = {"answer": "", "score": no_answer, "start": 0, "end": 0} if withheld else listed[0]
        shown = self.settings.n_best_shown
        return {**best, "no_answer_probability": no_answer, **({"n_best": listed[:shown]} if shown else {})}

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        from nlptk.metrics import answer_figures

        texts, margins = self._best(pooled, rows["context"])
        references = _references(rows)
        threshold = self._threshold()
        judged = threshold is not None or not all(references)
        figures = answer_figures(
            texts,
            references,
            no_answer_scores=margins if judged else None,
            threshold=threshold,
            bootstrap=bootstrap,
            seed=seed,
        )
        said = ["" if self._withholds(margin) else text for text, margin in zip(texts, margins, strict=True)]
        parts = answer_sections(said, references, rows, margins=margins, threshold=threshold) if sections else []
        mute = any(references) and not any(said)
        return Scores(figures, parts, ["answers no question: no better than never answering"] if mute else [])


def _references(rows: Dataset) -> list[list[str]]:
    targets = rows.select_columns([name for name in ("answers", "answer") if name in rows.column_names])
    return [[gold.text for gold in gold_answers({**row, "answer_start": NOT_GIVEN})] for row in targets]
