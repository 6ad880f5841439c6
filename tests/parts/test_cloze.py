"""The tokens of a filled template are those of the whole text; its answer's place and words likewise."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from nlptk.errors import UnsupportedError
from nlptk.parts.cloze import check_output_layer, cloze_ids, word_ids
from tests.tiny_models import write_checkpoint

TEXTS = ["late order", "my parcel came broken"]
TEMPLATES = ["{text} it is {mask}", "order : {text} it is {mask}"]


def _tokenizer(family: str, folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(write_checkpoint(family, folder / family))


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_decoder_reads_the_text_up_to_the_space_before_the_answer(template: str, tmp_path: Path) -> None:
    tokenizer = _tokenizer("gpt2", tmp_path)
    found = cloze_ids(tokenizer, template, TEXTS, mask=None, max_length=100)
    for text, row in zip(TEXTS, found, strict=True):
        whole = template.format(text=text, mask="refund")
        assert row.ids + word_ids(tokenizer, ["refund"])[0] == tokenizer(whole)["input_ids"]
        assert row.position == len(row.ids) - 1


@pytest.mark.parametrize("template", [*TEMPLATES, "{mask} : {text}", "it is {mask} , {text} .", "{text} ( {mask} ) ."])
@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_an_encoder_reads_the_whole_text_with_its_mask(family: str, template: str, tmp_path: Path) -> None:
    tokenizer = _tokenizer({"roberta": "gpt2"}.get(family, family), tmp_path)
    mask = {"roberta": "<mask>", "t5": "<extra_id_0>"}.get(family, "[MASK]")
    if family != "bert":  # RoBERTa's takes the space before it, as T5's sentinels do not
        tokenizer.add_tokens([AddedToken(mask, lstrip=family == "roberta", special=True)], special_tokens=True)
    place = tokenizer.convert_tokens_to_ids(mask)
    for text, row in zip(TEXTS, cloze_ids(tokenizer, template, TEXTS, mask=place, max_length=100), strict=True):
        assert row.ids == tokenizer(template.format(text=text, mask=mask))["input_ids"]
        assert row.ids[row.position] == place


SMALL = {
    "vocab_size": 90,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "initializer_range": 0.5,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize(
    ("auto", "kind", "more", "alone"),
    [
        (AutoModelForMaskedLM, "bert", {}, True),
        (AutoModelForMaskedLM, "modernbert", {}, True),
        (AutoModelForMaskedLM, "deberta-v2", {"legacy": False}, False),
        (AutoModelForCausalLM, "llama", {}, True),
        (AutoModelForCausalLM, "granite", {"logits_scaling": 8.0}, False),
        (AutoModelForCausalLM, "cohere", {}, False),
        (AutoModelForSeq2SeqLM, "t5", {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}, True),
    ],
)
def test_logits_that_the_output_layer_does_not_make_alone_are_refused(
    auto: Any, kind: str, more: dict[str, Any], alone: bool
) -> None:
    torch.manual_seed(0)
    model = auto.from_config(AutoConfig.for_model(kind, **{**SMALL, **more}))
    with nullcontext() if alone else pytest.raises(UnsupportedError, match="changes its logits behind the output"):
        check_output_layer(model)
    assert model.training
