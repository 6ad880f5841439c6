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
from tests.doors import torchrun_each
from tests.fewshot.few_shot_rows import META, write_classes
from tests.tiny_models import WORDS, write_checkpoint

pytestmark = pytest.mark.slow

SUPPORT = {"train": "support.jsonl", "duplicates": "keep"}
QUIET = {"disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
UNCLIPPED = {**QUIET, "max_grad_norm": 0.0}
WINDOWS = {
    "data": {"train": "long.jsonl", "duplicates": "keep"},
    "preprocessing": {"max_length": 16, "long_text": "window", "stride": 4},
}
EPISODES = {"ways": 3, "queries": 3, "episodes": 7}


def tuned(method: dict[str, Any], size: int = 5, **more: Any) -> dict[str, Any]:
    """Training on the support set, in batches of so many rows. Nothing is clipped, which would hide a gradient that is
    too large."""
    training = {**UNCLIPPED, "learning_rate": 0.002, "num_train_epochs": 2, "per_device_train_batch_size": size}
    return {"task": {"name": "few_shot", "method": method}, "optimizer": "sgd", **more, "training": training}


def meta_trained(method: str) -> dict[str, Any]:
    """Four episodes a step, two on each process, of 24 rows, which prototypical reads in parts."""
    meta = {"train": "meta.jsonl", **META, "shots": 4, "queries": 4, "episodes": 8, "episodes_per_step": 4}
    task = {"name": "few_shot", "method": method, "meta": meta}
    return {"task": task, "optimizer": "sgd", "training": {**UNCLIPPED, "learning_rate": 0.02}}


PAIRS = {"name": "contrastive", "passes": 2}
TRAINED: dict[str, dict[str, Any]] = {
    "probe": {"task": {"name": "few_shot", "method": "linear_probe"}, "training": QUIET},
    # of five rows a process reads three, one of them twice
    "contrastive": tuned(PAIRS),
    "cosent": tuned({**PAIRS, "loss": "cosent"}),
    "cloze": tuned({"name": "cloze"}),
    "adapters": tuned(PAIRS, strategy="lora"),
    # one process reads them in another number of parts than each of two; a firm head does not enlarge what that changes
    "windows": tuned({**PAIRS, "inverse_penalty": 0.1}, 18, **WINDOWS),
    "prototypical": meta_trained("prototypical"),
    "maml": meta_trained("maml"),
}
UNMOVED = {"probe", "maml"}
"""Jobs that leave the encoder as it is."""
MEASURED = ("contrastive", "prototypical")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every job stands as NAME.yaml, and what two processes made of it: NAME-two, and NAME-episodes-two."""
    folder = tmp_path_factory.mktemp("ranks")
    write_checkpoint("bert", folder / "bert")
    write_classes(folder / "support.jsonl", KEYWORDS, 6)
    write_classes(folder / "meta.jsonl", WORDS[20:26], 8)
    long = [json.loads(line) for line in (folder / "support.jsonl").read_text().splitlines()]
    for place, row in enumerate(long):
        row["text"] += " ".join(["", *WORDS[: 2 * place]])
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    still = {"hidden": 0.0, "attention": 0.0}
    calls = []
    for name, recipe in TRAINED.items():
        job = {"model": "bert", "data": SUPPORT, "bootstrap": 0, "dropout": still, **recipe}
        (folder / f"{name}.yaml").write_text(json.dumps(job))
        calls.append(["train", f"{name}.yaml", f"output={name}-two"])
    for method in MEASURED:
        task = {"name": "few_shot", "method": method}
        job = {"model": "bert", "data": {"train": "meta.jsonl"}, "dropout": still, "task": task, "training": QUIET}
        (folder / f"{method}-episodes.yaml").write_text(json.dumps(job))
        asked = [word for key, value in {**EPISODES, "shots": 2}.items() for word in (f"--{key}", str(value))]
        words = ["fewshot", "evaluate", f"{method}-episodes.yaml", *asked]
        calls.append([*words, f"output={method}-episodes-two"])
    called = torchrun_each(calls, cwd=folder)
    assert called.code == 0, called.err[-3000:]
    return folder


@pytest.mark.parametrize("method", MEASURED)
def test_episodes_do_not_depend_on_the_number_of_processes(
    method: str, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two)
    protocol: dict[str, Any] = {**EPISODES, "shots": [2]}
    alone = nlptk.compare_methods(f"{method}-episodes.yaml", output=f"{method}-episodes-one", **protocol)
    shared = json.loads(Path(f"{method}-episodes-two/results.json").read_text())["accuracy"][method]["2"]
    figure = alone.figures[method][2]
    assert figure.low is not None
    assert shared["value"] == pytest.approx(figure.value, abs=1e-9)
    assert shared["low"] == pytest.approx(figure.low, abs=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_make_the_model_of_one(name: str, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two)
    alone = nlptk.train(f"{name}.yaml", output=f"{name}-one")
    for file in ("support.safetensors", "model.safetensors"):
        expected, found = load_file(alone.artifact / file), load_file(two / f"{name}-two" / "model" / file)
        assert sorted(expected) == sorted(found)
        for key, value in expected.items():
            rtol = 1.3e-6 if name == "probe" else 1e-4
            torch.testing.assert_close(found[key], value, atol=1e-5, rtol=rtol, msg=f"{file}: {key}")
    assert moved(two / "bert", alone.artifact) == (name not in UNMOVED)


def moved(checkpoint: Path, artifact: Path) -> bool:
    """Whether training changed weights of the encoder."""
    start, after = (
        {key.removeprefix("bert."): value for key, value in load_file(folder / "model.safetensors").items()}
        for folder in (checkpoint, artifact)
    )
    shared = start.keys() & after.keys()
    assert len(shared) > 10
    return any(not torch.equal(start[key], after[key]) for key in shared)
