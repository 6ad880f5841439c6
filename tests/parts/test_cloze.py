"""The tokens of a filled template are those of the whole text; its answer's place and words likewise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from nlptk.parts.cloze import cloze_ids, word_ids
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
