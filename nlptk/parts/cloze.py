"""A text in a template with a mask, what a language model has in mind at the mask, and the words that name labels.

An encoder (BERT) reads the template with its mask token; a decoder (GPT) reads it up to the mask, and what comes next
is asked for; an encoder-decoder (T5) reads it with its first sentinel, which its decoder is then to write out. In all
three a word's logit is linear in one hidden state, that which the output layer reads there: `answer_states` gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlptk.errors import UnsupportedError
from nlptk.parts.methods import MASK, TEXT
from nlptk.parts.prompts import PromptIds, continued, target_frame
from nlptk.parts.windows import special_tokens, window_rows
from nlptk.task import Preprocessing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SENTINEL = "<extra_id_0>"
WHOLE = Preprocessing(1 << 30)  # cuts nothing
TRIED = 1000
"""Words of the vocabulary whose logits are looked at."""


@dataclass(frozen=True)
class ClozeIds:
    """ids: what the model reads; position: of the answer's state; tokens: of the text; lost: those cut off it."""

    ids: list[int]
    position: int
    tokens: int
    lost: int


def language_model_class(config: PreTrainedConfig) -> str:
    """The Auto class of a checkpoint's language model."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if config.is_encoder_decoder:
        return "AutoModelForSeq2SeqLM"
    encodes = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    return "AutoModelForMaskedLM" if encodes else "AutoModelForCausalLM"


def mask_token(tokenizer: PreTrainedTokenizerBase, auto_class: str) -> int | None:
    """Id of what stands at the mask; None for a decoder, which goes on from there. Raises: UnsupportedError."""
    if auto_class == "AutoModelForCausalLM":
        return None
    if auto_class == "AutoModelForMaskedLM":
        if tokenizer.mask_token_id is not None:
            return int(tokenizer.mask_token_id)
        raise UnsupportedError("method cloze: the tokenizer has no mask token; give a masked language model (BERT)")
    found = tokenizer.get_vocab().get(SENTINEL)
    if found is None:
        raise UnsupportedError(
            f"method cloze: the tokenizer has no {SENTINEL}, which T5's pretraining puts where words are missing; give "
            "a checkpoint pretrained by span corruption"
        )
    return int(found)


def cloze_ids(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    texts: Sequence[str],
    *,
    mask: int | None,
    max_length: int,
    head_tail: bool = False,
) -> list[ClozeIds]:
    """The filled template of each text, in at most `max_length` tokens; the text gives way.

    mask: id at the mask's place, or None where the reading ends there. Raises: UnsupportedError where the template does
    not end at the mask although it must, or leaves no room for text.
    """
    if mask is None and not template.rstrip().endswith(MASK):
        raise UnsupportedError(
            f"task.method.template: {template!r}: a decoder answers behind what it reads, so {MASK} must come last"
        )
    first, second = sorted((TEXT, MASK), key=template.index)
    before, _, rest = template.partition(first)
    between, _, after = rest.partition(second)
    leading = " " if (before if first == TEXT else between).endswith(" ") else ""
    # byte-level tokenizers have a space with the word behind it: the text's and the answer's bring their own
    joins = mask is None or getattr(tokenizer.added_tokens_decoder.get(mask), "lstrip", False)
    spaceless = {TEXT, *([MASK] if joins else ())}
    before = before.rstrip(" ") if first in spaceless else before
    between = between.rstrip(" ") if second in spaceless else between
    opening, closing = target_frame(tokenizer)
    parts = dict(zip(("between", "after"), continued(tokenizer, [between, after]), strict=True))
    parts["before"] = _plain(tokenizer, [before])[0]
    marked = [] if mask is None else [mask]
    ends = [] if mask is None else closing
    if first == TEXT:
        head, tail = [*opening, *parts["before"]], [*parts["between"], *marked, *parts["after"], *ends]
    else:
        head, tail = [*opening, *parts["before"], *marked, *parts["between"]], [*parts["after"], *ends]
    found = []
    read = _plain if first == TEXT and not before else continued
    for text in read(tokenizer, [leading + text for text in texts]):
        whole = PromptIds(head, text, tail, len(text))
        if len(head) + len(tail) >= max_length:
            raise UnsupportedError(
                f"preprocessing.max_length: {max_length} leaves no room for text beside the template's "
                f"{len(head) + len(tail)} tokens; give a larger one or a shorter task.method.template"
            )
        ids = whole.cut(max_length, head_tail=head_tail)
        position = len(ids) - 1
        if mask is not None:
            behind = len(parts["after"]) + len(ends) if first == TEXT else 0
            position = len(ids) - 1 - behind if first == TEXT else len(opening) + len(parts["before"])
        found.append(ClozeIds(ids, position, len(text), max(0, len(whole.ids) - max_length)))
    return found


def word_ids(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[list[int]]:
    """Token ids of each word as it stands within a sentence. Raises: UnsupportedError for one that it cannot spell."""
    unknown = tokenizer.unk_token_id
    found = continued(tokenizer, [f" {word.strip()}" for word in words])
    for word, ids in zip(words, found, strict=True):
        if not ids or unknown in ids:
            raise UnsupportedError(
                f"task.method.label_words: {word!r}: the tokenizer cannot spell it; give another word for its label"
            )
    return found


def _plain(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without special tokens."""
    special = special_tokens(tokenizer)
    encodings = [row.windows[0] for row in window_rows(tokenizer, texts, None, WHOLE)]
    found = []
    for encoding in encodings:
        masks = encoding.special_tokens_mask
        found.append(
            [t for t, is_special in zip(encoding.ids, masks, strict=True) if not is_special or t not in special]
        )
    return found


@contextmanager
def answer_states(model: PreTrainedModel, positions: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Within it, each forward pass adds to the list what the output layer reads at `positions`, (rows, dim).

    The output layer is run on these states alone: the logits of a vocabulary are made once a row, not once a token.
    """
    import torch

    caught: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        states: torch.Tensor = args[0]
        caught.append(states[torch.arange(len(states), device=states.device), positions])
        return (caught[-1][:, None], *args[1:])

    handle = output_layer(model).register_forward_pre_hook(keep)
    try:
        yield caught
    finally:
        handle.remove()


def output_layer(model: PreTrainedModel) -> torch.nn.Module:
    """The module whose rows are the vocabulary's."""
    found: torch.nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert found is not None, "a language model has one"
    return found


def check_output_layer(model: PreTrainedModel) -> None:
    """Refuse a model whose logits are more than its output layer's rows make of a state: scaled (Granite, Cohere),
    capped (Gemma 2), or made elsewhere.

    Raises: UnsupportedError.
    """
    import torch

    size = model.config.get_text_config().vocab_size
    ids = torch.randint(min(4, size - 1), size, (1, 2), generator=torch.Generator().manual_seed(0)).to(model.device)
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})}
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            logits = model(**inputs).logits[:, 1, :TRIED]
            with answer_states(model, ids.new_ones(1)) as caught:
                model(**inputs)
        layer: Any = output_layer(model)
        alike = False
        if len(layer.weight) >= logits.shape[1]:
            weight, bias = word_rows(model, [[token] for token in range(logits.shape[1])])
            alike = torch.allclose(caught[0] @ weight.T + bias, logits, atol=1e-3, rtol=1e-3)
    finally:
        model.train(training)
    if not alike:
        raise UnsupportedError(
            f"method cloze: {model.config.model_type} changes its logits behind the output layer, or makes them "
            "elsewhere, so that label words cannot be read there alone; give another checkpoint, or another method"
        )


def word_rows(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (words, dim) and bias (words,) that give the mean logit of each word's tokens; differentiable."""
    import torch

    layer: Any = output_layer(model)
    weight = torch.stack([layer.weight[list(tokens)].mean(dim=0) for tokens in ids])
    bias = getattr(layer, "bias", None)
    if bias is None:
        return weight, weight.new_zeros(len(ids))
    return weight, torch.stack([bias[list(tokens)].mean() for tokens in ids])


def model_inputs(batch: Mapping[str, Any], *, start: int | None, mask: int | None) -> tuple[dict[str, Any], Any]:
    """What the model is called with, and where the answer's state is: an encoder-decoder's is behind its sentinel."""
    import torch

    inputs = {key: value for key, value in batch.items() if key not in ("labels", "position")}
    if start is None:
        return inputs, batch["position"]
    ids = batch["input_ids"]
    begun = torch.tensor([[start, mask]], device=ids.device).expand(len(ids), -1)
    return {**inputs, "decoder_input_ids": begun}, torch.ones_like(batch["position"])
