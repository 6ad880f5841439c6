"""Three dropout rates, hidden, attention and head, under whatever names a model family's configuration has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nlptk.errors import RecipeError, UnsupportedError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "hidden": (
        ("hidden_dropout_prob",),
        ("resid_pdrop", "embd_pdrop"),
        ("embedding_dropout", "mlp_dropout"),
        ("hidden_dropout",),
        ("dropout_rate",),
        ("dropout",),
    ),
    "attention": (("attention_probs_dropout_prob",), ("attn_pdrop",), ("attention_dropout",)),
    "head": (
        ("seq_classif_dropout",),
        ("classifier_dropout",),
        ("classifier_dropout_prob",),
        ("summary_last_dropout",),
    ),
}
"""For each kind, sets of fields that stand for it together; the first set that a configuration has is used.

GPT-2's summary_first_dropout is not among them: its classification heads never read it.
"""


def override_dropout(
    config: PreTrainedConfig,
    *,
    hidden: float | None = None,
    attention: float | None = None,
    head: float | None = None,
) -> dict[str, float]:
    """Set dropout probabilities, in [0, 1), in a model's configuration, in place, before the model is built.

    hidden: after embeddings and sublayers; attention: on attention weights; head: before the classifier; None leaves
    one as it is. A hidden field can also drive attention (T5's dropout_rate): it then answers to `hidden` only.

    Returns: the configuration's own field names with the values set.

    Raises: RecipeError for a value outside [0, 1); UnsupportedError where the family has no such dropout.
    """
    done: dict[str, float] = {}
    for kind, value in (("hidden", hidden), ("attention", attention), ("head", head)):
        if value is None:
            continue
        if not 0.0 <= value < 1.0:
            raise RecipeError(f"dropout.{kind}: got {value}, expected a probability in [0, 1)")
        for field in _fields(config, kind):
            done[field] = value
    parts = [config, *(part for name in config.sub_configs if (part := getattr(config, name, None)) is not None)]
    for field, value in done.items():
        for part in parts:  # T5Gemma's encoder and decoder have their own
            if part is config or hasattr(part, field):
                setattr(part, field, value)
    return done


def without_dropout(model: torch.nn.Module) -> None:
    """Switch off a model's dropout layers, not those of its configuration: the saved model keeps its family's rates.

    For a head on stored features, as a linear probe has it. Dropout of 0.1 on 384 features cost it 0.4 points of
    accuracy on SST-2: 74.1 against 74.5 % (benchmarks/feature_extraction.py, 3 epochs at 0.03, mean of seeds 0 to 2).
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _fields(config: PreTrainedConfig, kind: str) -> list[str]:
    """The configuration's fields for one kind of dropout."""
    known = config.to_dict()
    for names in FIELDS[kind]:
        present = [name for name in names if name in known]
        if present:
            return present
    raise UnsupportedError(
        f"dropout.{kind}: {type(config).__name__} (model type {config.model_type}) has no {kind} dropout; "
        f"leave dropout.{kind} out"
    )
