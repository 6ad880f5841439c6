"""The pipeline `text2text-generation`: texts in, generated texts out, by a model with an encoder and a decoder."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Any
from warnings import warn

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
from transformers.pipelines.base import Pipeline
from transformers.tokenization_utils_base import TruncationStrategy

from nlptk.errors import UnsupportedError
from nlptk.pipelines.restored.generation import MAX_LENGTH, MIN_LENGTH, load_assistant, settings
from nlptk.pipelines.restored.problems import InvalidTypeError, InvalidValueError

logger = logging.getLogger(__name__)

Truncation = TruncationStrategy | str | bool
UntypedPipeline: Any = Pipeline  # it declares its hooks and parts more narrowly than its own subclasses fill them


class ReturnType(Enum):
    """What an answer holds."""

    TENSORS = 0
    TEXT = 1


class Text2TextGenerationPipeline(UntypedPipeline):  # type: ignore[misc]  # see UntypedPipeline
    """Generates a text for each text.

    A text, or a list of texts, gives a list of `{"generated_text": ...}`, or lists of them where
    `num_return_sequences` asks for several; a generator or a dataset gives an iterator of lists.

    Arguments of the call, or of the pipeline for all calls:

    - return_tensors (False): give `generated_token_ids`, a tensor [tokens], in place of the text.
    - return_text (True): what False asks for is `return_tensors=True`; alone it changes nothing, as in 4.57.
    - clean_up_tokenization_spaces (False): the tokenizer's.
    - truncation (none): the tokenizer's; a text too long for the model is otherwise handed to it whole.
    - stop_sequence: generation ends at its first token.
    - whatever `generate` takes. Where neither arguments nor config say otherwise: num_beams=4, max_new_tokens=256.

    `task_specific_params` of the model's config, under the pipeline's task, give the settings and the `prefix` that is
    put before each text; else `prefix` of the config is.

    Raises: UnsupportedError for a model that does not generate; DataError, which is also the ValueError or TypeError of
    4.57, for what is no text.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    return_name = "generated"

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        modelcard: Any = None,
        framework: str | None = None,
        assistant_model: Any = None,
        assistant_tokenizer: Any = None,
        task: str = "",
        **kwargs: Any,
    ):
        del modelcard  # and `framework` was a choice once; both are taken so that calls written for 4.57 still run
        if framework not in (None, "pt"):
            raise UnsupportedError(f"framework {framework!r}: transformers 5 runs on PyTorch alone; leave it out")
        if not model.can_generate():
            raise UnsupportedError(f"{task or type(self).__name__}: {type(model).__name__} does not generate text")
        specific = dict((getattr(model.config, "task_specific_params", None) or {}).get(task) or {})
        self.prefix = specific.pop("prefix", getattr(model.config, "prefix", None))
        self.generation_config, kwargs = settings(model, specific, kwargs)
        self.assistant_model, self.assistant_tokenizer = load_assistant(model, assistant_model, assistant_tokenizer)
        super().__init__(model=model, tokenizer=tokenizer, task=task, **kwargs)
        if self.generation_config.pad_token_id is None and self.tokenizer.pad_token_id is not None:
            self.generation_config.pad_token_id = self.tokenizer.pad_token_id
        self.check_model_type(MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)

    def _sanitize_parameters(
        self,
        *,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        return_type: ReturnType | int | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: Truncation | None = None,
        stop_sequence: str | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        del return_text
        before = {} if truncation is None else {"truncation": truncation}
        after: dict[str, Any] = {}
        if return_type is None and return_tensors is not None:
            return_type = ReturnType.TENSORS if return_tensors else ReturnType.TEXT
        if return_type is not None:
            after["return_type"] = ReturnType(return_type)
        if clean_up_tokenization_spaces is not None:
            after["clean_up_tokenization_spaces"] = clean_up_tokenization_spaces
        if stop_sequence is not None:
            ids = self.tokenizer.encode(stop_sequence, add_special_tokens=False)
            if len(ids) > 1:
                warn(f"stop_sequence {stop_sequence!r}: only its first token ends the text", UserWarning, stacklevel=2)
            generate_kwargs["eos_token_id"] = ids[0]
        if self.assistant_model is not None:
            generate_kwargs |= {"assistant_model": self.assistant_model}
        if self.assistant_tokenizer is not None:
            generate_kwargs |= {"tokenizer": self.tokenizer, "assistant_tokenizer": self.assistant_tokenizer}
        return before, generate_kwargs, after

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Generate for a text, a list of texts, a generator or a dataset of them."""
        if args and isinstance(args[0], list) and not args[0]:
            return []
        found = super().__call__(*args, **kwargs)
        flat = args and isinstance(args[0], list) and all(isinstance(text, str) for text in args[0])
        if flat and all(len(answers) == 1 for answers in found):
            return [answers[0] for answers in found]
        return found

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """Whether the lengths, in tokens, go together; warns where they do not."""
        del input_length, min_length, max_length
        return True

    def preprocess(self, inputs: Any, truncation: Truncation = False, **kwargs: Any) -> Any:
        """The model's inputs for one text, [1, tokens], or for an inner list of texts."""
        found = self._encode(self._prefixed(inputs), truncation, **kwargs)
        found.pop("token_type_ids", None)  # generate takes none
        return found

    @property
    def _name(self) -> str:
        return self.task or type(self).__name__

    def _prefixed(self, inputs: Any) -> str | list[str]:
        prefix = self.prefix or ""
        if isinstance(inputs, str):
            return prefix + inputs
        if not isinstance(inputs, list) or not all(isinstance(text, str) for text in inputs):
            raise InvalidTypeError(f"{self._name}: {inputs!r:.60}: expected a text or a list of texts")
        if not inputs:
            raise InvalidValueError(f"{self._name}: an inner list is empty; leave it out")
        if self.tokenizer.pad_token_id is None:
            raise InvalidValueError(f"{self._name}: a list within a list needs a tokenizer with a pad token")
        if len(inputs) > 1:
            message = f"a list within a list: only the first of its {len(inputs)} texts is answered; pass one flat list"
            warn(message, UserWarning, stacklevel=2)
        return [prefix + text for text in inputs]

    def _encode(self, texts: str | list[str], truncation: Truncation) -> Any:
        return self.tokenizer(texts, padding=isinstance(texts, list), truncation=truncation, return_tensors="pt")

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        rows, length = model_inputs["input_ids"].shape
        config = self.generation_config
        self.check_inputs(
            length,
            generate_kwargs.get("min_length", config.min_length) or MIN_LENGTH,
            generate_kwargs.get("max_length", config.max_length) or MAX_LENGTH,
        )
        generate_kwargs.setdefault("generation_config", config)
        ids: torch.Tensor = self.model.generate(**model_inputs, **generate_kwargs)
        return {"output_ids": ids.reshape(rows, ids.shape[0] // rows, *ids.shape[1:])}

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_type: ReturnType = ReturnType.TEXT,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        """One answer for each sequence that was generated for the text."""
        sequences = model_outputs["output_ids"][0]
        if return_type is ReturnType.TENSORS:
            return [{f"{self.return_name}_token_ids": ids} for ids in sequences]
        return [
            {
                f"{self.return_name}_text": self.tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
                )
            }
            for ids in sequences
        ]
