"""The pipelines `summarization` and `translation`: text2text generation with warnings and languages of their own."""

from __future__ import annotations

import re
from typing import Any
from warnings import warn

from nlptk.pipelines.restored.text2text import Text2TextGenerationPipeline, Truncation, logger

LONG_INPUT = 0.9
"""Share of max_length from which a translation is likely to be cut."""


def language_pair(task: str) -> tuple[str, str] | None:
    """Source and target of a task `translation_XX_to_YY`.

    >>> language_pair("translation_en_to_fr")
    ('en', 'fr')
    """
    found = re.fullmatch(r"translation_([^_]*)_to_([^_]*)", task)
    return (found[1], found[2]) if found else None


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Summarizes texts: `summary_text`, or `summary_token_ids`. Arguments as of text2text-generation."""

    return_name = "summary"

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """Warns of a min_length above max_length, and of a max_length that lets a summary outgrow its text."""
        if max_length < min_length:
            logger.warning("min_length %d is above max_length %d", min_length, max_length)
        if input_length < max_length:
            logger.warning(
                "max_length is %d and the text has %d tokens: a summary is usually shorter; consider max_length=%d",
                *(max_length, input_length, input_length // 2),
            )
        return True


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translates texts: `translation_text`, or `translation_token_ids`. Arguments as of text2text-generation, and:

    - src_lang, tgt_lang: the languages' codes in the tokenizer, for models of many languages; a task named
      `translation_XX_to_YY` gives both. Without effect for a model of one pair.
    """

    return_name = "translation"

    def __init__(self, model: Any, tokenizer: Any = None, *, task: str = "", **kwargs: Any):
        specific = getattr(model.config, "task_specific_params", None) or {}
        if (
            task == "translation"
            and task not in specific
            and (known := [name for name in specific if name.startswith("translation")])
        ):
            task = known[0]
            message = f"task 'translation': taken for {task!r}, which the model's config knows; name the pair"
            warn(message, UserWarning, stacklevel=2)
        super().__init__(model, tokenizer, task=task, **kwargs)

    def _sanitize_parameters(
        self, *, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        before, generate_kwargs, after = super()._sanitize_parameters(**kwargs)
        if src_lang is None and tgt_lang is None and (pair := language_pair(self.task)):
            src_lang, tgt_lang = pair
        languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        before |= {name: value for name, value in languages.items() if value is not None}
        return before, generate_kwargs, after

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """Warns of a text so long that its translation may not fit into max_length."""
        if input_length > LONG_INPUT * max_length:
            logger.warning(
                "the text has %d tokens and max_length is %d: its translation may be cut; consider max_length=%d",
                *(input_length, max_length, 2 * input_length),
            )
        return True

    def _encode(
        self, texts: str | list[str], truncation: Truncation, src_lang: str | None = None, tgt_lang: str | None = None
    ) -> Any:
        build = getattr(self.tokenizer, "_build_translation_inputs", None)  # of tokenizers with language codes
        if build is None:
            return super()._encode(texts, truncation)
        return build(texts, return_tensors="pt", truncation=truncation, src_lang=src_lang, tgt_lang=tgt_lang)
