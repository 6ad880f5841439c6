"""The restored generating pipelines: against `generate` itself, and how they stand in transformers' registry."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import get_default_model_and_revision

import nlptk.pipelines.restored  # noqa: F401  # registers the pipelines
from nlptk.errors import DataError, UnsupportedError
from nlptk.pipelines.restored.text_tasks import language_pair
from tests.pipelines.parity.checkpoints import SPECIFIC, write_m2m, write_reader, write_writer
from tests.tiny_models import write_checkpoint

TEXT = "my parcel came late and broken"
NAMES = {"text2text-generation": "generated", "summarization": "summary", "translation_en_to_fr": "translation"}
TASKS = tuple(NAMES)
pipeline: Any = transformers.pipeline  # its types do not know the restored tasks


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writers")
    body = write_checkpoint("t5", folder / "body")
    write_writer(body, folder / "t5")
    write_writer(body, folder / "t5-specific", config={"task_specific_params": SPECIFIC})
    return folder


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("how", [{"num_beams": 1}, {"num_beams": 3, "min_length": 9}])
def test_token_ids_are_those_of_generate(root: Path, task: str, how: dict[str, int]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(root / "t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(root / "t5")
    expected = model.generate(**tokenizer(TEXT, return_tensors="pt"), max_new_tokens=12, **how)[0]
    (found,) = pipeline(task, model=str(root / "t5"), device="cpu")(TEXT, max_new_tokens=12, return_tensors=True, **how)
    ((key, ids),) = found.items()
    assert key == f"{NAMES[task]}_token_ids"
    assert torch.equal(ids, expected)


@pytest.mark.parametrize("task", ["summarization", "translation_en_to_fr"])
def test_prefix_and_settings_come_from_task_specific_params(root: Path, task: str) -> None:
    made = pipeline(task, model=str(root / "t5-specific"), device="cpu")
    specific = SPECIFIC[task]
    ids = made.preprocess(TEXT)["input_ids"][0].tolist()
    assert ids == made.tokenizer(specific["prefix"] + TEXT)["input_ids"]
    assert made.generation_config.num_beams == specific["num_beams"]
    again = pipeline(task, model=made.model, tokenizer=made.tokenizer, device="cpu")
    assert again.prefix == specific["prefix"]  # 4.57 takes it out of the model's config when first read


def test_an_unnamed_pair_is_the_one_that_the_config_knows(root: Path) -> None:
    with pytest.warns(UserWarning, match="taken for 'translation_en_to_fr'"):
        made = pipeline("translation", model=str(root / "t5-specific"), device="cpu")
    assert made.prefix == "translate English to French: "


def test_languages_reach_the_tokenizer_and_the_first_token(tmp_path: Path) -> None:
    write_m2m(tmp_path / "m2m")
    made = pipeline("translation_en_to_fr", model=str(tmp_path / "m2m"), device="cpu", max_new_tokens=4)
    for pair, more in ((("en", "fr"), {}), (("de", "es"), {"src_lang": "de", "tgt_lang": "es"})):
        source, target = map(made.tokenizer.get_lang_id, pair)
        assert made.preprocess(TEXT, src_lang=pair[0], tgt_lang=pair[1])["input_ids"][0, 0] == source
        (found,) = made(TEXT, return_tensors=True, **more)
        assert found["translation_token_ids"][1] == target


def test_a_nested_list_warns_that_it_answers_the_first_text_alone(root: Path) -> None:
    made = pipeline("text2text-generation", model=str(root / "t5"), device="cpu", max_new_tokens=5)
    with pytest.warns(UserWarning, match="only the first of its 2 texts"):
        ((found,),) = made([[TEXT, "thank you"]])
    assert found == made(TEXT)[0]


@pytest.mark.parametrize(
    ("task", "lengths", "message"),
    [
        ("summarization", (30, 9, 5), "min_length 9 is above max_length 5"),
        ("summarization", (30, 0, 200), "consider max_length=15"),
        ("summarization", (30, 3, 20), None),
        ("translation", (30, 0, 30), "may be cut; consider max_length=60"),
        ("translation", (18, 0, 20), None),
    ],
)
def test_lengths_that_do_not_go_together_are_warned_of(
    root: Path, caplog: pytest.LogCaptureFixture, task: str, lengths: tuple[int, int, int], message: str | None
) -> None:
    made = pipeline(task, model=str(root / "t5"), device="cpu")
    with caplog.at_level(logging.WARNING, logger="nlptk"):
        assert made.check_inputs(*lengths)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (message is not None)
    assert all(message in line for line in said if message)


@pytest.mark.parametrize("given", [None, 3, (TEXT, TEXT), {"text": TEXT}, [3], [[]], [[["x"]]]])
def test_what_is_no_text_is_refused(root: Path, given: Any) -> None:
    made = pipeline("text2text-generation", model=str(root / "t5"), device="cpu")
    with pytest.raises(DataError, match=r"text2text-generation: .*(expected a text|is empty)"):
        made(given)


def test_a_model_that_does_not_generate_is_refused(tmp_path: Path) -> None:
    write_reader(write_checkpoint("bert", tmp_path / "body"), tmp_path / "reader")
    with pytest.raises(UnsupportedError, match="summarization: BertForQuestionAnswering does not generate text"):
        pipeline("summarization", model=str(tmp_path / "reader"), device="cpu")


@pytest.mark.parametrize(
    ("task", "pair"),
    [
        ("translation_en_to_fr", ("en", "fr")),
        ("translation_zh-Hans_to_en", ("zh-Hans", "en")),
        ("translation", None),
        ("translation_en", None),
        ("translation_en_to_fr_x", None),
    ],
)
def test_a_tasks_name_gives_its_languages(task: str, pair: tuple[str, str] | None) -> None:
    assert language_pair(task) == pair


@pytest.mark.parametrize("task", ["question-answering", *TASKS, "translation"])
def test_the_registry_knows_the_task_and_its_default_model(task: str) -> None:
    _, entry, options = PIPELINE_REGISTRY.check_task(task)
    assert entry["impl"].__module__.startswith("nlptk.")
    assert options == language_pair(task)
    if task != "translation":  # which has none without a pair, as in 4.57
        name, revision = get_default_model_and_revision(entry, options)
        assert "/" in name
        assert len(revision) == 7


def test_a_task_that_no_version_knows_is_still_a_key_error() -> None:
    with pytest.raises(KeyError, match="expected 'translation_XX_to_YY'"):
        PIPELINE_REGISTRY.check_task("translation_en")
    with pytest.raises(KeyError, match="Unknown task summarize"):
        PIPELINE_REGISTRY.check_task("summarize")


def test_a_saved_pipeline_is_a_plain_folder(root: Path, tmp_path: Path) -> None:
    made = pipeline("summarization", model=str(root / "t5"), device="cpu", max_new_tokens=4)
    made.save_pretrained(tmp_path)
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert list(tmp_path.glob("*.py")) == []
    assert pipeline("summarization", model=str(tmp_path), device="cpu", max_new_tokens=4)(TEXT) == made(TEXT)
