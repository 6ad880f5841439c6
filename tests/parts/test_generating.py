"""The base of the tasks that write text: losses, batches, generation, settings that are saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import extract_model_from_parallel
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, LEDConfig, LEDForConditionalGeneration

from nlptk.checkpoints import load_config, load_tokenizer, model_limit, quiet
from nlptk.errors import UnsupportedError
from nlptk.parts.generating import text_warnings
from nlptk.parts.generation_settings import GenerationOptions
from nlptk.task import Inferred, Preprocessing
from nlptk.training import packing
from nlptk.training.features import features_key
from tests.tiny_models import write_checkpoint
from tests.writers import ROOMY, ROWS, batch_of, echo, loaded, write_any

DECODERS = ("gpt2", "llama")
ENCODER_DECODERS = ("t5", "bart", "marian", "bert", "roberta")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("writers")
    return {family: write_any(family, folder / family) for family in (*DECODERS, *ENCODER_DECODERS)}


def _loss(inferred: Inferred) -> float:
    assert inferred.loss is not None
    return inferred.loss.item()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", [*DECODERS, *ENCODER_DECODERS])
def test_a_batch_of_mixed_lengths_writes_what_each_prompt_alone_does(
    family: str, beams: int, checkpoints: dict[str, Path]
) -> None:
    task = echo(num_beams=beams)
    model = loaded(task, checkpoints[family])
    features = task.featurize(ROWS, task.tokenizer, ROOMY)
    assert len(set(features["prompt_length"])) >= 3
    together = task.infer(model, batch_of(task, features))
    alone = [task.infer(model, batch_of(task, features, row)) for row in range(4)]
    for one, other in zip(together.kept, alone, strict=True):
        np.testing.assert_array_equal(one, other.kept[0])
    assert len({tuple(ids) for ids in together.kept}) > 1, "the prompts make no difference"
    assert _loss(together) == pytest.approx(sum(_loss(part) for part in alone), rel=1e-5)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODER_DECODERS])
def test_rows_without_targets_are_written_as_with_them(family: str, checkpoints: dict[str, Path]) -> None:
    task = echo()
    model = loaded(task, checkpoints[family])
    labelled = task.featurize(ROWS, task.tokenizer, ROOMY)
    bare = task.featurize({"text": ROWS["text"]}, task.tokenizer, ROOMY)
    known, unknown = (task.infer(model, batch_of(task, features)) for features in (labelled, bare))
    assert unknown.loss is None
    for one, other in zip(known.kept, unknown.kept, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoders_loss_is_transformers_own_on_the_target(family: str, checkpoints: dict[str, Path]) -> None:
    task = echo()
    model = loaded(task, checkpoints[family])
    features = task.featurize(ROWS, task.tokenizer, ROOMY)
    expected = []
    for text, target in zip(ROWS["text"], ROWS["target"], strict=True):
        prompt = task.tokenizer(f"say: {text} now")["input_ids"]
        written = task.tokenizer(f" {target}")["input_ids"] + [task.tokenizer.eos_token_id]
        written = written if len(written) <= 12 else written[:12]
        labels = torch.tensor([[-100] * len(prompt) + written])
        loss = model(input_ids=torch.tensor([prompt + written]), labels=labels).loss
        expected.append(loss * len(written))
    batch = batch_of(task, features)
    torch.testing.assert_close(task.loss(task.forward(model, batch), batch["labels"]), sum(expected))


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_an_encoder_decoders_loss_is_transformers_own(family: str, checkpoints: dict[str, Path]) -> None:
    """Which shifts the labels itself, each model by its own rule."""
    task = echo()
    model = loaded(task, checkpoints[family])
    features = task.featurize(ROWS, task.tokenizer, ROOMY)
    batch = batch_of(task, features)
    texts = [f"say: {text} now " for text in ROWS["text"]]
    inputs = task.tokenizer(texts, padding=True, return_tensors="pt")
    labels = [task.tokenizer(text_target=target)["input_ids"] for target in ROWS["target"]]
    labels = [ids if len(ids) <= 12 else ids[:12] for ids in labels]  # cut, without an end
    theirs = torch.full((4, max(map(len, labels))), -100)
    for row, ids in enumerate(labels):
        theirs[row, : len(ids)] = torch.tensor(ids)
    loss = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=theirs).loss
    ours = task.loss(task.forward(model, batch), batch["labels"]) / task.loss_items(batch["labels"])
    torch.testing.assert_close(ours, loss)


def test_label_smoothing_is_torchs_over_the_tokens_of_the_targets(checkpoints: dict[str, Path]) -> None:
    task = echo(label_smoothing=0.2)
    model = loaded(task, checkpoints["t5"])
    batch = batch_of(task, task.featurize(ROWS, task.tokenizer, ROOMY))
    outputs = task.forward(model, batch)
    counted = batch["labels"] != -100
    expected = functional.cross_entropy(outputs.logits[counted], batch["labels"][counted], label_smoothing=0.2)
    torch.testing.assert_close(task.loss(outputs, batch["labels"]) / task.loss_items(batch["labels"]), expected)


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_no_ignored_label_reaches_a_decoder(family: str, checkpoints: dict[str, Path]) -> None:
    task = echo()
    model: Any = loaded(task, checkpoints[family])
    seen: list[torch.Tensor] = []
    model.get_decoder().register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    batch = batch_of(task, task.featurize(ROWS, task.tokenizer, ROOMY))
    assert (batch["labels"] == -100).any()
    task.forward(model, batch)
    assert len(seen) == 1
    assert int(seen[0].min()) >= 0


@pytest.mark.parametrize("family", DECODERS)
def test_packed_rows_have_the_loss_of_padded_ones(family: str, checkpoints: dict[str, Path]) -> None:
    task = echo()
    model = loaded(task, checkpoints[family])
    features = task.featurize(ROWS, task.tokenizer, ROOMY)
    padded = batch_of(task, features)
    expected = task.loss(task.forward(model, padded), padded["labels"])
    packed, reason = packing.install(model)
    assert packed is not None, reason
    batch: Any = packed.collator()([{key: features[key][row] for key in ("input_ids", "labels")} for row in range(4)])
    assert batch["packed_ids"].shape == (1, sum(features["length"]))
    assert task.loss_items(batch["labels"]) == task.loss_items(padded["labels"])
    torch.testing.assert_close(task.loss(task.forward(model, batch), batch["labels"]), expected)
    written = task.generate(model, [features["input_ids"][row][:5] for row in range(4)])
    packed.remove()
    for ids, again in zip(
        written, task.generate(model, [features["input_ids"][row][:5] for row in range(4)]), strict=True
    ):
        np.testing.assert_array_equal(ids, again)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_wrapped_models_write_as_the_plain_one(family: str, checkpoints: dict[str, Path]) -> None:
    task = echo()
    model = loaded(task, checkpoints[family])
    prompts = task.prompts_of(batch_of(task, task.featurize({"text": ROWS["text"]}, task.tokenizer, ROOMY)))
    expected = task.generate(model, prompts)
    parallel = torch.nn.DataParallel(model)
    assert extract_model_from_parallel(parallel) is model
    lora: Any = get_peft_model(model, LoraConfig(r=2))  # its second matrix begins at zero: it changes nothing yet
    for wrapped in (parallel, lora):
        for ids, plain in zip(task.generate(wrapped, prompts), expected, strict=True):
            np.testing.assert_array_equal(ids, plain)


def test_features_of_one_form_do_not_meet_those_of_another_in_the_cache(checkpoints: dict[str, Path]) -> None:
    keys = []
    for family in ("gpt2", "t5", "bart"):
        task = echo()
        loaded(task, checkpoints[family])
        tokenizer = load_tokenizer(str(checkpoints["gpt2"]))  # the same for all
        keys.append(features_key(task, "rows", tokenizer, Preprocessing(64)))
    assert len(set(keys)) == 3


def test_a_checkpoints_own_settings_stay_unless_the_task_says_otherwise(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    def saved(**options: Any) -> dict[str, Any]:
        with quiet():
            loaded(echo(**options), checkpoints["bart"]).save_pretrained(tmp_path)
        found: dict[str, Any] = json.loads((tmp_path / "generation_config.json").read_text())
        return found

    usual = saved()
    kept = {"num_beams": 4, "no_repeat_ngram_size": 3, "early_stopping": True, "forced_bos_token_id": 0}
    assert {name: usual.get(name) for name in kept} == kept
    assert usual["max_new_tokens"] == 12
    assert usual.get("max_length") is None
    assert usual.get("min_length") is None, "56 tokens at least are of the news it was made for"
    greedy = saved(num_beams=1, no_repeat_ngram_size=0, min_new_tokens=2)
    assert greedy["num_beams"] == 1
    assert greedy.get("early_stopping") is None
    assert greedy["no_repeat_ngram_size"] == 0
    assert greedy["min_new_tokens"] == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"num_beams": None, "early_stopping": True, "length_penalty": 2.0},
        {"output_scores": True, "return_dict_in_generate": True},
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"stop_strings": ["late"]},
    ],
)
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_what_a_checkpoint_asks_of_generation_ends_no_run(
    family: str, asked: dict[str, Any], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Each of these stopped a run at its end, or at the first text."""
    folder = shutil.copytree(checkpoints[family], tmp_path / family)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **asked}))
    task = echo()
    model = loaded(task, folder)
    features = task.featurize({"text": ROWS["text"]}, task.tokenizer, ROOMY)
    assert len(task.infer(model, batch_of(task, features)).kept) == 4
    model.save_pretrained(tmp_path / "saved")


def test_settings_that_contradict_each_other_are_refused_at_the_start(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["t5"], tmp_path / "t5")
    (folder / "generation_config.json").write_text(json.dumps({"use_cache": False, "cache_implementation": "static"}))
    with pytest.raises(UnsupportedError, match=r"its generation_config\.json holds what does not go together"):
        loaded(echo(), folder)


def _write_led(folder: Path, t5: Path) -> Path:
    tokenizer = load_tokenizer(str(t5))
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "attention_window": [4]}
    sizes |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 16 for side in ("encoder", "decoder")}
    sizes |= {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 32, "init_std": 0.5}
    sizes |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 0, "decoder_start_token_id": 0}
    with quiet():
        LEDForConditionalGeneration(LEDConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def test_leds_first_token_attends_to_all_as_in_its_paper(tmp_path: Path) -> None:
    folder = _write_led(tmp_path / "led", write_checkpoint("t5", tmp_path / "t5"))
    task = echo(max_new_tokens=8, num_beams=1)
    model: Any = loaded(task, folder)
    features = task.featurize(ROWS, task.tokenizer, Preprocessing(64))
    batch = batch_of(task, features, 2)
    mask = torch.zeros_like(batch["input_ids"])
    mask[:, 0] = 1
    with torch.no_grad():
        theirs = model(**batch, global_attention_mask=mask)
        written = model.generate(batch["input_ids"], global_attention_mask=mask)
    plain = LEDForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        local = plain(**batch).logits
        assert (theirs.logits - plain(**batch, global_attention_mask=mask).logits).abs().max() < 1e-6
    assert (theirs.logits - task.forward(model, batch).logits).abs().max() < 1e-6
    assert (theirs.logits - local).abs().max() > 1e-3
    (ours,) = task.written(model, batch)
    assert ours.tolist() == written[0, 1 : 1 + len(ours)].tolist()


def test_led_has_a_limit_on_each_side(tmp_path: Path) -> None:
    folder = _write_led(tmp_path / "led", write_checkpoint("t5", tmp_path / "t5"))
    model = loaded(echo(max_new_tokens=31), folder)
    assert model_limit(model) == 64
    with pytest.raises(UnsupportedError, match="does not fit the 32 positions of the decoder"):
        loaded(echo(max_new_tokens=32), folder)


def test_a_decoders_tokenizer_is_left_padding_on_the_side_that_generate_needs(checkpoints: dict[str, Path]) -> None:
    for family, side in (("gpt2", "left"), ("t5", "right")):
        task = echo()
        loaded(task, checkpoints[family])
        assert task.tokenizer.padding_side == side


def test_a_decoder_without_padding_gets_its_end_of_text(checkpoints: dict[str, Path]) -> None:
    task = echo()
    settings = loaded(task, checkpoints["gpt2"]).generation_config
    assert settings is not None
    assert (settings.pad_token_id, settings.eos_token_id) == (0, 0)
    assert task.tokenizer.pad_token == "<|endoftext|>"


def test_an_encoder_becomes_an_encoder_decoder_and_comes_back_equal(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    task = echo()
    model: Any = loaded(task, checkpoints["bert"])
    batch = batch_of(task, task.featurize(ROWS, task.tokenizer, ROOMY))
    expected = task.infer(model, batch)
    with quiet():
        model.save_pretrained(tmp_path)
        task.tokenizer.save_pretrained(tmp_path)
        plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).cls_token_id == plain.generation_config.decoder_start_token_id
    again = task.infer(plain.eval(), batch)
    assert _loss(again) == pytest.approx(_loss(expected), rel=1e-6)
    for ids, other in zip(expected.kept, again.kept, strict=True):
        np.testing.assert_array_equal(ids, other)
    encoder, decoder = model.encoder.state_dict(), model.decoder.bert.state_dict()
    shared = [name for name in encoder if name in decoder]
    assert len(shared) > 20
    assert all(torch.equal(encoder[name], decoder[name]) for name in shared)
    assert any("crossattention" in name for name in decoder.keys() - encoder.keys())


def test_an_encoder_alone_is_refused_where_the_task_makes_nothing_of_it(checkpoints: dict[str, Path]) -> None:
    task = echo()
    type(task).warm_start = False
    try:
        with pytest.raises(UnsupportedError, match=r"task echo: bert is an encoder alone.*give a decoder"):
            task.auto_class(load_config(str(checkpoints["bert"])))
    finally:
        type(task).warm_start = True


def test_an_encoder_that_cannot_look_at_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no AutoModelForCausalLM for the distilbert architecture"):
        loaded(echo(), write_checkpoint("distilbert", tmp_path / "distilbert"))


def test_a_decoder_too_short_for_what_it_is_to_write_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(UnsupportedError, match="128 does not fit the 128 positions of the decoder; give at most 127"):
        loaded(echo(max_new_tokens=128), checkpoints["bart"])
    task = echo(max_new_tokens=100)
    loaded(task, checkpoints["gpt2"])
    with pytest.raises(UnsupportedError, match=r"100 leaves no room for the prompt in preprocessing\.max_length 100"):
        task.featurize(ROWS, task.tokenizer, ROOMY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.7}, "do_sample=true"),
        ({"top_k": 5, "num_beams": 2}, "do_sample=true"),
        ({"early_stopping": True}, "num_beams is over 1"),
        ({"length_penalty": 1.5, "num_beams": 1}, "num_beams is over 1"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "more than max_new_tokens 8"),
        ({"no_repeat_ngram_size": 1}, "1 forbids every token that was read or written before"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationOptions.model_validate(options)


def test_drawn_texts_come_from_the_distribution_asked_for(checkpoints: dict[str, Path]) -> None:
    task = echo(do_sample=True, top_k=1)
    model = loaded(task, checkpoints["gpt2"])
    greedy = echo()
    plain = loaded(greedy, checkpoints["gpt2"])
    prompts = greedy.prompts_of(batch_of(greedy, greedy.featurize({"text": ROWS["text"]}, greedy.tokenizer, ROOMY)))
    for ids, other in zip(task.generate(model, prompts), greedy.generate(plain, prompts), strict=True):
        np.testing.assert_array_equal(ids, other)
    wild = echo(do_sample=True, temperature=5.0)
    model = loaded(wild, checkpoints["gpt2"])
    torch.manual_seed(0)
    assert len({tuple(wild.generate(model, prompts[:1])[0]) for _ in range(3)}) == 3


def test_what_is_the_same_everywhere_or_empty_is_warned_of() -> None:
    assert text_warnings(["a", "a"], ["x", "x"]) == []
    assert text_warnings(["a", "b"], ["x", "y"]) == []
    assert text_warnings(["a", "a"], ["x", "y"]) == ["writes the same for every row ('a'): no better than a fixed text"]
    assert text_warnings(["a", "", "b"], ["x", "y", "z"]) == ["writes nothing for 1 of 3 rows"]
