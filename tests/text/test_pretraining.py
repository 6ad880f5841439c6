"""Pretraining runs: they learn, they can be cut and go on bit by bit, and what they leave loads anywhere."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer, TrainerCallback

from nlptk import pipeline, pretrain
from nlptk.artifact import load_manifest
from nlptk.errors import ArtifactError, DataError, RecipeError, UnsupportedError
from nlptk.named_checkpoints import resolve_checkpoint
from nlptk.text.documents import is_held_out
from nlptk.text.pretraining import PretrainResult
from nlptk.text.recipe import resolve_recipe, to_yaml
from nlptk.text.trainer import PretrainingTrainer
from tests.doors import ROOT, torchrun_each
from tests.text.samples import document, job, write_text

STEPS = 60
AUTO = {
    "bert": "AutoModelForMaskedLM",
    "modernbert": "AutoModelForMaskedLM",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "t5": "AutoModelForSeq2SeqLM",
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt", 80)


@pytest.fixture(scope="module")
def runs(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PretrainResult]:
    """Family -> a run of some seconds, saved in half precision."""
    root = tmp_path_factory.mktemp("runs")
    return {family: pretrain(job(family, text, root / family, steps=STEPS, save_dtype="float16")) for family in AUTO}


@pytest.mark.parametrize("family", AUTO)
def test_the_held_out_loss_falls(runs: dict[str, PretrainResult], family: str) -> None:
    start, trained = (runs[family].figures[column] for column in ("start", "trained"))
    assert trained["loss"] < start["loss"] - 1.0
    assert trained["bits_per_byte"] / start["bits_per_byte"] == pytest.approx(trained["loss"] / start["loss"])
    assert trained["perplexity"] == pytest.approx(math.exp(trained["loss"]))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_context_is_learnt_and_not_frequencies_alone(runs: dict[str, PretrainResult], family: str) -> None:
    figures = runs[family].figures
    assert figures["trained"]["loss"] < figures["unigram baseline"]["loss"] - 0.5


def test_the_baseline_is_the_cross_entropy_of_smoothed_frequencies(runs: dict[str, PretrainResult], text: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(runs["gpt2"].model)
    parts: dict[bool, list[int]] = {True: [], False: []}
    for line in text.read_text().splitlines():
        parts[is_held_out(line, 0.2)] += [*tokenizer(line)["input_ids"], tokenizer.eos_token_id]
    seen, total = Counter(parts[False]), len(parts[False]) + len(tokenizer)
    labels = parts[True][1 : 1 + (len(parts[True]) - 1) // 32 * 32]
    nats = -sum(math.log((seen[token] + 1) / total) for token in labels) / len(labels)
    assert runs["gpt2"].figures["unigram baseline"]["loss"] == pytest.approx(nats, abs=1e-9)


@pytest.mark.parametrize("family", AUTO)
def test_plain_transformers_loads_it_in_full_precision(runs: dict[str, PretrainResult], family: str) -> None:
    folder = runs[family].model
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    model, info = getattr(transformers, AUTO[family]).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert (folder / "spiece.model").exists() == (family == "t5")


def test_the_causal_loss_is_that_of_transformers_on_the_same_text(runs: dict[str, PretrainResult], text: Path) -> None:
    # an independent measurement: the held-out documents, tokenized and cut into windows by hand
    folder = runs["gpt2"].model
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    held_out = [line for line in text.read_text().splitlines() if is_held_out(line, 0.2)]
    ids = [token for line in held_out for token in [*tokenizer(line)["input_ids"], tokenizer.eos_token_id]]
    nats = labels = 0.0
    with torch.no_grad():
        for first in range(0, len(ids) - 32, 32):
            window = torch.tensor([ids[first : first + 33]])
            nats += model(input_ids=window[:, :-1]).logits[0].log_softmax(-1).gather(1, window[0, 1:, None]).sum()
            labels += 32
    measured = runs["gpt2"].figures["trained"]
    assert measured["loss"] == pytest.approx(-float(nats) / labels, abs=1e-5)
    size = sum(len(line.encode()) for line in held_out)
    bits = -float(nats) / math.log(2)
    assert measured["bits_per_byte"] == pytest.approx(bits / (size * labels / len(ids)), rel=1e-5)


def test_it_generates(runs: dict[str, PretrainResult]) -> None:
    for family in ("gpt2", "llama", "t5"):
        tokenizer = AutoTokenizer.from_pretrained(runs[family].model)
        model: Any = getattr(transformers, AUTO[family]).from_pretrained(runs[family].model)
        settings = model.generation_config
        assert settings.eos_token_id == tokenizer.eos_token_id
        assert settings.pad_token_id is not None
        made = model.generate(**tokenizer("the old captain", return_tensors="pt"), max_new_tokens=5, do_sample=False)
        assert made.shape[0] == 1


def test_the_saved_configuration_is_the_familys_own(runs: dict[str, PretrainResult]) -> None:
    bert, gpt = (AutoConfig.from_pretrained(runs[family].model) for family in ("bert", "gpt2"))
    assert bert.hidden_dropout_prob == bert.attention_probs_dropout_prob == 0.1  # it was pretrained with none
    assert gpt.resid_pdrop == 0.1
    assert gpt.use_cache is True
    assert AutoTokenizer.from_pretrained(runs["bert"].model).model_max_length == 32


def test_it_has_no_task_to_predict_with_and_the_message_says_what_it_is_for(runs: dict[str, PretrainResult]) -> None:
    with pytest.raises(ArtifactError, match=r"no task yet: give it to `nlptk train task=\.\.\. model=DIR`, or load it"):
        pipeline(runs["bert"].model)


def test_a_tokenizer_is_taken_by_the_name_of_a_checkpoint_that_comes_along(text: Path, tmp_path: Path) -> None:
    recipe = job("bert", text, tmp_path / "run", steps=1, data={"held_out": "none"})
    result = pretrain({**recipe, "tokenizer": "nlptk/tiny-bert"})
    theirs = AutoTokenizer.from_pretrained(resolve_checkpoint("nlptk/tiny-bert"))
    assert AutoTokenizer.from_pretrained(result.model).get_vocab() == theirs.get_vocab()


def test_card_manifest_report_and_results_are_there_and_no_pickle(runs: dict[str, PretrainResult]) -> None:
    result = runs["bert"]
    folder, manifest = load_manifest(result.model)
    assert manifest.task["name"] == "pretraining"
    assert manifest.metrics["trained"] == result.figures["trained"]
    front, body = (folder / "README.md").read_text().split("---\n")[1:]
    assert yaml.safe_load(front)["pipeline_tag"] == "fill-mask"
    assert "unigram baseline" in body
    assert "text.txt" in body
    results = json.loads((result.folder / "all_results.json").read_text())
    assert results["train_tokens"] == STEPS * 8 * 30
    assert results["tokens_per_second"] == pytest.approx(STEPS * 8 * 30 / results["train_runtime"])
    assert result.report.is_file()
    assert [path for path in result.folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")] == []


def test_the_resolved_recipe_replays_bit_by_bit(runs: dict[str, PretrainResult], text: Path, tmp_path: Path) -> None:
    _, manifest = load_manifest(runs["bert"].model)
    (tmp_path / "recipe.yaml").write_text(to_yaml(resolve_recipe(manifest.recipe)))
    again = pretrain(tmp_path / "recipe.yaml", overrides=[f"output={tmp_path / 'again'}"])
    assert again.figures == runs["bert"].figures
    one, two = (load_file(result.model / "model.safetensors") for result in (runs["bert"], again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_checkpoint_is_continued_with_its_own_tokenizer(
    runs: dict[str, PretrainResult], text: Path, tmp_path: Path
) -> None:
    start = runs["bert"].model
    shutil.copytree(start, tmp_path / "start")
    recipe = job("bert", text, tmp_path / "run", steps=30)
    recipe["model"] = str(tmp_path / "start")
    more = pretrain({**recipe, "training": {**recipe["training"], "learning_rate": 1e-3}})
    assert more.figures["start"]["loss"] == pytest.approx(runs["bert"].figures["trained"]["loss"], abs=1e-6)
    assert more.figures["trained"]["loss"] < more.figures["start"]["loss"]
    assert (more.model / "tokenizer.json").read_bytes() == (start / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("more", [{"temperature": 0.6, "do_sample": True}, {"early_stopping": True, "num_beams": 1}])
def test_a_continued_checkpoint_keeps_its_ends(
    more: dict[str, Any], runs: dict[str, PretrainResult], text: Path, tmp_path: Path
) -> None:
    """As of a chat model, whose turns end otherwise than texts; settings that cannot be written end no run."""
    start = shutil.copytree(runs["gpt2"].model, tmp_path / "start")
    path = start / "generation_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "eos_token_id": [settings["eos_token_id"], 7], **more}))
    recipe = {**job("gpt2", text, tmp_path / "run", steps=1), "model": str(start)}
    kept = json.loads((pretrain(recipe).model / "generation_config.json").read_text())
    assert kept["eos_token_id"] == [settings["eos_token_id"], 7]
    assert kept["pad_token_id"] == settings["pad_token_id"]
    assert kept.get("temperature") == more.get("temperature")


def test_positions_of_a_checkpoint_bound_the_block(runs: dict[str, PretrainResult], text: Path, tmp_path: Path) -> None:
    recipe = {**job("gpt2", text, tmp_path / "run"), "model": str(runs["gpt2"].model), "block_length": 64}
    with pytest.raises(UnsupportedError, match="block_length: 64 is more than the 32 positions"):
        pretrain(recipe)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_accumulated_batches_train_the_same_model(text: Path, tmp_path: Path, accumulated: int) -> None:
    found = []
    for size, steps in ((8, 1), (8 // accumulated, accumulated)):
        more = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        result = pretrain(job("gpt2", text, tmp_path / f"{size}-{steps}", steps=5, training=more, optimizer="sgd"))
        found.append(load_file(result.model / "model.safetensors"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=1e-6, rtol=1e-5)


def _killed(recipe: Path, output: Path, *, after: int, cwd: Path) -> None:
    """Start the run in a process of its own, and end it with kill -9 once a checkpoint stands."""
    command = [sys.executable, "-m", "nlptk", "pretrain", str(recipe)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 300
        while not (output / f"checkpoint-{after}").exists():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)


class InterruptionError(Exception):
    pass


class Interrupt(TrainerCallback):
    """Stops a run after its seventh step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 7:
            raise InterruptionError


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_an_interrupted_run_goes_on_bit_by_bit(
    text: Path, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {"training": {"save_steps": 3, "eval_steps": 4}, "model": {"dropout": 0.1}}
    whole = pretrain(job(family, text, tmp_path / "whole", **keys))
    recipe = job(family, text, tmp_path / "cut", **keys)
    with monkeypatch.context() as patch:
        original = PretrainingTrainer.__init__

        def cut(self: PretrainingTrainer, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            self.add_callback(Interrupt())

        patch.setattr(PretrainingTrainer, "__init__", cut)
        with pytest.raises(InterruptionError):
            pretrain(recipe)
    resumed = pretrain(recipe, overrides=["training.resume_from_checkpoint=true"])
    one, two = (load_file(result.model / "model.safetensors") for result in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert resumed.figures == whole.figures


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_killed_run_goes_on_bit_by_bit(text: Path, tmp_path: Path, family: str) -> None:
    steps = {"save_steps": 2, "eval_strategy": "no"}
    shape = {"dropout": 0.1}  # whose draws must be restored as well
    whole = pretrain(job(family, text, tmp_path / "whole", steps=60, training=steps, model=shape))
    output = tmp_path / "cut"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(job(family, text, output, steps=60, training=steps, model=shape)))
    _killed(recipe, output, after=10, cwd=tmp_path)
    assert not (output / "model").exists()
    resumed = pretrain(recipe, overrides=["training.resume_from_checkpoint=auto"])
    one, two = (load_file(result.model / "model.safetensors") for result in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert resumed.figures == whole.figures
    assert [path.name for path in output.iterdir() if path.name.endswith(".partial")] == []


def test_a_damaged_checkpoint_is_refused(text: Path, tmp_path: Path) -> None:
    recipe = job("gpt2", text, tmp_path / "run", steps=4, training={"save_steps": 4})
    pretrain(recipe)
    file = tmp_path / "run" / "checkpoint-4" / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"optimizer\.safetensors: altered or damaged"):
        pretrain(recipe, overrides=["training.resume_from_checkpoint=true"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objective": {"noise": 0.4}}, "objective"),
        ({"data": {"held_out": 0.3}}, "data, tokenizer"),
        ({"model": {"dropout": 0.2}}, "model.dropout"),
        ({"training": {"save_steps": 3, "per_device_train_batch_size": 3}}, "training.per_device_train_batch_size"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changed: dict[str, Any], said: str, text: Path, tmp_path: Path) -> None:
    pretrain(job("t5", text, tmp_path / "run", steps=3, training={"save_steps": 3}))
    other = job("t5", text, tmp_path / "run", steps=3, **changed)
    with pytest.raises(RecipeError, match=rf"checkpoint-3 was trained with other {re.escape(said)};"):
        pretrain(other, overrides=["training.resume_from_checkpoint=true"])


def test_a_run_that_replaces_a_checkpoint_says_so(text: Path, tmp_path: Path) -> None:
    recipe = job("gpt2", text, tmp_path / "run", steps=2)
    assert pretrain(recipe).warnings == []
    assert pretrain(recipe).warnings == [f"replaces the checkpoint of an earlier run in {tmp_path / 'run'}"]


def test_resuming_where_there_is_nothing_is_refused(text: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="resume_from_checkpoint: no checkpoint in"):
        pretrain(job("gpt2", text, tmp_path / "run"), overrides=["training.resume_from_checkpoint=true"])


def test_text_for_less_than_a_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("\n".join(document(seed, sentences=1) for seed in range(8)))
    recipe = job("gpt2", path, tmp_path / "run", data={"held_out": "none"})
    with pytest.raises(RecipeError, match=r"the text makes \d+ examples, fewer than the 64 of one batch"):
        pretrain({**recipe, "training": {"per_device_train_batch_size": 64}})
    path.write_text("\n")
    with pytest.raises(DataError):
        pretrain(recipe)


def test_nothing_held_out_is_nothing_measured(text: Path, tmp_path: Path) -> None:
    result = pretrain(job("gpt2", text, tmp_path / "run", steps=2, data={"held_out": "none"}))
    assert result.figures == {}
    assert result.report.is_file()
    assert "Held-out" not in (result.model / "README.md").read_text()


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(text: Path, tmp_path: Path) -> None:
    calls = []
    for family in ("bert", "t5"):
        for name, size in (("one", 8), ("two", 4)):
            more = {"per_device_train_batch_size": size, "max_grad_norm": 0.0}
            keys = job(family, text, tmp_path / f"{family}-{name}", steps=6, training=more, optimizer="sgd")
            (tmp_path / f"{family}-{name}.yaml").write_text(yaml.safe_dump(keys))
        calls.append(["pretrain", f"{family}-two.yaml"])
    called = torchrun_each(calls, cwd=tmp_path)
    assert called.code == 0, called.err[-3000:]
    assert called.out.count("tokens/s") == len(calls)
    for family in ("bert", "t5"):
        pretrain(tmp_path / f"{family}-one.yaml")
        folders = [tmp_path / f"{family}-{name}" for name in ("one", "two")]
        one, two = (load_file(folder / "model" / "model.safetensors") for folder in folders)
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, atol=1e-5, rtol=1e-4)
        results = [json.loads((folder / "all_results.json").read_text()) for folder in folders]
        for key in ("eval_loss", "eval_bits_per_byte", "train_loss", "train_tokens"):
            assert results[0][key] == pytest.approx(results[1][key], abs=1e-4)
