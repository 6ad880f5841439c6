"""Summarization: T5, BART and their kin, GPT with a prompt, BERT as the start of an encoder-decoder.

    nlptk train task=summarization model=CHECKPOINT data=articles.jsonl output=runs/summaries

Rows have `document` (or `text`, `article`) and `summary` (or `target`, `highlights`), and may have `references`: a list
of summaries, the best of which counts in the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from nlptk import task
from nlptk.batches import unpadded
from nlptk.errors import UnsupportedError
from nlptk.parts.generating import TextToText, text_examples, text_warnings
from nlptk.parts.generation_settings import DECODING, GenerationOptions, one_place
from nlptk.parts.prompts import Prompt, prompt_ids
from nlptk.task import Column, Preprocessing, Scores, Section

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHOWN = 20
PLACE = "{document}"
T5_PREFIX = "summarize: "


class SummarizationOptions(GenerationOptions):
    """Settings of the summarization task."""

    max_new_tokens: int = Field(128, ge=1, description="Tokens of the longest summary to write; longer ones are cut")
    prefix: str | None = Field(
        None,
        description="Encoder-decoders: stands before every document; default: the checkpoint's, T5's 'summarize: '",
    )
    prompt: str = Field(f"{PLACE}\nTL;DR: ", description="Decoders: what the summary follows; holds {document}")
    long_text: Literal["truncate", "map_reduce"] = Field(
        "truncate", description="Documents that do not fit: cut, or summarized in pieces and from these once more"
    )
    rouge_words: Literal["latin", "any"] = Field("latin", description="Words of ROUGE: a-z and 0-9, or any script's")
    stemmer: bool = Field(False, description="Whether ROUGE compares the stems of English words")

    @field_validator("prompt")
    @classmethod
    def _has_one_place(cls, value: str) -> str:
        return one_place(value, PLACE)


class Summarization(TextToText):
    """A short text that says what a long one does."""

    name = "summarization"
    summary = "a short text for a long one"
    pipeline_tag = "summarization"
    Options: ClassVar[type[task.TaskOptions]] = SummarizationOptions
    columns = (
        Column("document", "text", ("document", "text", "article")),
        Column("summary", "text", ("summary", "target", "highlights"), target=True),
        Column("references", "json", ("references",), required=False, target=True),
    )
    headline = ("rouge1", "rouge2", "rouge_l", "rouge_lsum", "length_ratio", "novelty_2", "compression")
    quality = "rouge_l"
    answer = "summary"
    measuring = ("document_ids", "ends")
    warm_start = True
    changeable = frozenset({*DECODING, "long_text"})
    long_text_cure = "task.long_text=map_reduce"

    @property
    def settings(self) -> SummarizationOptions:
        assert isinstance(self.options, SummarizationOptions)
        return self.options

    @classmethod
    def read_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        references = row.get("references")
        if references is None:
            return row
        if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
            raise ValueError(f"references is {references!r:.60}; expected a list of texts")
        return {**row, "references": references}

    def prepare_model(self, model: PreTrainedModel) -> None:
        super().prepare_model(model)
        self.refuse_idle()
        if not self.is_decoder:
            self.settle_prefix(model, self.name, T5_PREFIX if model.config.model_type == "t5" else "")

    def prompts(self, rows: Mapping[str, list[Any]]) -> list[Prompt]:
        before, after = self.settings.prefix or "", ""
        if self.is_decoder:
            before, _, after = self.settings.prompt.partition(PLACE)
        marks = self.has_marks()
        return [Prompt(before, document, after, marks) for document in rows["document"]]

    def targets(self, rows: Mapping[str, list[Any]]) -> list[str] | None:
        return rows.get("summary")

    def featurize(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing
    ) -> dict[str, list[Any]]:
        """With map_reduce also the whole documents, for `written`; training and the loss take them cut all the same."""
        features = super().featurize(rows, tokenizer, preprocessing)
        if self.settings.long_text == "truncate":
            return features
        room = self.room(preprocessing)
        whole = prompt_ids(tokenizer, self.prompts(rows), room, open_end=self.is_decoder)
        least = max(len(ids.head) + len(ids.tail) for ids in whole) + 2 * self.settings.max_new_tokens
        if room < least:  # two summaries must fit beside each other, or putting them together would never end
            raise UnsupportedError(
                f"task.long_text: map_reduce needs room for two summaries, {least} tokens of prompt; "
                f"preprocessing.max_length {preprocessing.max_length} leaves {room}; raise it or lower "
                "task.max_new_tokens"
            )
        features["ends"] = [[len(ids.head), len(ids.tail)] for ids in whole]
        features["document_ids"] = [ids.ids for ids in whole]
        if "labels" in features:  # training takes them cut all the same
            features["untrained"] = features["lost"]
        features["lost"] = [0] * len(whole)  # all pieces are read
        return features

    def written(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        """With map_reduce the pieces of a document are summarized, and their summaries in turn, until they are one."""
        if "document_ids" not in batch:
            return super().written(model, batch)
        parts = zip(self.prompts_of(batch), unpadded(batch["document_ids"]), unpadded(batch["ends"]), strict=True)
        documents = {row: _Document(ids, head, tail, cut) for row, (cut, ids, (head, tail)) in enumerate(parts)}
        rows = len(documents)
        done: dict[int, np.ndarray] = {}
        while documents:
            pieces = [(row, piece) for row, document in documents.items() for piece in document.pieces()]
            by_row: dict[int, list[np.ndarray]] = {row: [] for row in documents}
            for start in range(0, len(pieces), rows):  # a batch is as large as the one that came
                some = pieces[start : start + rows]
                for (row, _), ids in zip(some, self.generate(model, [piece for _, piece in some]), strict=True):
                    by_row[row].append(ids)
            done |= {row: summaries[0] for row, summaries in by_row.items() if len(summaries) == 1}
            documents = {
                row: self._joined(documents[row], summaries) for row, summaries in by_row.items() if len(summaries) > 1
            }
        return [done[row] for row in range(rows)]

    def _joined(self, document: _Document, summaries: Sequence[np.ndarray]) -> _Document:
        """The summaries of a document's pieces as one document, of no more tokens than they had."""
        text = " ".join(self.text(ids) for ids in summaries)
        room = len(document.cut)
        (found,) = prompt_ids(self.tokenizer, self.prompts({"document": [text]}), room, open_end=self.is_decoder)
        found = replace(found, text=found.text[: sum(map(len, summaries))])
        return _Document(found.ids, len(found.head), len(found.tail), found.cut(room))

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        from nlptk.metrics import summary_figures

        references = _references(rows)
        figures = summary_figures(
            pooled,
            references,
            sources=rows["document"][:],
            rouge_words=self.settings.rouge_words,
            stemmer=self.settings.stemmer,
            bootstrap=bootstrap,
            seed=seed,
        )
        parts = self._sections(pooled, references, rows) if sections else []
        return Scores(figures, parts, [*text_warnings(pooled, references), *self._other_scripts(references)])

    def _other_scripts(self, references: Sequence[list[str]]) -> list[str]:
        from nlptk.metrics import MOSTLY, share_of_letters

        if self.settings.rouge_words != "latin":
            return []
        share = share_of_letters((text for of_row in references for text in of_row), "latin")
        if share >= MOSTLY:
            return []
        return [
            f"ROUGE counts words of a-z and 0-9 alone, which {share:.0%} of the letters of the references are: give "
            "task.rouge_words=any"
        ]

    def _sections(self, pooled: Sequence[str], references: Sequence[list[str]], rows: Dataset) -> list[Section]:
        import numpy as np

        from nlptk.metrics import rouge_scores

        scores = rouge_scores(pooled, references, rouge_words=self.settings.rouge_words, stemmer=self.settings.stemmer)[
            "rouge_l"
        ]
        documents = rows["document"][:]
        columns = {
            "document": documents,
            "reference": [texts[0] for texts in references],
            "summary": pooled,
            "rouge_l": scores.tolist(),
        }
        lowest = np.argsort(scores, kind="stable")[:SHOWN].tolist()
        longest = np.argsort([-len(text) for text in documents], kind="stable")[:SHOWN].tolist()
        return [
            text_examples("Lowest ROUGE-L", columns, rows, lowest),
            text_examples("Longest documents", columns, rows, longest),
        ]


@dataclass(frozen=True)
class _Document:
    """A prompt that need not fit. ids: all its tokens; head, tail: how many stand before and behind the text; cut: the
    tokens that fit, at most as many as one prompt may have."""

    ids: list[int]
    head: int
    tail: int
    cut: list[int]

    def pieces(self) -> list[list[int]]:
        """Prompts that fit, each with the next part of the text."""
        if len(self.ids) <= len(self.cut):
            return [self.cut]
        end = len(self.ids) - self.tail
        before, text, after = self.ids[: self.head], self.ids[self.head : end], self.ids[end:]
        size = len(self.cut) - self.head - self.tail
        return [[*before, *text[start : start + size], *after] for start in range(0, len(text), size)]


def _references(rows: Dataset) -> list[list[str]]:
    """The references of each row, or its one summary."""
    summaries = [[text] for text in rows["summary"]]
    if "references" not in rows.column_names:
        return summaries
    return [several or one for several, one in zip(rows["references"], summaries, strict=True)]


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(Summarization.name)
