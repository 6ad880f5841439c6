"""Which generation settings hold for a pipeline, as transformers 4.57 found them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, PreTrainedModel

DEFAULTS = {"max_new_tokens": 256, "num_beams": 4}
MAX_LENGTH, MIN_LENGTH = 20, 0
"""Lengths, in tokens, where neither call nor model sets one. transformers 5 leaves them None until generation."""


def settings(
    model: PreTrainedModel, task_params: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[GenerationConfig, dict[str, Any]]:
    """The pipeline's settings, and those of `given` that are no generation setting.

    Later ones win: the model's, DEFAULTS, `given` (the pipeline's keyword arguments), `task_params` (from the
    config's task_specific_params). A max_length of the first three takes the place of DEFAULTS' max_new_tokens.
    """
    config: Any = copy.deepcopy(model.generation_config)  # its `update` declares no types
    config.update(**DEFAULTS)
    rest: dict[str, Any] = config.update(**given)
    if config.max_new_tokens == DEFAULTS["max_new_tokens"] and config.max_length not in (None, MAX_LENGTH):
        config.max_new_tokens = None
    config.update(**task_params)
    return config, rest


def load_assistant(model: PreTrainedModel, assistant: Any, tokenizer: Any) -> tuple[Any, Any]:
    """The model that drafts for `model`, if any, and its tokenizer if the two do not share a vocabulary.

    assistant, tokenizer: loaded, or the folder or name to load from.
    """
    if assistant is None:
        return None, None
    source = assistant
    if isinstance(assistant, str):
        assistant = AutoModelForSeq2SeqLM.from_pretrained(assistant)
    if assistant.config.vocab_size == model.config.vocab_size:
        return assistant, None
    tokenizer = tokenizer or source
    return assistant, AutoTokenizer.from_pretrained(tokenizer) if isinstance(tokenizer, str) else tokenizer
