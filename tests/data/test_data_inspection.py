"""`inspect_data` shows what is there and refuses nothing that a look should show."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nlptk.data import inspect_data, load_splits
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word, no special tokens."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made: PreTrainedTokenizerFast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return made


@pytest.fixture
def messy(write: Write) -> DataSettings:
    """A bad row, a leaked text, an unseen label, a conflict; texts of 1, 2, ... words."""
    lines = [f"{' '.join(['word'] * n)} {n},{'ab'[n % 2]}" for n in range(10)]
    train = write("train.csv", "text,label\n" + "\n".join(lines) + "\n,a\nWORD 1!,a\n")
    dev = write("dev.csv", "text,label\nword 1,b\nfresh,unheard\nnew,a\n")
    return DataSettings.model_validate({"train": str(train), "validation": str(dev)})


def test_what_training_refuses_is_reported_instead(messy: DataSettings, columns: tuple[Column, ...]) -> None:
    with pytest.raises(DataError):
        load_splits(messy, columns, seed=0)
    report = inspect_data(messy, columns, seed=0)["report"]
    assert report["rows"] == {"train": 11, "validation": 2}
    assert [(item["reason"], item["count"]) for item in report["dropped"]] == [
        ("bad row", 1),
        ("label not in training", 1),
    ]
    assert report["unseen_labels"][0]["label"] == "unheard"
    assert report["duplicates"]["between"]["validation/train"]["count"] == 1
    assert report["conflicts"]["count"] == 1


def test_lengths_are_quantiles_of_characters_words_and_tokens(
    messy: DataSettings, columns: tuple[Column, ...], tokenizer: Any
) -> None:
    lengths = inspect_data(messy, columns, seed=0, tokenizer=tokenizer)["lengths"]["train"]["text"]
    # words of the eleven texts: 1, 2, ..., 10, and 2
    assert lengths["words"] == {**lengths["words"], "min": 1, "p50": 5, "max": 10}
    assert lengths["tokens"] == lengths["words"]
    assert lengths["characters"]["max"] == len("word " * 9 + "9")


def test_truncation_counts_rows_and_tokens_over_the_limit(
    messy: DataSettings, columns: tuple[Column, ...], tokenizer: Any
) -> None:
    found = inspect_data(messy, columns, seed=0, tokenizer=tokenizer, max_length=8)
    assert found["truncation"]["train"] == {"8": {"rows": 2, "tokens": 3}}
    assert list(inspect_data(messy, columns, seed=0, tokenizer=tokenizer)["truncation"]["train"]) == [
        "128",
        "256",
        "512",
    ]


def test_the_result_is_json_and_names_all_columns_with_a_guess(write: Write, columns: tuple[Column, ...]) -> None:
    lines = "".join(f"some text {i},{'ab'[i % 2]},{i},{i / 2},\n" for i in range(20))
    path = write("a.csv", "text,label,id,score,comment\n" + lines)
    found = inspect_data(DataSettings.model_validate({"train": str(path)}), columns, seed=0)
    assert json.loads(json.dumps(found))["columns"] == {
        "text": "text",
        "label": "text, 2 distinct",
        "id": "whole number",
        "score": "number",
        "comment": "empty",
    }


def test_imbalance_is_the_commonest_over_the_rarest_label(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("a.csv", "text,label\n" + "".join(f"text {i},{'ab'[i % 4 == 0]}\n" for i in range(40)))
    settings = DataSettings.model_validate({"train": str(path), "validation": "none"})
    assert inspect_data(settings, columns, seed=0)["imbalance"] == {"train": 3.0}


def test_a_single_label_can_be_looked_at(write: Write, columns: tuple[Column, ...]) -> None:
    settings = DataSettings.model_validate({"train": str(write("a.csv", "text,label\none,a\ntwo,a\nthree,a\n"))})
    assert inspect_data(settings, columns, seed=0)["labels"]["names"] == ["a"]


def test_a_split_with_no_usable_row_can_be_looked_at_and_is_refused_for_training(
    write: Write, columns: tuple[Column, ...]
) -> None:
    train = write("train.csv", "text,label\none,a\ntwo,b\n")
    dev = write("dev.csv", "text,label\nthree,c\n")
    given = {"train": str(train), "validation": str(dev), "unseen_labels": "drop"}
    settings = DataSettings.model_validate(given)
    assert inspect_data(settings, columns, seed=0)["report"]["rows"] == {"train": 2}
    with pytest.raises(DataError, match=r"no validation row is left; dropped: .'label not in training': 1"):
        load_splits(settings, columns, seed=0)
