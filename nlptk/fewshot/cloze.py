"""cloze: a template with a mask; a class's logit is that of the word which names it, moved as the examples ask.

Schick and Schuetze 2021, "Exploiting Cloze Questions for Few Shot Text Classification", arXiv:2001.07676.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from nlptk.errors import RecipeError
from nlptk.fewshot.contract import Batch, Learner, Lesson, Material, Method
from nlptk.fewshot.rows import LabelledRows, row_vectors
from nlptk.fewshot.sharing import Share
from nlptk.parts.class_names import spoken
from nlptk.parts.cloze import word_ids, word_rows
from nlptk.parts.methods import ClozeOptions
from nlptk.parts.support import Head, moved_head

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LABELS = "labels"


class Cloze(Method):
    """The head begins as the vocabulary's: the rows of the label words, before and after training."""

    options: ClozeOptions
    reads_head = reads_words = True
    epochs = 20.0  # as often as contrastive embeds an example; a few rows are one batch, and one step teaches nothing
    uses = frozenset()

    def __init__(self, options: ClozeOptions):
        super().__init__(options)
        self.trains = "nothing" if options.tuning == "none" else "support"

    def check_names(self, names: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
        self.ids(names, tokenizer)
        given = self.options.label_words
        if given is None:
            return
        if missing := [name for name in names if name not in given]:
            raise RecipeError(f"task.method.label_words: none for {missing}; give one for each of {list(names)}")
        if unknown := sorted(given.keys() - set(names)):
            raise RecipeError(f"task.method.label_words: no class {unknown[0]!r}; there are {list(names[:20])}")

    def with_class(self, names: Sequence[str], name: str, words: str | None) -> Cloze:
        given = self.options.label_words
        if given is None and words is None:
            return self
        said = {known: (given or {}).get(known, spoken(known)) for known in [*names, name]}
        said[name] = words or said[name]
        return Cloze(self.options.model_copy(update={"label_words": said}))

    def ids(self, names: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
        """Token ids of every class's label word. Raises: RecipeError for two classes with the same."""
        given = self.options.label_words or {}
        found = word_ids(tokenizer, [given.get(name, spoken(name)) for name in names])
        first: dict[tuple[int, ...], str] = {}
        for name, ids in zip(names, found, strict=True):
            if (other := first.setdefault(tuple(ids), name)) != name:
                raise RecipeError(
                    f"task.method.label_words: classes {other!r} and {name!r} have the same word, and nothing "
                    "tells them apart; give one of them another"
                )
        return found

    def head(self, material: Material) -> Head:
        ids = self.ids(material.names, material.tokenizer)
        with torch.no_grad():
            weight, bias = word_rows(material.model, ids)
        words = Head(weight.float().cpu().numpy(), bias.float().cpu().numpy(), unit_length=False)
        if self.options.inverse_penalty is None:
            return words
        penalty = self.options.inverse_penalty
        return moved_head(words, material.vectors, material.labels, inverse_penalty=penalty)

    def support_lesson(
        self, learner: Learner, rows: LabelledRows, *, batch_size: int, seed: int, share: Share
    ) -> Lesson:
        batches = _RowBatches(rows, batch_size=batch_size, seed=seed, share=share)
        return _Masks(learner, self.ids(rows.names, learner.tokenizer), batches, share)


class _RowBatches(torch.utils.data.Dataset[Batch]):
    """Item i: rows of the i-th batch of a seeded order; the same batches in every pass, whose order alone changes."""

    def __init__(self, rows: LabelledRows, *, batch_size: int, seed: int, share: Share):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(rows.labels), generator=generator).tolist()
        self._chosen = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._rows, self._share = rows, share

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Batch:
        chosen = self._chosen[index]
        return {**self._rows.batch(self._share.of(chosen)), LABELS: torch.from_numpy(self._rows.labels[chosen])}


class _Masks(Lesson):
    def __init__(self, learner: Learner, ids: Sequence[Sequence[int]], batches: _RowBatches, share: Share):
        self._learner, self._ids, self._share = learner, ids, share
        self.module, self.groups = learner.trained, learner.groups
        self.batches = batches

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        labels = batch[LABELS]
        read = {name: value for name, value in batch.items() if name != LABELS}
        vectors = self._share.whole(row_vectors(self._learner.task, module, read))[: len(labels)]
        weight, bias = word_rows(self._learner.model, self._ids)
        return functional.cross_entropy(vectors @ weight.T + bias, labels)
