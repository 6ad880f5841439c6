"""The ner task by itself: rows, labels, windows, decoding, figures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2, IOBES
from tokenizers.normalizers import BertNormalizer
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from nlptk import registry
from nlptk.checkpoints import load_tokenizer
from nlptk.errors import DataError, RecipeError
from nlptk.task import Features, LabelSpace, Ledger, Prediction, Preprocessing, Task
from tests.tiny_models import FAMILIES, WORDS, write_checkpoint

SPACE = LabelSpace(("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
TOKENS = ["Peter", "Blackburn", "went", "from", "New", "York", "to", "Rome"]
TAGS = ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O", "B-LOC"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreTrainedTokenizerBase]:
    folder = tmp_path_factory.mktemp("checkpoints")
    found = {family: load_tokenizer(str(write_checkpoint(family, folder / family))) for family in FAMILIES}
    found["bert"].backend_tokenizer.normalizer = BertNormalizer()  # as the real ones': no token for control characters
    return found


def _task(labels: LabelSpace | None = SPACE, **options: Any) -> Task:
    cls = registry.get_task("ner")
    return cls(cls.Options.model_validate(options), labels=labels)


def _read(**row: Any) -> dict[str, Any]:
    return registry.get_task("ner").read_row(row)


def _rows(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    return Dataset.from_dict({**columns, "source_file": ["rows.jsonl"] * count, "source_row": range(1, count + 1)})


def _features(
    task: Task, tokenizer: PreTrainedTokenizerBase, rows: dict[str, list[Any]], max_length: int = 128, stride: int = 0
) -> dict[str, list[Any]]:
    return task.featurize(rows, tokenizer, Preprocessing(max_length, stride=stride))


def _pooled(task: Task, found: dict[str, list[Any]], outputs: Sequence[np.ndarray]) -> tuple[Sequence[Any], Features]:
    features = Features(Dataset.from_dict({k: v for k, v in found.items() if k not in task.inputs}), Ledger())
    return task.pool(outputs, features), features


def _as_labelled(found: dict[str, list[Any]], count: int = len(SPACE.names)) -> list[np.ndarray]:
    """The outputs of a model that says everywhere what the labels say."""
    return [10 * np.eye(count)[np.maximum(labels, 0)] for labels in found["labels"]]


def _random(found: dict[str, list[Any]], count: int = len(SPACE.names)) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(len(ids), count)) for ids in found["input_ids"]]


def _predicted(task: Task, found: dict[str, list[Any]], rows: dict[str, list[Any]]) -> list[Prediction]:
    pooled, features = _pooled(task, found, _as_labelled(found))
    return task.decode(pooled, rows, features)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": "New York"}, "tokens is 'New York'; expected a list of texts"),
        ({"tokens": ["a", 5]}, "tokens holds 5; expected texts alone"),
        ({"tokens": []}, "tokens holds no text"),
        ({"tokens": ["", " "]}, "tokens holds no text"),
        ({"tokens": ["a\ud800"]}, "tokens holds half a surrogate pair at character 1"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 tags; expected one tag a token"),
        ({"tokens": ["a"], "tags": [3]}, r"tags holds 3; expected names \(B-PER, I-PER, O\), or a ClassLabel column"),
        ({"tokens": ["a"], "tags": "O"}, "tags is 'O'; expected a list of tags"),
        ({"text": "ab", "entities": {"start": 0}}, "expected a list of {start, end, label}"),
        (
            {"text": "ab", "entities": [{"start": 0, "end": 1}]},
            "expected {start, end, label}, whole numbers and a name",
        ),
        ({"text": "ab", "entities": [{"start": 0.0, "end": 1, "label": "X"}]}, "whole numbers and a name"),
        ({"text": "ab", "entities": [{"start": 0, "end": 3, "label": "X"}]}, "0..3 'X' is not inside the text of 2"),
        ({"text": "ab", "entities": [{"start": 1, "end": 0, "label": "X"}]}, "1..0 'X' is not inside the text"),
        (
            {"text": "né en Rome", "entities": [{"start": 7, "end": 11, "label": "X", "text": "Rome"}]},
            "7..11 'X' is not inside the text of 10 characters",
        ),
        (
            {"text": "né en Rome", "entities": [{"start": 4, "end": 6, "label": "X", "text": "en"}]},
            "4..6 'X' is 'n' in the text, and 'en' by its own; mend its start and end, which count characters",
        ),
        (
            {"text": "né", "entities": [{"start": 0, "end": 2, "label": "X", "text": 7}]},
            "0..2 'X' has the text 7; expected a text, or none",
        ),
        ({"text": "a b", "entities": [{"start": 1, "end": 2, "label": "X"}]}, "the entity 1..2 'X' is empty"),
        (
            {"text": "abc", "entities": [{"start": 1, "end": 3, "label": "X"}, {"start": 0, "end": 2, "label": "Y"}]},
            "the entities 0..2 'Y' and 1..3 'X' overlap; a word has one tag, so keep one of them",
        ),
    ],
)
def test_a_bad_row_is_said_to_be_bad(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(**row)


def test_an_entitys_own_text_may_spell_its_accents_otherwise() -> None:
    entity = {"start": 0, "end": 2, "label": "X"}
    assert _read(text="né", entities=[{**entity, "text": "ne\u0301"}])["entities"] == [entity]
    assert _read(text="ne\u0301", entities=[{**entity, "end": 3, "text": "né"}])["entities"] == [{**entity, "end": 3}]


def test_rows_are_brought_into_one_form() -> None:
    assert _read(tokens=["a", "b", "c"], tags=["U-X", "I-X", "I-X"])["tags"] == ["B-X", "B-X", "I-X"]
    entities = [{"start": 4, "end": 7, "label": "Y", "id": 3}, {"start": 0, "end": 3, "label": "X"}]
    assert _read(text="ab  cd ", entities=entities)["entities"] == [
        {"start": 0, "end": 2, "label": "X"},
        {"start": 4, "end": 6, "label": "Y"},
    ]


@pytest.mark.parametrize(("scheme", "prefixes"), [("IOB2", "BI"), ("BIOES", "BIES")])
def test_the_labels_are_the_types_of_training_in_the_scheme(scheme: str, prefixes: str) -> None:
    task = _task(None, scheme=scheme)
    task.fit(_rows(tokens=[["a", "b"], ["c"]], tags=[["B-PER", "B-creative-work"], ["B-PER"]]))
    assert task.labels is not None
    assert task.labels.names == ("O", *(f"{prefix}-{name}" for name in ("PER", "creative-work") for prefix in prefixes))
    assert task.config_overrides()["id2label"][1] == "B-PER"


def test_types_that_training_has_not_are_reported_by_row() -> None:
    tags = [["B-PER"], ["O"], ["B-ORG"]]
    assert _task().unseen(_rows(tokens=[["a"]] * 3, tags=tags)) == [(2, "ORG")]
    entities: list[Any] = [[], [{"start": 0, "end": 1, "label": "X"}, {"start": 2, "end": 3, "label": "LOC"}]]
    assert _task().unseen(_rows(text=["a", "a b"], entities=entities)) == [(1, "X")]


def test_training_without_an_entity_is_refused() -> None:
    with pytest.raises(DataError, match="no row has an entity"):
        _task(None).fit(_rows(tokens=[["a"]], tags=[["O"]]))
    with pytest.raises(RecipeError, match="no labels"):
        _task(None).config_overrides()


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_labelled_as_in_run_ner(family: str, tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    """Against `is_split_into_words` and `word_ids`: the first token of a word has its label, the others -100.

    Each word after a space, as in the text: for GPT-2 they are given so, which is what its add_prefix_space does. A
    token that is the space alone says nothing of a word, least of all to a decoder; the one after it is read.
    """
    tokenizer = tokenizers[family]
    found = _features(_task(), tokenizer, {"tokens": [TOKENS], "tags": [TAGS]})
    words = [f" {word}" if family == "gpt2" and place else word for place, word in enumerate(TOKENS)]
    theirs = tokenizer._tokenizer.encode(words, is_pretokenized=True)
    expected: list[int] = []
    before = None
    for word, token in zip(theirs.word_ids, theirs.tokens, strict=True):
        if token in ("Ġ", "▁") and expected:  # T5 puts one before the first word, where the text has no space
            expected.append(-100)
            continue
        new = word is not None and word != before
        expected.append(SPACE.label2id[TAGS[word]] if new and word is not None else -100)
        before = word
    assert found["input_ids"] == [theirs.ids]
    assert found["labels"] == [expected]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stride", [0, 3, 20])
@pytest.mark.parametrize("form", ["tokens", "text"])
def test_no_gold_entity_of_a_5000_word_row_is_lost(
    family: str, stride: int, form: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    rng = random.Random(0)
    tokens: list[str] = []
    tags: list[str] = []
    while len(tokens) < 5000:
        name, count = rng.choice(["PER", "LOC", ""]), rng.randint(1, 4)
        tokens += rng.choices([*WORDS, "Österreich", "don't", "x" * 30, "🙂"], k=count)
        tags += [f"B-{name}", *([f"I-{name}"] * (count - 1))] if name else ["O"] * count
    gold = sum(tag[0] == "B" for tag in tags)
    rows: dict[str, list[Any]] = {"tokens": [tokens, ["the"]], "tags": [tags, ["B-LOC"]]}
    if form == "text":
        starts = np.cumsum([0, *(len(token) + 1 for token in tokens)]).tolist()
        edges = [place for place, tag in enumerate(tags) if tag[0] == "B"]
        entities = []
        for first in edges:
            last = next((p for p in range(first + 1, len(tags)) if tags[p][0] != "I"), len(tags)) - 1
            entities.append({"start": starts[first], "end": starts[last] + len(tokens[last]), "label": tags[first][2:]})
        rows = {"text": [" ".join(tokens), "the"], "entities": [entities, [{"start": 0, "end": 3, "label": "LOC"}]]}
    task = _task()
    found = _features(task, tokenizers[family], rows, max_length=32, stride=stride)
    assert len(found["input_ids"]) > 100
    assert max(map(len, found["input_ids"])) == 32
    assert sum(found["lost"]) == sum(found["labels_lost"]) == 0
    begun = sum(label in (1, 3) for labels in found["labels"] for label in labels)
    assert begun == gold + 1
    pooled, _ = _pooled(task, found, _as_labelled(found))
    figures = task.score(pooled, _rows(**rows)).figures
    assert figures["support"].value == gold + 1
    assert figures["f1"].value == figures["token_accuracy"].value == 1.0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ghost", ["\u200b", "\x01", "\x00", "", "\ufeff", "\u00ad"])
def test_a_word_without_tokens_moves_nothing(
    family: str, ghost: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    tokens = [ghost, "Peter", ghost, "Blackburn", ghost, "of", ghost, ghost, "New", ghost, "York", ghost]
    tags = ["O", "B-PER", "I-PER", "I-PER", "O", "O", "O", "O", "B-LOC", "I-LOC", "I-LOC", "O"]
    rows = {"tokens": [tokens], "tags": [tags]}
    found = _features(_task(), tokenizers[family], rows)
    (prediction,) = _predicted(_task(), found, rows)
    assert prediction["tags"] == tags
    text = " ".join(tokens)
    for entity, covered in zip(prediction["entities"], ((1, 3), (8, 10)), strict=True):
        assert (entity["first_token"], entity["last_token"]) == covered
        assert text[entity["start"] : entity["end"]] == entity["text"] == " ".join(tokens[covered[0] : covered[1] + 1])


def test_a_row_without_any_token_has_no_entity(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    task = _task()
    rows: dict[str, list[Any]] = {"text": ["\u200b\x01", "the"], "entities": [[], []]}
    found = _features(task, tokenizers["bert"], rows)
    pooled, features = _pooled(task, found, _random(found))
    predictions = task.decode(pooled, rows, features)
    assert predictions[0] == {"entities": [], "truncated": False}
    assert task.score(pooled, _rows(**rows), sections=True).figures["support"].value == 0


def test_an_entity_of_words_without_tokens_is_counted_as_lost_and_as_gold(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    rows = {"tokens": [["Rome", ""]], "tags": [["B-LOC", "B-PER"]]}
    task = _task()
    found = _features(task, tokenizers["bert"], rows)
    assert found["labels_lost"] == [1]
    figures = task.score(_pooled(task, found, _as_labelled(found))[0], _rows(**rows)).figures
    assert (figures["support"].value, figures["recall"].value, figures["precision"].value) == (2.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("bert", "  Héloïse,from  (São Paulo)…\n*Rome* "),
        ("gpt2", "  Héloïse,from  (São Paulo)…\n🙂Rome🙂 "),
        ("t5", "  Héloïse  from\u2003São Paulo\nRome "),  # its few pieces do not part letters from the rest
    ],
)
def test_spans_of_a_text_are_its_own_characters(
    family: str, text: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    gold = [("PER", "Héloïse"), ("LOC", "São Paulo"), ("LOC", "Rome")]
    entities = [{"start": text.index(w), "end": text.index(w) + len(w), "label": label} for label, w in gold]
    rows: dict[str, list[Any]] = {"text": [text], "entities": [entities]}
    task = _task()
    (prediction,) = _predicted(task, _features(task, tokenizers[family], rows), rows)
    assert [(e["label"], e["text"]) for e in prediction["entities"]] == gold
    assert [{k: e[k] for k in ("start", "end", "label")} for e in prediction["entities"]] == entities


@pytest.mark.parametrize("family", FAMILIES)
def test_entities_within_words_are_labelled_and_counted_but_not_shown_to_the_model(
    family: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    text = "at brokenpassword amountscreen late"
    entities = [
        {"start": 3, "end": 9, "label": "LOC"},
        {"start": 9, "end": 17, "label": "PER"},
        {"start": 24, "end": 30, "label": "PER"},
        {"start": 31, "end": 35, "label": "LOC"},
    ]
    rows: dict[str, list[Any]] = {"text": [text], "entities": [entities]}
    task, tokenizer = _task(), tokenizers[family]
    found = _features(task, tokenizer, rows)
    unlabelled = _features(task, tokenizer, {"text": [text]})
    assert {k: v for k, v in found.items() if k not in ("labels", "labels_lost")} == {
        k: v for k, v in unlabelled.items() if k != "labels_lost"
    }
    assert sum(label in (1, 3) for label in found["labels"][0]) == 4
    scores = task.score(_pooled(task, found, _as_labelled(found))[0], _rows(**rows))
    assert scores.figures["support"].value == 4
    assert scores.figures["recall"].value == 0.25
    assert scores.warnings == ["3 of 4 gold entities begin or end within a word, and cannot be found"]
    within = {"entities that begin or end within a word": {"PER": 2, "LOC": 1}}
    assert task.look(rows).counts == {"entities": {"PER": 2, "LOC": 2}, **within}
    task.fit(_rows(**rows))
    (warning,) = task.caveats(Preprocessing(32, "window"))
    assert warning.startswith("train: 3 of 4 entities begin or end within a word")


@pytest.mark.parametrize("scheme", ["IOB2", "BIOES"])
def test_figures_without_viterbi_are_seqevals_in_both_modes(
    scheme: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    task = _task(None, scheme=scheme, viterbi=False)
    rows: dict[str, list[Any]] = {
        "tokens": [TOKENS, ["the"], TOKENS[::-1]] * 9,
        "tags": [TAGS, ["O"], TAGS[4:] * 2] * 9,
    }
    task.fit(_rows(**rows))
    assert task.labels is not None
    found = _features(task, tokenizers["bert"], rows)
    pooled, _ = _pooled(task, found, _random(found, len(task.labels.names)))
    figures = task.score(pooled, _rows(**rows), bootstrap=50).figures
    said = [[task.labels.names[i] for i in reading.logits.argmax(axis=1)] for reading in pooled]
    gold = rows["tags"]
    strict: dict[str, Any] = {"mode": "strict", "scheme": IOB2 if scheme == "IOB2" else IOBES}
    for name, measure in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert figures[name].value == measure(gold, said)
        if scheme == "IOB2":  # gold tags are IOB2, so seqeval cannot compare them with others in strict mode
            assert figures[f"strict_{name}"].value == measure(gold, said, **strict)
        assert figures[name].low is not None
    assert figures["macro_f1"].value == f1_score(gold, said, average="macro")
    assert 0 < figures["strict_f1"].value != figures["f1"].value


def test_figures_with_viterbi_are_seqevals_on_the_predicted_tags(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    task = _task()
    rows: dict[str, list[Any]] = {
        "tokens": [TOKENS, ["the"], TOKENS[::-1]] * 9,
        "tags": [TAGS, ["O"], TAGS[4:] * 2] * 9,
    }
    found = _features(task, tokenizers["gpt2"], rows)
    pooled, features = _pooled(task, found, _random(found))
    scores = task.score(pooled, _rows(**rows), bootstrap=20, sections=True)
    said = [row["tags"] for row in task.decode(pooled, rows, features)]
    strict: dict[str, Any] = {"mode": "strict", "scheme": IOB2}
    assert scores.figures["f1"].value == f1_score(rows["tags"], said)
    assert scores.figures["strict_f1"].value == f1_score(rows["tags"], said, **strict)
    report = classification_report(rows["tags"], said, output_dict=True)
    (table,) = [part for part in scores.sections if part["title"] == "By type"]
    for name, precision, recall, f1, low, high, support in table["rows"]:
        theirs = report[name]
        assert (precision, recall, f1) == (theirs["precision"], theirs["recall"], theirs["f1-score"])
        assert support == theirs["support"]
        assert low <= f1 <= high


def test_the_score_of_an_entity_is_the_mean_probability_of_its_tags(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    task, rows = _task(), {"tokens": [TOKENS], "tags": [TAGS]}
    found = _features(task, tokenizers["t5"], rows)
    logits = [np.asarray(_as_labelled(found)[0]) / 10 + _random(found)[0] / 4]
    pooled, features = _pooled(task, found, logits)
    (prediction,) = task.decode(pooled, rows, features)
    assert prediction["tags"] == TAGS
    firsts = [place for place, label in enumerate(found["labels"][0]) if label != -100]
    probabilities = torch.tensor(logits[0])[firsts].softmax(dim=1).max(dim=1).values.tolist()
    expected = [np.mean(probabilities[a:b]) for a, b in ((0, 2), (4, 6), (7, 8))]
    assert [entity["score"] for entity in prediction["entities"]] == pytest.approx(expected)


def test_the_loss_is_the_mean_cross_entropy_of_the_words(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    task, rows = _task(), {"tokens": [TOKENS, ["the"]], "tags": [TAGS, ["O"]]}
    found = _features(task, tokenizers["bert"], rows)
    batch = task.collate([{key: found[key][i] for key in ("input_ids", "labels")} for i in (0, 1)], 0)
    logits = torch.randn(*batch["labels"].shape, len(SPACE.names), generator=torch.Generator().manual_seed(0))
    mean = task.loss(SimpleNamespace(logits=logits), batch["labels"]) / task.loss_items(batch["labels"])
    torch.testing.assert_close(mean, functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()))
    nothing = torch.full((2, 3), -100)
    assert (task.loss(SimpleNamespace(logits=logits[:, :3]), nothing).item(), task.loss_items(nothing)) == (0.0, 0)


def test_the_report_pairs_types_and_shows_the_rows_of_greatest_loss(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    task = _task()
    rows: dict[str, list[Any]] = {"tokens": [["Rome"], ["Peter"], ["the"]], "tags": [["B-LOC"], ["B-PER"], ["O"]]}
    found = _features(task, tokenizers["bert"], rows)
    # LOC found as LOC, PER taken for LOC, and a LOC where there is none
    outputs = [
        np.tile([0.0, weight, 0, 0, 0], (len(ids), 1))
        for weight, ids in zip((1, 2, 3), found["input_ids"], strict=True)
    ]
    scores = task.score(_pooled(task, found, outputs)[0], _rows(**rows), sections=True)
    parts = {part["title"]: part for part in scores.sections}
    matrix = parts["Confusion of types"]
    assert matrix["row_labels"] == matrix["column_labels"] == ["LOC", "PER", "(none)"]
    assert matrix["values"] == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    hardest = parts["Hardest rows"]["rows"]
    assert [row["source"][-1] for row in hardest] == ["3", "2", "1"]
    assert (hardest[0]["gold"], hardest[0]["predicted"]) == ("none", "the (LOC)")
    losses = [
        functional.cross_entropy(torch.tensor([[0.0, w, 0, 0, 0]]), torch.tensor([t])) for w, t in ((3, 0), (2, 3))
    ]
    assert [row["loss"] for row in hardest[:2]] == pytest.approx([float(loss) for loss in losses])


def test_a_model_that_finds_nothing_is_warned_of(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    task, rows = _task(), {"tokens": [["Rome"]], "tags": [["B-LOC"]]}
    found = _features(task, tokenizers["bert"], rows)
    outputs = [np.tile([1.0, 0, 0, 0, 0], (len(ids), 1)) for ids in found["input_ids"]]
    scores = task.score(_pooled(task, found, outputs)[0], _rows(**rows))
    assert scores.warnings == ["predicts no entity in any row"]
    assert scores.figures["f1"].value == 0.0


def test_wikiann_is_labelled_as_run_ner_labels_it(minilm: Path, shared_data: Path) -> None:
    """The labels of its rows that fit, against run_ner's own alignment; every tag arrives."""
    import json

    tokenizer = load_tokenizer(str(minilm))
    path = shared_data / "wikiann_en" / "validation.jsonl"
    given = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:500]]
    rows = {"tokens": [row["tokens"] for row in given], "tags": [row["ner_tags"] for row in given]}
    task = _task(None)
    task.fit(_rows(**rows))
    assert task.labels is not None
    found = _features(task, tokenizer, rows, max_length=512)
    theirs = tokenizer(rows["tokens"], is_split_into_words=True)
    ids = task.labels.label2id
    for row, tags in enumerate(rows["tags"]):
        words = theirs.word_ids(row)
        first = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
        expected = [ids[tags[w]] if new and w is not None else -100 for w, new in zip(words, first, strict=True)]
        assert (found["input_ids"][row], found["labels"][row]) == (theirs["input_ids"][row], expected)


def test_a_look_counts_entities_and_measures_tokens() -> None:
    look = registry.get_task("ner").look({"tokens": [TOKENS, ["Rome"]], "tags": [TAGS, ["B-LOC"]]})
    assert look.counts == {"entities": {"PER": 1, "LOC": 3}}
    assert look.texts == {"tokens": ["Peter Blackburn went from New York to Rome", "Rome"]}


def test_a_look_counts_marked_entities_where_some_rows_have_none() -> None:
    entities = [[{"start": 0, "end": 4, "label": "LOC"}], None]
    look = registry.get_task("ner").look({"text": ["Rome fell", "nothing"], "entities": entities})
    assert (look.counts, look.texts) == ({"entities": {"LOC": 1}}, {})
