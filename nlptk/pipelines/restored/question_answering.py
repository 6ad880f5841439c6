"""The pipeline `question-answering`: where in a text a question's answer stands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np
import torch
from transformers import BatchEncoding
from transformers.models.auto.modeling_auto import MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES
from transformers.pipelines.base import ChunkPipeline

from nlptk.errors import UnsupportedError
from nlptk.pipelines.restored.problems import InvalidValueError
from nlptk.pipelines.restored.questions import Example, read_example, read_examples
from nlptk.pipelines.restored.spans import Flags, Floats, Span, best_spans, probabilities

if TYPE_CHECKING:
    from tokenizers import Encoding

PREPROCESSING = ("padding", "doc_stride", "max_question_len", "max_seq_len")
POSTPROCESSING = ("top_k", "max_answer_len", "handle_impossible_answer", "align_to_words")
UntypedPipeline: Any = ChunkPipeline  # it declares its hooks and parts more narrowly than its own subclasses fill them
MAX_SEQ_LEN = 384
DOC_STRIDE = 128


class QuestionAnsweringPipeline(UntypedPipeline):  # type: ignore[misc]  # see UntypedPipeline
    """Answers questions with spans of their contexts. A long context is read in windows, and their answers joined.

    A call takes `question=` and `context=` (texts, lists of them, many questions on one context), a mapping with both
    keys, or a list, generator or dataset of such mappings. One question gives one answer, or a list where `top_k` finds
    several; more questions give a list of that; a generator or a dataset gives an iterator. An answer is
    `{"score", "start", "end", "answer"}`: a probability, summed over the spans and windows that give the same text in
    whatever case, and positions in characters of the context.

    Arguments of the call, or of the pipeline for all calls:

    - top_k (1): answers at most.
    - max_answer_len (15): tokens of an answer at most.
    - handle_impossible_answer (False): "" competes, with the probability of the least sure window.
    - align_to_words (True): an answer begins and ends with a word.
    - max_seq_len (384, or what the tokenizer allows): tokens of a window, the question included.
    - doc_stride (128, or half a window): tokens that two windows share.
    - max_question_len (64): has no effect with the fast tokenizers that this needs, as in 4.57.
    - padding ("do_not_pad"): the tokenizer's.

    Raises: UnsupportedError for a tokenizer without character offsets; DataError, which is also the ValueError,
    KeyError or TypeError of 4.57, for what cannot be asked.
    """

    default_input_names = "question,context"

    def __init__(self, model: Any, tokenizer: Any, modelcard: Any = None, framework: str | None = None, **kwargs: Any):
        del modelcard  # and `framework` was a choice once; both are taken so that calls written for 4.57 still run
        if framework not in (None, "pt"):
            raise UnsupportedError(f"framework {framework!r}: transformers 5 runs on PyTorch alone; leave it out")
        if not getattr(tokenizer, "is_fast", False):
            raise UnsupportedError(
                f"question-answering: {type(tokenizer).__name__} gives no character offsets; use a fast tokenizer"
            )
        super().__init__(model=model, tokenizer=tokenizer, **kwargs)
        self.check_model_type(MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES)

    @staticmethod
    def create_sample(question: Any, context: Any) -> Example | list[Example]:
        """A question and its context, or lists of both, as the pipeline takes them."""
        if isinstance(question, list):
            return [read_example({"question": q, "context": c}) for q, c in zip(question, context, strict=True)]
        return read_example({"question": question, "context": context})

    def _sanitize_parameters(self, **given: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if given.get("topk") is not None and given.get("top_k") is None:
            warn("topk=: deprecated since transformers 4; give top_k=", UserWarning, stacklevel=2)
            given["top_k"] = given["topk"]
        for name in ("top_k", "max_answer_len"):
            if given.get(name) is not None and given[name] < 1:
                raise InvalidValueError(f"question-answering: {name} is {given[name]}; expected at least 1")
        named = {name: value for name, value in given.items() if value is not None}
        before = {name: named[name] for name in PREPROCESSING if name in named}
        return before, {}, {name: named[name] for name in POSTPROCESSING if name in named}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer what is asked, in any of the forms that the class names."""
        if args:
            message = "questions by position: deprecated since transformers 4; give question= and context="
            warn(message, FutureWarning, stacklevel=2)
        asked = read_examples(args, kwargs)
        if isinstance(asked, list) and len(asked) < 2:
            return super().__call__(asked[0], **kwargs) if asked else []
        return super().__call__(asked, **kwargs)

    @property
    def _question_first(self) -> bool:
        return bool(self.tokenizer.padding_side == "right")

    def preprocess(
        self,
        example: Any,
        padding: str | bool = "do_not_pad",
        doc_stride: int | None = None,
        max_question_len: int = 64,
        max_seq_len: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The windows of one example, each with the model's inputs, [1, tokens]."""
        del max_question_len
        example = read_example(example)
        if max_seq_len is None:
            max_seq_len = min(self.tokenizer.model_max_length, MAX_SEQ_LEN)
        if doc_stride is None:
            doc_stride = min(max_seq_len // 2, DOC_STRIDE)
        if doc_stride > max_seq_len:
            raise InvalidValueError(
                f"question-answering: doc_stride {doc_stride} is larger than max_seq_len {max_seq_len}"
            )
        self._check_room(example, max_seq_len, doc_stride)
        texts = (example.question_text, example.context_text)
        found: BatchEncoding = self.tokenizer(
            *(texts if self._question_first else texts[::-1]),
            padding=padding,
            truncation="only_second" if self._question_first else "only_first",
            max_length=max_seq_len,
            stride=doc_stride,
            return_overflowing_tokens=True,
        )
        encodings = found.encodings or []
        inputs = [name for name in self.tokenizer.model_input_names if name in found]
        for index, encoding in enumerate(encodings):
            tensors = {name: torch.tensor([found[name][index]]) for name in inputs}
            yield {**tensors, "example": example, "encoding": encoding, "is_last": index == len(encodings) - 1}

    def _length(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _check_room(self, example: Example, max_seq_len: int, doc_stride: int) -> None:
        """That windows advance in the context; the tokenizer would panic."""
        taken = self._length(example.question_text) + self.tokenizer.num_special_tokens_to_add(pair=True)
        room = max_seq_len - taken
        if room <= doc_stride and self._length(example.context_text) > room:
            raise InvalidValueError(
                f"question-answering: max_seq_len {max_seq_len} leaves {max(room, 0)} tokens beside the question "
                f"{example.question_text!r:.40}; expected more than doc_stride {doc_stride}; shorten the question, "
                "raise max_seq_len or lower doc_stride"
            )

    def _forward(self, window: dict[str, Any]) -> dict[str, Any]:
        inputs = {name: window[name] for name in self.tokenizer.model_input_names if name in window}
        if "use_cache" in inspect.signature(self.model.forward).parameters:
            inputs["use_cache"] = False
        output = self.model(**inputs)
        passed = {name: window[name] for name in ("example", "encoding", "is_last")}
        return {"start": output["start_logits"].float(), "end": output["end_logits"].float(), **passed}

    def postprocess(
        self,
        windows: list[dict[str, Any]],
        top_k: int = 1,
        handle_impossible_answer: bool = False,
        max_answer_len: int = 15,
        align_to_words: bool = True,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The answers of one example's windows, joined by their text."""
        context = windows[0]["example"].context_text
        # spans that differ in parts of words alone become one answer: 4.57 starts from so many for top_k to remain
        candidates = 2 * top_k + 10 if align_to_words else top_k
        answers: dict[str, dict[str, Any]] = {}
        no_answer = float("inf")
        for window in windows:
            encoding = window["encoding"]
            in_context, null = self._tokens(encoding)
            start, end = (self._probabilities(window[side], in_context | null) for side in ("start", "end"))
            no_answer = min(no_answer, float((start * end)[null].max(initial=0.0)))
            for span in best_spans(start, end, in_context, count=candidates, max_tokens=max_answer_len):
                first, last = self._characters(encoding, span, align_to_words)
                text = context[first:last]
                same = answers.setdefault(text.lower(), {"score": 0.0, "start": first, "end": last, "answer": text})
                same["score"] += span.score
        ranked = list(answers.values())
        if handle_impossible_answer or not ranked:  # there is no span in a context without tokens
            score = no_answer if handle_impossible_answer else 0.0
            ranked.append({"score": score, "start": 0, "end": 0, "answer": ""})
        ranked = sorted(ranked, key=lambda answer: answer["score"], reverse=True)[:top_k]
        return ranked[0] if len(ranked) == 1 else ranked

    def _tokens(self, encoding: Encoding) -> tuple[Flags, Flags]:
        """Which tokens are the context's, and which stands for no answer: the first that begins a text; [tokens]."""
        in_context = np.array([part == int(self._question_first) for part in encoding.sequence_ids])
        null = np.array(encoding.ids) == self.tokenizer.cls_token_id
        null[np.flatnonzero(null)[1:]] = False
        return in_context, null & ~in_context

    def _probabilities(self, logits: torch.Tensor, allowed: Flags) -> Floats:
        """Of the window's own tokens, without what a batch padded it with."""
        own: Floats = logits[0].numpy()
        own = own[: len(allowed)] if self.tokenizer.padding_side == "right" else own[-len(allowed) :]
        return probabilities(own, allowed)

    def _characters(self, encoding: Encoding, span: Span, align_to_words: bool) -> tuple[int, int]:
        """Where a span begins and ends in the context."""
        if align_to_words:
            context = int(self._question_first)
            words = [encoding.token_to_word(token) for token in (span.first, span.last)]
            around = [None if word is None else encoding.word_to_chars(word, context) for word in words]
            if around[0] is not None and around[1] is not None:
                return around[0][0], around[1][1]
        return encoding.offsets[span.first][0], encoding.offsets[span.last][1]
