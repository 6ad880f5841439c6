"""The pretrained checkpoints that come with the package: whole, small, described, and better than at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

import nlptk
from nlptk import artifact
from nlptk.named_checkpoints import FOLDER, resolve_checkpoint
from nlptk.text.recipe import resolve_recipe
from tests.text.samples import EXAMPLES, MOST_BYTES

SHIPPED = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_whole_small_and_described(name: str) -> None:
    folder, manifest = artifact.load_manifest(resolve_checkpoint(f"nlptk/{name}"))
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES
    assert sorted(path.name for path in folder.iterdir()) == sorted([*manifest.files, artifact.MANIFEST])
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "CC BY 2.5" in card, "the text's licence asks for its name"
    measured = manifest.metrics
    assert measured["trained"]["loss"] < measured["unigram baseline"]["loss"] < measured["start"]["loss"]


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_what_the_example_recipe_makes(name: str) -> None:
    recipe = resolve_recipe(EXAMPLES / f"pretrain_{name.replace('-', '_')}.yaml").model_dump(mode="json")
    made = artifact.load_manifest(FOLDER / name)[1].recipe
    assert made == recipe


def test_tiny_gpt_expects_english_better_than_its_form_at_random() -> None:
    folder = resolve_checkpoint("nlptk/tiny-gpt")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    text = "The old man looked at the sea for a long time, and then he turned and went back to the house."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0], skip_special_tokens=True).strip() == text
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    models = auto.from_pretrained(folder), auto.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        trained, random = (float(model.eval()(input_ids=ids, labels=ids).loss) for model in models)
    assert trained < random - 2


def test_tiny_bert_fills_a_mask_better_than_its_form_at_random() -> None:
    folder = resolve_checkpoint("nlptk/tiny-bert")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    text = "The old man looked at the sea for a long [MASK], and then he went back to the house."
    given = tokenizer(text, return_tensors="pt")
    (place,) = (given["input_ids"][0] == tokenizer.mask_token_id).nonzero().tolist()
    torch.manual_seed(0)
    auto: Any = AutoModelForMaskedLM
    models = auto.from_pretrained(folder), auto.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        said = [model.eval()(**given).logits[0, place[0]].log_softmax(dim=0) for model in models]
    time = tokenizer.convert_tokens_to_ids("time")
    assert said[0][time] > said[1][time] + 2
    assert tokenizer.unk_token_id not in tokenizer("The sea, at night; 1912!")["input_ids"]


def test_tiny_t5_fills_a_gap_better_than_its_form_at_random() -> None:
    folder = resolve_checkpoint("nlptk/tiny-t5")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    given = tokenizer("The old man looked at the sea for a long time, and then <extra_id_0>", return_tensors="pt")
    missing = tokenizer("<extra_id_0> he turned and went back to the house.", return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    auto: Any = AutoModelForSeq2SeqLM
    models = auto.from_pretrained(folder), auto.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        trained, random = (float(model.eval()(**given, labels=missing).loss) for model in models)
    assert trained < random - 2


def test_it_is_fine_tuned_by_its_name(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    words = [("good fine warm", "pos"), ("bad cold sad", "neg")]
    rows.write_text(
        "text,label\n"
        + "".join(f"{w} day number {n},{y}\n" for n in range(12) for line, y in words for w in line.split())
    )
    result = nlptk.train(
        task="classification",
        model="nlptk/tiny-gpt",
        data={"train": str(rows), "validation": 0.2, "test": "none", "duplicates": "keep"},
        training={"max_steps": 2, "disable_tqdm": True, "use_cpu": True},
        bootstrap=0,
        output=tmp_path / "run",
    )
    assert nlptk.pipeline(result.artifact)("a fine day")["label"] in {"pos", "neg"}
