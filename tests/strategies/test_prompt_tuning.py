"""Virtual tokens: where the tokenizer puts them, that they survive, and that only their rows train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, processors
from transformers import (
    AutoTokenizer,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaTokenizer,
    T5Tokenizer,
)

from nlptk.errors import UnsupportedError
from nlptk.strategies.layer_map import unwrap
from nlptk.strategies.prompt_tokens import insert_prompt, prompt_token_ids, with_prompt_tokens
from nlptk.strategies.prompt_tuning import PromptTuning, PromptTuningOptions
from tests.strategies.families import VOCABULARY, batch, build, minilm, tokenizer


def roberta() -> PreTrainedTokenizerBase:
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "\u0120": 7}
    return RobertaTokenizer(vocab=vocabulary, merges=[])


def gpt2() -> PreTrainedTokenizerBase:
    return GPT2Tokenizer(vocab={"<|endoftext|>": 0, "a": 1, "b": 2, "\u0120": 3}, merges=[])


def t5() -> PreTrainedTokenizerBase:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("\u2581", -1.0)]
    return T5Tokenizer(vocab=pieces)


def bert() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(minilm())
    return found


def post_processed(processor: Any) -> PreTrainedTokenizerBase:
    made = tokenizer()
    made.backend_tokenizer.post_processor = processor
    return made


KINDS: dict[str, Any] = {
    "BertTokenizer": bert,
    "RobertaTokenizer": roberta,
    "GPT2Tokenizer": gpt2,
    "T5Tokenizer": t5,
    "none": lambda: post_processed(None),
    "BertProcessing": lambda: post_processed(processors.BertProcessing(("</s>", 2), ("[CLS]", 0))),
    "RobertaProcessing": lambda: post_processed(processors.RobertaProcessing(("</s>", 2), ("[CLS]", 0))),
    "Sequence": lambda: post_processed(
        processors.Sequence(
            [
                processors.ByteLevel(),
                processors.TemplateProcessing(single="[CLS] $A", pair="[CLS] $A $B:1", special_tokens=[("[CLS]", 0)]),
            ]
        )
    ),
}


def texts(kind: str) -> tuple[str, str]:
    return ("a b", "b") if kind.endswith("Tokenizer") else ("w1 w2", "w3")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [False, True])
def test_without_the_virtual_tokens_an_encoding_is_as_before(kind: str, pair: bool) -> None:
    plain = KINDS[kind]()
    prompted = with_prompt_tokens(plain, 3)
    ids = prompt_token_ids(prompted)
    arguments = texts(kind) if pair else texts(kind)[:1]
    before = plain(*arguments, return_offsets_mapping=True, return_special_tokens_mask=True)
    after = prompted(*arguments, return_offsets_mapping=True, return_special_tokens_mask=True)
    assert after.keys() == before.keys()
    positions = [i for i, token in enumerate(after["input_ids"]) if token in ids]
    assert [after["input_ids"][i] for i in positions] == ids
    for key in before:
        assert [value for i, value in enumerate(after[key]) if i not in positions] == before[key], key


@pytest.mark.parametrize("kind", KINDS)
def test_virtual_tokens_stand_right_before_the_first_text(kind: str) -> None:
    prompted = with_prompt_tokens(KINDS[kind](), 3)
    encoded = prompted(*texts(kind))
    first_word = encoded.sequence_ids().index(0)
    assert encoded["input_ids"][first_word - 3 : first_word] == prompt_token_ids(prompted)
    assert encoded.word_ids()[first_word - 3 : first_word] == [None] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_virtual_tokens_count_in_truncation(kind: str) -> None:
    plain = KINDS[kind]()
    before = plain.num_special_tokens_to_add(pair=False)
    prompted = with_prompt_tokens(plain, 3)
    assert prompted.num_special_tokens_to_add(pair=False) == before + 3
    encoded = prompted(" ".join([texts(kind)[0]] * 40), truncation=True, max_length=16)
    assert len(encoded["input_ids"]) == 16
    assert set(prompt_token_ids(prompted)) < set(encoded["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
def test_virtual_tokens_survive_saving_beside_a_model(kind: str, tmp_path: Path) -> None:
    prompted = with_prompt_tokens(KINDS[kind](), 3)
    if kind == "BertTokenizer":  # AutoTokenizer also looks at the model's configuration
        build("bert").save_pretrained(tmp_path)
    prompted.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert dict(again(*texts(kind))) == dict(prompted(*texts(kind)))
    assert prompt_token_ids(again) == prompt_token_ids(prompted)


def test_the_given_tokenizer_is_left_alone() -> None:
    plain = tokenizer()
    before = plain("w1")["input_ids"]
    with_prompt_tokens(plain, 3)
    assert plain("w1")["input_ids"] == before
    assert len(plain) == VOCABULARY


def test_special_tokens_and_lengths_are_kept() -> None:
    plain = bert()
    prompted = with_prompt_tokens(plain, 2)
    assert prompted.special_tokens_map == plain.special_tokens_map
    assert prompted.model_max_length == plain.model_max_length
    assert prompted.model_input_names == plain.model_input_names


def test_decoding_skips_the_virtual_tokens() -> None:
    prompted = with_prompt_tokens(bert(), 3)
    assert prompted.decode(prompted("hello world")["input_ids"], skip_special_tokens=True) == "hello world"


def test_a_second_call_changes_nothing_and_another_count_is_refused() -> None:
    prompted = with_prompt_tokens(tokenizer(), 3)
    assert with_prompt_tokens(prompted, 3) is prompted
    with pytest.raises(UnsupportedError, match="already has 3 virtual tokens"):
        with_prompt_tokens(prompted, 4)


def test_preparing_without_virtual_tokens_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="call prepare_tokenizer"):
        PromptTuning(PromptTuningOptions()).prepare(build("bert"), tokenizer())


def test_an_unknown_post_processor_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="of the kind Future"):
        insert_prompt({"type": "Future"}, {"p": 1})


def embedding_matrix(model: PreTrainedModel) -> torch.Tensor:
    embeddings: Any = model.get_input_embeddings()
    matrix: torch.Tensor = embeddings.weight.detach()
    return matrix


@pytest.mark.parametrize("family", ["bert", "t5", "gpt2"])
def test_a_step_moves_the_virtual_rows_and_no_other(family: str) -> None:
    strategy = PromptTuning(PromptTuningOptions(tokens=4))
    tok = strategy.prepare_tokenizer(tokenizer())
    model = strategy.prepare(build(family), tok)
    inner: Any = unwrap(model)[0]
    before = inner.get_input_embeddings().original_module.weight.detach().clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()(**batch(tok)).logits.square().sum().backward()
    optimizer.step()
    after = embedding_matrix(strategy.merge(model))
    moved = (after != before).any(dim=1).nonzero().flatten().tolist()
    assert moved == prompt_token_ids(tok)


def test_virtual_tokens_start_from_rows_of_the_vocabulary() -> None:
    strategy = PromptTuning(PromptTuningOptions(tokens=4))
    tok = strategy.prepare_tokenizer(tokenizer())
    vocabulary = embedding_matrix(build("bert"))
    model = strategy.prepare(build("bert"), tok)
    started = embedding_matrix(strategy.merge(model))[VOCABULARY:]
    assert all((row == vocabulary).all(dim=1).any() for row in started)


def test_spare_rows_of_the_embedding_matrix_are_used_before_it_grows() -> None:
    strategy = PromptTuning(PromptTuningOptions(tokens=4))
    tok = strategy.prepare_tokenizer(tokenizer())
    model = build("t5")
    model.resize_token_embeddings(VOCABULARY + 8)
    merged = strategy.merge(strategy.prepare(model, tok))
    assert merged.config.vocab_size == VOCABULARY + 8


def test_other_added_tokens_are_kept() -> None:
    plain = tokenizer()
    plain.add_tokens([AddedToken("<url>")])
    prompted = with_prompt_tokens(plain, 2)
    assert prompted("<url>")["input_ids"][3] == VOCABULARY


@pytest.mark.parametrize("form", ["gpt2-text", "t5-text"])
def test_virtual_tokens_are_never_written(form: str) -> None:
    strategy = PromptTuning(PromptTuningOptions(tokens=2))
    tok = strategy.prepare_tokenizer(tokenizer())
    model: Any = strategy.merge(strategy.prepare(build(form), tok))
    inputs = {"input_ids": torch.tensor([[3, 4]]), "max_new_tokens": 1, "do_sample": False}
    first = model.generate(**inputs, output_logits=True, return_dict_in_generate=True)
    written = int(first.sequences[0, -1])
    embeddings = model.get_output_embeddings().weight.data
    embeddings[prompt_token_ids(tok)[0]] = 2 * embeddings[written]  # twice the best logit, if that is above 0
    assert first.logits[0].max() > 0
    assert model.generate(**inputs, suppress_tokens=[])[0, -1] == prompt_token_ids(tok)[0]
    assert model.generate(**inputs)[0, -1] == written
