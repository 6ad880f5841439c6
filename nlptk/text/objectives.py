"""What a model is pretrained to predict: masked words (BERT), the next token (GPT), hidden spans (T5).

An objective turns a window of text into one example, and a batch of examples into logits that stand in line with their
labels. Every example of a run has the same lengths, so nothing is padded, and a mean over examples is one over tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nlptk.errors import UnsupportedError
from nlptk.text.spans import Ids, corrupt, fit_spans

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from nlptk.text.recipe import ObjectiveSettings

Example = dict[str, npt.NDArray[np.int64]]


class Objective(Protocol):
    """name: for people; auto_class: transformers' class with the head; window: tokens of text an example is made of;
    stride: tokens from one window to the next; predicted: tokens of text that an example has predicted;
    separator: id between two documents, or None; free: ids among the labels that are no text."""

    name: str
    auto_class: str
    window: int
    stride: int
    predicted: int
    separator: int | None
    free: frozenset[int]

    def example(self, ids: Ids, rng: np.random.Generator) -> Example:
        """(window,) ids -> the arrays of one example, `labels` (predicted and free tokens) among them."""

    def logits(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """A batch of examples -> (rows, labels, vocabulary)."""


class MaskedWords:
    """BERT's (Devlin et al. 2019): of each window exactly `noise` of the tokens are chosen; of these 80 % become
    [MASK], 10 % a random token, 10 % stay. A window may span documents, [SEP] between them (Liu et al. 2019)."""

    name = "masked language modeling"
    auto_class = "AutoModelForMaskedLM"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: ObjectiveSettings, block_length: int):
        self._first, self._last = _id(tokenizer, "cls_token"), _id(tokenizer, "sep_token")
        self._mask = _id(tokenizer, "mask_token")
        self._vocabulary = len(tokenizer)
        self.window = self.stride = block_length - 2
        self.predicted = max(1, round(self.window * settings.noise))
        self.separator: int | None = self._last
        self.free: frozenset[int] = frozenset()

    def example(self, ids: Ids, rng: np.random.Generator) -> Example:
        order = rng.random(self.window) + (ids == self._last)  # separators are chosen last, if ever
        chosen = np.sort(np.argpartition(order, self.predicted - 1)[: self.predicted])
        draw = rng.random(self.predicted)
        noisy = ids.copy()
        noisy[chosen[draw < 0.8]] = self._mask
        swapped = chosen[draw >= 0.9]
        noisy[swapped] = rng.integers(0, self._vocabulary, size=len(swapped))
        framed = np.concatenate([[self._first], noisy, [self._last]])
        return {"input_ids": framed, "positions": chosen + 1, "labels": ids[chosen]}

    def logits(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Only the hidden states of the chosen tokens go through the head: elsewhere its logits would go unused."""
        head, positions = _head(model), batch["positions"]
        if head is None:
            return _at(model(input_ids=batch["input_ids"]).logits, positions)
        hook = head.register_forward_pre_hook(lambda _, states: (_at(states[0], positions), *states[1:]))
        try:
            logits: torch.Tensor = model(input_ids=batch["input_ids"]).logits
        finally:
            hook.remove()
        return logits


class NextToken:
    """GPT's: every token is predicted from those before it; documents are ended by the end-of-text token."""

    name = "causal language modeling"
    auto_class = "AutoModelForCausalLM"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: ObjectiveSettings, block_length: int):
        self.window, self.stride = block_length + 1, block_length  # windows share a token: each is predicted once
        self.predicted = block_length
        self.separator: int | None = _id(tokenizer, "eos_token")
        self.free: frozenset[int] = frozenset()

    def example(self, ids: Ids, rng: np.random.Generator) -> Example:
        return {"input_ids": ids[:-1], "labels": ids[1:]}

    def logits(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=batch["input_ids"], use_cache=False).logits
        return logits


class HiddenSpans:
    """T5's (Raffel et al. 2020): see `nlptk.text.spans`. Documents follow one another without a mark, as in T5's."""

    name = "span corruption"
    auto_class = "AutoModelForSeq2SeqLM"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: ObjectiveSettings, block_length: int):
        self.lengths = fit_spans(block_length, noise=settings.noise, mean_span=settings.mean_span)
        self._end, self._start = _id(tokenizer, "eos_token"), _id(tokenizer, "pad_token")
        self._sentinels = sentinel_ids(tokenizer, self.lengths.spans)
        self.window = self.stride = self.lengths.text
        self.predicted = self.lengths.hidden
        self.separator: int | None = None
        self.free = frozenset({*self._sentinels.tolist(), self._end})

    def example(self, ids: Ids, rng: np.random.Generator) -> Example:
        inputs, targets = corrupt(ids, self.lengths, sentinels=self._sentinels, end=self._end, rng=rng)
        shifted = np.concatenate([[self._start], targets[:-1]])
        return {"input_ids": inputs, "decoder_input_ids": shifted, "labels": targets}

    def logits(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        inputs = {key: batch[key] for key in ("input_ids", "decoder_input_ids")}
        logits: torch.Tensor = model(**inputs, use_cache=False).logits
        return logits


_OBJECTIVES: dict[str, type[MaskedWords | NextToken | HiddenSpans]] = {
    cls.auto_class: cls for cls in (MaskedWords, NextToken, HiddenSpans)
}
_HEADS = ("cls", "lm_head", "vocab_transform", "head", "predictions", "generator_predictions")
"""What masked language models of transformers call the first module of their head."""


def make_objective(
    auto_class: str, tokenizer: PreTrainedTokenizerBase, settings: ObjectiveSettings, block_length: int
) -> Objective:
    """The objective of models that this class of transformers loads.

    Raises: UnsupportedError where the tokenizer lacks a token that the objective needs.
    """
    return _OBJECTIVES[auto_class](tokenizer, settings, block_length)


def auto_class_of(config: Any) -> str:
    """The class of transformers whose objective fits an architecture. Raises: UnsupportedError."""
    import transformers

    if config.is_encoder_decoder:
        candidates = ["AutoModelForSeq2SeqLM"]
    else:
        # several encoders are also listed as decoders, never the other way round
        candidates = ["AutoModelForMaskedLM", "AutoModelForCausalLM"]
    for name in candidates:
        if type(config) in getattr(transformers, name)._model_mapping:
            return name
    raise UnsupportedError(
        f"model.checkpoint: transformers has no {' or '.join(candidates)} for the {config.model_type} architecture, so "
        "it cannot be pretrained here; give a BERT-, GPT- or T5-like checkpoint"
    )


def sentinel_ids(tokenizer: PreTrainedTokenizerBase, count: int) -> Ids:
    """(count,) ids of <extra_id_0>, <extra_id_1>, ... Raises: UnsupportedError where the tokenizer has fewer."""
    vocabulary = tokenizer.get_vocab()
    names = [f"<extra_id_{number}>" for number in range(count)]
    missing = next((name for name in names if name not in vocabulary), None)
    if missing is not None:
        raise UnsupportedError(
            f"tokenizer: no {missing}, and span corruption of such a block needs {count} sentinels; give a smaller "
            "block_length, a larger objective.mean_span, or T5's own tokenizer"
        )
    return np.array([vocabulary[name] for name in names], dtype=np.int64)


def _id(tokenizer: PreTrainedTokenizerBase, role: str) -> int:
    found = getattr(tokenizer, f"{role}_id")
    if found is None:
        raise UnsupportedError(f"tokenizer: no {role}, which this objective needs; give another tokenizer or family")
    return int(found)


def _head(model: torch.nn.Module) -> torch.nn.Module | None:
    plain = getattr(model, "module", model)  # inside DistributedDataParallel
    return next((part for name, part in plain.named_children() if name in _HEADS), None)


def _at(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """(rows, length, width) states and (rows, n) positions -> (rows, n, width)."""
    return states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1]))
