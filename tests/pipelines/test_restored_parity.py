"""The restored pipelines answer as transformers 4.57 does: both versions run the same cases on the same checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.parity.checkpoints import write_all

SCORE_TOLERANCE = 1e-5
SHORT_ROWS, LONG_ROWS = 40, 3
RUN_TIMEOUT_S = 1500
Outcomes = dict[str, dict[str, Any]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def questions(shared_data: Path) -> list[dict[str, str]]:
    """Questions on paragraphs, and questions on whole articles of thousands of words."""
    short = json.loads((shared_data / "squad2" / "validation.json").read_text(encoding="utf-8"))
    long = json.loads((shared_data / "covid_qa" / "all.json").read_text(encoding="utf-8"))
    return rows(short)[:SHORT_ROWS] + rows(long)[:: max(1, len(rows(long)) // LONG_ROWS)][:LONG_ROWS]


def rows(squad: dict[str, Any]) -> list[dict[str, str]]:
    """Question and context, the first question of every paragraph."""
    paragraphs = [paragraph for article in squad["data"] for paragraph in article["paragraphs"]]
    return [{"question": p["qas"][0]["question"], "context": p["context"]} for p in paragraphs if p["qas"]]


@pytest.fixture(scope="module")
def built_in(transformers_4: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, Outcomes]:
    """By case: what 4.57 does, and what this package does."""
    return both(transformers_4, tmp_path_factory.mktemp("built-in"), None, [])


@pytest.fixture(scope="module")
def real(
    transformers_4: Path, minilm: Path, questions: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcomes, Outcomes]:
    """The same for real questions, read by a real model with a head of random weights."""
    return both(transformers_4, tmp_path_factory.mktemp("real"), minilm, questions)


def both(old: Path, folder: Path, body: Path | None, questions: list[dict[str, str]]) -> tuple[Outcomes, Outcomes]:
    """Run the cases in both environments, each in a process of its own."""
    write_all(folder, body)
    (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TOKENIZERS_PARALLELISM": "false"}
    found: list[Outcomes] = []
    for python, module in ((str(old), []), (sys.executable, ["nlptk.pipelines.restored"])):
        answers = folder / f"answers-{len(found)}.json"
        command = [python, "-m", "tests.pipelines.parity.runner", str(folder), str(folder / "questions.json")]
        command += [str(answers), *module]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(answers.read_text(encoding="utf-8")))
    return found[0], found[1]


def differences(place: str, old: Any, new: Any, largest: list[float]) -> list[str]:
    """Where two results differ: in keys, answers, positions or token ids, or by a score of more than the tolerance."""
    if isinstance(old, dict) and isinstance(new, dict) and list(old) == list(new):
        return [line for key in old for line in differences(f"{place}.{key}", old[key], new[key], largest)]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = zip(old, new, strict=True)
        return [line for i, pair in enumerate(pairs) for line in differences(f"{place}[{i}]", *pair, largest)]
    if isinstance(old, float) and isinstance(new, float):
        largest.append(abs(old - new))
        return [] if abs(old - new) <= SCORE_TOLERANCE else [f"{place}: {old} and {new}"]
    return [] if old == new else [f"{place}: {old!r} and {new!r}"]


def compare(label: str, outcomes: tuple[Outcomes, Outcomes], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Every difference between the two; prints how much was compared."""
    old, new = outcomes
    assert list(old) == list(new)
    largest: list[float] = [0.0]
    compared = {name: old[name]["result"] for name in old if "result" in old[name]}
    wrong = []
    for name, result in compared.items():
        if "result" in new[name]:
            wrong += differences(name, result, new[name]["result"], largest)
        else:
            wrong.append(f"{name}: {new[name]['message']}")
    text = json.dumps(compared)
    answers, sequences = text.count('"answer":'), text.count('_token_ids":')
    counts = f"{len(compared)} calls, {answers} answers, {sequences} sequences of token ids"
    with capsys.disabled():
        print(f"\nparity with transformers 4.57, {label}: {counts}; {len(wrong)} differences")
        print(f"largest difference between two scores: {max(largest):.1e}")
    return wrong


def test_every_built_in_case_has_the_result_of_4_57(
    built_in: tuple[Outcomes, Outcomes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare("tiny models", built_in, capsys) == []


def test_every_real_question_has_the_answer_of_4_57(
    real: tuple[Outcomes, Outcomes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare("MiniLM on squad2 and covid_qa", real, capsys) == []
    texts = {json.dumps(outcome["result"]) for outcome in real[0].values()}
    assert len(texts) > 0.9 * len(real[0]), "answers that hardly vary prove little"


def test_every_error_is_of_the_type_that_4_57_raises(built_in: tuple[Outcomes, Outcomes]) -> None:
    old, new = built_in
    failing = [name for name in old if "error" in old[name]]
    assert len(failing) > 20
    wrong = [
        f"{n}: {old[n]['error'][0]} and {new[n]}" for n in failing if old[n]["error"][0] not in new[n].get("error", [])
    ]
    assert wrong == []


def test_warnings_come_where_4_57_gives_them(built_in: tuple[Outcomes, Outcomes]) -> None:
    old, new = built_in
    assert sum(bool(old[name]["warnings"]) for name in old) > 20
    wrong = [name for name in old if old[name]["warnings"] != new[name]["warnings"]]
    assert [f"{name}: {old[name]['warnings']} and {new[name]['warnings']}" for name in wrong] == []
