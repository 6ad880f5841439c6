"""Checkpoint -> tokenizer and model, with what a family lacks (GPT's pad token) filled in and saved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from nlptk import hub
from nlptk.errors import ArtifactError, UnsupportedError
from nlptk.named_checkpoints import resolve_checkpoint

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from nlptk.task import Task

LONGEST_DEFAULT = 512
WARM_START = "EncoderDecoderModel"
"""What a task says for `auto_class` where an encoder alone is to become an encoder-decoder."""
_NO_LIMIT = 1_000_000  # tokenizers without a limit report 10**30
_LIMITS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")
"""What configurations call their number of positions; the second is LED's, the third MPT's."""
_OPTIONAL = re.compile("pooler|cross_?att")


_LEAST_TOKENS = 2
"""Besides special ones. Where a folder has no tokenizer files, transformers makes up a tokenizer of special tokens, a
T5's with the mark of a word's beginning."""


@dataclass(frozen=True)
class LoadedModel:
    """model: in float32; new: parameters that the checkpoint has not, or in another shape; reshaped: the latter."""

    model: PreTrainedModel
    new: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)


@contextmanager
def readable(checkpoint: str) -> Iterator[None]:
    """Turn what transformers raises for a checkpoint it cannot find or read into one message with the cure."""
    if _looks_local(checkpoint) and not Path(checkpoint).is_dir():
        raise ArtifactError(
            f"model: {checkpoint}: no such folder; give a folder with config.json and model.safetensors, or a Hub name"
        )
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(
            f"model: {checkpoint}: cannot be loaded: {first} (a folder needs config.json, model.safetensors and "
            "tokenizer files; a Hub name needs the network or a filled cache)"
        ) from error


def _cache_only(checkpoint: str) -> bool:
    """Whether to look for a Hub name in the local cache alone, because the Hub does not answer."""
    return not Path(checkpoint).is_dir() and hub.unreachable()


@contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers prints of new heads and grown embeddings, and its bars for loading and writing files.

    What matters of it is in `LoadedModel`, and in the report.
    """
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _looks_local(checkpoint: str) -> bool:
    return checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1 or Path(checkpoint).exists()


def load_tokenizer(checkpoint: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The fast tokenizer, padding on the right; a missing pad token becomes the end-of-text token, or `[PAD]`.

    Special tokens that a text spells out are read as text (`split_special_tokens`, which is saved with the tokenizer
    and so holds in transformers' own pipelines too); tokens that were added as ordinary ones are still found.
    """
    from transformers import AutoTokenizer

    checkpoint = resolve_checkpoint(checkpoint)
    with readable(checkpoint):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            checkpoint,
            revision=revision,
            local_files_only=_cache_only(checkpoint),
            split_special_tokens=True,  # as an argument, because an attribute set later is not saved
        )
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnsupportedError(
            f"model: {checkpoint}: its tokenizer has no fast form (tokenizer.json), which nlptk needs (Marian's, "
            "M2M100's and ByT5's have none); give another checkpoint"
        )
    if len(tokenizer) - len(tokenizer.all_special_ids) < _LEAST_TOKENS:
        raise ArtifactError(
            f"model: {checkpoint}: no tokenizer files in it, so every word would be unknown; put those of the "
            "checkpoint beside its weights (tokenizer.json, tokenizer_config.json; tokenizer.save_pretrained)"
        )
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token
        else:
            tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


def load_config(checkpoint: str, revision: str | None = None) -> PretrainedConfig:
    """The checkpoint's configuration. Raises: ArtifactError, UnsupportedError (an architecture that is not served)."""
    from transformers import AutoConfig

    checkpoint = resolve_checkpoint(checkpoint)
    with readable(checkpoint):
        config: PretrainedConfig = AutoConfig.from_pretrained(
            checkpoint, revision=revision, local_files_only=_cache_only(checkpoint)
        )
    if config.model_type == "xlnet":
        raise UnsupportedError(
            f"model: {checkpoint}: XLNet reads a row's last place, padding or not, and sees what follows a word it "
            "is to write, so its figures would be wrong; give an encoder such as BERT or DeBERTa, or a decoder"
        )
    return config


def load_model(
    checkpoint: str,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    *,
    config: PretrainedConfig | None = None,
    revision: str | None = None,
) -> LoadedModel:
    """The checkpoint with the task's head on it, in float32. A head of another shape is made anew and reported.

    Raises: ArtifactError (missing, unreadable, sizes that differ), UnsupportedError (no such head for this
    architecture).
    """
    import transformers

    checkpoint = resolve_checkpoint(checkpoint)
    config = config or load_config(checkpoint, revision)
    padded_with = getattr(config.get_text_config(), "pad_token_id", None)
    _fit_config(config, task, tokenizer)
    name = task.auto_class(config)
    head = "AutoModelForCausalLM" if name == WARM_START else name
    auto: Any = getattr(transformers, head)
    if type(config) not in auto._model_mapping:
        raise UnsupportedError(
            f"model: {checkpoint}: transformers has no {head} for the {config.model_type} architecture, "
            f"so it cannot be trained for {task.name}"
        )
    refuse_pickle(checkpoint)
    with readable(checkpoint), quiet():
        if name == WARM_START:
            loaded = _warm_start(checkpoint, config, tokenizer, revision)
        else:
            loaded = _read(auto, checkpoint, config, revision)
        _grow_embeddings(loaded.model, len(tokenizer))
    if other := of_body(loaded.model, loaded.reshaped):
        raise ArtifactError(
            f"model: {checkpoint}: {other[0]} is of another size in its weights than config.json says "
            f"({len(other)} parameters are); give config.json and weights of one model"
        )
    _check_positions(checkpoint, loaded.model, tokenizer, padded_with)
    task.prepare_model(loaded.model)
    return loaded


def _read(auto: Any, checkpoint: str, config: PretrainedConfig, revision: str | None) -> LoadedModel:
    import torch

    renamed = _renamed_backbone(auto._model_mapping[type(config)])
    model, info = auto.from_pretrained(
        checkpoint,
        config=config,
        revision=revision,
        local_files_only=_cache_only(checkpoint),
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        use_safetensors=True,
        output_loading_info=True,
        key_mapping=renamed,
    )
    if renamed:  # the names are the model's own from here on: without this, saving would turn them back
        model._weight_conversions = [
            step for step in model._weight_conversions if step.target_patterns != [*renamed.values()]
        ]
    reshaped = {str(item[0]) if isinstance(item, tuple) else str(item) for item in info["mismatched_keys"]}
    return LoadedModel(model, new=sorted(reshaped.union(info["missing_keys"])), reshaped=sorted(reshaped))


def of_body(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """Of some parameters those that a checkpoint ought to have: a language model's output layer is among them, but no
    other head, no pooler, nor what lets an encoder that becomes a decoder read the source."""
    from transformers import EncoderDecoderModel

    parts: list[tuple[str, Any]] = [("", model)]
    if isinstance(model, EncoderDecoderModel):
        parts = [("encoder.", model.encoder), ("decoder.", model.decoder)]
    found = []
    for prefix, part in parts:
        body = prefix if part.base_model is part else f"{prefix}{part.base_model_prefix}."
        output = part.get_output_embeddings()
        writes = {f"{prefix}{name}" for name, p in part.named_parameters() if p is getattr(output, "weight", None)}
        found += [n for n in names if n in writes or (n.startswith(body) and not _OPTIONAL.search(n))]
    return found


def _renamed_backbone(head: Any) -> dict[str, str] | None:
    """Pattern -> name for heads that call the backbone otherwise than their family's checkpoints do; None for others.

    The question answering heads of Llama, Qwen and ten more call it `transformer`, where the checkpoints say `model`:
    transformers 5.23 by itself finds none of its weights and leaves them all random.
    """
    families = {vars(base).get("base_model_prefix") for base in getattr(head, "__mro__", ())}
    return {r"^model\.": "transformer."} if {"transformer", "model"} <= families else None


def _warm_start(
    checkpoint: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, revision: str | None
) -> LoadedModel:
    """An encoder-decoder of which both halves begin as one encoder; the decoder's attention to the source is new.

    Rothe, Narayan and Severyn 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks" (BERT2BERT).
    """
    from copy import deepcopy

    from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderModel

    writing = deepcopy(config)
    writing.is_decoder = writing.add_cross_attention = True
    parts = {
        "encoder": _read(AutoModel, checkpoint, config, revision),
        "decoder": _read(AutoModelForCausalLM, checkpoint, writing, revision),
    }
    model = EncoderDecoderModel(encoder=parts["encoder"].model, decoder=parts["decoder"].model)
    start = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    model.config.decoder_start_token_id = tokenizer.pad_token_id if start is None else start
    model.config.pad_token_id = tokenizer.pad_token_id
    new, reshaped = (
        [f"{name}.{key}" for name, part in parts.items() for key in getattr(part, kind)] for kind in ("new", "reshaped")
    )
    return LoadedModel(model, new, reshaped)


def _grow_embeddings(model: PreTrainedModel, size: int) -> None:
    """Rows for tokens that the tokenizer has and the model has not."""
    from transformers import EncoderDecoderModel

    # of two vocabularies, which it cannot know to be one
    parts: list[Any] = [model.encoder, model.decoder] if isinstance(model, EncoderDecoderModel) else [model]
    for part in parts:
        if size > part.get_input_embeddings().weight.shape[0]:
            part.resize_token_embeddings(size)


def _check_positions(
    checkpoint: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, padded_with: int | None
) -> None:
    """Refuse a tokenizer that pads otherwise than a model whose positions are counted from its padding (RoBERTa's).

    padded_with: the checkpoint's own padding id. Raises: UnsupportedError.
    """
    counted = positions_begin_behind(model) is not None
    if counted and padded_with is not None and padded_with != tokenizer.pad_token_id:
        raise UnsupportedError(
            f"model: {checkpoint}: its positions are counted from its padding token, {padded_with}, and its tokenizer "
            f"pads with {tokenizer.pad_token_id}; give the tokenizer the same: tokenizer.pad_token = "
            f"{tokenizer.convert_ids_to_tokens(padded_with)!r}, and save it"
        )


def _fit_config(config: PretrainedConfig, task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    """What the task and the tokenizer say of the model, set in its configuration."""
    for key, value in task.config_overrides().items():
        setattr(config, key, value)
    text_config = config.get_text_config()
    text_config.pad_token_id = config.pad_token_id = tokenizer.pad_token_id
    types = getattr(config, "type_vocab_size", None)
    if types is not None and types < 2:  # a BERT tokenizer beside a RoBERTa: one type for both texts
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = names
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        first = getattr(getattr(config, "decoder", None), "bos_token_id", None)  # of T5Gemma
        config.decoder_start_token_id = tokenizer.pad_token_id if first is None else first


def refuse_pickle(checkpoint: str) -> None:
    """Raises: ArtifactError for a folder whose weights are pickled only: reading a pickle runs the code in it."""
    folder = Path(checkpoint)
    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickled and not any(folder.glob("*.safetensors")):
        raise ArtifactError(
            f"model: {folder / pickled[0]}: pickled weights, which nlptk never reads; convert the folder once, if you "
            f"trust it: AutoModel.from_pretrained({str(folder)!r}, use_safetensors=False).save_pretrained(...)"
        )


def default_max_length(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """Tokens the model can take, at most 512."""
    limits = [LONGEST_DEFAULT, model_limit(model) or LONGEST_DEFAULT]
    if tokenizer.model_max_length < _NO_LIMIT:
        limits.append(int(tokenizer.model_max_length))
    return min(limits)


def model_limit(model: PreTrainedModel) -> int | None:
    """Positions the model has, special tokens included; None where positions are relative and have no end (T5)."""
    config = model.config.get_text_config()
    limit = next((found for name in _LIMITS if isinstance(found := getattr(config, name, None), int)), None)
    if limit is None:
        return None
    padding = positions_begin_behind(model)  # the rows of the table up to it are never used by text
    return limit if padding is None else limit - padding - 1


def positions_begin_behind(model: PreTrainedModel) -> int | None:
    """The padding id behind which a model's positions begin (RoBERTa's); None where they begin at zero, or are none."""
    tables = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    found: int | None = getattr(next(tables, None), "padding_idx", None)
    return found
