"""Settings of how a text is written: the task's options, and what they become in a model that is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from nlptk.task import TaskOptions

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

SAMPLING = ("temperature", "top_k", "top_p")
BEAM_SEARCH = ("length_penalty", "early_stopping")
LEFT_OUT = (
    *("num_return_sequences", "return_dict_in_generate"),  # one text a prompt, as plain ids
    *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    *("num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers", "constraints", "force_words_ids"),
)
"""What a checkpoint may ask of generation and nlptk has no use for; the last are ways of writing that transformers 5
leaves to code beside the checkpoint, which is never run."""
SAME_NAME = ("min_new_tokens", "num_beams", *SAMPLING, "repetition_penalty", "no_repeat_ngram_size", *BEAM_SEARCH)
"""Options that transformers has by the same name; None leaves what the checkpoint says."""
DECODING = frozenset({"max_new_tokens", "do_sample", *SAME_NAME})
"""Options of how a text is written."""


class GenerationOptions(TaskOptions):
    """Settings of every task that writes text."""

    max_new_tokens: int = Field(64, ge=1, description="Tokens of the longest text to write; longer targets are cut")
    min_new_tokens: int | None = Field(None, ge=0, description="Tokens of the shortest text to write")
    num_beams: int | None = Field(None, ge=1, description="Beams of the search; default: the checkpoint's, or 1")
    do_sample: bool = Field(False, description="Draw tokens at random instead of taking the likeliest")
    temperature: float | None = Field(None, gt=0, description="Of the distribution drawn from; needs do_sample")
    top_k: int | None = Field(None, ge=0, description="Draw among the k likeliest tokens, 0: all; needs do_sample")
    top_p: float | None = Field(None, gt=0, le=1, description="Draw among tokens of this mass; needs do_sample")
    repetition_penalty: float | None = Field(None, gt=0, description="Above 1: tokens seen already become unlikelier")
    no_repeat_ngram_size: int | None = Field(None, ge=0, description="No n-gram of this size twice; 0: no such rule")
    length_penalty: float | None = Field(None, description="Above 0 favours long texts; needs num_beams over 1")
    early_stopping: bool | Literal["never"] | None = Field(None, description="When beams end; needs num_beams over 1")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Share of the target spread over all tokens")
    generate_in_training: bool = Field(
        False, description="Generate and score at every evaluation; otherwise these give the loss alone, which is quick"
    )
    language: str | None = Field(
        None, description="Of what is read and written, as checkpoints of many languages call it (de_DE, deu_Latn)"
    )
    form: str | None = Field(None, description="Form of the checkpoint; filled in when it is loaded")

    @field_validator(*SAMPLING)
    @classmethod
    def _only_of_drawing(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and not info.data.get("do_sample"):
            raise ValueError("without effect unless do_sample=true; set that too, or leave this out")
        return value

    @field_validator(*BEAM_SEARCH)
    @classmethod
    def _only_of_beams(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and (info.data.get("num_beams") or 1) == 1:
            raise ValueError("without effect unless num_beams is over 1; set that too, or leave this out")
        return value

    @field_validator("no_repeat_ngram_size")
    @classmethod
    def _more_than_a_token(cls, value: int | None) -> int | None:
        if value == 1:  # nor the end of text, where padding is the same token
            raise ValueError("1 forbids every token that was read or written before; give 2 or more, or 0 for no rule")
        return value

    @field_validator("min_new_tokens")
    @classmethod
    def _not_above_the_most(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > info.data.get("max_new_tokens", value):
            raise ValueError(f"more than max_new_tokens {info.data['max_new_tokens']}")
        return value


def one_place(prompt: str, place: str) -> str:
    """The prompt, for a validator of options. Raises: ValueError unless the place of the source is in it once."""
    if prompt.count(place) != 1:
        raise ValueError(f"expected {place} in it, once")
    return prompt


def set_generation(settings: GenerationConfig, options: GenerationOptions) -> None:
    """Lengths and drawing are the task's; what it leaves open stays as the checkpoint has it."""
    settings._from_model_config = False  # or transformers may make it anew from the model's configuration
    settings.max_length = settings.min_length = settings.min_new_tokens = None
    for name in LEFT_OUT:
        setattr(settings, name, None)
    settings.max_new_tokens, settings.do_sample = options.max_new_tokens, options.do_sample
    if not options.do_sample:
        for name in (*SAMPLING, "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            setattr(settings, name, None)
    for name in SAME_NAME:
        if (value := getattr(options, name)) is not None:
            setattr(settings, name, value)
    if (settings.num_beams or 1) == 1:
        for name in BEAM_SEARCH:
            setattr(settings, name, None)


def tell_pipelines(model: PreTrainedModel, task: str, more: Mapping[str, Any]) -> None:
    """Write what transformers' pipeline of that name is to do into the model's task_specific_params: its own defaults,
    4 beams and 256 new tokens, win over generation_config.json, but not over these. What stands there of other pairs of
    languages goes, for `translation` alone would be taken for the first of them."""
    settings: Any = model.generation_config
    known = getattr(model.config, "task_specific_params", None) or {}
    ours = {"max_new_tokens": settings.max_new_tokens, "num_beams": settings.num_beams or 1}
    kind, *_ = task.split("_")
    others = {name: params for name, params in known.items() if not name.startswith(kind)}
    model.config.task_specific_params = {**others, task: {**more, **ours}}
