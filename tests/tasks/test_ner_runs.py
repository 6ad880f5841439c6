"""The ner task in whole runs: every family, both schemes, and transformers' own pipeline on the artifact."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics import f1_score, recall_score
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers import pipeline as transformers_pipeline

import nlptk
from nlptk.checkpoints import quiet
from nlptk.errors import DataError, UnsupportedError
from tests.tiny_models import WORDS, write_checkpoint

THINGS = {"parcel": "ITEM", "invoice": "ITEM", "account": "ITEM", "refund": "ACT", "reset": "ACT"}
WINDOW = 32
PACKED = ("bert", "roberta", "distilbert", "modernbert", "gpt2", "llama")


def _rows(count: int = 48) -> list[dict[str, Any]]:
    """Sentences of 3 words or more; an entity is one of the things, alone or with `again`, `now again` after it."""
    rng = random.Random(0)
    plain = [word for word in WORDS if word not in THINGS and word not in ("again", "now")]
    rows = []
    for _ in range(count):
        tokens, tags = [], []
        for _ in range(rng.randint(3, 6)):
            if rng.random() < 0.5:
                tokens.append(rng.choice(plain))
                tags.append("O")
                continue
            thing = rng.choice(list(THINGS))
            more = rng.choice([[], [], ["again"], ["now", "again"]])
            tokens += [thing, *more]
            tags += [f"B-{THINGS[thing]}", *(f"I-{THINGS[thing]}" for _ in more)]
        rows.append({"tokens": tokens, "ner_tags": tags})
    return rows


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _train(model: Path, rows: Path, output: Path, *, epochs: int = 12, **keys: Any) -> nlptk.TrainResult:
    steps = {"num_train_epochs": epochs, "per_device_train_batch_size": 8, "learning_rate": 0.01}
    training = {**steps, "disable_tqdm": True, "save_strategy": "no", **keys.pop("training", {})}
    data = {"train": rows, "validation": rows, "test": "none", "duplicates": "keep", **keys.pop("data", {})}
    return nlptk.train(
        **{"task": "ner", "model": model, "data": data, "output": output, "bootstrap": 0, **keys}, training=training
    )


def _plain_pipeline(artifact: Path, strategy: str) -> Any:
    with quiet():
        return transformers_pipeline("token-classification", model=str(artifact), aggregation_strategy=strategy)


def _batches(result: nlptk.TrainResult) -> str:
    report = json.loads((result.folder / "report.json").read_text())
    (facts,) = [part["facts"] for part in report["sections"] if part["title"] == "Run"]
    return str(facts["batches"])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "t5"])
def test_every_family_learns_and_serves_in_transformers_pipeline(family: str, tmp_path: Path) -> None:
    """A decoder reads left to right, and here nothing to the right of a word decides its tag."""
    rows = _rows()
    model = write_checkpoint(family, tmp_path / family)
    path, epochs = _write(tmp_path / "rows.jsonl", rows), 30 if family == "t5" else 12
    result = _train(model, path, tmp_path / "run", epochs=epochs, preprocessing={"max_length": WINDOW})
    figures = result.figures["validation"]
    assert figures["f1"].value > 0.9
    assert figures["support"].value == sum(tag[0] == "B" for row in rows for tag in row["ner_tags"])
    assert _batches(result).startswith("rows are packed" if family in PACKED else "padded")

    loaded = nlptk.pipeline(result.artifact)
    said = loaded([{"tokens": row["tokens"]} for row in rows])
    assert f1_score([row["ner_tags"] for row in rows], [row["tags"] for row in said]) == figures["f1"].value
    assert nlptk.evaluate(result.artifact, tmp_path / "rows.jsonl", bootstrap=0).figures["f1"] == figures["f1"]

    short = [row["tokens"] for row in rows if len(row["tokens"]) <= 6]
    texts = [" ".join(tokens) for tokens in short]
    ours = loaded(texts)
    assert [row["entities"] for row in ours] == [
        [{k: v for k, v in e.items() if "token" not in k} for e in row["entities"]]
        for row in loaded([{"tokens": tokens} for tokens in short])
    ]
    tokenizer = AutoTokenizer.from_pretrained(result.artifact)
    # the few pieces of the tiny byte-level and Unigram vocabularies leave hardly a text without a split word
    whole = family in ("bert", "roberta", "distilbert")
    for strategy in ("first", "simple") if whole else ("first",):
        plain, compared = _plain_pipeline(result.artifact, strategy), 0
        for text, row in zip(texts, ours, strict=True):
            theirs = [e for e in plain([text])[0] if text[e["start"] : e["end"]].strip()]
            for entity in theirs:  # offsets of GPT-2, Llama and T5 begin with the space before a word
                entity["start"] += text[entity["start"]] == " "
            if _as_it_is(plain, text, tokenizer, strategy):
                compared += 1
                assert [(e["entity_group"], e["start"], e["end"]) for e in theirs] == [
                    (e["label"], e["start"], e["end"]) for e in row["entities"]
                ]
                scores = [e["score"] for e in row["entities"]]
                assert [float(e["score"]) for e in theirs] == pytest.approx(scores, abs=1e-5)
        assert compared >= 3


def _as_it_is(plain: Any, text: str, tokenizer: Any, strategy: str) -> bool:
    """Whether the text is one window, Viterbi has nothing to change, and `simple` no second subword to read."""
    if len(tokenizer(text)["input_ids"]) > WINDOW:
        return False
    pieces = [piece for piece in tokenizer.tokenize(text) if piece not in ("▁", "Ġ")]
    if len(pieces) != len(text.split()) and strategy == "simple":
        return False
    if len(tokenizer.tokenize(text)) != len(pieces):
        return False  # a space that is a token of its own is a word of its own to transformers
    tags = _word_tags(plain, text)
    return all(tag[0] != "I" or before[2:] == tag[2:] for before, tag in zip(["O", *tags], tags, strict=False))


def _word_tags(plain: Any, text: str) -> list[str]:
    """The likeliest tag at the first token of every word."""
    tokens = {
        entity["start"] + (text[entity["start"]] == " "): entity["entity"] for entity in _every_token(plain, text)
    }
    starts = [place for place in range(len(text)) if text[place] != " " and (place == 0 or text[place - 1] == " ")]
    return [tokens[start] for start in starts]


def _every_token(plain: Any, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plain(text, aggregation_strategy="none", ignore_labels=[])
    return list(reversed(found))


@pytest.mark.parametrize("form", ["conll", "entities"])
def test_bioes_tags_are_learnt_from_any_form(form: str, tmp_path: Path) -> None:
    rows = _rows()
    path = tmp_path / "rows.conll"
    if form == "conll":
        lines = ("\n".join(map("\t".join, zip(row["tokens"], row["ner_tags"], strict=True))) for row in rows)
        path.write_text("\n\n".join(lines) + "\n")
    else:
        path = _write(tmp_path / "rows.jsonl", [_spans(row) for row in rows])
    model = write_checkpoint("bert", tmp_path / "bert")
    result = _train(model, path, tmp_path / "run", task={"name": "ner", "scheme": "BIOES"})
    labels = AutoConfig.from_pretrained(result.artifact).id2label
    assert list(labels.values()) == ["O", *(f"{prefix}-{name}" for name in ("ACT", "ITEM") for prefix in "BIES")]
    assert result.figures["validation"]["f1"].value > 0.9
    (prediction,) = nlptk.pipeline(result.artifact)(["the parcel again and refund"])
    assert [(e["label"], e["text"]) for e in prediction["entities"]] == [("ITEM", "parcel again"), ("ACT", "refund")]


def _spans(row: dict[str, Any]) -> dict[str, Any]:
    """The same row as a text with its entities."""
    text, entities = "", []
    for token, tag in zip(row["tokens"], row["ner_tags"], strict=True):
        text += " " * bool(text)
        if tag[0] == "B":
            entities.append({"start": len(text), "end": len(text), "label": tag[2:]})
        text += token
        if tag != "O":
            entities[-1]["end"] = len(text)
    return {"text": text, "entities": entities}


def test_a_file_of_predictions_has_the_entities_and_what_the_source_had(tmp_path: Path) -> None:
    rows = _rows(16)
    model = write_checkpoint("bert", tmp_path / "bert")
    result = _train(model, _write(tmp_path / "rows.jsonl", rows), tmp_path / "run", epochs=1)
    source = tmp_path / "new.conll"
    source.write_text("the O\nparcel B-ITEM\n\nrefund O\n")
    nlptk.predict(result.artifact, source, tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["row"] for row in found] == [1, 2]
    assert [row["tokens"] for row in found] == [["the", "parcel"], ["refund"]]
    assert [row["input_tags"] for row in found] == [["O", "B-ITEM"], ["O"]]
    assert [len(row["tags"]) for row in found] == [2, 1]


def test_types_that_training_never_saw_are_refused_dropped_or_counted_as_not_found(tmp_path: Path) -> None:
    rows = _rows(16)
    train, other = _write(tmp_path / "rows.jsonl", rows), tmp_path / "other.conll"
    other.write_text("the O\n\nOslo B-CITY\n")
    model = write_checkpoint("bert", tmp_path / "bert")
    data = {"validation": str(other)}
    with pytest.raises(DataError, match=r"labels that no training row has: 'CITY' \(.*other\.conll, row 2\)"):
        _train(model, train, tmp_path / "run", epochs=1, data=data)
    other.write_text("the O\n\nOslo B-CITY\n\nrefund B-ACT\n")
    result = _train(model, train, tmp_path / "run", epochs=1, data={**data, "unseen_labels": "drop"})
    assert result.figures["validation"]["support"].value == 1

    kept = _train(model, train, tmp_path / "kept", data={**data, "unseen_labels": "keep"})
    told = (
        "1 of 2 gold entities are of types that training never saw (CITY), and count as not found (but for the "
        "partial_ figures, which compare places alone); the loss leaves their words out"
    )
    assert f"validation: {told}" in kept.warnings
    again = nlptk.evaluate(kept.artifact, {"train": other, "unseen_labels": "keep"}, bootstrap=0)
    assert told in again.warnings
    words = [{"tokens": [word]} for word in ("the", "Oslo", "refund")]
    said = [row["tags"] for row in nlptk.pipeline(kept.artifact)(words)]
    for found in (kept.figures["validation"], again.figures):
        assert found["support"].value == 2
        assert 0 < found["recall"].value == recall_score([["O"], ["B-CITY"], ["B-ACT"]], said)
        assert found["macro_f1"].value == f1_score([["O"], ["B-CITY"], ["B-ACT"]], said, average="macro")


def test_tags_that_do_not_follow_their_scheme_are_told(tmp_path: Path) -> None:
    rows = tmp_path / "rows.conll"
    rows.write_text("Oslo S-CITY\nlate O\n\n" * 12 + "New B-CITY\nYork O\n")
    told = f"{rows}: tags: BIOES is not kept, as by a B- without E-, in 1 row (the first is row 13)"
    assert any(note.startswith(told) for note in nlptk.inspect(rows, task="ner")["report"]["notes"])
    result = _train(write_checkpoint("bert", tmp_path / "bert"), rows, tmp_path / "run", epochs=1)
    assert any(warning.startswith(told) for warning in result.warnings)


def test_validation_rows_on_which_nothing_is_gold_or_found_cannot_choose_a_model(tmp_path: Path) -> None:
    train, other = _write(tmp_path / "rows.jsonl", _rows(16)), tmp_path / "other.conll"
    other.write_text("the O\n")
    model = write_checkpoint("bert", tmp_path / "bert")
    with pytest.raises(DataError, match=r"validation: f1 is undefined on these rows; .*metric_for_best_model"):
        _train(model, train, tmp_path / "run", epochs=1, data={"validation": str(other)})


def test_test_rows_on_which_nothing_is_gold_or_found_leave_f1_out(tmp_path: Path) -> None:
    train, other = _write(tmp_path / "rows.jsonl", _rows(16)), tmp_path / "other.conll"
    other.write_text("the O\n")
    data = {"validation": "none", "test": str(other)}
    result = _train(write_checkpoint("bert", tmp_path / "bert"), train, tmp_path / "run", data=data)
    later = nlptk.evaluate(result.artifact, other, bootstrap=0)
    for figures in (result.figures["test"], later.figures):
        assert "f1" not in figures
        assert figures["token_accuracy"].value == 1.0
    assert "test: f1 is undefined on these rows" in result.warnings
    assert "f1 is undefined on these rows" in later.warnings


def test_validation_rows_without_a_label_have_no_loss_to_choose_a_model_by(tmp_path: Path) -> None:
    train, other = _write(tmp_path / "rows.jsonl", _rows(16)), tmp_path / "other.conll"
    other.write_text("Oslo B-CITY\n")
    data = {"validation": str(other), "unseen_labels": "keep"}
    model = write_checkpoint("bert", tmp_path / "bert")
    with pytest.raises(DataError, match="validation: loss is undefined on these rows, which leave nothing"):
        _train(model, train, tmp_path / "run", epochs=1, data=data, training={"metric_for_best_model": "loss"})


def test_an_architecture_without_such_a_head_is_refused(tmp_path: Path) -> None:
    model = write_checkpoint("bert", tmp_path / "bart")
    config = AutoConfig.for_model("bart", vocab_size=200, d_model=16, encoder_layers=1, decoder_layers=1)
    AutoModel.from_config(config).save_pretrained(model)  # type: ignore[no-untyped-call]  # it declares no types
    with pytest.raises(UnsupportedError, match="no AutoModelForTokenClassification for the bart architecture"):
        _train(model, _write(tmp_path / "rows.jsonl", _rows(8)), tmp_path / "run")
