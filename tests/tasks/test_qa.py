"""The qa task by itself: rows, windows and labels, the loss, the search for spans, decisions, written answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForQuestionAnswering, GemmaConfig, PreTrainedTokenizerFast

from nlptk import registry
from nlptk.data import load_splits
from nlptk.errors import DataError, UnsupportedError
from nlptk.metrics import answer_figures
from nlptk.parts.spans import best_spans, span_loss
from nlptk.recipe import DataSettings
from nlptk.report.sections import check_section
from nlptk.task import Features, Ledger, Preprocessing
from tests.tiny_models import write_checkpoint

CONTEXT = "Warsaw stands on the Vistula,  260 km from the sea."
NONE: dict[str, Any] = {"text": [], "answer_start": []}


def _task(decision: Mapping[str, Any] | None = None, **options: Any) -> Any:
    cls = registry.get_task("qa")
    return cls(cls.Options.model_validate(options), decision=decision)


def _rows(*answers: dict[str, Any]) -> Dataset:
    count = len(answers)
    columns = {"question": [f"Where is it, {n}?" for n in range(count)], "context": [CONTEXT] * count}
    places = {"source_file": ["rows.json"] * count, "source_row": list(range(1, count + 1))}
    return Dataset.from_dict({**columns, "answers": list(answers), **places})


def _tokenizer(folder: Path, family: str) -> Any:
    """A tokenizer of the real vocabulary, as the family's checkpoints have it."""
    if family == "bert":
        backend = Tokenizer.from_file(str(folder / "bert-base-uncased" / "tokenizer.json"))
        names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
        inputs = ["input_ids", "token_type_ids", "attention_mask"]
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor declares no types
            tokenizer_object=backend, model_input_names=inputs, **names
        )
    if family == "t5":
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "t5" / "spiece.model"))
        scored = [(pieces.id_to_piece(n), pieces.get_score(n)) for n in range(len(pieces))]
        backend = Tokenizer(models.Unigram(scored, unk_id=pieces.unk_id()))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        backend.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
        )
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
        )
    files = (str(folder / "gpt2" / "vocab.json"), str(folder / "gpt2" / "merges.txt"))
    backend = Tokenizer(models.BPE.from_file(*files))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=family == "gpt2")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>")  # type: ignore[no-untyped-call]


def _real_rows(folder: Path, count: int) -> Dataset:
    """Questions of the validation split, spread over it."""
    articles = json.loads((folder / "squad2" / "validation.json").read_text())["data"]
    found = [(p["context"], q) for a in articles for p in a["paragraphs"] for q in p["qas"]]
    task = registry.get_task("qa")
    rows = [
        task.read_row({"context": context, "question": question["question"], "answers": question["answers"]})
        for context, question in found[:: len(found) // count]
    ]
    return Dataset.from_list([{**row, "source_file": "validation.json", "source_row": 0} for row in rows])


def _features(found: dict[str, list[Any]]) -> Features:
    return Features(Dataset.from_dict(found), Ledger())


# rows


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["Vistula"], "answer_start": [21]},
        {"text": "Vistula", "answer_start": 21},
        [{"text": "Vistula", "answer_start": 21}],
        {"text": [" Vistula "], "answer_start": [20]},
        {"text": ["Vistula", ""], "answer_start": [21.0, 0]},
        {"text": ["Vistula"]},
        ["Vistula"],
        "Vistula",
    ],
)
def test_answers_of_every_shape_are_read_as_squads(answers: Any) -> None:
    read = registry.get_task("qa").read_row
    row = read({"context": CONTEXT, "answers": answers})
    assert row["answers"] == {"text": ["Vistula"], "answer_start": [21]}
    assert read(row) == row


def test_a_start_before_white_space_is_moved_behind_it() -> None:
    read = registry.get_task("qa").read_row
    assert read({"context": CONTEXT, "answer": "260 km", "answer_start": "29"})["answer_start"] == 31
    assert CONTEXT[31:].startswith("260 km")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answers": {"text": ["Oder"], "answer_start": [21]}}, "'Oder' is not at character 21 .*'Vist' is there"),
        ({"answer": "Vistula", "answer_start": 22}, "'Vistula' is not at character 22"),
        ({"answer": "Vistula", "answer_start": -3}, "'Vistula' is not at character -3"),
        ({"answer": "Vistula", "answer_start": "21.5"}, "answer_start is '21.5'; expected a whole number"),
        ({"answers": {"text": ["Vistula"], "answer_start": [21, 3]}}, "1 texts and another number of starts"),
        ({"answers": {"texts": ["Vistula"]}}, "no list of texts"),
        ({"answers": [7]}, "no list of texts"),
        ({"answers": 7}, "answers is a int"),
        ({"answer": "Vistula", "is_impossible": "True"}, "is_impossible beside the answer 'Vistula'; take away"),
        ({"answers": "Vistula", "is_impossible": True}, "is_impossible beside the answer 'Vistula'; take away"),
    ],
)
def test_what_does_not_stand_in_the_context_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.get_task("qa").read_row({"context": CONTEXT, **row})


def test_rows_that_say_whether_they_are_impossible_are_read_as_others() -> None:
    read = registry.get_task("qa").read_row
    for row in ({"answer": "Vistula", "is_impossible": False}, {"answers": NONE, "is_impossible": True}):
        assert read({"context": CONTEXT, **row})["is_impossible"] == row["is_impossible"]


def test_cells_and_objects_say_alike_whether_a_row_is_impossible(tmp_path: Path) -> None:
    """As pandas writes cells, True and False; as SQuAD has them, true and false; as parquet keeps them."""
    rows = [
        {
            "question": "which river",
            "context": CONTEXT,
            "answer": "Vistula",
            "answer_start": 21,
            "is_impossible": False,
        },
        {"question": "which lake", "context": CONTEXT, "answer": "", "answer_start": None, "is_impossible": True},
    ]
    frame = Dataset.from_list(rows)
    frame.to_csv(tmp_path / "rows.csv")
    frame.to_json(tmp_path / "rows.jsonl")
    frame.to_parquet(tmp_path / "rows.parquet")
    assert "True" in (tmp_path / "rows.csv").read_text()
    qa = registry.get_task("qa")
    for name in ("rows.csv", "rows.jsonl", "rows.parquet"):
        settings = DataSettings(train=str(tmp_path / name), validation="none", test="none")
        found = load_splits(settings, qa.columns, seed=0, rules=qa.rules()).train
        assert found is not None
        assert found["is_impossible"][:] == [False, True]
        assert [text or "" for text in found["answer"]] == ["Vistula", ""]


@pytest.mark.parametrize("method", ["extractive", "generative"])
def test_training_rows_without_any_answer_are_refused(method: str) -> None:
    with pytest.raises(DataError, match="train: no row has an answer; give rows that have one"):
        _task(method=method).fit(_rows(NONE, NONE))


def test_extraction_needs_to_know_where_an_answer_stands() -> None:
    rows = _rows(NONE, {"text": ["on the Oder"], "answer_start": [-1]})
    with pytest.raises(DataError, match=r"rows\.json, row 2: the answer 'on the Oder' stands nowhere"):
        _task().fit(rows)
    _task(method="generative").fit(rows)


# features


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt2-spaces", "t5"])
def test_labels_are_the_tokens_that_the_tokenizer_says_the_answer_has(shared_data: Path, family: str) -> None:
    """By its own `char_to_token`, in every window; and together the windows lose no answer of real questions."""
    tokenizer = _tokenizer(shared_data / "tokenizers", family)
    rows = _real_rows(shared_data, 60)
    columns = {name: rows[name][:] for name in ("question", "context", "answers")}
    found = _task().featurize(columns, tokenizer, Preprocessing(96, stride=24))
    assert sum(found["lost"]) == sum(found["labels_lost"]) == 0
    held = set()
    for ids, row, labels in zip(found["input_ids"], found["row"], found["labels"], strict=True):
        begin, end, first, last = labels
        assert len(ids) <= 96
        answers = columns["answers"][row]
        if last == 0 or not answers["text"]:
            assert (first, last) == (0, 0)
            continue
        held.add(row)
        assert begin <= first <= last < end
        whole = tokenizer(columns["context"][row], add_special_tokens=False)
        start = answers["answer_start"][0]
        tokens = [whole.char_to_token(place) for place in (start, start + len(answers["text"][0]) - 1)]
        assert ids[first : last + 1] == whole["input_ids"][tokens[0] : tokens[1] + 1]
    assert held == {row for row, answers in enumerate(columns["answers"]) if answers["text"]}


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt2-spaces", "t5"])
def test_context_tokens_have_the_characters_that_the_tokenizer_gives_them(shared_data: Path, family: str) -> None:
    tokenizer = _tokenizer(shared_data / "tokenizers", family)
    rows = {"question": ["Where?"], "context": [CONTEXT]}
    found = _task().featurize(rows, tokenizer, Preprocessing(64))
    expected = tokenizer(CONTEXT, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert found["offsets"][0].reshape(-1, 2).tolist() == [list(pair) for pair in expected]


def test_windows_share_their_stride_and_leave_out_no_token_of_the_context(shared_data: Path) -> None:
    tokenizer = _tokenizer(shared_data / "tokenizers", "bert")
    context = " ".join(CONTEXT for _ in range(30))
    rows = {"question": ["Where is Warsaw?"], "context": [context]}
    whole = tokenizer(context, add_special_tokens=False)["input_ids"]
    for stride, shared in ((0, 16), (10, 10)):
        found = _task().featurize(rows, tokenizer, Preprocessing(64, "truncate_tail", stride))
        spans = [ids[a:b] for ids, (a, b) in zip(found["input_ids"], found["labels"], strict=True)]
        joined = spans[0] + [token for span in spans[1:] for token in span[shared:]]
        assert joined == whole
        assert found["tokens"] == [len(whole) + 4] + [0] * (len(spans) - 1)
        assert all(ids[1:5] == found["input_ids"][0][1:5] for ids in found["input_ids"])  # the question


def test_a_question_gives_up_what_exceeds_half_a_window(shared_data: Path) -> None:
    tokenizer = _tokenizer(shared_data / "tokenizers", "bert")
    rows = {"question": ["river " * 40], "context": ["sea " * 50], "answers": [NONE]}
    found = _task().featurize(rows, tokenizer, Preprocessing(43))
    assert {labels[0] for labels in found["labels"]} == {22}  # [CLS], 20 of the question, [SEP]
    assert (found["lost"][0], sum(found["lost"])) == (20, 20)
    assert found["tokens"][0] == 90


def test_an_answer_longer_than_any_window_is_counted_as_lost(shared_data: Path) -> None:
    tokenizer = _tokenizer(shared_data / "tokenizers", "bert")
    context = "sea " * 100
    rows = {"question": ["what?"], "context": [context], "answers": [{"text": [context[:200]], "answer_start": [0]}]}
    found = _task().featurize(rows, tokenizer, Preprocessing(32))
    assert sum(found["labels_lost"]) == 1
    assert {tuple(labels[2:]) for labels in found["labels"]} == {(0, 0)}


# loss and spans


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_the_loss_is_the_models_own_where_all_tokens_are_context(family: str, tmp_path: Path) -> None:
    model = AutoModelForQuestionAnswering.from_pretrained(write_checkpoint(family, tmp_path)).eval()
    ids = torch.randint(5, 60, (4, 9), generator=torch.Generator().manual_seed(0))
    start, end = torch.tensor([0, 2, 3, 8]), torch.tensor([0, 4, 3, 8])
    with torch.no_grad():
        theirs = model(input_ids=ids, start_positions=start, end_positions=end)
    targets = torch.stack([torch.zeros(4).long(), torch.full((4,), 9), start, end], dim=1)
    task = _task()
    ours = task.loss(theirs, targets) / task.loss_items(targets)
    torch.testing.assert_close(ours, theirs.loss)


def test_question_and_padding_take_no_part_in_the_loss() -> None:
    targets = torch.tensor([[3, 6, 4, 5], [2, 4, 0, 0]])
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(2, 8, generator=generator).requires_grad_() for _ in range(2))
    for grad in torch.autograd.grad(span_loss(start, end, targets), (start, end)):
        assert grad.ne(0).tolist() == [
            [True, False, False, True, True, True, False, False],
            [True, False, True, True, False, False, False, False],
        ]


@pytest.mark.parametrize(("longest", "n_best"), [(1, 3), (3, 7), (30, 1000)])
def test_the_best_spans_are_those_of_trying_all(longest: int, n_best: int) -> None:
    generator = torch.Generator().manual_seed(1)
    start, end = (torch.randn(3, 12, generator=generator) for _ in range(2))
    context = torch.tensor([[4, 11], [2, 12], [5, 6]])
    found = best_spans(start, end, context, longest=longest, n_best=n_best).tolist()
    for window, (first, last) in enumerate(context.tolist()):
        every = [
            (a - first, b - first, float(start[window, a] + end[window, b]))
            for a in range(first, last)
            for b in range(a, min(last, a + longest))
        ]
        expected = sorted(every, key=lambda span: -span[2])[:n_best]
        none, *spans = found[window]
        assert none == pytest.approx([0, 0, float(start[window, 0] + end[window, 0])])
        assert [span for span in spans if np.isfinite(span[2])] == [pytest.approx(span) for span in expected]


# pooled rows


def _point(task: Any, found: dict[str, list[Any]]) -> list[np.ndarray]:
    """What a model gives that is sure of every window's own label."""
    kept = []
    for ids, labels in zip(found["input_ids"], found["labels"], strict=True):
        start, end = (torch.zeros(1, len(ids)) for _ in range(2))
        start[0, labels[2]] = end[0, labels[3]] = 9.0
        batch = {"labels": torch.tensor([labels])}
        kept += task.outputs(SimpleNamespace(start_logits=start, end_logits=end), batch)
    return kept


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt2-spaces", "t5"])
def test_a_model_that_knows_every_label_answers_every_real_question(shared_data: Path, family: str) -> None:
    """From rows over windows to texts and characters, and back to the figures: nothing on the way loses an answer."""
    tokenizer, rows = _tokenizer(shared_data / "tokenizers", family), _real_rows(shared_data, 60)
    task = _task()
    columns = {name: rows[name][:] for name in ("question", "context", "answers")}
    found = task.featurize(columns, tokenizer, Preprocessing(96, stride=24))
    features = _features(found)
    pooled = task.pool(_point(task, found), features)
    task.tune(pooled, rows)
    assert task.score(pooled, rows).figures["exact_match"].value == 1.0
    for prediction, row in zip(task.decode(pooled, columns, features), rows, strict=True):
        start, end = prediction["start"], prediction["end"]
        assert row["context"][start:end] == prediction["answer"] == next(iter(row["answers"]["text"]), "")
        assert (row["answers"]["answer_start"] or [0])[0] == start


SPANS = [  # characters of "Warsaw", "the Vistula", "Vistula"; what a window says of them, after its score of none
    np.array([[0, 0, 1.0], [0, 6, 3.0], [17, 28, 2.0]]),
    np.array([[0, 0, 4.0], [17, 28, 2.5], [21, 28, -1.0]]),
]


def _pooled(task: Any, windows: list[np.ndarray] = SPANS) -> Any:
    """Windows as the model gives them, where every character is a token."""
    found = {"row": [0] * len(windows), "lost": [0] * len(windows)}
    offsets = [[place for token in range(60) for place in (token, token + 1)]] * len(windows)
    kept = [np.array([[a, max(b - 1, 0), score] for a, b, score in window]) for window in windows]
    return task.pool(kept, _features({**found, "offsets": offsets}))


def test_windows_are_merged_to_the_best_score_of_each_span_and_the_least_of_none() -> None:
    task = _task(n_best_shown=3)
    features = _features({"row": [0, 0], "lost": [0, 5]})
    (found,) = task.decode(_pooled(task), {"context": [CONTEXT]}, features)
    chances = np.exp([1.0, 3.0, 2.5, -1.0]) / np.exp([1.0, 3.0, 2.5, -1.0]).sum()
    assert found["no_answer_probability"] == pytest.approx(chances[0])
    assert [answer["answer"] for answer in found["n_best"]] == ["Warsaw", "the Vistula", "Vistula"]
    assert [answer["score"] for answer in found["n_best"]] == pytest.approx(chances[1:].tolist())
    assert (found["answer"], found["start"], found["end"], found["truncated"]) == ("Warsaw", 0, 6, True)


@pytest.mark.parametrize(("threshold", "answer"), [(None, "Warsaw"), (-1.9, "Warsaw"), (-2.1, "")])
def test_an_answer_is_withheld_where_none_exceeds_it_by_more_than_the_threshold(
    threshold: float | None, answer: str
) -> None:
    task = _task({"no_answer_threshold": threshold})
    (found,) = task.decode(_pooled(task), {"context": [CONTEXT]}, _features({"row": [0], "lost": [0]}))
    assert found["answer"] == answer == CONTEXT[found["start"] : found["end"]]
    weights = np.exp([1.0, 3.0, 2.5, -1.0])  # of no answer, and of the three spans
    assert found["score"] == pytest.approx(weights[1 if answer else 0] / weights.sum())


@pytest.mark.parametrize(
    ("given", "answers", "expected"),
    [
        ("tuned", [NONE, {"text": ["Warsaw"], "answer_start": [0]}], 0.0),
        ("tuned", [{"text": ["Warsaw"], "answer_start": [0]}], None),
        ("never", [NONE, {"text": ["Warsaw"], "answer_start": [0]}], None),
        (1.5, [NONE, {"text": ["Warsaw"], "answer_start": [0]}], 1.5),
    ],
)
def test_before_tuning_no_answer_counts_where_training_has_rows_without(
    given: Any, answers: list[Any], expected: float | None
) -> None:
    task = _task(no_answer_threshold=given)
    task.fit(_rows(*answers))
    assert task.decision == {"no_answer_threshold": expected}


def test_figures_are_those_of_the_answers_given() -> None:
    """Scored with the threshold inside, and from the texts that decode gave, with none."""
    generator = np.random.default_rng(0)
    gold = {"text": ["Warsaw"], "answer_start": [0]}
    rows = _rows(*[gold if row % 3 else NONE for row in range(40)])
    task = _task()
    pooled = []
    for row in range(40):
        none = np.array([[0, 0, generator.normal() + 2 * (row % 3 == 0)]])
        spans = np.array([[0, 6, generator.normal()], [17, 28, generator.normal()]])
        pooled += _pooled(task, [np.concatenate([none, spans])])
    task.tune(pooled, rows)
    found = task.score(pooled, rows, bootstrap=20, sections=True)
    predictions = task.decode(pooled, rows, _features({"row": list(range(40)), "lost": [0] * 40}))
    expected = answer_figures([p["answer"] for p in predictions], [answers["text"] for answers in rows["answers"]])
    for name in ("exact_match", "f1", "has_answer_f1", "no_answer_exact_match"):
        assert found.figures[name].value == expected[name].value
        assert found.figures[name].low is not None
    assert found.figures["f1"].value == found.figures["best_f1"].value > 14 / 40  # of never answering
    for section in found.sections:
        check_section(section, "report")
    outcomes = next(section for section in found.sections if section["title"] == "Answered or not")["values"]
    assert np.sum(outcomes, axis=1).tolist() == [26, 14]
    assert outcomes[1][1] / 14 == found.figures["no_answer_exact_match"].value


def test_a_model_that_never_answers_is_warned_of() -> None:
    task = _task({"no_answer_threshold": -100.0})
    rows = _rows({"text": ["Warsaw"], "answer_start": [0]})
    assert task.score(_pooled(task), rows).warnings == ["answers no question: no better than never answering"]


# written answers


@pytest.fixture(scope="module")
def written() -> Any:
    def make(form: str, **options: Any) -> Any:
        return _task(method="generative", form=form, max_new_tokens=6, **options)

    return make


def test_a_model_without_a_question_answering_head_is_sent_to_writing() -> None:
    with pytest.raises(UnsupportedError, match=r"gemma; set task\.method=generative"):
        _task().auto_class(GemmaConfig())
    assert _task(method="generative").auto_class(GemmaConfig()) == "AutoModelForCausalLM"


@pytest.mark.parametrize(("family", "form"), [("gpt2", "decoder"), ("t5", "encoder-decoder from 0")])
def test_every_window_is_asked_for_the_answer_it_holds_and_nothing_else(
    written: Any, shared_data: Path, family: str, form: str
) -> None:
    tokenizer, rows = _tokenizer(shared_data / "tokenizers", family), _real_rows(shared_data, 20)
    task = written(form)
    task.tokenizer = tokenizer
    columns = {name: rows[name][:] for name in ("question", "context", "answers")}
    found = task.featurize(columns, tokenizer, Preprocessing(96, stride=24))
    assert sum(found["lost"]) == 0
    assert max(map(len, found["input_ids"])) <= 96
    answered = set()
    for ids, labels, row in zip(found["input_ids"], found["labels"], found["row"], strict=True):
        target = tokenizer.decode([token for token in labels if token >= 0], skip_special_tokens=True).strip()
        prompt = tokenizer.decode(ids)
        assert prompt.startswith(f"question: {columns['question'][row][:20]}")
        gold = next(iter(columns["answers"][row]["text"]), "")
        if target:
            answered.add(row)
            assert gold.startswith(target)  # six tokens of it
            assert gold in prompt
    assert answered == {row for row, answers in enumerate(columns["answers"]) if answers["text"]}
    assert [row for row, tokens in zip(found["row"], found["tokens"], strict=True) if tokens] == list(range(len(rows)))


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_written_answers_are_scored_by_their_probability(written: Any, family: str, tmp_path: Path) -> None:
    """Step by step, one text at a time, against the batch's one forward."""
    from nlptk.checkpoints import load_model, load_tokenizer

    task = _task(method="generative", max_new_tokens=5)
    folder = str(write_checkpoint(family, tmp_path))
    task.tokenizer = tokenizer = load_tokenizer(folder)
    model: Any = load_model(folder, task, tokenizer).model
    model.eval()
    rows = {"question": ["where is it", "when"], "context": ["the parcel came late", "my order " * 12]}
    found = task.featurize(rows, tokenizer, Preprocessing(40))
    assert len(set(found["row"])) < len(found["row"])
    end = tokenizer.eos_token_id
    features = [{"input_ids": ids} for ids in found["input_ids"]]
    with torch.no_grad():
        kept = task.infer(model, task.collate(features, tokenizer.pad_token_id)).kept
    for feature, (chance, none, *ids) in zip(features, kept, strict=True):
        steps = []
        text = [*map(int, ids), end]
        for place in range(len(text)):
            before = torch.tensor([feature["input_ids"] + text[:place]])
            inputs = {"input_ids": before}
            if family == "t5":
                decoder = torch.tensor([[model.config.decoder_start_token_id, *text[:place]]])
                inputs = {"input_ids": torch.tensor([feature["input_ids"]]), "decoder_input_ids": decoder}
            with torch.no_grad():
                steps.append(model(**inputs).logits[0, -1].log_softmax(-1))
        expected = sum(float(step[token]) for step, token in zip(steps, text, strict=True))
        assert chance == pytest.approx(expected, abs=1e-3)
        assert none == pytest.approx(float(steps[0][end]), abs=1e-4)


def test_of_the_windows_the_likeliest_answer_counts(written: Any) -> None:
    task = written("decoder", n_best_shown=5)
    texts = {1: "Vistula", 2: "the Oder", 3: ""}
    task.text = lambda ids: texts[int(ids[0])]
    kept = [np.array(line) for line in ([-2.0, -1.0, 1], [-0.5, -3.0, 2], [-0.1, -0.1, 3], [-0.7, -2.0, 1])]
    features = _features({"row": [0] * 4, "lost": [0] * 4})
    (found,) = task.decode(task.pool(kept, features), {"context": [CONTEXT]}, features)
    chances = np.exp([-3.0, -0.5, -0.7])
    assert found["answer"] == "the Oder"
    assert (found["start"], found["end"]) == (None, None)
    assert found["score"] == pytest.approx(chances[1] / chances.sum())
    assert found["n_best"][1] == {
        "answer": "Vistula",
        "start": 21,
        "end": 28,
        "score": pytest.approx(chances[2] / chances.sum()),
    }
