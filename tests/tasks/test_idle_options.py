"""Options that the form of a checkpoint, or the method, never reads are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nlptk import registry
from nlptk.errors import RecipeError
from tests.tiny_models import write_checkpoint
from tests.writers import loaded


@pytest.mark.parametrize("name", ["summarization", "translation"])
@pytest.mark.parametrize(
    ("family", "option", "cure"), [("gpt2", "prefix", r"task\.prompt"), ("t5", "prompt", r"task\.prefix")]
)
def test_a_prefix_of_a_decoder_and_a_prompt_of_an_encoder_decoder_are_refused(
    name: str, family: str, option: str, cure: str, tmp_path: Path
) -> None:
    cls: Any = registry.get_task(name)
    place = "{document}" if name == "summarization" else "{source}"
    task = cls(cls.Options.model_validate({option: f"say {place}"}))
    with pytest.raises(RecipeError, match=rf"task\.{option}: without effect .*give {cure}"):
        loaded(task, write_checkpoint(family, tmp_path / family))


@pytest.mark.parametrize("option", ["n_best", "max_answer_length"])
def test_options_of_extraction_are_refused_where_answers_are_written(option: str) -> None:
    options: Any = registry.get_task("qa").Options
    assert options.model_validate(options(method="generative").model_dump())  # as an artifact has them
    with pytest.raises(ValidationError, match="without effect with method=generative"):
        options.model_validate({"method": "generative", option: 5})
