"""An artifact as a function: any rows in, the same predictions, nothing cut in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import nlptk
from nlptk.errors import DataError
from nlptk.pipelines.artifact import CHUNK_BATCHES
from tests.doors import rows, train_tiny, write_rows
from tests.tiny_models import FAMILIES

MEGABYTE = "order came late " * (2**20 // 16)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifacts whose texts slide through windows of 16 tokens that share 4."""
    how = {"max_length": 16, "long_text": "window", "stride": 4}
    folder = tmp_path_factory.mktemp("windowed")
    return {family: train_tiny(folder / family, family=family, preprocessing=how) for family in FAMILIES}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    found = [
        {"sentence1": row["text"], "sentence2": f"is {index} late", "label": row["label"]}
        for index, row in enumerate(rows())
    ]
    write_rows(folder / "pairs.jsonl", found)
    return train_tiny(folder, data={"train": str(folder / "pairs.jsonl"), "validation": "none", "test": "none"})


def test_one_row_and_a_list_of_it_are_the_same(artifact: Path) -> None:
    classify = nlptk.pipeline(artifact)
    one = classify("order 1 came late")
    assert isinstance(one, dict)
    assert classify(["order 1 came late"]) == [one]
    assert classify({"text": "order 1 came late"}) == one
    assert classify([]) == []


def test_every_kind_of_iterable_gives_the_same_predictions(artifact: Path) -> None:
    classify = nlptk.pipeline(artifact)
    texts = [row["text"] for row in rows()]
    wanted = classify(texts)
    dataset = Dataset.from_list(rows())
    for given in (tuple(texts), iter(texts), dataset["text"], dataset, dataset.to_pandas()["text"], rows()):
        assert classify(given) == wanted


def test_a_table_is_refused_and_not_predicted_by_its_column_names(artifact: Path) -> None:
    table: Any = Dataset.from_list(rows()).to_pandas()
    with pytest.raises(DataError, match="to_dict"):
        nlptk.pipeline(artifact)(table)


def test_a_stream_reads_no_further_ahead_than_a_chunk(artifact: Path) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"order {read} came late"

    stream = nlptk.pipeline(artifact, batch_size=3).stream(endless())
    next(stream)
    assert read == 3 * CHUNK_BATCHES


def test_a_stream_of_long_rows_answers_after_a_few(artifact: Path) -> None:
    texts = iter([MEGABYTE] * 8)
    next(nlptk.pipeline(artifact).stream(texts))
    assert len(list(texts)) == 7


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("  ", "row 1: text is only white space"),
        ("\u200b", "row 1: text is only white space"),
        ({"text": None}, "row 1: text is missing"),
        ({"text": float("nan")}, r"row 1: text is missing \(NaN\)"),
        ({"text": 5}, "row 1: text is the number 5; expected a text"),
        ("half \ud83d", "row 1: text holds half a surrogate pair at character 5"),
        ("nul \0", "row 1: text holds a NUL byte at character 4"),
        ({"txt": "late"}, r"row 1: no 'text' among \['txt'\]"),
        (7, "row 1: expected a text or a mapping of text, text_pair, got int"),
    ],
)
def test_a_row_that_is_no_text_is_refused_by_its_number(artifact: Path, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nlptk.pipeline(artifact)(["order 1 came late", row])


@pytest.mark.parametrize("given", [None, float("nan"), 5, b"late"])
def test_what_is_neither_a_row_nor_rows_is_refused_with_what_is(artifact: Path, given: Any) -> None:
    with pytest.raises(DataError, match=r"^rows: .*; expected a text or a mapping of text, text_pair, or a list"):
        nlptk.pipeline(artifact)(given)


@pytest.mark.parametrize("given", ["order 1 came late", {"text": "order 1 came late"}])
def test_a_stream_of_a_single_row_is_refused_with_the_cure(artifact: Path, given: Any) -> None:
    with pytest.raises(DataError, match=r"is one row; a stream takes a list of rows: stream\(\[row\]\)"):
        nlptk.pipeline(artifact).stream(given)


def test_predictions_do_not_depend_on_what_else_is_in_the_call(artifact: Path) -> None:
    classify = nlptk.pipeline(artifact)
    texts = [row["text"] + " please" * (index % 9) for index, row in enumerate(rows())]
    together = [row["scores"]["bad"] for row in classify(texts)]
    alone = [classify(text)["scores"]["bad"] for text in texts]
    assert together == pytest.approx(alone, abs=1e-6)


def test_a_pair_is_scored_as_transformers_scores_it(pairs: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(pairs)
    model = AutoModelForSequenceClassification.from_pretrained(pairs).eval()
    with torch.inference_mode():
        batch = tokenizer("order 1 came late", "is 3 late", return_tensors="pt")
        wanted = torch.softmax(model(**batch).logits[0], dim=0).tolist()
    found = nlptk.pipeline(pairs)({"sentence1": "order 1 came late", "sentence2": "is 3 late"})
    assert list(found["scores"].values()) == pytest.approx(wanted, abs=1e-6)
    assert found == nlptk.pipeline(pairs)({"text": "order 1 came late", "text_pair": "is 3 late"})


def test_pairs_and_single_texts_in_one_call_are_refused(pairs: Path) -> None:
    with pytest.raises(DataError, match="row 1: has text; this model was trained on text, text_pair"):
        nlptk.pipeline(pairs)([{"text": "a late order", "text_pair": "late"}, {"text": "a late order"}])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_text_is_the_mean_of_its_windows_logits(windowed: dict[str, Path], family: str) -> None:
    """By hand: plain ids are cut into pieces that share 4, each is given its special tokens, logits are averaged."""
    folder = windowed[family]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    text = " ".join(row["text"] for row in rows(7))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    size = 16 - tokenizer.num_special_tokens_to_add()
    pieces = [ids[start : start + size] for start in range(0, len(ids) - 4, size - 4)]
    assert len(pieces) > 3
    before, after = {"bert": ([2], [3]), "gpt2": ([], []), "t5": ([], [1])}[family]
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([[*before, *piece, *after]])).logits[0] for piece in pieces]
    wanted = torch.softmax(torch.stack(logits).mean(dim=0), dim=0).tolist()
    found = nlptk.pipeline(folder)(text)
    assert list(found["scores"].values()) == pytest.approx(wanted, abs=1e-5)
    assert found["truncated"] is False


def test_a_megabyte_is_cut_and_says_so(artifact: Path) -> None:
    found = nlptk.pipeline(artifact)([MEGABYTE, "order came late"])
    assert [row["truncated"] for row in found] == [True, False]
    assert np.isfinite(found[0]["score"])


@pytest.mark.slow
def test_a_megabyte_goes_through_windows_whole(windowed: dict[str, Path]) -> None:
    found = nlptk.pipeline(windowed["bert"])(MEGABYTE)
    assert found["truncated"] is False
    assert sum(found["scores"].values()) == pytest.approx(1.0)


def test_the_tail_of_a_cut_text_does_not_count_and_its_head_does(artifact: Path) -> None:
    classify = nlptk.pipeline(artifact)
    long = "order came late " * 200
    assert classify(long + "please")["scores"] == classify(long + "refund twice")["scores"]
    assert classify("please " + long)["scores"] != classify("refund " + long)["scores"]


def test_a_tuple_is_a_pair(pairs: Path) -> None:
    classify = nlptk.pipeline(pairs)
    assert classify([("late parcel", "broken card")]) == [classify({"text": "late parcel", "text_pair": "broken card"})]


def test_a_tuple_of_texts_by_itself_is_one_row_to_a_model_of_pairs(pairs: Path) -> None:
    classify = nlptk.pipeline(pairs)
    assert classify(("late parcel", "broken card")) == classify({"text": "late parcel", "text_pair": "broken card"})


def test_a_tuple_of_too_many_texts_is_refused_by_a_model_of_pairs(pairs: Path) -> None:
    with pytest.raises(DataError, match="row 0: expected a text or a mapping of text, text_pair, got tuple"):
        nlptk.pipeline(pairs)(("late parcel", "broken card", "refund"))


def test_a_model_of_pairs_refuses_a_single_text(pairs: Path) -> None:
    with pytest.raises(DataError, match="trained on text, text_pair"):
        nlptk.pipeline(pairs)("late parcel")


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_batch_size_that_is_none_is_refused(artifact: Path, size: Any) -> None:
    with pytest.raises(DataError, match=r"batch_size: .*; give the rows of a forward pass, 1 or more"):
        nlptk.pipeline(artifact, batch_size=size)


def test_a_missing_value_of_a_table_is_a_missing_role(artifact: Path) -> None:
    classify = nlptk.pipeline(artifact)
    assert classify({"text": "order 1 came late", "text_pair": float("nan")}) == classify("order 1 came late")
