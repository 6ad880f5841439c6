"""The generation task: figures against plain transformers, prompts and completions, forms and refusals."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers import pipeline as transformers_pipeline

import nlptk
from nlptk import registry
from nlptk.checkpoints import quiet
from nlptk.errors import DataError, NlptkError, UnsupportedError
from tests.tiny_models import WORDS, write_checkpoint

TRAINING = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "disable_tqdm": True, "save_strategy": "no"}
LENGTH = 32


def _train(model: Path, rows: Sequence[Any], folder: Path, **keys: Any) -> Any:
    """rows: texts for a .txt file, or objects."""
    if isinstance(rows[0], str):
        path = folder / "rows.txt"
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    else:
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    job: dict[str, Any] = {
        "task": {"name": "generation", "max_new_tokens": 8, "samples": 4},
        "model": model,
        "data": {"train": path, "validation": "none", "test": "none", "duplicates": "keep"},
        "training": TRAINING,
        "preprocessing": {"max_length": LENGTH},
        "bootstrap": 0,
        "output": folder / "run",
    }
    return nlptk.train(**{**job, **keys, "training": {**TRAINING, **keys.get("training", {})}})


def _texts(count: int) -> list[str]:
    """Of 2 to 60 words, so that some take several windows; some with characters of several bytes."""
    lengths = [2 + 7 * n % 60 for n in range(count)]
    return [
        " ".join(WORDS[(n + 5 * step) % len(WORDS)] for step in range(length)) + (" naïve ☃" if n % 3 else "")
        for n, length in enumerate(lengths)
    ]


def _plain(artifact: Path) -> tuple[Any, Any]:
    with quiet():
        return AutoModelForCausalLM.from_pretrained(artifact), AutoTokenizer.from_pretrained(artifact)


def _sliding(model: Any, ids: list[int], length: int, shared: int, first: int | None) -> tuple[float, int]:
    """Nats and tokens of a text after its first token: transformers' page "Perplexity of fixed-length models".

    first: what each window is read after, in the place of its first token.
    """
    nats, counted, previous = 0.0, 0, 0
    for begin in range(0, len(ids), length - shared):
        # the page's last window is of inputs and labels at once; ours reads `length` tokens to predict one more
        end = min(begin + length + 1, len(ids))
        target = torch.tensor([[ids[begin] if first is None else first, *ids[begin + 1 : end]]])
        known = target.clone()
        known[:, : max(previous - begin, 1)] = -100
        number = int((known[:, 1:] != -100).sum())
        if number:
            with torch.no_grad():
                nats += float(model(target, labels=known).loss) * number
        counted, previous = counted + number, end
        if end == len(ids):
            break
    return nats, counted


def _expected(artifact: Path, texts: Sequence[str], *, shared: int) -> Mapping[str, float]:
    model, tokenizer = _plain(artifact)
    nats = tokens = size = 0.0
    for text in texts:
        ids, start = tokenizer(text)["input_ids"], tokenizer.bos_token_id
        first = start if ids[0] == start else None
        found = _sliding(model, ids if first is not None else [start, *ids], LENGTH, shared, first)
        nats, tokens, size = nats + found[0], tokens + found[1], size + len(text.encode())
    return {"bits_per_byte": nats / math.log(2) / size, "perplexity": math.exp(nats / tokens)}


@pytest.mark.parametrize("stride", [0, 5])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_perplexity_and_bits_per_byte_of_texts_equal_a_plain_sliding_window(
    family: str, stride: int, tmp_path: Path
) -> None:
    texts = _texts(25)
    settings = {"max_length": LENGTH, "stride": stride}
    model = write_checkpoint(family, tmp_path / family)
    result = _train(model, texts, tmp_path, preprocessing=settings)
    found = nlptk.evaluate(result.artifact, tmp_path / "rows.txt", bootstrap=50, batch_size=3).figures
    expected = _expected(result.artifact, texts, shared=stride or LENGTH // 2)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-5), name
        low, high = found[name].low, found[name].high
        assert low is not None
        assert high is not None
        assert low < found[name].value < high
    assert {"distinct_1", "distinct_2", "loss"} <= found.keys()


def test_the_same_with_a_real_tokenizer_and_model(shared_data: Path, tmp_path: Path) -> None:
    """stories260K puts <s> before a text and spells some words in bytes."""
    texts = ["One day, a girl named Zoë — she was six — went to the park. " * n for n in (1, 2, 5)]
    result = _train(shared_data / "models" / "stories260K", texts, tmp_path, training={"max_steps": 1})
    found = nlptk.evaluate(result.artifact, tmp_path / "rows.txt", bootstrap=0).figures
    # the reader of plain text keeps the space at the end of a line
    for name, value in _expected(result.artifact, texts, shared=LENGTH // 2).items():
        assert found[name].value == pytest.approx(value, rel=1e-5), name


def test_a_text_is_measured_alike_whatever_stands_around_it(tmp_path: Path) -> None:
    texts = _texts(9)
    result = _train(write_checkpoint("gpt2", tmp_path / "gpt2"), texts, tmp_path)
    figures = []
    for order in (texts, texts[::-1], [*texts[4:], *texts[:4]]):
        (tmp_path / "again.txt").write_text("".join(f"{text}\n" for text in order))
        figures.append(nlptk.evaluate(result.artifact, tmp_path / "again.txt", bootstrap=0).figures)
    values = [found["bits_per_byte"].value for found in figures]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_nothing_of_plain_text_is_lost_and_the_ledger_says_so(tmp_path: Path) -> None:
    texts = _texts(25)
    result = _train(write_checkpoint("gpt2", tmp_path / "gpt2"), texts, tmp_path)
    report = json.loads((result.folder / "report.json").read_text())
    ledger = next(part for part in report["sections"] if part["title"] == "Truncation ledger")
    row = dict(zip(ledger["columns"], ledger["rows"][0], strict=True))
    _, tokenizer = _plain(result.artifact)
    assert row["tokens"] == sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
    assert (row["tokens lost"], row["rows truncated"], row["labels lost"]) == (0, 0, 0)


def test_figures_of_completions_are_those_of_the_completion_alone(tmp_path: Path) -> None:
    rows = [{"prompt": f"{WORDS[n]} {WORDS[n + 1]}", "completion": f" {WORDS[n + 2]} ☃"} for n in range(12)]
    rows[3] = {"prompt": "late ", "completion": "refund please"}
    task = {"name": "generation", "max_new_tokens": 20}
    result = _train(write_checkpoint("gpt2", tmp_path / "gpt2"), rows, tmp_path, task=task)
    found = nlptk.evaluate(result.artifact, tmp_path / "rows.jsonl", bootstrap=0).figures
    model, tokenizer = _plain(result.artifact)
    nats = tokens = size = 0.0
    for row in rows:
        prompt = tokenizer(row["prompt"].rstrip(" "))["input_ids"]
        completion = " " * row["prompt"].endswith(" ") + row["completion"]
        wanted = tokenizer(completion)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + wanted])).logits[0, len(prompt) - 1 : -1]
        nats -= float(logits.log_softmax(-1)[range(len(wanted)), wanted].sum())
        tokens, size = tokens + len(wanted), size + len(completion.encode())
    assert found["perplexity"].value == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert found["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_bytes_of_a_completion_that_is_cut_are_those_of_its_rest(tmp_path: Path) -> None:
    task = {"name": "generation", "max_new_tokens": 3}
    rows = [{"prompt": "late", "completion": " the parcel came late and broken please refund my order"}] * 4
    result = _train(write_checkpoint("gpt2", tmp_path / "gpt2"), rows, tmp_path, task=task)
    found = nlptk.evaluate(result.artifact, tmp_path / "rows.jsonl", bootstrap=0).figures
    model, tokenizer = _plain(result.artifact)
    wanted = tokenizer(rows[0]["completion"])["input_ids"][:3]
    prompt = tokenizer("late")["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + wanted])).logits[0, len(prompt) - 1 : -1]
    nats = -float(logits.log_softmax(-1)[range(3), wanted].sum())
    expected = nats / math.log(2) / len(tokenizer.decode(wanted).encode())
    assert found["bits_per_byte"].value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_prompts_and_completions_are_learnt(family: str, tmp_path: Path) -> None:
    answers = {"parcel": "late refund", "invoice": "wrong amount", "screen": "freezes when"}
    rows = [
        {"prompt": f"{word} {WORDS[n]}", "completion": f" {text}"} for n in range(12) for word, text in answers.items()
    ]
    training = {"num_train_epochs": 40, "learning_rate": 0.01, "per_device_train_batch_size": 12}
    result = _train(write_checkpoint(family, tmp_path / family), rows, tmp_path, training=training)
    written = nlptk.pipeline(result.artifact)([f"{word} the" for word in answers])
    assert [row["completion"].strip() for row in written] == list(answers.values())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_transformers_alone_writes_the_same(family: str, tmp_path: Path) -> None:
    texts = _texts(25)
    training = {"num_train_epochs": 5, "learning_rate": 0.01}
    result = _train(write_checkpoint(family, tmp_path / family), texts, tmp_path, training=training)
    prompts = ["the parcel came", "please refund my order", "invoice"]
    with quiet():
        plain: Any = transformers_pipeline("text-generation", model=str(result.artifact), return_full_text=False)
        theirs = [plain(prompt)[0]["generated_text"] for prompt in prompts]
    ours = [row["completion"] for row in nlptk.pipeline(result.artifact)(prompts)]
    assert ours == theirs
    assert any(text.startswith(" ") for text in ours)
    settings = GenerationConfig.from_pretrained(result.artifact)
    assert (settings.max_new_tokens, settings.do_sample) == (8, False)


def test_a_prompt_that_is_too_long_keeps_its_end(tmp_path: Path) -> None:
    result = _train(write_checkpoint("gpt2", tmp_path / "gpt2"), _texts(9), tmp_path)
    loaded = nlptk.pipeline(result.artifact)
    long = " ".join(WORDS)
    written = loaded([long, "late"])
    assert [row["truncated"] for row in written] == [True, False]
    ids = loaded.tokenizer(long)["input_ids"][-(LENGTH - 8) :]
    with torch.no_grad():
        model: Any = loaded.model
        expected = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)))[0, len(ids) :]
    assert written[0]["completion"] == loaded.tokenizer.decode(expected, skip_special_tokens=True)


def test_prediction_takes_texts_prompts_and_files_of_either(tmp_path: Path) -> None:
    result = _train(write_checkpoint("gpt2", tmp_path / "gpt2"), _texts(9), tmp_path)
    loaded = nlptk.pipeline(result.artifact)
    one = loaded("my order")["completion"]
    assert loaded({"prompt": "my order"})["completion"] == loaded({"text": "my order"})["completion"] == one
    (tmp_path / "new.txt").write_text("my order\n\nplease refund\n")
    nlptk.predict(result.artifact, tmp_path / "new.txt", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 2]
    assert (lines[0]["text"], lines[0]["completion"]) == ("my order", one)
    with pytest.raises(DataError, match="row 0: expected a prompt or messages, one of them"):
        loaded({"label": "x"})
    (tmp_path / "other.jsonl").write_text('{"label": "x"}\n')
    with pytest.raises(DataError, match="no column for any of prompt, messages; the columns are 'label'; set"):
        nlptk.predict(result.artifact, tmp_path / "other.jsonl", tmp_path / "out2.jsonl")


def test_generating_in_training_selects_by_perplexity(tmp_path: Path) -> None:
    result = _train(
        write_checkpoint("gpt2", tmp_path / "gpt2"),
        _texts(20),
        tmp_path,
        task={"name": "generation", "max_new_tokens": 4, "generate_in_training": True},
        data={"train": tmp_path / "rows.txt", "validation": 0.2, "test": "none", "duplicates": "keep"},
        training={"num_train_epochs": 2, "eval_strategy": "epoch", "save_strategy": "epoch", "learning_rate": 0.01},
    )
    state = json.loads((result.folder / "trainer_state.json").read_text())
    seen = [entry["eval_perplexity"] for entry in state["log_history"] if "eval_perplexity" in entry]
    assert state["best_metric"] == min(seen)
    assert len(set(seen)) == 2


MIXED = [{"prompt": "late", "completion": "refund"}, {"text": "late"}]
BOTH = [{"text": "late", "prompt": "late", "completion": "refund"}] * 3


@pytest.mark.parametrize(
    ("family", "rows", "said"),
    [
        ("bert", ["late refund"], "bert is an encoder alone, which reads text but cannot write any"),
        ("t5", ["late refund"], "an encoder-decoder reads a text whole before it writes, so it cannot learn text"),
        ("gpt2", MIXED, r"row 2: has text; expected|prompt is missing"),
        ("gpt2", BOTH, r"has text and completion; expected one of them"),
        (
            "gpt2",
            [{"prompt": "late", "completion": "refund"}, {"prompt": "late", "completion": " "}],
            "row 2: completion is empty",
        ),
        ("gpt2", [{"prompt": " ", "completion": "refund"}] * 2, "row 1: prompt is empty; row 2: prompt is empty; mend"),
        ("gpt2", [{"prompt": "late"}], "expected columns for text, or prompt and completion, or conversation"),
        ("gpt2", [{"messages": [{"role": "user", "content": "a"}]}], "no message is the assistant's"),
        (
            "gpt2",
            [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
            "has no chat template; give rows of prompt and completion",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    family: str, rows: list[Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(NlptkError, match=said):
        _train(write_checkpoint(family, tmp_path / family), rows, tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"prompt": "a b", "completion": None},
            "has prompt, but no completion (expected text, or prompt and",
        ),
        ({"prompt": float("nan"), "completion": "c"}, "has completion, but no prompt (expected"),
    ],
)
def test_a_row_without_its_other_half_says_which(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "e"}, row]
    with pytest.raises(DataError, match=re.escape(f"rows.jsonl, row 2: {said}")):
        _train(write_checkpoint("gpt2", tmp_path / "gpt2"), rows, tmp_path)


def test_t5_is_refused_messages_and_gpt_rows_of_two_forms(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(UnsupportedError, match="cannot learn messages token by token; give rows of prompt and"):
        _train(write_checkpoint("t5", tmp_path / "t5"), [{"messages": talk}], tmp_path)
    with pytest.raises(DataError, match="rows of several forms: some have text and some conversation"):
        _train(write_checkpoint("gpt2", tmp_path / "gpt2"), [{"messages": talk}, {"text": "late"}], tmp_path)


def test_leaked_texts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "again.txt").write_text("the parcel\n\n" + _texts(9)[4] + "\n")
    data = {"train": tmp_path / "rows.txt", "validation": tmp_path / "again.txt", "test": "none"}
    with pytest.raises(DataError, match="leakage: 1 row of validation has a text that train has too"):
        _train(write_checkpoint("gpt2", tmp_path / "gpt2"), _texts(9), tmp_path, data=data)


@pytest.mark.slow
def test_stories260k_learns_another_kind_of_text(shared_data: Path, tmp_path: Path) -> None:
    """Lines of novels, 300 to learn from and 50 held out: bits per byte before and after, intervals apart."""
    import gzip

    with gzip.open(shared_data / "corpora" / "novels.txt.gz", "rt", encoding="utf-8-sig") as stream:
        lines = [line.strip() for _, line in zip(range(40_000), stream, strict=False) if len(line) > 200]
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("".join(f"{line}\n" for line in lines[-50:]))
    model = shared_data / "models" / "stories260K"
    keys: dict[str, Any] = {"preprocessing": {"max_length": 128}}
    figures = []
    for steps, rate in ((1, 1e-12), (60, 3e-3)):
        folder = tmp_path / str(steps)
        folder.mkdir()
        training = {"max_steps": steps, "learning_rate": rate, "per_device_train_batch_size": 8}
        result = _train(model, lines[:300], folder, training=training, **keys)
        figures.append(nlptk.evaluate(result.artifact, held_out, bootstrap=200).figures)
    before, after = (found["bits_per_byte"] for found in figures)
    assert before.low is not None
    assert after.high is not None
    assert after.high < before.low


def test_the_report_says_that_perplexity_leaves_out_the_ends_of_texts() -> None:
    cls = registry.get_task("generation")
    rows = Dataset.from_dict({"text": ["late order"], "source_file": ["a.txt"], "source_row": [1]})
    measured = SimpleNamespace(nats=2.0, tokens=2, size=10, prompt="", written=None)
    scores = cls(cls.Options()).score([measured], rows, sections=True)
    (section,) = (part for part in scores.sections if part["title"] == "What the figures count")
    assert "the ends of texts, and other special tokens, are not counted" in section["facts"]["perplexity"]


def test_a_model_that_has_no_room_to_write_is_warned_of_and_can_be_given_some(tmp_path: Path) -> None:
    model = write_checkpoint("gpt2", tmp_path / "gpt2")
    result = _train(model, _texts(9), tmp_path, task={"name": "generation", "max_new_tokens": LENGTH})
    (told,) = (line for line in result.warnings if "leaves no room for a prompt" in line)
    assert f"task.max_new_tokens: {LENGTH} leaves" in told
    with pytest.raises(UnsupportedError, match="leaves no room for the prompt"):
        nlptk.pipeline(result.artifact)("the parcel")
    assert "completion" in nlptk.pipeline(result.artifact, options={"max_new_tokens": 4})("the parcel")


def test_texts_that_begin_with_short_ones_are_measured(tmp_path: Path) -> None:
    """Of a thousand texts none has a second block, which says nothing of what the blocks of others hold."""
    checkpoint = write_checkpoint("gpt2", tmp_path / "gpt2")
    short = [f"late {n}" for n in range(1_050)]
    (tmp_path / "validation.txt").write_text("".join(f"{text}\n" for text in [*short, *[" ".join(WORDS[:60])] * 2]))
    result = _train(
        checkpoint,
        _texts(20),
        tmp_path,
        data={"train": tmp_path / "rows.txt", "validation": tmp_path / "validation.txt", "duplicates": "keep"},
        training={"max_steps": 1},
    )
    assert result.rows["validation"] == 1_052
