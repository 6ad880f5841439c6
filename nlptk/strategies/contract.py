"""The contract between nlptk and a fine-tuning strategy.

A strategy decides which parameters train, when, and how fast relative to one another. All of its parameter groups
exist from step 0 and what is trainable is a function of the global step alone, so a resumed run is the same run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class StrategyOptions(BaseModel):
    """Base of every strategy's own settings: unknown keys are refused, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Progress:
    """Where a run is: `step` optimizer steps of `total_steps` are done, `steps_per_epoch` make an epoch."""

    step: int
    total_steps: int
    steps_per_epoch: float

    @property
    def fraction(self) -> float:
        return self.step / self.total_steps if self.total_steps else 0.0

    @property
    def epoch(self) -> float:
        return self.step / self.steps_per_epoch if self.steps_per_epoch else 0.0


@dataclass(frozen=True)
class Group:
    """Parameters that train together: a name for the report, and a factor on the run's learning rate."""

    name: str
    parameters: tuple[tuple[str, torch.nn.Parameter], ...]
    lr_scale: float = 1.0

    @property
    def size(self) -> int:
        return sum(parameter.numel() for _, parameter in self.parameters)


class Strategy(ABC):
    """Base of every strategy; a subclass in strategies/, or in a plugin, is the whole of a new one.

    The order of calls: `prepare_tokenizer` (before rows are tokenized), `prepare` once, `groups` once, `check_feature`
    once, then `trainable_at` at every optimizer step, `save_adapter` and `merge` once at the end.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[StrategyOptions]] = StrategyOptions
    runs_backbone_once: ClassVar[bool] = False
    """The backbone is frozen throughout, so its features may be computed once and kept."""
    lr_kind: ClassVar[str] = "full"
    """Row of the table of default learning rates: full, head, bias, adapter or prompt."""

    def __init__(self, options: StrategyOptions):
        self.options = options

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The tokenizer to use from here on: the one given, or a new one with what the strategy adds to it."""
        return tokenizer

    def prepare(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> torch.nn.Module:
        """Freeze or wrap. Returns the module to train; may be the model itself.

        Afterwards every parameter outside `groups` is frozen for good, and those inside may train.
        """
        return model

    @abstractmethod
    def groups(self, model: torch.nn.Module) -> list[Group]:
        """Every parameter that will ever train, each in exactly one group, from the top (head) downwards."""

    def check_feature(self, feature: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse rows that would leave what is to train as it is. feature: the first one trained on, as `featurize`
        made it. Raises: UnsupportedError."""
        return

    def trainable_at(self, progress: Progress, groups: Iterable[Group]) -> frozenset[str]:
        """Names of the groups that train at this point of the run. Default: all, always."""
        return frozenset(group.name for group in groups)

    def scheduled(self) -> bool:
        """Whether `trainable_at` changes during a run (distributed training must then look for unused parameters)."""
        return False

    def save_adapter(self, model: torch.nn.Module, folder: Path) -> bool:
        """Write the adapter in PEFT's own format, head included; False where the strategy has none."""
        return False

    @abstractmethod
    def merge(self, model: torch.nn.Module) -> PreTrainedModel:
        """The plain transformers model with the same logits, all of its parameters trainable again."""
