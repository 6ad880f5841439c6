"""bf16 on a CPU: never by default; asked for, it runs below AMX or is refused, and no process dies of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nlptk
from nlptk.errors import UnsupportedError
from nlptk.training import cpu_bf16
from nlptk.training.arguments import RunFacts, _defaults, training_arguments
from tests.doors import write_rows
from tests.training.runs import train

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which bf16 is for")


EXITS_AT_TORCH = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("ONEDNN_MAX_CPU_ISA", "unset"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Spy())
"""


def _facts(output: Path) -> RunFacts:
    return RunFacts(
        output=str(output),
        seed=0,
        learning_rate=1e-3,
        weight_decay=0.0,
        primary="accuracy",
        lower_is_better=frozenset(),
        has_validation=False,
        packed=False,
        scheduled=False,
    )


@on_cpu
def test_it_is_off_by_default(tmp_path: Path) -> None:
    assert training_arguments({}, _facts(tmp_path), where="recipe").bf16 is False


@on_cpu
@pytest.mark.slow
def test_the_command_line_sets_the_cap_before_torch_and_trains_and_measures_what_is_served(
    tiny: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    probe = tmp_path / "sitecustomize.py"
    probe.write_text(
        "import atexit, os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'torch': open({str(tmp_path / 'cap')!r}, 'a').write(os.environ.get("
        f"{cpu_bf16.VARIABLE!r}, 'unset') + '\\n')\n"
        "sys.meta_path.insert(0, Spy())\n"
    )
    words = ["task=classification", f"model={tiny['bert']}", f"data.train={rows}", "data.validation=none"]
    words += [f"data.test={rows}", "data.duplicates=keep", f"output={tmp_path / 'run'}", "bootstrap=0"]
    words += ["training.bf16=true", "training.max_steps=2"]
    environment = {key: value for key, value in os.environ.items() if key != cpu_bf16.VARIABLE}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "nlptk", "train", *words], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "cap").read_text().splitlines()[0] == cpu_bf16.BELOW_AMX
    recipe = json.loads((tmp_path / "run" / "model" / "nlptk.json").read_text())["recipe"]
    assert recipe["training"]["bf16"] is True
    reported = json.loads((tmp_path / "run" / "all_results.json").read_text())["test_loss"]
    served = nlptk.evaluate(tmp_path / "run", rows, output=tmp_path / "later", bootstrap=0)
    assert reported == pytest.approx(served.figures["loss"].value, abs=1e-6)  # bf16 would differ in the third digit


@pytest.mark.parametrize(
    ("word", "launched", "cap"),
    [("", "no", "unset"), ("training.bf16=true", "no", cpu_bf16.BELOW_AMX), ("", "bf16", cpu_bf16.BELOW_AMX)],
    ids=["nobody", "the recipe", "accelerate launch"],
)
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["task=classification", "model=any"]),
        ("tune", ["task=classification", "model=any"]),
        ("pretrain", ["model.family=bert"]),
    ],
    ids=["train", "tune", "pretrain"],
)
def test_the_cap_is_set_before_torch_by_whomever_bf16_is_asked_for(
    tmp_path: Path, command: str, words: list[str], word: str, launched: str, cap: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(EXITS_AT_TORCH)
    given = [*words, f"data={write_rows(tmp_path / 'rows.jsonl')}", *filter(None, [word])]
    environment = {key: value for key, value in os.environ.items() if key != cpu_bf16.VARIABLE}
    environment |= {"PYTHONPATH": str(tmp_path), "ACCELERATE_MIXED_PRECISION": launched, "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nlptk", command, *given], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == cap, done.stderr


@on_cpu
def test_where_a_child_dies_of_it_the_run_is_refused_with_the_cure(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(cpu_bf16.VARIABLE, raising=False)
    monkeypatch.setattr(cpu_bf16, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    cpu_bf16._survives.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match=f"{cpu_bf16.VARIABLE}={cpu_bf16.BELOW_AMX}"):
            train(tiny["bert"], rows, tmp_path / "run", training={"bf16": True})
    finally:
        cpu_bf16._survives.cache_clear()


@pytest.mark.parametrize(
    ("training", "environment"),
    [
        ({"bf16": True, "use_cpu": True}, {}),
        ({}, {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "true"}),
        ({"bf16": False, "use_cpu": True}, {"ACCELERATE_MIXED_PRECISION": "bf16"}),
    ],
    ids=["the recipe", "accelerate launch", "accelerate launch over the recipe"],
)
def test_the_refusal_names_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, bool], environment: dict[str, str]
) -> None:
    monkeypatch.delenv(cpu_bf16.VARIABLE, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cpu_bf16, "_survives", lambda: False)
    asked = "ACCELERATE_MIXED_PRECISION=bf16" if environment else r"training\.bf16"
    with pytest.raises(UnsupportedError, match=f"^{asked}: a bf16 matrix product ends a process"):
        training_arguments(training, _facts(tmp_path), where="recipe")


def test_fp16_of_the_recipe_goes_before_what_accelerate_launch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert cpu_bf16.asks_for_bf16({"fp16": True}) is None


def test_a_run_sent_to_the_cpu_is_not_in_bf16_whatever_gpu_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert _defaults({}, _facts(tmp_path))["bf16"] is False
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    assert _defaults({}, _facts(tmp_path))["bf16"] is True


def test_a_cap_that_the_user_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cpu_bf16.VARIABLE, "AVX2")
    cpu_bf16.cap_before_torch()
    assert os.environ[cpu_bf16.VARIABLE] == "AVX2"
    monkeypatch.setattr(cpu_bf16, "_survives", lambda: pytest.fail("there is a cap: nothing is to be probed"))
    cpu_bf16.prepare_cpu_bf16("training.bf16")
