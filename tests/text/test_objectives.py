"""What is hidden and predicted, against the papers' figures and transformers' own losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerBase

from nlptk.checkpoints import quiet
from nlptk.errors import UnsupportedError
from nlptk.text.objectives import MaskedWords, auto_class_of, make_objective
from nlptk.text.recipe import Family, ObjectiveSettings
from nlptk.text.tokenizer_training import train_tokenizer
from tests.text.samples import SHAPES, document

LENGTH = 64
AUTO = {"bert": "AutoModelForMaskedLM", "gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}


def tokenizer_of(family: Family) -> PreTrainedTokenizerBase:
    texts = [document(seed) for seed in range(20)]
    return train_tokenizer(lambda: iter(texts), family=family, vocab_size=400).tokenizer


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerBase]:
    return {family: tokenizer_of(family) for family in ("bert", "gpt2", "t5")}


def objective_of(family: str, tokenizers: dict[str, PreTrainedTokenizerBase], length: int = LENGTH) -> Any:
    return make_objective(AUTO[family], tokenizers[family], ObjectiveSettings(), length)


def test_of_the_chosen_words_80_percent_are_masked_10_random_10_kept(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    tokenizer = tokenizers["bert"]
    objective = objective_of("bert", tokenizers)
    rng = np.random.default_rng(0)
    masked = kept = chosen = 0
    for _ in range(600):
        ids = rng.integers(10, 200, size=objective.window)
        example = objective.example(ids, rng)
        inputs, places = example["input_ids"], example["positions"]
        assert (len(inputs), inputs[0], inputs[-1]) == (LENGTH, tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert (example["labels"] == ids[places - 1]).all()
        untouched = np.setdiff1d(np.arange(1, LENGTH - 1), places)
        assert (inputs[untouched] == ids[untouched - 1]).all()
        masked += (inputs[places] == tokenizer.mask_token_id).sum()
        kept += (inputs[places] == example["labels"]).sum()
        chosen += len(places)
    assert chosen == 600 * round(0.15 * (LENGTH - 2))
    assert masked / chosen == pytest.approx(0.8, abs=0.02)
    assert kept / chosen == pytest.approx(0.1, abs=0.02)


def test_separators_are_not_masked(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    objective = objective_of("bert", tokenizers)
    ids = np.full(objective.window, 20)
    ids[::2] = tokenizers["bert"].sep_token_id
    for seed in range(50):
        assert (objective.example(ids, np.random.default_rng(seed))["labels"] == 20).all()


@pytest.mark.parametrize("form", ["bert", "modernbert", "roberta", "distilbert", "electra", "albert"])
def test_the_head_sees_the_chosen_tokens_alone_and_says_the_same(
    tokenizers: dict[str, PreTrainedTokenizerBase], form: str
) -> None:
    tokenizer = tokenizers["bert"]
    objective = MaskedWords(tokenizer, ObjectiveSettings(), LENGTH)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    other = {
        "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
        "electra": {**small, "embedding_size": 16},
        "albert": {**small, "embedding_size": 16},
    }
    shape = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **other.get(form, small)}
    with quiet():
        model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(form, **shape)).eval()  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(0)
    made = [objective.example(rng.integers(10, 200, size=objective.window), rng) for _ in range(3)]
    batch = {key: torch.from_numpy(np.stack([example[key] for example in made])) for key in made[0]}
    with torch.no_grad():
        whole = model(input_ids=batch["input_ids"]).logits
        found = objective.logits(model, batch)
        again = model(input_ids=batch["input_ids"]).logits
    wanted = torch.stack([row[places] for row, places in zip(whole, batch["positions"], strict=True)])
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(again, whole)  # nothing of it stays in the model


def test_every_token_is_predicted_once_from_those_before_it(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    objective = objective_of("gpt2", tokenizers, length=10)
    text = np.arange(100, 131)
    rng = np.random.default_rng(0)
    firsts = range(0, len(text) - objective.window + 1, objective.stride)
    made = [objective.example(text[first : first + objective.window], rng) for first in firsts]
    assert np.concatenate([example["labels"] for example in made]).tolist() == text[1:].tolist()
    assert all((example["labels"] - example["input_ids"] == 1).all() for example in made)


def test_spans_are_shifted_as_transformers_does(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    tokenizer = tokenizers["t5"]
    objective = objective_of("t5", tokenizers)
    shape = {**SHAPES["t5"], "vocab_size": len(tokenizer), "decoder_start_token_id": tokenizer.pad_token_id}
    with quiet():
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **shape)).eval()  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(0)
    example = objective.example(rng.integers(10, 100, size=objective.window), rng)
    assert len(example["input_ids"]) <= LENGTH
    batch = {key: torch.from_numpy(values)[None] for key, values in example.items()}
    with torch.no_grad():
        theirs = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        ours = torch.nn.functional.cross_entropy(objective.logits(model, batch)[0], batch["labels"][0])
    torch.testing.assert_close(ours, theirs)


def test_what_an_objective_lacks_is_said(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    with pytest.raises(UnsupportedError, match=r"tokenizer: no cls_token"):
        make_objective("AutoModelForMaskedLM", tokenizers["t5"], ObjectiveSettings(), 32)
    with pytest.raises(UnsupportedError, match=r"no <extra_id_100>.* needs 102 sentinels"):
        make_objective("AutoModelForSeq2SeqLM", tokenizers["t5"], ObjectiveSettings(), 1840)


@pytest.mark.parametrize(
    ("form", "cls"),
    [
        ("bert", "AutoModelForMaskedLM"),
        ("roberta", "AutoModelForMaskedLM"),
        ("gpt2", "AutoModelForCausalLM"),
        ("llama", "AutoModelForCausalLM"),
        ("t5", "AutoModelForSeq2SeqLM"),
    ],
)
def test_an_architecture_has_its_own_objective(form: str, cls: str) -> None:
    assert auto_class_of(AutoConfig.for_model(form)) == cls


def test_an_architecture_without_one_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="for the vit architecture"):
        auto_class_of(AutoConfig.for_model("vit"))
