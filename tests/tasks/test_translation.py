"""The translation task: forms of rows, languages, scores with their signatures, and a tiny T5 that learns."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

import nlptk
from nlptk import registry
from nlptk.checkpoints import load_model, load_tokenizer, quiet
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.parts.generating import TextToText
from nlptk.pipelines.restored.text_tasks import TranslationPipeline
from nlptk.strategies.prompt_tokens import with_prompt_tokens
from nlptk.task import Preprocessing
from tests.tiny_models import SPREAD, WORDS
from tests.writers import batch_of, loaded, write_any

PAIRS = [{"en": "late", "de": "spät"}, {"en": "twice", "de": "zweimal"}]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("translators")
    return {family: write_any(family, folder / family) for family in ("gpt2", "t5", "marian")}


def _task(**options: Any) -> TextToText:
    cls = registry.get_task("translation")
    task = cls(cls.Options.model_validate({"max_new_tokens": 12, **options}))
    assert isinstance(task, TextToText)
    return task


def _labelled(**columns: list[Any]) -> Dataset:
    count = len(next(iter(columns.values())))
    return Dataset.from_dict({**columns, "source_file": ["rows.csv"] * count, "source_row": list(range(count))})


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("t5", {"source_lang": "en", "target_lang": "de"}, "translate English to German: late"),
        ("t5", {"source_lang": "Latin", "target_lang": "en"}, "translate Latin to English: late"),
        ("t5", {}, "late"),
        ("t5", {"prefix": "en>de "}, "en>de late"),
        ("marian", {"source_lang": "en", "target_lang": "de"}, "late"),
        ("gpt2", {"prompt": "{source} = "}, "late = "),
    ],
)
def test_each_form_reads_the_source_in_its_own_way(
    family: str, options: dict[str, Any], expected: str, checkpoints: dict[str, Path]
) -> None:
    task = _task(**options)
    loaded(task, checkpoints[family])
    assert [str(prompt) for prompt in task.prompts({"source": ["late"]})] == [expected]


def test_the_prefix_is_saved_where_transformers_pipelines_look_for_it(checkpoints: dict[str, Path]) -> None:
    model = loaded(_task(source_lang="en", target_lang="de"), checkpoints["t5"])
    found = model.config.task_specific_params["translation_en_to_de"]
    assert found["prefix"] == "translate English to German: "


def test_the_prefix_of_another_pair_does_not_stand_before_it(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """As in a fine-tuned t5-base, whose configuration names three pairs; `translation` takes the first of them."""
    folder = shutil.copytree(checkpoints["t5"], tmp_path / "t5")
    config = json.loads((folder / "config.json").read_text())
    usual = {"prefix": "translate English to German: ", "num_beams": 4, "max_length": 300}
    known = {"translation_en_to_de": usual, "summarization": {"prefix": "summarize: "}}
    (folder / "config.json").write_text(json.dumps({**config, "task_specific_params": known}))
    for options, key in (({"source_lang": "fi", "target_lang": "sv"}, "translation_fi_to_sv"), ({}, "translation")):
        task = _task(**options)
        model = loaded(task, folder)
        assert set(model.config.task_specific_params) == {key, "summarization", "text2text-generation"}
        made = TranslationPipeline(model, task.tokenizer, task="translation")
        assert made.prefix == task.options.prefix  # type: ignore[attr-defined]  # of translation


def test_columns_and_texts_by_language_make_the_same_features(checkpoints: dict[str, Path]) -> None:
    task = _task(source_lang="en_XX", target_lang="de")
    loaded(task, checkpoints["marian"])
    flat = {"source": ["late", "twice"], "target": ["spät", "zweimal"]}
    size = Preprocessing(32)
    expected = task.featurize(flat, task.tokenizer, size)
    assert task.featurize({"translation": PAIRS}, task.tokenizer, size) == expected
    bare = task.featurize({"translation": [{"en": "late", "de": None}, {"en": "twice"}]}, task.tokenizer, size)
    assert bare["input_ids"] == expected["input_ids"]
    assert "labels" not in bare


def test_rows_of_both_forms_are_read_together(checkpoints: dict[str, Path]) -> None:
    task = _task(source_lang="en", target_lang="de")
    loaded(task, checkpoints["marian"])
    mixed: dict[str, list[Any]] = {"source": ["late", None], "target": ["spät", None], "translation": [None, PAIRS[1]]}
    task.fit(_labelled(**mixed))
    task.check_rows(_labelled(**mixed), "train")
    flat = {"source": ["late", "twice"], "target": ["spät", "zweimal"]}
    size = Preprocessing(32)
    assert task.featurize(mixed, task.tokenizer, size) == task.featurize(flat, task.tokenizer, size)


def test_texts_that_are_missing_are_refused(checkpoints: dict[str, Path]) -> None:
    task = _task(source_lang="en", target_lang="de")
    loaded(task, checkpoints["marian"])
    for rows, language in (([*PAIRS, {"en": "app"}], "de"), ([*PAIRS, {"de": "App"}], "en")):
        with pytest.raises(
            DataError, match=rf"test: rows\.csv, row 2: no text for '{language}' .*: 1 of 3\); drop them"
        ):
            task.check_rows(_labelled(translation=rows), "test")
    with pytest.raises(
        DataError, match="translation: 1 of 3 rows have no text for 'en', the language to translate from"
    ):
        task.featurize({"translation": [*PAIRS, {"de": "App"}]}, task.tokenizer, Preprocessing(32))
    with pytest.raises(RecipeError, match=r"task\.source_lang, task\.target_lang: missing.*give two of"):
        _task(source_lang="en").fit(_labelled(translation=PAIRS))
    with pytest.raises(RecipeError, match=r"task\.target_lang: 'fr': no row has a text in it; expected one of "):
        _task(source_lang="en", target_lang="fr").fit(_labelled(translation=PAIRS))
    with pytest.raises(RecipeError, match=r"task\.target_lang: 'en' is task\.source_lang too; give the other"):
        _task(source_lang="en", target_lang="en").fit(_labelled(translation=PAIRS))
    _task(source_lang="en_XX", target_lang="de_DE").fit(_labelled(translation=PAIRS))  # mBART's names for en and de
    with pytest.raises(ValueError, match="expected texts by language"):
        type(task).read_row({"translation": ["late", "spät"]})


def test_scores_are_sacrebleus_with_its_signature() -> None:
    gold = [f"the parcel number {n} came late and broken" for n in range(8)]
    said = [f"parcel number {n} came late" if n % 2 else text for n, text in enumerate(gold)]
    rows = _labelled(source=[f"quelle {n}" for n in range(8)], target=gold)
    scores = _task().score(said, rows, sections=True)
    bleu = sacrebleu.metrics.bleu.BLEU()
    assert scores.figures["bleu"].value == pytest.approx(bleu.corpus_score(said, [gold]).score)
    assert scores.figures["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(said, [gold]).score)
    facts, lowest, longest = scores.sections
    assert facts["facts"]["bleu"] == str(bleu.get_signature())
    chrf = sacrebleu.sentence_chrf(said[1], [gold[1]]).score
    shown = {"source": "quelle 1", "reference": gold[1], "translation": said[1], "row": "rows.csv, row 1"}
    assert {name: lowest["rows"][0][name] for name in shown} == shown
    assert lowest["rows"][0]["chrf"] == pytest.approx(chrf)
    assert {row["source"] for row in longest["rows"]} == {f"quelle {n}" for n in range(8)}


def test_scores_read_texts_by_language_too() -> None:
    rows = _labelled(translation=PAIRS)
    task = _task(source_lang="en", target_lang="de", bleu_tokens="char")
    figures = task.score(["spät", "zweimal"], rows).figures
    assert figures["bleu"].value == pytest.approx(100)


def write_mbart(folder: Path, version: str) -> Path:
    """mBART's two templates: `text </s> language` and, of version 50, `language text </s>`."""
    pieces = [(f"▁{word}", -2.0) for word in WORDS] + [(letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [*((token, 0.0) for token in special), *pieces]
    tokenizer: Any
    if version == "25":
        tokenizer = MBartTokenizer(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE")
    else:
        tokenizer = MBart50Tokenizer(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE")
    sizes: dict[str, Any] = {f"{side}_layers": 1 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    torch.manual_seed(0)
    config = MBartConfig(
        vocab_size=len(tokenizer) + 8, d_model=16, max_position_embeddings=64, init_std=SPREAD, **sizes
    )
    with quiet():
        MBartForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("version", ["25", "50"])
def test_mbart_reads_and_writes_its_languages_as_transformers_has_it(version: str, tmp_path: Path) -> None:
    checkpoint = write_mbart(tmp_path, version)
    task = _task(source_lang="en_XX", target_lang="ro_RO")
    model: Any = loaded(task, checkpoint)
    sources, targets = ["the parcel came late", "late refund"], ["thank you very much", "please"]
    features = task.featurize({"source": sources, "target": targets}, task.tokenizer, Preprocessing(64))
    theirs: Any = load_tokenizer(str(checkpoint))
    theirs.src_lang, theirs.tgt_lang = "en_XX", "ro_RO"
    expected = theirs(sources, text_target=targets)
    assert features["input_ids"] == expected["input_ids"]
    assert features["labels"] == expected["labels"]
    batch = batch_of(task, features)
    outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])
    ours = task.loss(task.forward(model, batch), batch["labels"]) / task.loss_items(batch["labels"])
    torch.testing.assert_close(ours, outputs.loss)  # transformers shifts the labels by mBART's own rule
    language = theirs.convert_tokens_to_ids("ro_RO")
    assert features["decoder_input_ids"][0][0] == (language if version == "25" else theirs.eos_token_id)
    written = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    assert written[:, 0 if version == "25" else 1].tolist() == [language, language]


def test_languages_that_a_checkpoint_does_not_know_are_refused(tmp_path: Path) -> None:
    checkpoint = write_mbart(tmp_path, "50")
    with pytest.raises(RecipeError, match=r"task\.source_lang: None.*expected one of .*en_XX"):
        loaded(_task(), checkpoint)
    with pytest.raises(RecipeError, match=r"task\.target_lang: 'de'.*de_DE"):
        loaded(_task(source_lang="en_XX", target_lang="de"), checkpoint)


@pytest.mark.parametrize("name", ["summarization", "generation"])
def test_other_texts_are_read_and_written_in_one_language_of_many(name: str, tmp_path: Path) -> None:
    checkpoint = write_mbart(tmp_path, "50")
    cls = registry.get_task(name)
    task: Any = cls(cls.Options.model_validate({"max_new_tokens": 12, "language": "de_DE"}))
    model = loaded(task, checkpoint)
    roles = ("document", "summary") if name == "summarization" else ("prompt", "completion")
    rows = dict(zip(roles, (["the parcel came late"], ["please"]), strict=True))
    features = task.featurize(rows, task.tokenizer, Preprocessing(64))
    german = task.tokenizer.convert_tokens_to_ids("de_DE")
    assert features["input_ids"][0][0] == features["labels"][0][0] == german
    assert model.generation_config is not None
    assert model.generation_config.forced_bos_token_id == german
    with pytest.raises(RecipeError, match=r"task\.language: None; the checkpoint's tokenizer has many languages"):
        loaded(cls(cls.Options.model_validate({"max_new_tokens": 12})), checkpoint)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="a translation has two"):
        loaded(_task(language="de_DE", source_lang="en_XX", target_lang="de_DE"), checkpoint)


def test_a_language_is_refused_where_there_are_none(checkpoints: dict[str, Path]) -> None:
    cls = registry.get_task("summarization")
    task: Any = cls(cls.Options.model_validate({"max_new_tokens": 12, "language": "de_DE"}))
    with pytest.raises(RecipeError, match="without effect on a checkpoint that has no codes for languages"):
        loaded(task, checkpoints["t5"])


def test_a_tokenizer_that_lost_its_languages_is_refused(tmp_path: Path) -> None:
    task = _task(source_lang="en_XX", target_lang="de_DE")
    checkpoint = str(write_mbart(tmp_path, "50"))
    task.tokenizer = with_prompt_tokens(load_tokenizer(checkpoint), 2)
    with pytest.raises(UnsupportedError, match=r"cannot write it.*such as lora"):
        load_model(checkpoint, task, task.tokenizer)


ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += [f"{stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
TENS = [f"{stem}ty" for stem in ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine")]


def in_words(number: int) -> str:
    """Below 10,000: 4072 is "four thousand seventy-two"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {in_words(number % size)}" if number % size else ""
            return f"{in_words(number // size)} {name}{rest}"
    raise AssertionError


def write_counting_t5(folder: Path) -> Path:
    """Untrained: two layers of 64, a token for each digit and each word."""
    digits = [(str(digit), -2.0) for digit in range(10)]
    words = [(f"▁{word}", -2.0) for word in (*ONES, *TENS, "hundred", "thousand")]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("-", -2.0), *digits, *words]
    vocabulary += [(word, -2.0) for word in ONES]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    parts: list[Any] = [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    fields: dict[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    fields |= {"dropout_rate": 0.0, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer), **fields)
    with quiet():
        T5ForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_tiny_t5_learns_to_say_numbers_it_never_saw(tmp_path: Path) -> None:
    numbers = random.Random(0).sample(range(10_000), 3400)
    files = {}
    for split, chosen in (("train", numbers[400:]), ("validation", numbers[:200]), ("test", numbers[200:400])):
        files[split] = tmp_path / f"{split}.csv"
        files[split].write_text("source,target\n" + "".join(f"{n},{in_words(n)}\n" for n in chosen))
    result = nlptk.train(
        task={"name": "translation", "max_new_tokens": 16},
        model=write_counting_t5(tmp_path / "t5"),
        data=files,
        output=tmp_path / "run",
        training={
            "num_train_epochs": 7,
            "per_device_train_batch_size": 32,
            "learning_rate": 0.003,
            "eval_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
        },
        bootstrap=200,
    )
    bleu = result.figures["test"]["bleu"]
    print(f"BLEU on 200 numbers never seen: {bleu.value:.1f} ({bleu.low:.1f} to {bleu.high:.1f})")
    assert bleu.value > 90
    assert nlptk.pipeline(result.artifact)("72")["translation"] == "seventy-two"
    assert json.loads((result.artifact / "generation_config.json").read_text())["max_new_tokens"] == 16


def test_a_text_of_white_space_is_a_missing_one(checkpoints: dict[str, Path]) -> None:
    task = _task(source_lang="en", target_lang="de")
    loaded(task, checkpoints["marian"])
    with pytest.raises(DataError, match="no text for 'de'"):
        task.check_rows(_labelled(translation=[*PAIRS, {"en": "app", "de": " \n"}]), "test")


@pytest.mark.parametrize(
    ("tokens", "gold", "told"), [("13a", "包裹来晚了", True), ("zh", "包裹来晚了", False), ("13a", "spät", False)]
)
def test_bleu_of_texts_without_spaces_is_warned_of(tokens: str, gold: str, told: bool) -> None:
    scores = _task(bleu_tokens=tokens).score([gold, "a"], _labelled(source=["late", "a"], target=[gold, "a"]))
    assert any("parts words at spaces" in line for line in scores.warnings) == told
