"""tiny, mini, small: the shape of a model from scratch, in its family's own configuration class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlptk.errors import RecipeError
from nlptk.nearest import did_you_mean
from nlptk.text.recipe import Family, Size

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Shape:
    """layers: of the encoder or decoder, of a T5's each; width: of the hidden states; inner: of the feed-forward."""

    layers: int
    width: int
    heads: int

    @property
    def inner(self) -> int:
        return 4 * self.width

    @property
    def gated(self) -> int:
        """Of a gated feed-forward, which has three matrices: two thirds make the same size (Shazeer 2020)."""
        return self.inner * 2 // 3 // 8 * 8

    @property
    def spread(self) -> float:
        """Standard deviation of the initial weights: BERT's and GPT-2's 0.02 belongs to their width of 768, and the
        sums of a narrower layer need larger weights. With it a tiny BERT left its first plateau sooner: 6.54 against
        6.65 nats after 200 steps of 2,048 tokens."""
        return float(round(0.02 * (768 / self.width) ** 0.5, 3))


SHAPES: dict[Size, Shape] = {
    "tiny": Shape(layers=4, width=128, heads=4),
    "mini": Shape(layers=4, width=256, heads=4),
    "small": Shape(layers=4, width=512, heads=8),
}
"""mini and small as in Turc et al. 2019, "Well-Read Students Learn Better"; their tiny has two layers of 128."""


def make_config(
    family: Family, size: Size, tokenizer: PreTrainedTokenizerBase, *, positions: int, fields: dict[str, Any]
) -> PretrainedConfig:
    """The configuration of a model from scratch. positions: tokens it can take (a T5's have no end).

    fields: of the family's configuration class, laid over the size. Raises: RecipeError for a value it refuses.
    """
    from transformers import AutoConfig

    shape = SHAPES[size]
    values = {**_SHAPED[family](shape), **_special_ids(family, tokenizer), "vocab_size": len(tokenizer)}
    if family != "t5":
        values["n_positions" if family == "gpt2" else "max_position_embeddings"] = positions
    try:
        made: PretrainedConfig = AutoConfig.for_model(family, **{**values, **fields})
    except (ValueError, TypeError) as error:
        raise RecipeError(f"model.config: {' '.join(str(error).split())}") from error
    return made


def check_fields(family: Family, fields: Iterable[str]) -> None:
    """Raises: RecipeError for a name that is no field of the family's configuration class."""
    from transformers import AutoConfig

    known = AutoConfig.for_model(family)
    names = [*known.to_dict(), *known.attribute_map]
    for name in fields:
        if name not in names:
            raise RecipeError(f"model.config.{name}: not a field of {type(known).__name__}{did_you_mean(name, names)}")


def _bert(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "initializer_range": shape.spread,
    }


def _modernbert(shape: Shape) -> dict[str, Any]:
    # classifiers pool as the published checkpoints' do: [CLS] is not trained for anything by masked words
    return {**_bert(shape), "intermediate_size": shape.gated, "classifier_pooling": "mean"}


def _gpt2(shape: Shape) -> dict[str, Any]:
    return {
        "n_embd": shape.width,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "initializer_range": shape.spread,
    }


def _llama(shape: Shape) -> dict[str, Any]:
    own = {"intermediate_size": shape.gated, "num_key_value_heads": shape.heads, "tie_word_embeddings": True}
    return {**_bert(shape), **own}


def _t5(shape: Shape) -> dict[str, Any]:
    return {
        "d_model": shape.width,
        "d_kv": shape.width // shape.heads,
        "d_ff": shape.inner,
        "num_layers": shape.layers,
        "num_heads": shape.heads,
    }


_SHAPED = {"bert": _bert, "modernbert": _modernbert, "gpt2": _gpt2, "llama": _llama, "t5": _t5}


def _special_ids(family: Family, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    pad = tokenizer.pad_token_id
    if family == "bert":
        return {"pad_token_id": pad}
    if family == "modernbert":
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        framing = {"cls_token_id": first, "sep_token_id": last, "bos_token_id": first, "eos_token_id": last}
        return {"pad_token_id": pad, **framing}
    ends = {"eos_token_id": tokenizer.eos_token_id}
    if family == "t5":
        return {**ends, "pad_token_id": pad, "decoder_start_token_id": pad}
    return {**ends, "bos_token_id": tokenizer.bos_token_id, "pad_token_id": pad}
