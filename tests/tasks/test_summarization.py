"""The summarization task by itself: prompts, references, scores, long documents in pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # it ships no types
from transformers import AutoTokenizer

from nlptk import registry
from nlptk.checkpoints import load_tokenizer
from nlptk.errors import UnsupportedError
from nlptk.parts.generating import TextToText
from nlptk.task import Features, Ledger, Preprocessing
from tests.tiny_models import WORDS
from tests.writers import batch_of, loaded, write_any

SHORT, LONG = " ".join(WORDS[:6]), " ".join(WORDS)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("summarizers")
    return {family: write_any(family, folder / family) for family in ("gpt2", "t5", "bart", "bert")}


def _task(**options: Any) -> TextToText:
    cls = registry.get_task("summarization")
    task = cls(cls.Options.model_validate({"max_new_tokens": 8, **options}))
    assert isinstance(task, TextToText)
    return task


def _labelled(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    return Dataset.from_dict({**columns, "source_file": ["rows.csv"] * count, "source_row": list(range(count))})


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("t5", {}, "summarize: late"),
        ("t5", {"prefix": "TLDR "}, "TLDR late"),
        ("t5", {"prefix": ""}, "late"),
        ("bart", {}, "late"),
        ("bert", {}, "late"),
        ("gpt2", {}, "late\nTL;DR: "),
        ("gpt2", {"prompt": "Text: {document}\nSummary:\n"}, "Text: late\nSummary:\n"),
    ],
)
def test_each_form_reads_the_document_in_its_own_way(
    family: str, options: dict[str, Any], expected: str, checkpoints: dict[str, Path]
) -> None:
    task = _task(**options)
    loaded(task, checkpoints[family])
    assert [str(prompt) for prompt in task.prompts({"document": ["late"]})] == [expected]


def test_braces_in_a_document_are_text(checkpoints: dict[str, Path]) -> None:
    task = _task()
    loaded(task, checkpoints["gpt2"])
    assert str(task.prompts({"document": ["{x} {document} {0}"]})[0]) == "{x} {document} {0}\nTL;DR: "


def test_the_prefix_is_where_transformers_pipelines_look_for_it_and_comes_back(checkpoints: dict[str, Path]) -> None:
    model = loaded(_task(prefix="sum: "), checkpoints["t5"])
    assert model.config.task_specific_params["summarization"]["prefix"] == "sum: "
    again = _task()
    again.tokenizer = load_tokenizer(str(checkpoints["t5"]))
    again.prepare_model(model)
    assert str(again.prompts({"document": ["late"]})[0]) == "sum: late"


@pytest.mark.parametrize("prompt", ["no place", "{document} {document}"])
def test_a_prompt_without_one_place_for_the_document_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"expected \{document\} in it, once"):
        _task(prompt=prompt)


def test_the_best_of_several_references_counts() -> None:
    rows = _labelled(
        document=["a b c", "d e f", "g h"],
        summary=["a b", "d e", "g h"],
        references=[["x y", "a b c"], [], None],
    )
    predictions = ["a b c", "d f", "g"]
    figures = _task().score(predictions, rows).figures
    scorer = RougeScorer(["rouge1", "rougeL"])
    golds = [["x y", "a b c"], ["d e"], ["g h"]]
    pairs = list(zip(golds, predictions, strict=True))
    for ours, theirs in (("rouge1", "rouge1"), ("rouge_l", "rougeL")):
        expected = np.mean([scorer.score_multi(gold, text)[theirs].fmeasure for gold, text in pairs])
        assert figures[ours].value == pytest.approx(expected)
    assert figures["novelty_1"].value == 0.0


@pytest.mark.parametrize("references", ["one text", ["a", 1], {"a": "b"}])
def test_references_that_are_no_list_of_texts_are_refused(references: Any) -> None:
    with pytest.raises(ValueError, match=r"references is .*; expected a list of texts"):
        type(_task()).read_row({"document": "a", "summary": "b", "references": references})


def test_the_report_shows_the_worst_and_the_longest() -> None:
    documents = [f"word{n} " * (n + 1) for n in range(30)]
    rows = _labelled(document=documents, summary=[f"gold {n}" for n in range(30)])
    predictions = [f"gold {n}" if n % 2 else "wrong" for n in range(30)]
    scores = _task().score(predictions, rows, sections=True)
    lowest, longest = scores.sections
    assert [row["rouge_l"] for row in lowest["rows"]][:15] == [0.0] * 15
    assert lowest["rows"][0] == {
        "document": "word0 ",
        "reference": "gold 0",
        "summary": "wrong",
        "rouge_l": 0.0,
        "row": "rows.csv, row 0",
    }
    assert longest["rows"][0]["document"] == documents[29][:400]
    assert _task().score(["same"] * 30, rows).warnings[0].startswith("writes the same for every row")


def _summaries(task: TextToText, model: Any, documents: list[str], length: int) -> tuple[list[str], dict[str, Any]]:
    features = task.featurize({"document": documents}, task.tokenizer, Preprocessing(length))
    kept = task.infer(model, batch_of(task, features)).kept
    columns = {name: values for name, values in features.items() if name not in task.inputs}
    return list(task.pool(kept, Features(Dataset.from_dict(columns), Ledger()))), features


@pytest.mark.parametrize("family", ["gpt2", "bart", "t5"])
def test_summaries_are_put_together_as_words(
    family: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that writes "late refund" of every piece: byte-level tokens of it begin without a space."""
    prompts: dict[str, Any] = {"prompt": "reset {document} ."} if family == "gpt2" else {"prefix": "reset "}
    task = _task(long_text="map_reduce", **prompts)
    model = loaded(task, checkpoints[family])
    says = np.array(task.tokenizer("late refund", add_special_tokens=False)["input_ids"])
    seen: list[str] = []

    def generate(_: Any, prompts: list[list[int]]) -> list[np.ndarray]:
        seen.extend(str(task.tokenizer.decode(ids, skip_special_tokens=True)) for ids in prompts)
        return [says] * len(prompts)

    monkeypatch.setattr(task, "generate", generate)
    _summaries(task, model, [LONG], 48)
    assert "reset late refund late refund" in seen[-1]
    first = LONG.split()[0]
    assert sum(piece.startswith(f"reset {first} ") for piece in seen) == 1, "the first word is in one piece alone"


@pytest.mark.parametrize("family", ["gpt2", "t5", "bert"])
def test_map_reduce_reads_all_of_a_long_document_in_prompts_that_fit(
    family: str, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _task(long_text="map_reduce")
    model = loaded(task, checkpoints[family])
    seen: list[list[int]] = []
    original = task.generate

    def generate(model: Any, prompts: Any) -> list[np.ndarray]:
        seen.extend(prompts)
        return original(model, prompts)

    monkeypatch.setattr(task, "generate", generate)
    length = 48 if family == "gpt2" else 40
    summaries, features = _summaries(task, model, [SHORT, LONG], length)
    assert len(summaries) == 2
    assert features["lost"] == [0, 0], "all of it is read"
    room = length - 8 * (family == "gpt2")
    assert max(map(len, seen)) == room
    whole = task.featurize({"document": [LONG]}, task.tokenizer, Preprocessing(10_000))["input_ids"][0]
    head, tail = features["ends"][1]
    first_round = seen[1 : 1 + -(-(len(whole) - head - tail) // (room - head - tail))]  # after the short document
    assert len(first_round) > 1
    assert all(piece[:head] == whole[:head] for piece in first_round)
    read = [token for piece in first_round for token in piece[head : len(piece) - tail]]
    assert [*whole[:head], *read, *whole[len(whole) - tail :]] == whole


def test_map_reduce_leaves_documents_that_fit_as_they_are(checkpoints: dict[str, Path]) -> None:
    for family in ("gpt2", "t5"):
        cut, pieces = _task(), _task(long_text="map_reduce")
        documents = [SHORT, "late refund", "please reset my password"]
        plain, _ = _summaries(cut, loaded(cut, checkpoints[family]), documents, 64)
        reduced, features = _summaries(pieces, loaded(pieces, checkpoints[family]), [*documents, LONG], 64)
        assert reduced[:3] == plain
        assert features["lost"][:3] == [0, 0, 0]


def test_a_summary_of_summaries_is_made_of_them(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that writes the first three tokens of its document: the result is known."""
    task = _task(long_text="map_reduce", prompt="{document}", max_new_tokens=3)
    model = loaded(task, checkpoints["gpt2"])
    monkeypatch.setattr(task, "generate", lambda _, prompts: [np.array(prompt[:3]) for prompt in prompts])
    ids = task.tokenizer(LONG)["input_ids"]
    (summary,), _ = _summaries(task, model, [LONG], 15)  # twelve tokens of prompt: pieces of twelve
    assert len(ids) > 48, "more than four pieces, so that summaries are summarized twice"
    while len(ids) > 12:
        ids = [token for start in range(0, len(ids), 12) for token in ids[start : start + 12][:3]]
    assert summary == str(task.tokenizer.decode(ids[:3])).strip()


def test_map_reduce_without_room_for_two_summaries_is_refused(checkpoints: dict[str, Path]) -> None:
    task = _task(long_text="map_reduce", max_new_tokens=30)
    loaded(task, checkpoints["t5"])
    with pytest.raises(UnsupportedError, match=r"task\.long_text: map_reduce needs room for two summaries"):
        task.featurize({"document": [LONG]}, task.tokenizer, Preprocessing(60))


def test_training_takes_long_documents_cut_and_says_so(checkpoints: dict[str, Path]) -> None:
    rows = {"document": [SHORT, LONG], "summary": ["late", "late"]}
    found = []
    for long_text in ("truncate", "map_reduce"):
        task = _task(long_text=long_text)
        loaded(task, checkpoints["t5"])
        found.append(task.featurize(rows, task.tokenizer, Preprocessing(48)))
    cut, reduced = found
    assert cut["lost"][0] == 0 < cut["lost"][1]
    assert {name: reduced[name] for name in cut} == {**cut, "lost": [0, 0]}
    assert reduced["untrained"] == cut["lost"]


def test_a_prompt_with_special_tokens_is_found_in_transformers_too(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    for prompt, split in (("{document}<|endoftext|>tl;dr ", False), ("{document} tl;dr ", True)):
        task = _task(prompt=prompt)
        model = loaded(task, checkpoints["gpt2"])
        folder = tmp_path / str(split)
        task.tokenizer.save_pretrained(folder)
        task.save_extra(folder, model, Preprocessing(64))
        assert AutoTokenizer.from_pretrained(folder).split_special_tokens is split


@pytest.mark.parametrize(
    ("words", "gold", "told"),
    [("latin", "новый мост", True), ("any", "новый мост", False), ("latin", "un café", False)],
)
def test_rouge_that_counts_few_of_the_words_is_warned_of(words: str, gold: str, told: bool) -> None:
    rows = _labelled(document=["a b c 2020"], summary=[f"{gold} 2020"], references=[None])
    warnings = _task(rouge_words=words).score(["a 2020"], rows).warnings
    assert any("task.rouge_words=any" in line for line in warnings) == told
