"""The pretraining recipe: strict, overridable, and the examples within their bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nlptk import pretrain
from nlptk.errors import ArtifactError, RecipeError
from nlptk.named_checkpoints import FOLDER, NAMES, resolve_checkpoint
from nlptk.text.recipe import resolve_recipe
from nlptk.text.sizes import make_config
from nlptk.text.tokenizer_training import train_tokenizer
from tests.text.samples import EXAMPLES, MOST_BYTES, document


def test_strings_stand_for_the_usual_key() -> None:
    recipe = resolve_recipe(data="a.txt", model="runs/bert", tokenizer="runs/tokenizer", optimizer="adafactor")
    assert recipe.data.train == "a.txt"
    assert recipe.model.checkpoint == "runs/bert"
    assert recipe.tokenizer.path == "runs/tokenizer"
    assert recipe.optimizer == {"name": "adafactor"}


@pytest.mark.parametrize("said", [{"overrides": ["data.train=mine.txt"]}, {"data": "mine.txt"}])
def test_a_card_does_not_speak_of_text_that_was_laid_over_its_own(said: dict[str, Any]) -> None:
    source = EXAMPLES / "pretrain_tiny_bert.yaml"
    with pytest.raises(RecipeError, match=r"card: it speaks of .*novels.*data\.train was replaced; .*card=\{\}"):
        resolve_recipe(source, **said)
    words = said.get("overrides", [])
    assert resolve_recipe(source, **{**said, "overrides": [*words, "card={}"]}).card.license is None
    own = [*words, "card.license=mit", "card.data=My letters."]
    assert resolve_recipe(source, **{**said, "overrides": own}).card.license == "mit"
    same = resolve_recipe(source).data.train
    assert resolve_recipe(source, data={"train": same, "column": "document"}).card.license == "apache-2.0"


def test_overrides_lie_over_keys_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: a.txt\nmodel: {family: bert}\nblock_length: 64\nseed: 1\n")
    words = ["data.held_out=0.1", "block_length=32", "training.learning_rate=1e-3"]
    recipe = resolve_recipe(tmp_path / "r.yaml", overrides=words, block_length=128)
    assert (recipe.data.train, recipe.data.held_out, recipe.block_length, recipe.seed) == ("a.txt", 0.1, 32, 1)
    assert recipe.training == {"learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.colum=body"], r"data\.colum: unknown key; did you mean 'column'\?"),
        (["model.family=brt"], r"model\.family: .*'bert'.* got 'brt'"),
        (["block_lenght=3"], r"block_lenght: unknown key; did you mean 'block_length'\?"),
        (["objective.noise=1.5"], r"objective\.noise: .*less than 1"),
        (["model.checkpoint=x"], r"model: .*checkpoint says family already; leave family out"),
        (["data.held_out=0"], r"data\.held_out"),
    ],
)
def test_a_wrong_key_or_value_is_named(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve_recipe(data="a.txt", model={"family": "bert"}, overrides=words)


def test_a_model_without_origin_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"give family .* or checkpoint"):
        resolve_recipe(data="a.txt", model={"size": "tiny"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model.config.hiden_size=32"],
            r"model\.config\.hiden_size: not a field of BertConfig; did you mean 'hidden_",
        ),
        (["training.max_step=3"], r"training\.max_step: unknown key.*'max_steps'"),
        (["optimizer=adamv"], r"no optimizer named 'adamv'; did you mean 'adam'"),
    ],
)
def test_what_only_a_library_knows_is_named_too(tmp_path: Path, words: list[str], message: str) -> None:
    # and before any text is read: there is none
    with pytest.raises(RecipeError, match=message):
        pretrain(data="none.txt", model={"family": "bert"}, overrides=words, output=tmp_path / "run")


@pytest.mark.parametrize("name", NAMES)
def test_the_example_recipes_make_models_of_at_most_8_mb(name: str) -> None:
    import transformers

    recipe = resolve_recipe(EXAMPLES / f"pretrain_{name.replace('-', '_')}.yaml")
    assert recipe.output == f"runs/pretrain_{name.replace('-', '_')}"
    assert recipe.save_dtype == "float16"
    family = recipe.model.family
    assert family is not None
    texts = [document(seed) for seed in range(20)]
    tokenizer = train_tokenizer(lambda: iter(texts), family=family, vocab_size=400).tokenizer
    size = recipe.model.size or "tiny"
    fields = {"vocab_size": recipe.tokenizer.vocab_size, **recipe.model.config}
    config = make_config(family, size, tokenizer, positions=recipe.block_length, fields=fields)
    masked = "AutoModelForMaskedLM"
    auto = {"bert": masked, "modernbert": masked, "gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}[family]
    model = getattr(transformers, auto).from_config(config)
    assert 2 * model.num_parameters() < MOST_BYTES - 100_000  # the rest is the file's header


@pytest.mark.parametrize("name", ["bert-base-uncased", "runs/x", "/tmp", "someone/tiny-bert"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert resolve_checkpoint(name) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_named_checkpoint_is_its_folder_or_said_to_be_missing(name: str) -> None:
    if (FOLDER / name).is_dir():
        assert Path(resolve_checkpoint(f"nlptk/{name}")) == FOLDER / name
    else:
        with pytest.raises(ArtifactError, match=f"nlptk/{name}: this installation comes without it; make it with"):
            resolve_checkpoint(f"nlptk/{name}")


def test_a_shipped_checkpoint_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlptk.named_checkpoints.FOLDER", tmp_path)
    (tmp_path / "tiny-t5").mkdir()
    (tmp_path / "tiny-t5" / "config.json").write_text("{}")
    assert resolve_checkpoint("nlptk/tiny-t5") == str(tmp_path / "tiny-t5")


def test_a_mistyped_named_checkpoint_gets_the_nearest() -> None:
    with pytest.raises(ArtifactError, match=r"nlptk/tiny-brt: no such checkpoint; did you mean 'tiny-bert'\?"):
        resolve_checkpoint("nlptk/tiny-brt")
