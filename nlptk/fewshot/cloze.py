"""cloze: a template with a mask; a class's logit is that of the word which names it.

Schick and Schuetze 2021, "Exploiting Cloze Questions for Few Shot Text Classification", arXiv:2001.07676.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from nlptk.errors import RecipeError
from nlptk.fewshot.contract import Batch, Learner, Lesson, Material, Method
from nlptk.fewshot.rows import LabelledRows, row_vectors
from nlptk.parts.class_names import spoken
from nlptk.parts.cloze import word_ids, word_rows
from nlptk.parts.methods import ClozeOptions
from nlptk.parts.support import Head

LABELS = "labels"


class Cloze(Method):
    """The head is the vocabulary's: the rows of the label words, before and after training."""

    options: ClozeOptions
    reads_head = True
    uses = frozenset()

    def __init__(self, options: ClozeOptions):
        super().__init__(options)
        self.trains = "nothing" if options.tuning == "none" else "support"

    def words(self, names: tuple[str, ...] | list[str]) -> list[str]:
        """The label word of every class. Raises: RecipeError for classes without one, and words of no class."""
        given = self.options.label_words
        if given is None:
            return [spoken(name) for name in names]
        if missing := [name for name in names if name not in given]:
            raise RecipeError(f"task.method.label_words: none for {missing}; give one for each of {list(names)}")
        return [given[name] for name in names]

    def head(self, material: Material) -> Head:
        ids = word_ids(material.tokenizer, self.words(list(material.names)))
        with torch.no_grad():
            weight, bias = word_rows(material.model, ids)
        return Head(weight.float().cpu().numpy(), bias.float().cpu().numpy(), unit_length=False)

    def support_lesson(self, learner: Learner, rows: LabelledRows, *, batch_size: int, seed: int) -> Lesson:
        return _Masks(self, learner, rows, batch_size=batch_size, seed=seed)


class _RowBatches(torch.utils.data.Dataset[Batch]):
    """Item i: rows of the i-th batch of a seeded order; the same batches in every pass, whose order alone changes."""

    def __init__(self, rows: LabelledRows, *, batch_size: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(rows.labels), generator=generator).tolist()
        self._chosen = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._rows = rows

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Batch:
        chosen = self._chosen[index]
        return {**self._rows.batch(chosen), LABELS: torch.from_numpy(self._rows.labels[chosen])}


class _Masks(Lesson):
    def __init__(self, method: Cloze, learner: Learner, rows: LabelledRows, *, batch_size: int, seed: int):
        self._learner = learner
        self._ids = word_ids(learner.tokenizer, method.words(list(rows.names)))
        self.module, self.groups = learner.trained, learner.groups
        self.batches = _RowBatches(rows, batch_size=batch_size, seed=seed)

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        read = {name: value for name, value in batch.items() if name != LABELS}
        vectors = row_vectors(self._learner.task, module, read)
        weight, bias = word_rows(self._learner.model, self._ids)
        return functional.cross_entropy(vectors @ weight.T + bias, batch[LABELS])
