"""The contract between nlptk and a few-shot method.

A method says how the vectors of a support set become a head, and, if it trains, what lesson it trains on: episodes of
other classes (meta-training), or the support set itself. Models, tokenizers, strategies, optimizers, checkpoints,
episodes, measuring and saving are the same for every method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from nlptk.fewshot.rows import LabelledRows
from nlptk.fewshot.sharing import Share
from nlptk.parts.methods import MetaOptions
from nlptk.parts.support import Head
from nlptk.strategies.contract import Group
from nlptk.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Batch = dict[str, Any]


@dataclass(frozen=True)
class Learner:
    """A model in training. model: the plain transformers model; trained: it, or what the strategy wrapped it in."""

    task: Task
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    trained: torch.nn.Module
    groups: Sequence[Group]

    @property
    def adapted(self) -> bool:
        """Whether adapters train in the place of the model's own weights."""
        return self.trained is not self.model


@dataclass(frozen=True)
class Material:
    """What a head is made of. vectors: (examples, dim); labels: (examples,) place among `names`, each of which has an
    example. learned: what meta-training left, by name."""

    vectors: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int = 0


class Lesson(ABC):
    """What a method trains on. `batches` has whole batches as items, each a function of its place and the seed."""

    module: torch.nn.Module
    groups: Sequence[Group]
    batches: torch.utils.data.Dataset[Batch]
    per_step: int | None = None
    """Batches whose mean gradient makes a step, dealt out to the processes; None: one that they share, times
    `training.gradient_accumulation_steps`."""
    learning_rate: float | None = None
    """Default of `training.learning_rate`; None: that of the strategy."""

    @abstractmethod
    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch, a scalar. module: `self.module`, perhaps wrapped for several processes."""

    def learned(self) -> dict[str, np.ndarray]:
        """What beside the model's own weights was learnt, for `Material.learned`."""
        return {}


class Method(ABC):
    """One way to learn classes from a few examples. A method is made from its options."""

    trains: Literal["nothing", "meta", "support"] = "nothing"
    """What it has a lesson on: nothing, episodes of other classes (where the recipe has such), or the support set. Its
    options may say."""
    needs_meta: ClassVar[bool] = False
    """Whether it makes no sense without meta-training."""
    least: ClassVar[int] = 1
    """Examples of each class that it takes."""
    epochs: ClassVar[float] = 1.0
    """Default of `training.num_train_epochs`: passes over its lesson's batches."""
    reads_head: ClassVar[bool] = False
    """Whether it reads the output layer of the checkpoint's language model."""
    reads_words: ClassVar[bool] = False
    """Whether it decides by words that stand for the classes."""
    uses: ClassVar[frozenset[str]] = frozenset({"class_names", "pooling"})
    """Those of the task's settings that not all methods have a use for."""

    def __init__(self, options: Any):
        self.options = options

    @abstractmethod
    def head(self, material: Material) -> Head:
        """The head of a support set."""

    def check_names(self, names: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse classes that it cannot learn by their names. names: all that there are. Raises: RecipeError."""

    def with_class(self, names: Sequence[str], name: str, words: str | None) -> Method:
        """The method where there is one class more than `names`. words: what stands for it, where words are read."""
        return self

    def meta_lesson(self, learner: Learner, rows: LabelledRows, meta: MetaOptions, *, seed: int) -> Lesson:
        """Meta-training on episodes of rows."""
        raise NotImplementedError

    def moves_encoder(self, learner: Learner) -> bool:
        """Whether its lesson changes what the encoder makes of a text."""
        return self.trains != "nothing"

    def settles(self, learner: Learner) -> bool:
        """Whether a meta-trained encoder is moved once more for each support set, by `settle`."""
        return False

    def settle(self, learner: Learner, rows: LabelledRows, learned: Mapping[str, np.ndarray]) -> None:
        """Move what trains to a support set, in place. learned: as in `Material`."""
        raise NotImplementedError

    def support_lesson(
        self, learner: Learner, rows: LabelledRows, *, batch_size: int, seed: int, share: Share
    ) -> Lesson:
        """Training on the support set. batch_size: rows of a batch, over all processes; share: this one's."""
        raise NotImplementedError
