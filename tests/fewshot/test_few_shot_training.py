"""The training block of few-shot jobs: what it says holds, or is refused with the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments

import nlptk
from nlptk.errors import RecipeError
from nlptk.fewshot.teaching import _use_one_gpu
from nlptk.training.run import TrainResult
from tests.contract_cases import KEYWORDS
from tests.doors import ALONE, ROOT, python
from tests.fewshot.few_shot_rows import META


def job(checkpoint: Path, data: dict[str, Path], output: Path, task: dict[str, Any], **more: Any) -> TrainResult:
    training = {"disable_tqdm": True, **more.pop("training", {})}
    return nlptk.train(
        task={"name": "few_shot", **task},
        model=checkpoint,
        data={"train": data["support"], "validation": "none", "duplicates": "keep"},
        training=training,
        bootstrap=0,
        output=output,
        **more,
    )


def meta(data: dict[str, Path], **more: Any) -> dict[str, Any]:
    rows = {"train": str(data["meta"]), "validation": str(data["held_out"])}
    return {"method": "prototypical", "meta": {**rows, **META, "episodes": 24, **more}}


@pytest.mark.parametrize(
    ("block", "evaluations"),
    [
        ({}, 6),
        ({"eval_strategy": "epoch"}, 1),
        ({"save_strategy": "epoch"}, 1),
        ({"save_strategy": "no"}, 6),
        ({"eval_steps": 2}, 3),
        ({"save_steps": 3}, 2),
        ({"metric_for_best_model": "accuracy"}, 6),
        ({"eval_strategy": "no"}, 0),
    ],
)
def test_meta_training_is_watched_as_often_as_is_said(
    block: dict[str, Any], evaluations: int, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    """Of six steps; ten times in a run by default, which is each of them."""
    job(checkpoints["bert"], data, tmp_path / "run", meta(data), training=block)
    history = (tmp_path / "run" / "trainer_state.json").read_text()
    assert history.count('"eval_accuracy"') == evaluations


@pytest.mark.parametrize(
    ("method", "block", "kept"),
    [("cloze", {}, 0), ("contrastive", {}, 0), ("contrastive", {"save_steps": 1, "save_total_limit": 1}, 1)],
)
def test_training_on_the_support_set_writes_checkpoints_where_asked_to(
    method: str, block: dict[str, Any], kept: int, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    job(checkpoints["bert"], data, tmp_path / "run", {"method": method}, training={"max_steps": 3, **block})
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) == kept


def test_early_stopping_watches_the_validation_classes(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    """A model that does not move is no better after the first evaluation."""
    stop = {"patience": 2}
    job(checkpoints["bert"], data, tmp_path / "run", meta(data), early_stopping=stop, training={"learning_rate": 1e-12})
    assert '"global_step": 3' in (tmp_path / "run" / "trainer_state.json").read_text()
    with pytest.raises(RecipeError, match=r"early_stopping: .*give task\.meta\.validation"):
        job(checkpoints["bert"], data, tmp_path / "no", {"method": "contrastive"}, early_stopping=stop)


@pytest.mark.parametrize(
    ("task", "more", "message"),
    [
        ({"method": "prototypical"}, {"packing": True}, "packing: few-shot methods make batches of their own"),
        ({"method": "maml"}, {"training": {"gradient_checkpointing": True}}, "method maml keeps the activations"),
    ],
)
def test_what_few_shot_training_does_not_do_is_refused(
    task: dict[str, Any],
    more: dict[str, Any],
    message: str,
    checkpoints: dict[str, Path],
    data: dict[str, Path],
    tmp_path: Path,
) -> None:
    task = {**meta(data), **task} if task["method"] == "maml" else task
    with pytest.raises(RecipeError, match=message):
        job(checkpoints["bert"], data, tmp_path / "run", task, **more)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type: cosine_with_min_lr cannot be made"),
        ({"gradient_accumulation_steps": 2}, "training.gradient_accumulation_steps: the few steps of an episode"),
        ({"neftune_noise_alpha": 5.0}, "training.neftune_noise_alpha: the few steps of an episode"),
    ],
)
def test_what_training_for_an_episode_does_not_know_is_refused(
    block: dict[str, Any], message: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        nlptk.compare_methods(
            task={"name": "few_shot", "method": "contrastive"},
            model=checkpoints["bert"],
            data={"train": data["meta"], "duplicates": "drop"},
            training={"disable_tqdm": True, **block},
            output=tmp_path / "run",
            ways=3,
            shots=[2],
            queries=2,
            episodes=2,
        )


def test_a_batch_size_for_one_method_is_not_in_the_way_of_another(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    found = nlptk.compare_methods(
        task={"name": "few_shot", "meta": {"train": str(data["held_out"]), **META, "ways": 2, "episodes": 4}},
        model=checkpoints["bert"],
        data={"train": data["meta"], "duplicates": "drop"},
        training={"disable_tqdm": True, "per_device_train_batch_size": 4},
        methods=["contrastive", "prototypical"],
        output=tmp_path / "run",
        ways=3,
        shots=[2],
        queries=2,
        episodes=2,
    )
    assert list(found.figures) == ["contrastive", "prototypical"]


def test_a_process_with_several_gpus_uses_one_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert args.device.type == "cpu"
    args._n_gpu = 2
    _use_one_gpu(args)
    assert args.n_gpu == 1
    assert "one process trains on one of 2 GPUs; accelerate launch takes them all" in caplog.text


@pytest.mark.slow
def test_what_is_kept_of_the_examples_is_what_serving_makes_of_them_where_training_was_in_bf16(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    words = ["train", "task=few_shot", "task.method=contrastive", f"model={checkpoints['bert']}", "bootstrap=0"]
    words += [
        f"data.train={data['support']}",
        "data.validation=none",
        "data.duplicates=keep",
        f"output={tmp_path / 'run'}",
    ]
    called = python("-m", "nlptk", *words, "training.bf16=true", cwd=tmp_path, path=[ROOT], env=ALONE)
    assert called.code == 0, called.err[-3000:]
    loaded: Any = nlptk.pipeline(tmp_path / "run")
    assert set(loaded.task.labels.names) == set(KEYWORDS)
    for found in loaded(list(loaded.task.support.texts)):
        assert found["nearest"][0]["cosine"] == pytest.approx(1.0, abs=2e-6)


def test_settings_of_a_training_that_there_is_none_of_are_told(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    block = {"num_train_epochs": 5, "learning_rate": 1.0}
    result = job(checkpoints["bert"], data, tmp_path / "run", {"method": "prototypical"}, training=block)
    said = "training.learning_rate, training.num_train_epochs: not used, for method prototypical trains nothing without"
    assert [line for line in result.warnings if line.startswith(said)]


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_start_that_is_learnt_counts_as_trained(
    strategy: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    task = {**meta(data, episodes=4), "method": "fomaml"}
    result = job(checkpoints["bert"], data, tmp_path / "run", task, strategy=strategy)
    (start,) = [group for group in result.parameters["groups"] if group["name"] == "start"]
    others = [group["size"] for group in result.parameters["groups"] if group["name"] != "start"]
    assert bool(others) == (strategy == "lora")  # without adapters the encoder stays as it is
    assert result.parameters["trainable"] == start["size"] + sum(others)
    served: Any = nlptk.pipeline(result.artifact).task
    assert start["size"] == sum(values.size for values in served.support.learned.values()) > 0
