"""What both versions are asked. Runs under transformers 4.57 as well as 5, so it imports nothing of nlptk.

A case is a name and a function without arguments; `open_(task, checkpoint, **arguments)` makes a pipeline.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

QUESTION = "where is my parcel"
CONTEXT = "the parcel came late and broken please refund my order. invoice shows wrong amount (charged twice), card!"
ROW = {"question": QUESTION, "context": CONTEXT}
LONGER = {"question": QUESTION + " now", "context": f"{CONTEXT} {CONTEXT} thank you"}
TEXT = "my parcel came late and broken, please refund"
TEXTS = [TEXT, "thank you very much", "the screen freezes when app opens again after update"]
THREE = {
    "question": [QUESTION, LONGER["question"], "is it now"],
    "context": [CONTEXT, LONGER["context"], CONTEXT],
}
WINDOWS = {"max_seq_len": 25, "doc_stride": 4}
GREEDY = {"num_beams": 1, "max_new_tokens": 24, "return_tensors": True}
BEAMS = {"num_beams": 3, "max_new_tokens": 24, "return_tensors": True}
TEXT_ONLY = {"max_new_tokens": 9, "return_tensors": False}

Case = Callable[[], Any]
Open = Callable[..., Any]


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]  # torch's Dataset is generic for the checker alone
    """A dataset of two questions."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, str]:
        if index >= len(self):
            raise IndexError(index)
        return [ROW, LONGER][index]


def reading(open_: Open) -> Iterator[tuple[str, Case]]:
    """question-answering: every form of input and argument, on each kind of model."""
    for name in ("bert-qa", "roberta-qa", "gpt2-qa", "t5-qa"):
        for label, more in {
            "plain": {},
            "top 3": {"top_k": 3},
            "top 8, words cut": {"top_k": 8, "align_to_words": False},
            "one token": {"max_answer_len": 1, "top_k": 4},
            "perhaps none": {"handle_impossible_answer": True, "top_k": 5},
            "windows": {"top_k": 4, **WINDOWS},
            "windows, perhaps none": {"top_k": 6, "handle_impossible_answer": True, **WINDOWS},
            "longer question allowed": {"max_question_len": 3},
        }.items():
            yield f"{name}: {label}", functools.partial(_ask, open_, name, more)
    for name in ("bert-qa", "t5-qa"):
        yield f"{name}: batch", functools.partial(_ask, open_, name, {"batch_size": 4, "top_k": 2, **WINDOWS}, THREE)

    def ask(*args: Any, **named: Any) -> Case:
        return lambda: open_("question-answering", "bert-qa")(*args, **named)

    def streamed(inputs: Any) -> Case:
        return lambda: list(open_("question-answering", "bert-qa")(inputs()))

    single: dict[str, Case] = {
        "padded": ask(**ROW, padding="max_length"),
        "mapping": ask(ROW),
        "two texts": ask(QUESTION, CONTEXT),
        "list of one": ask([ROW]),
        "list": ask([ROW, LONGER]),
        "tuple": ask((ROW, LONGER)),
        "two mappings": ask(ROW, LONGER),
        "lists": ask(question=[QUESTION] * 2, context=[CONTEXT] * 2),
        "lists of one": ask(question=[QUESTION], context=[CONTEXT]),
        "questions on one context": ask(question=[QUESTION, "is it now"], context=CONTEXT),
        "data": ask(data=[ROW, LONGER]),
        "X": ask(X=ROW),
        "topk": ask(**ROW, topk=2),
        "unknown argument": ask(**ROW, nothing=1),
        "empty list": ask([]),
        "empty lists": ask(question=[], context=[]),
        "leading spaces": ask(question=QUESTION, context="   parcel late"),
        "spaces alone": ask(question=QUESTION, context="   "),
        "generator": streamed(lambda: (row for row in (ROW, LONGER, ROW))),
        "empty generator": streamed(lambda: (row for row in list[Any]())),
        "dataset": streamed(Rows),
        "samples": lambda: (pipe := open_("question-answering", "bert-qa"))(
            pipe.create_sample(question=[QUESTION, "is it now"], context=[CONTEXT, CONTEXT])
        ),
        "arguments of the pipeline": lambda: open_("question-answering", "bert-qa", top_k=2, batch_size=2)(**LONGER),
        "call before pipeline": lambda: open_("question-answering", "bert-qa", top_k=2)(**LONGER, top_k=1),
        # errors
        "no context": ask({"question": QUESTION}),
        "no question": ask({"context": CONTEXT}),
        "context= left out": ask(question=QUESTION),
        "nothing": ask(),
        "empty question": ask(question="", context=CONTEXT),
        "empty context": ask(question=QUESTION, context=""),
        "None": ask(question=QUESTION, context=None),
        "number": ask(question=3, context=CONTEXT),
        "lists of two lengths": ask(question=[QUESTION] * 3, context=[CONTEXT] * 2),
        "one question, contexts": ask(question=QUESTION, context=[CONTEXT]),
        "a key too many": ask({**ROW, "id": 3}),
        "second row without context": ask([ROW, {"question": QUESTION}]),
        "top_k 0": ask(**ROW, top_k=0),
        "max_answer_len 0": ask(**ROW, max_answer_len=0),
        "doc_stride too large": ask(**ROW, doc_stride=50, max_seq_len=30),
        "question fills the window": ask(**ROW, doc_stride=2, max_seq_len=8),
        "unknown padding": ask(**ROW, padding="nothing"),
        "pipeline's top_k 0": lambda: open_("question-answering", "bert-qa", top_k=0),
        "batch without pad token": lambda: open_("question-answering", "gpt2-qa")([ROW, LONGER], batch_size=2),
        "tokenizer without model": lambda: open_("question-answering", None, tokenizer="bert-qa"),
    }
    for label, case in single.items():
        yield f"reading: {label}", case


def _ask(open_: Open, name: str, more: dict[str, Any], asked: Mapping[str, Any] = LONGER) -> Any:
    return open_("question-answering", name)(**asked, **more)


def writing(open_: Open) -> Iterator[tuple[str, Case]]:
    """The generating tasks: each on each model under greedy and beam search, then forms, arguments and errors."""
    for task in (
        "text2text-generation",
        "summarization",
        "translation",
        "translation_en_to_fr",
        "translation_en_to_de",
    ):
        for name in ("t5", "t5-specific", "t5-prefix", "t5-settings", "bart", "m2m"):
            languages = {"src_lang": "en", "tgt_lang": "fr"} if (task, name) == ("translation", "m2m") else {}
            for label, how in {"greedy": GREEDY, "beams": BEAMS, "text": TEXT_ONLY}.items():
                yield f"{task}, {name}: {label}", functools.partial(_write, open_, task, name, {**how, **languages})
    for task in ("text2text-generation", "summarization", "translation_en_to_fr"):
        for label, how in {
            "as it comes": {},
            "max_length": {"max_length": 30},
            "min above max": {"max_length": 5, "min_length": 9},
            "max far above the text": {"max_length": 200, "max_new_tokens": 5},
        }.items():
            for name in ("t5", "t5-settings") if how else ("t5", "t5-specific", "t5-settings"):
                yield f"{task}, {name}: {label}", functools.partial(_write, open_, task, name, how, TEXT)

    def write(*args: Any, task: str = "text2text-generation", name: str = "t5", **named: Any) -> Case:
        return lambda: open_(task, name)(*args, **{"max_new_tokens": 6, **named})

    def streamed(inputs: Any, **named: Any) -> Case:
        return lambda: list(open_("text2text-generation", "t5")(inputs(), max_new_tokens=6, **named))

    def opened(task: str, name: str | None = "t5", call: dict[str, Any] | None = None, **more: Any) -> Case:
        return lambda: open_(task, name, **more)(TEXT, **(call or {}))

    long = " ".join([TEXT] * 8)
    single: dict[str, Case] = {
        "list": write(TEXTS),
        "list of one": write(TEXTS[:1]),
        "lists of one in a list": write([[text] for text in TEXTS]),
        "text and list in a list": write([TEXT, [TEXT]]),
        "generator": streamed(lambda: (text for text in TEXTS)),
        "generator of lists": streamed(lambda: ([text] for text in TEXTS)),
        "generator in batches": streamed(lambda: (text for text in TEXTS), batch_size=2),
        "empty list": write([]),
        "empty text": write(""),
        "batches": write(TEXTS, batch_size=2),
        "batches, beams": write(TEXTS, batch_size=3, return_tensors=True, num_beams=3),
        "batches, languages": write(TEXTS, batch_size=2, task="translation_en_to_fr", name="m2m"),
        "two positions": write(TEXT, TEXT),
        "several answers": write(TEXT, num_return_sequences=2, num_beams=3),
        "several answers, list": write(TEXTS, num_return_sequences=2, num_beams=3),
        "several answers, batches": write(TEXTS, num_return_sequences=2, num_beams=3, batch_size=2),
        "tensors and text": write(TEXT, return_tensors=True, return_text=True),
        "no text": write(TEXT, return_text=False),
        "clean up": write(TEXT, clean_up_tokenization_spaces=True),
        "truncation": write(long, truncation=True, name="bart"),
        "truncation, languages": write(long, truncation=True, task="translation_en_to_fr", name="m2m"),
        "truncation by name": write(long, truncation="longest_first", name="bart"),
        "stop sequence": write(TEXT, stop_sequence="order", max_new_tokens=20),
        "stop sequence of words": write(TEXT, stop_sequence="late parcel", max_new_tokens=20),
        "settings of the pipeline": opened("text2text-generation", max_new_tokens=7, num_beams=2, return_tensors=True),
        "max_length of the pipeline": opened("summarization", max_length=9, return_tensors=True),
        "call before pipeline": opened("summarization", call={"max_new_tokens": 3}, max_new_tokens=7, num_beams=1),
        "config before pipeline": opened("summarization", "t5-specific", call={"max_new_tokens": 6}, num_beams=5),
        "languages of the pipeline": opened("translation", "m2m", src_lang="de", tgt_lang="es", max_new_tokens=6),
        "languages of the call": opened("translation_en_to_fr", "m2m", call={"tgt_lang": "ro"}, max_new_tokens=6),
        "assistant": opened("text2text-generation", assistant_model="t5", num_beams=1, max_new_tokens=6),
        "framework": opened("summarization", framework="pt", max_new_tokens=6),
        # errors
        "tuple": write(tuple(TEXTS)),
        "None": write(None),
        "number": write(3),
        "number in a list": write([3]),
        "mapping": write({"text": TEXT}),
        "no input": write(),
        "list in a list in a list": write([[[TEXT]]]),
        "unknown argument": write(TEXT, nothing=3),
        "unknown truncation": write(TEXT, truncation="nothing"),
        "too long for the model": write(long, name="bart"),
        "languages needed": write(TEXT, task="translation", name="m2m"),
        "target language needed": write(TEXT, task="translation", name="m2m", src_lang="en"),
        "unknown language": write(TEXT, task="translation_xx_to_yy", name="m2m"),
        "half a pair": opened("translation_en"),
        "more than a pair": opened("translation_en_to_fr_x"),
        "misspelt": opened("translationx"),
        "no default": opened("translation", None),
        "no default for the pair": opened("translation_en_to_xx", None),
    }
    for label, case in single.items():
        yield f"writing: {label}", case


def _write(open_: Open, task: str, name: str, how: dict[str, Any], texts: Any = TEXTS) -> Any:
    return open_(task, name)(texts, **{"return_tensors": True, **how})


def real(open_: Open, questions: list[dict[str, str]]) -> Iterator[tuple[str, Case]]:
    """question-answering on real texts: short ones and long ones, one by one and in batches."""
    for index, row in enumerate(questions):
        more: dict[str, Any] = {"top_k": 1 + index % 3, "handle_impossible_answer": index % 4 == 3}
        if index % 5 == 0:
            more |= {"max_seq_len": 96, "doc_stride": 32, "batch_size": 8}
        yield f"real {index}", functools.partial(_ask, open_, "minilm-qa", more, row)
