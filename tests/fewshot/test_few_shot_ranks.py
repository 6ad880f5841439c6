"""Few-shot jobs on two processes: episodes are shared among them, and the results are those of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nlptk
from tests.contract_cases import KEYWORDS
from tests.doors import torchrun
from tests.fewshot.few_shot_rows import META, write_classes
from tests.tiny_models import WORDS, write_checkpoint

pytestmark = pytest.mark.slow

QUIET = {"disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
UNCLIPPED = {**QUIET, "max_grad_norm": 0.0}
WINDOWS = {
    "data": {"train": "long.jsonl", "duplicates": "keep"},
    "preprocessing": {"max_length": 16, "long_text": "window", "stride": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_checkpoint("bert", folder / "bert")
    write_classes(folder / "support.jsonl", KEYWORDS, 6)
    write_classes(folder / "meta.jsonl", WORDS[20:26], 8)
    long = [json.loads(line) for line in (folder / "support.jsonl").read_text().splitlines()]
    for place, row in enumerate(long):
        row["text"] += " ".join(["", *WORDS[: 2 * place]])
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    return folder


def write(folder: Path, name: str, recipe: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        json.dumps({"model": "bert", "bootstrap": 0, "dropout": {"hidden": 0.0, "attention": 0.0}, **recipe})
    )
    return path


@pytest.mark.parametrize("method", ["contrastive", "prototypical"])
def test_episodes_do_not_depend_on_the_number_of_processes(
    method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    recipe = {"task": {"name": "few_shot", "method": method}, "data": {"train": "meta.jsonl"}, "training": QUIET}
    write(folder, method, recipe)
    words = [
        "fewshot",
        "evaluate",
        f"{method}.yaml",
        "--ways",
        "3",
        "--shots",
        "2",
        "--queries",
        "3",
        "--episodes",
        "7",
    ]
    called = torchrun("-m", "nlptk", *words, f"output={method}-two", cwd=folder)
    assert called.code == 0, called.err[-3000:]
    protocol: dict[str, Any] = {"ways": 3, "shots": [2], "queries": 3, "episodes": 7}
    alone = nlptk.compare_methods(f"{method}.yaml", output=f"{method}-one", **protocol)
    two = json.loads((folder / f"{method}-two" / "results.json").read_text())
    figure = alone.figures[method][2]
    assert figure.low is not None
    assert two["accuracy"][method]["2"]["value"] == pytest.approx(figure.value, abs=1e-9)
    assert two["accuracy"][method]["2"]["low"] == pytest.approx(figure.low, abs=1e-9)


def test_a_model_without_training_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    data = {"train": "support.jsonl", "duplicates": "keep"}
    write(folder, "probe", {"task": {"name": "few_shot", "method": "linear_probe"}, "data": data, "training": QUIET})
    called = torchrun("-m", "nlptk", "train", "probe.yaml", "output=probe-two", cwd=folder)
    assert called.code == 0, called.err[-3000:]
    alone = nlptk.train("probe.yaml", output="probe-one")
    one, two = (load_file(path / "support.safetensors") for path in (alone.artifact, folder / "probe-two" / "model"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, msg=key)


PAIRS = {"name": "contrastive", "passes": 2}


@pytest.mark.parametrize(
    ("method", "size", "more"),
    [
        pytest.param(PAIRS, 5, {}, id="contrastive"),
        pytest.param({**PAIRS, "loss": "cosent"}, 5, {}, id="cosent"),
        pytest.param({"name": "cloze"}, 5, {}, id="cloze"),
        pytest.param(PAIRS, 5, {"strategy": "lora"}, id="adapters"),
        pytest.param(PAIRS, 18, WINDOWS, id="windows"),
    ],
)
def test_training_on_the_support_set_on_two_processes_makes_the_model_of_one(
    method: dict[str, Any],
    size: int,
    more: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A batch of five rows is shared: three are read by each, one of them twice. Windows of 18 rows make other numbers
    of parts on one than on the other. Nothing is clipped, which would hide a gradient that is too large."""
    monkeypatch.chdir(folder)
    name = request.node.callspec.id
    recipe = {
        "task": {"name": "few_shot", "method": method},
        "data": {"train": "support.jsonl", "duplicates": "keep"},
        "optimizer": "sgd",
        **more,
        "training": {**UNCLIPPED, "learning_rate": 0.002, "num_train_epochs": 2, "per_device_train_batch_size": size},
    }
    write(folder, name, recipe)
    called = torchrun("-m", "nlptk", "train", f"{name}.yaml", f"output={name}-train-two", cwd=folder)
    assert called.code == 0, called.err[-3000:]
    alone = nlptk.train(f"{name}.yaml", output=f"{name}-train-one")
    assert_same_models(alone.artifact, folder / f"{name}-train-two" / "model")
    assert moved(folder / "bert", alone.artifact)


@pytest.mark.parametrize("method", ["prototypical", "maml"])
def test_meta_training_on_two_processes_makes_the_model_of_one(
    method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four episodes a step, two on each, of 24 rows, which prototypical reads in parts."""
    monkeypatch.chdir(folder)
    meta = {"train": "meta.jsonl", **META, "shots": 4, "queries": 4, "episodes": 8, "episodes_per_step": 4}
    recipe = {
        "task": {"name": "few_shot", "method": method, "meta": meta},
        "data": {"train": "support.jsonl", "duplicates": "keep"},
        "optimizer": "sgd",
        "training": {**UNCLIPPED, "learning_rate": 0.02},
    }
    write(folder, method, recipe)
    called = torchrun("-m", "nlptk", "train", f"{method}.yaml", f"output={method}-train-two", cwd=folder)
    assert called.code == 0, called.err[-3000:]
    alone = nlptk.train(f"{method}.yaml", output=f"{method}-train-one")
    assert_same_models(alone.artifact, folder / f"{method}-train-two" / "model")
    assert moved(folder / "bert", alone.artifact) == (method == "prototypical")


def assert_same_models(one: Path, two: Path) -> None:
    for name in ("support.safetensors", "model.safetensors"):
        expected, found = load_file(one / name), load_file(two / name)
        assert sorted(expected) == sorted(found)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")


def moved(checkpoint: Path, artifact: Path) -> bool:
    """Whether training changed weights of the encoder."""
    start, after = (
        {key.removeprefix("bert."): value for key, value in load_file(folder / "model.safetensors").items()}
        for folder in (checkpoint, artifact)
    )
    shared = start.keys() & after.keys()
    assert len(shared) > 10
    return any(not torch.equal(start[key], after[key]) for key in shared)
