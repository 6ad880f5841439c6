"""The restored pipeline `question-answering`: against the model itself, and where it keeps 4.57's word better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

import nlptk.pipelines.restored  # registers the pipelines
from nlptk.errors import DataError, UnsupportedError
from tests.pipelines.parity.checkpoints import edit, write_reader
from tests.tiny_models import write_checkpoint

QUESTION = "where is my parcel"
CONTEXT = "The parcel came late and broken, please refund my order. Thank you very much!"
LONG = " ".join([CONTEXT] * 6)
pipeline: Any = transformers.pipeline  # its types do not know the restored tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reader")
    write_reader(write_checkpoint("bert", root / "body"), root / "bert-qa")
    return root / "bert-qa"


@pytest.fixture(scope="module")
def reader(folder: Path) -> Any:
    return pipeline("question-answering", model=str(folder), device="cpu")


def test_answer_and_score_are_the_models_best_pair_of_context_tokens(reader: Any, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    encoded = tokenizer(QUESTION, CONTEXT, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        output = model(**encoded)
    part = torch.tensor([-1 if one is None else one for one in encoded.sequence_ids(0)])
    allowed = part == 1
    allowed[0] = True  # no answer takes its share of the probability
    start, end = (
        logits[0].masked_fill(~allowed, -torch.inf).softmax(0) for logits in (output.start_logits, output.end_logits)
    )
    pairs = [(i, j) for i in range(len(part)) for j in range(i, i + 15) if j < len(part) and part[i] == part[j] == 1]
    first, last = max(pairs, key=lambda pair: float(start[pair[0]] * end[pair[1]]))

    found = reader(question=QUESTION, context=CONTEXT, align_to_words=False)

    assert (found["start"], found["end"]) == (offsets[first][0], offsets[last][1])
    assert found["answer"] == CONTEXT[found["start"] : found["end"]]
    assert found["score"] == pytest.approx(float(start[first] * end[last]), rel=1e-5)


def test_batches_answer_as_one_by_one(reader: Any) -> None:
    rows = [{"question": QUESTION, "context": context} for context in (CONTEXT, LONG, CONTEXT[:20])]
    one_by_one = [reader(**row, max_seq_len=40, doc_stride=8, top_k=3) for row in rows]
    together = reader(rows, max_seq_len=40, doc_stride=8, top_k=3, batch_size=4)
    for alone, batched in zip(one_by_one, together, strict=True):
        for a, b in zip(alone, batched, strict=True):
            assert a.pop("score") == pytest.approx(b.pop("score"), abs=1e-5)
            assert a == b


def test_a_generator_is_read_as_answers_are_taken(reader: Any) -> None:
    read: list[int] = []

    def rows() -> Iterator[dict[str, str]]:
        for index in range(100):
            read.append(index)
            yield {"question": QUESTION, "context": CONTEXT}

    answers = iter(reader(rows()))
    assert set(next(answers)) == {"score", "start", "end", "answer"}
    assert len(read) < 5


def test_every_answer_is_a_possible_span_however_many_are_asked(reader: Any) -> None:
    # 4.57 fills up with pairs whose end lies before their start, at score 0
    found = reader(question=QUESTION, context=CONTEXT, top_k=10_000, align_to_words=False)
    assert len(found) > 100
    assert all(answer["answer"] == CONTEXT[answer["start"] : answer["end"]] != "" for answer in found)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_tokenizer_that_pads_on_the_left_is_answered_from_the_context(
    folder: Path, tmp_path: Path, batch_size: int
) -> None:
    # it puts the context first; 4.57 then answers from the question, too
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    edit(tmp_path / "tokenizer_config.json", {"padding_side": "left"})
    left = pipeline("question-answering", model=str(tmp_path), device="cpu")
    rows = [{"question": QUESTION, "context": context} for context in (CONTEXT, LONG, CONTEXT[:20])]
    found = left(rows, top_k=50, batch_size=batch_size, max_seq_len=40, doc_stride=8)
    for row, answers in zip(rows, found, strict=True):
        assert len(answers) > 3
        assert all(answer["answer"] == row["context"][answer["start"] : answer["end"]] != "" for answer in answers)


def test_no_answer_competes_with_the_least_sure_window(reader: Any) -> None:
    def null(**more: Any) -> float:
        found = reader(question=QUESTION, handle_impossible_answer=True, top_k=10_000, **more)
        (score,) = [answer["score"] for answer in found if answer["answer"] == ""]
        return float(score)

    assert null(context=LONG, max_seq_len=40, doc_stride=8) < null(context=CONTEXT, max_seq_len=40, doc_stride=8) < 1


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"question": QUESTION}, ValueError, "no context; give question= and context="),
        ({"question": "", "context": CONTEXT}, ValueError, "question is empty"),
        ({"question": [QUESTION] * 3, "context": [CONTEXT] * 2}, ValueError, "3 questions and 2 contexts"),
        ({"question": 3, "context": CONTEXT}, ValueError, "question is int 3"),
        ({"data": [{"question": QUESTION}]}, KeyError, "no 'context' among"),
        ({"data": {"question": QUESTION, "context": CONTEXT, "id": 1}}, TypeError, "'id' is not read"),
        ({"data": {"question": QUESTION, "context": None}}, ValueError, "context is NoneType"),
        ({"question": QUESTION, "context": CONTEXT, "top_k": 0}, ValueError, "top_k is 0; expected at least 1"),
        ({"question": QUESTION, "context": CONTEXT, "doc_stride": 9, "max_seq_len": 8}, ValueError, "doc_stride 9"),
        ({"question": QUESTION, "context": CONTEXT, "doc_stride": 4, "max_seq_len": 9}, ValueError, "leaves 0 tokens"),
        ({"question": QUESTION * 30, "context": LONG}, ValueError, "expected more than doc_stride 64"),
    ],
)
@pytest.mark.filterwarnings("ignore:data=")
def test_what_cannot_be_asked_is_an_error_of_both_kinds(
    reader: Any, asked: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        reader(**asked)
    assert isinstance(caught.value, kind)


def test_a_tokenizer_without_offsets_is_refused(reader: Any) -> None:
    with pytest.raises(UnsupportedError, match="gives no character offsets; use a fast tokenizer"):
        nlptk.pipelines.restored.QuestionAnsweringPipeline(model=reader.model, tokenizer=object())
