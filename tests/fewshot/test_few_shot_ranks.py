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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_checkpoint("bert", folder / "bert")
    write_classes(folder / "support.jsonl", KEYWORDS, 6)
    write_classes(folder / "meta.jsonl", WORDS[20:26], 8)
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


@pytest.mark.parametrize("method", ["prototypical", "maml"])
def test_meta_training_on_two_processes_makes_the_model_of_one(
    method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four episodes a step, two on each."""
    monkeypatch.chdir(folder)
    meta = {"train": "meta.jsonl", **META, "episodes": 8, "episodes_per_step": 4}
    recipe = {
        "task": {"name": "few_shot", "method": method, "meta": meta},
        "data": {"train": "support.jsonl", "duplicates": "keep"},
        "optimizer": "sgd",
        "training": {**QUIET, "learning_rate": 0.05},
    }
    write(folder, method, recipe)
    called = torchrun("-m", "nlptk", "train", f"{method}.yaml", f"output={method}-train-two", cwd=folder)
    assert called.code == 0, called.err[-3000:]
    alone = nlptk.train(f"{method}.yaml", output=f"{method}-train-one")
    for name in ("support.safetensors", "model.safetensors"):
        one, two = load_file(alone.artifact / name), load_file(folder / f"{method}-train-two" / "model" / name)
        assert sorted(one) == sorted(two)
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")
    start = load_file(folder / "bert" / "model.safetensors")
    after = load_file(alone.artifact / "model.safetensors")
    moved = any(not torch.equal(start[key], value) for key, value in after.items() if key in start)
    assert moved == (method == "prototypical")
