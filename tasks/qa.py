"""Question answering over a context: a span of it, or a text written from it, or no answer; BERT, GPT and T5 forms.

    nlptk train task=qa model=CHECKPOINT data=squad.json output=runs/answers

Rows have `question`, `context` and `answers`: {"text": [...], "answer_start": [...]}, characters counted from 0, empty
lists for a question without answer; or flat columns `answer` (empty for none) and `answer_start`. SQuAD files, 1.1 and
2.0, are read as they are. A random split keeps the questions on one context on one side; with `data.group=title` it
keeps the articles of a SQuAD file whole. What is mended in answers and what is refused:
`nlptk.parts.answers.read_answers`.

A context that does not fit is windowed, for a cut would lose answers; windows share `preprocessing.stride` tokens, a
quarter of `max_length` where that is 0. A question keeps at most half of a window. Training takes the first of several
gold answers.

Extractive (the default): the model points at the first and the last token of the answer. In a window without it, it
points at the window's first token: BERT's [CLS], and in the GPT and T5 forms, which have no such token, the first of
the question. (GPT's first token sees nothing of the text: there no answer has a fixed score, which spans must beat.)

Generative (`task.method=generative`; GPT and T5 forms): `question: ... context: ...` is read, the answer is written,
and nothing is written where there is none. Of several windows the likeliest answer counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nlptk.batches import IGNORED
from nlptk.errors import DataError, UnsupportedError
from nlptk.parts.answering import Answer, Answering, AnswerOptions
from nlptk.parts.answers import NOT_GIVEN, Gold, gold_answers
from nlptk.parts.generating import TextToText
from nlptk.parts.generation_settings import DECODING
from nlptk.parts.prompts import Prompt, end_token, prompt_ids, target_ids
from nlptk.parts.spans import (
    answer_tokens,
    best_spans,
    context_tokens,
    context_windows,
    in_characters,
    merged,
    short_questions,
    span_loss,
)
from nlptk.parts.windows import window_rows
from nlptk.task import Features, Inferred, LabelSpace, Preprocessing, Task, TaskOptions

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

WINDOWS_AT_ONCE = 1000  # read from disk
SEAMS = 4  # tokens that a text may have more between others than by itself


class QuestionAnswering(Answering):
    """The answer is a span of the context; with `method=generative` it is written, see `WrittenAnswers`."""

    name = "qa"
    summary = "the answer to a question in a text, or that there is none"
    pipeline_tag = "question-answering"
    changeable = Answering.changeable | {"max_answer_length", "n_best"}

    def __new__(
        cls, options: TaskOptions, labels: LabelSpace | None = None, decision: Mapping[str, Any] | None = None
    ) -> QuestionAnswering:
        written = isinstance(options, AnswerOptions) and options.method == "generative"
        return super().__new__(WrittenAnswers if written else cls)

    def primary(self) -> str:
        return "f1"

    def auto_class(self, config: PreTrainedConfig) -> str:
        from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING

        if type(config) not in MODEL_FOR_QUESTION_ANSWERING_MAPPING:
            raise UnsupportedError(
                f"task qa: transformers has no question answering head for {config.model_type}; set "
                "task.method=generative, if the model writes text"
            )
        return "AutoModelForQuestionAnswering"

    def config_overrides(self) -> dict[str, Any]:
        return {"num_labels": 2}  # start and end

    def fit(self, train: Dataset) -> None:
        super().fit(train)
        for row in train:
            golds = gold_answers(row)
            if golds and golds[0].start == NOT_GIVEN:
                raise DataError(
                    f"{row['source_file']}, row {row['source_row']}: the answer {golds[0].text[:40]!r} stands nowhere, "
                    "or in several places, in the context; give its answer_start, or set task.method=generative"
                )

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """`labels` of a window: its first context token, one past the last, and with targets the answer's first and
        last token, 0 and 0 for none. `offsets`: characters of its context tokens, start and end by turns."""
        names = ["input_ids", "row", "length", "lost", "tokens", "offsets", "labels"]
        names += ["token_type_ids"] if "token_type_ids" in tokenizer.model_input_names else []
        labelled = "answers" in rows or "answer" in rows
        features: dict[str, list[Any]] = {name: [] for name in [*names, *(["labels_lost"] if labelled else [])]}
        for index, (windows, tokens, lost) in enumerate(
            context_windows(rows["question"], rows["context"], tokenizer, preprocessing)
        ):
            golds = gold_answers({role: values[index] for role, values in rows.items()}) if labelled else []
            held = False
            for place, window in enumerate(windows):
                begin, offsets = context_tokens(window)
                span = answer_tokens(offsets, golds, opens=place == 0, closes=place == len(windows) - 1)
                held = held or span is not None
                target = [0, 0] if span is None else [begin + span[0], begin + span[1]]
                features["input_ids"].append(window.ids)
                features["row"].append(index)
                features["length"].append(len(window.ids))
                features["offsets"].append(offsets.reshape(-1))
                features["labels"].append([begin, begin + len(offsets), *(target if labelled else [])])
                if "token_type_ids" in features:
                    features["token_type_ids"].append(window.type_ids)
            counted = {"tokens": tokens, "lost": lost, "labels_lost": int(bool(golds) and not held)}
            for name, count in counted.items():
                if name in features:
                    features[name] += [count, *[0] * (len(windows) - 1)]
        return features

    def loss(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        return span_loss(outputs.start_logits, outputs.end_logits, labels)

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Inferred:
        outputs, labels = self.forward(model, batch), batch["labels"]
        return Inferred(self.outputs(outputs, batch), self.loss(outputs, labels) if labels.shape[1] == 4 else None)

    def outputs(self, outputs: Any, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        longest, n_best = self.settings.max_answer_length, self.settings.n_best
        found = best_spans(outputs.start_logits, outputs.end_logits, batch["labels"], longest=longest, n_best=n_best)
        return list(found.cpu().numpy())

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        batches = features.dataset.select_columns(["row", "offsets"]).with_format("numpy").iter(WINDOWS_AT_ONCE)
        windows = (window for batch in batches for window in zip(batch["row"], batch["offsets"], strict=True))
        found: list[list[np.ndarray]] = []
        for (row, offsets), kept in zip(windows, outputs, strict=True):
            if row == len(found):
                found.append([])
            found[-1].append(in_characters(kept, offsets.reshape(-1, 2)))
        return [merged(of_row, self.settings.n_best) for of_row in found]

    def answers(self, pooled: Any, context: str) -> list[Answer]:
        """Some tokenizers count a space into the word after it, and make tokens of white space alone."""
        found: dict[tuple[str, int], Answer] = {}
        for (start, end), score in zip(pooled.places.tolist(), pooled.scores.tolist(), strict=True):
            span = context[start:end]
            text, first = span.strip(), start + len(span) - len(span.lstrip())
            if text:
                found.setdefault((text, first), Answer(text, first, score))
        return list(found.values())


@dataclass(frozen=True)
class Writings:
    """What was written for one row, likeliest first. texts: with the logarithms of their probabilities; none: that of
    writing nothing, the least of all windows."""

    texts: list[tuple[str, float]]
    none: float


class WrittenAnswers(TextToText, QuestionAnswering):
    """The answer is written by a GPT or T5 form; the rows, the decision and the figures are those of extraction."""

    pipeline_tag = "text2text-generation"
    Options: ClassVar[type[TaskOptions]] = AnswerOptions
    quality = "f1"
    long_texts = Answering.long_texts
    changeable = Answering.changeable | DECODING
    settings = Answering.settings
    fit = Answering.fit
    decode = Answering.decode
    config_overrides = Task.config_overrides

    def prompts(self, rows: Mapping[str, list[Any]]) -> list[Prompt]:
        after = " answer:" if self.is_decoder else ""
        pairs = zip(rows["question"], rows["context"], strict=True)
        return [Prompt(f"question: {question} context: ", context, after) for question, context in pairs]

    def targets(self, rows: Mapping[str, list[Any]]) -> list[str] | None:
        space = " " if self.is_decoder else ""
        return [text and space + text for text in rows["answer"]] if "answer" in rows else None

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """A feature a window of the context, as a row of its own gives it; `row` and the ledger are the whole row's."""
        labelled = "answers" in rows or "answer" in rows
        questions, cut = short_questions(rows["question"], tokenizer, self.room(preprocessing) // 2)
        pieces: dict[str, list[Any]] = {name: [] for name in ("question", "context", *(["answer"] if labelled else []))}
        owners: list[int] = []
        tokens: list[int] = []
        for index, question in enumerate(questions):
            context = rows["context"][index]
            places, counted = self._places(question, context, tokenizer, preprocessing)
            tokens.append(counted + cut[index])
            owners += [index] * len(places)
            pieces["question"] += [question] * len(places)
            pieces["context"] += [context[start:end] for start, end in places]
            if labelled:
                golds = gold_answers({role: values[index] for role, values in rows.items()})
                pieces["answer"] += [_held(golds, context, start, end) for start, end in places]
        features = super().featurize(pieces, tokenizer, preprocessing)
        lost = [a + b for a, b in zip(_summed(owners, features["lost"]), cut, strict=True)]
        features["row"] = owners
        features["tokens"], features["lost"] = _on_first(owners, tokens), _on_first(owners, lost)
        if labelled:
            for name in ("target_tokens", "target_tokens_lost"):
                features[name] = _on_first(owners, _summed(owners, features[name]))
        return features

    def _places(
        self, question: str, context: str, tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> tuple[list[tuple[int, int]], int]:
        """Characters of the context's windows, and the tokens of question and context."""
        room = self.room(preprocessing)
        around = self.prompts({"question": [question], "context": [""]})
        (frame,) = prompt_ids(tokenizer, around, room, open_end=self.is_decoder)
        size = max(1, room - len(frame.ids) - SEAMS) + tokenizer.num_special_tokens_to_add()
        sliding = Preprocessing(size, "window", preprocessing.stride or preprocessing.max_length // 4)
        (found,) = window_rows(tokenizer, [context], None, sliding)
        if len(found.windows) == 1:
            return [(0, len(context))], frame.tokens + found.tokens
        places = []
        for window in found.windows:
            spans = [s for s, special in zip(window.offsets, window.special_tokens_mask, strict=True) if not special]
            places.append((spans[0][0], spans[-1][1]))
        return places, frame.tokens + found.tokens

    def infer(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Inferred:
        """Of each window two logarithms of probabilities, of what was written and of writing nothing, and its ids."""
        import numpy as np

        inferred = super().infer(model, batch)
        likelihoods = self._likelihoods(model, self.prompts_of(batch), inferred.kept)
        pairs = zip(likelihoods, inferred.kept, strict=True)
        return Inferred([np.concatenate([both, ids]) for both, ids in pairs], inferred.loss)

    def _likelihoods(
        self, model: torch.nn.Module, prompts: Sequence[list[int]], written: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Shape (windows, 2), by one forward over what was written, whichever way it was found."""
        import torch

        end = end_token(self.tokenizer)
        pairs = [(prompt, [*ids.tolist(), end]) for prompt, ids in zip(prompts, written, strict=True)]
        batch = self.collate([self._feature(*pair) for pair in pairs], self.tokenizer.pad_token_id)
        device = next(model.parameters()).device
        batch = {name: values.to(device) for name, values in batch.items()}
        asked = batch["labels"] != IGNORED
        chances = self.forward(model, batch).logits[asked].float().log_softmax(dim=1)  # (tokens asked, vocabulary)
        of_ids = chances.gather(1, batch["labels"][asked][:, None])[:, 0]
        whole = torch.zeros(len(pairs), device=device).index_add(0, asked.nonzero()[:, 0], of_ids)
        count = asked.sum(dim=1)
        none = chances[count.cumsum(0) - count + torch.clamp(count - 1, max=self._opening()), end]
        both: np.ndarray = torch.stack([whole, none], dim=1).double().cpu().numpy()
        return both

    @property
    def _start(self) -> int:
        return int(str(self.settings.form).rpartition(" ")[2])

    def _feature(self, prompt: list[int], target: list[int]) -> dict[str, list[int]]:
        if self.is_decoder:
            return {"input_ids": [*prompt, *target[:-1]], "labels": [IGNORED] * (len(prompt) - 1) + target}
        return {"input_ids": prompt, "decoder_input_ids": [self._start, *target[:-1]], "labels": target}

    def _opening(self) -> int:
        """Tokens before the end of an empty answer: some encoder-decoders open every text with one of its own."""
        if self.is_decoder:
            return 0
        return len(target_ids(self.tokenizer, [""], self.settings.max_new_tokens, start=self._start)[0].ids) - 1

    def pool(self, outputs: Sequence[np.ndarray], features: Features) -> Sequence[Any]:
        found: list[Writings] = []
        for row, kept in zip(features.dataset["row"], outputs, strict=True):
            if row == len(found):
                found.append(Writings([], float("inf")))
            text = self.text(kept[2:].astype("int64"))
            texts = [*found[row].texts, *([(text, float(kept[0]))] if text else [])]
            found[row] = Writings(texts, min(found[row].none, float(kept[1])))
        return found

    def answers(self, pooled: Any, context: str) -> list[Answer]:
        best: dict[str, float] = {}
        for text, score in sorted(pooled.texts, key=lambda item: -item[1]):
            best.setdefault(text, score)
        places = {text: context.find(text) for text in best}
        return [Answer(text, places[text] if places[text] >= 0 else None, score) for text, score in best.items()]


def _held(golds: Sequence[Gold], context: str, start: int, end: int) -> str:
    """What is to be written of these characters of the context: the first gold answer, where they hold it. One that
    stands nowhere in the context is asked of every window."""
    if not golds:
        return ""
    text, place = golds[0].text, golds[0].start
    if place == NOT_GIVEN:
        return text if text in context[start:end] or text not in context else ""
    return text if start <= place and golds[0].end <= end else ""


def _summed(owners: Sequence[int], values: Sequence[int]) -> list[int]:
    """The values of each row's windows, added up."""
    totals = [0] * (max(owners, default=-1) + 1)
    for owner, value in zip(owners, values, strict=True):
        totals[owner] += value
    return totals


def _on_first(owners: Sequence[int], totals: Sequence[int]) -> list[int]:
    """A row's total on its first window, 0 on the others."""
    return [totals[owner] if before != owner else 0 for before, owner in zip([-1, *owners], owners, strict=False)]


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(QuestionAnswering.name)
