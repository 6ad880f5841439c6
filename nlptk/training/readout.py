"""Where a head reads the backbone, found by experiment, and a stand-in backbone that hands stored features to it.

A sequence classifier's head reads one vector a sequence: the pooled output, the first token's hidden state, the last
token's, or the mean of all; a token classifier's reads them all. Which one is found by feeding the head random backbone
outputs and looking where gradients arrive, so no list of model names is kept and a new architecture needs no change
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from nlptk.errors import UnsupportedError

Readout = Literal["pooled", "first", "last", "mean", "tokens"]
"""The vector a head reads of each row, or `tokens`: it reads them all, each by itself."""


PROBED = 3
"""Tokens of a row that a head is tried on."""


@dataclass
class BackboneOutput(ModelOutput):
    """What any backbone may return, in the order heads index it. last_hidden_state: (rows, tokens, hidden)."""

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: Any = None
    attentions: Any = None
    cross_attentions: Any = None
    decoder_hidden_states: Any = None
    decoder_attentions: Any = None
    encoder_last_hidden_state: Any = None
    encoder_hidden_states: Any = None
    encoder_attentions: Any = None


class StoredBackbone(torch.nn.Module):
    """Stands where the backbone stood and returns what it is handed. features: (rows, hidden)."""

    def forward(self, *_: Any, features: torch.Tensor, hidden: torch.Tensor | None = None, **__: Any) -> BackboneOutput:
        last = features[:, None, :] if hidden is None else hidden
        return BackboneOutput(last_hidden_state=last, pooler_output=features)


def backbone(model: PreTrainedModel) -> torch.nn.Module:
    """The module below the head. Raises: UnsupportedError for a bare backbone, which has no head."""
    base = getattr(model, model.base_model_prefix, None)
    if not isinstance(base, torch.nn.Module):
        raise UnsupportedError(
            f"{type(model).__name__}: no module named {model.base_model_prefix!r} below the head; "
            "load it with the Auto class of its task"
        )
    return base


@contextmanager
def stored_backbone(model: PreTrainedModel) -> Iterator[None]:
    """Within it the model is its head alone: `model(features=..., input_ids=placeholder_ids(...))`."""
    base = backbone(model)
    setattr(model, model.base_model_prefix, StoredBackbone())
    try:
        yield
    finally:
        setattr(model, model.base_model_prefix, base)


def placeholder_ids(model: PreTrainedModel, rows: int, tokens: int = 1) -> torch.Tensor:
    """Token ids, shape (rows, tokens), that heads which look at ids (GPT, T5) take for a full sequence."""
    config = model.config.get_text_config()
    ends = getattr(config, "eos_token_id", None)
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]  # instruction-tuned Llama and Gemma have several
    special = {getattr(config, "pad_token_id", None), *ends}
    plain = next(token for token in range(len(special) + 1) if token not in special)
    ids = torch.full((rows, tokens), plain, dtype=torch.long)
    if config.is_encoder_decoder:
        ids[:, -1] = ends[0]
    return ids


TRIAL_ERRORS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What an architecture's own code raises when it is called otherwise than it expects."""


def in_one_line(error: Exception) -> str:
    """What an architecture's own code raised, for a message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def find_readout(model: PreTrainedModel) -> Readout:
    """Which backbone output the logits depend on.

    Raises: UnsupportedError where the head reads some tokens of many, or cannot be called apart from its backbone (that
    of DeBERTa and a dozen more does not hand on what it is given).
    """
    training = model.training
    model.train(False)
    try:
        by_token, by_pooled, is_mean = _probe(model)
    except TRIAL_ERRORS as error:
        raise UnsupportedError(
            f"{type(model).__name__}: its head cannot be called apart from its backbone ({in_one_line(error)})"
        ) from error
    finally:
        model.train(training)
    if by_pooled is not None and by_pooled.abs().sum() > 0 and by_token is None:
        return "pooled"
    read = [] if by_token is None else by_token.abs().sum(dim=(0, 2)).nonzero().flatten().tolist()
    if read == [0]:
        return "first"
    if read == [PROBED - 1]:
        return "last"
    if read == list(range(PROBED)):
        return "mean" if is_mean else "tokens"
    raise UnsupportedError(f"{type(model).__name__}: its head reads tokens {read} of 3, not one vector a sequence")


def _probe(model: PreTrainedModel) -> tuple[torch.Tensor | None, torch.Tensor | None, bool]:
    """Gradients of the logits to random hidden states (2, PROBED, hidden) and pooled outputs (2, hidden), and whether
    the mean of the hidden states in the place of each gives the same logits."""
    parameter = next(model.parameters())
    size = (2, PROBED, model.config.get_text_config().hidden_size)
    generator = torch.Generator().manual_seed(0)  # its own: probing must not move the run's random numbers
    hidden, pooled = (
        torch.randn(shape, generator=generator).to(parameter).requires_grad_() for shape in (size, (size[0], size[2]))
    )
    with torch.enable_grad(), stored_backbone(model):
        ids = placeholder_ids(model, size[0], size[1]).to(parameter.device)
        logits = model(input_ids=ids, features=pooled, hidden=hidden)[0]
        by_token, by_pooled = torch.autograd.grad(logits.sum(), (hidden, pooled), allow_unused=True)
        averaged = model(input_ids=ids, features=pooled, hidden=hidden.mean(dim=1, keepdim=True).expand(size))[0]
    return by_token, by_pooled, torch.allclose(averaged, logits, atol=1e-5)


def reads_one_vector(model: PreTrainedModel) -> bool:
    """Whether all that the head reads of a feature is one vector of the backbone."""
    try:
        return find_readout(model) != "tokens"
    except UnsupportedError:
        return False


def read_features(output: Any, readout: Readout, attention_mask: torch.Tensor) -> torch.Tensor:
    """The vectors the head reads, shape (rows, hidden), from a backbone's output for right-padded rows."""
    if readout == "pooled":
        pooled: torch.Tensor = output.pooler_output
        return pooled
    hidden: torch.Tensor = output.last_hidden_state
    if readout == "mean":
        weights = attention_mask[:, :, None].to(hidden)
        mean: torch.Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return mean
    last = attention_mask.sum(dim=1) - 1 if readout == "last" else torch.zeros_like(attention_mask[:, 0])
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
