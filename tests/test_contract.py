"""Every task x {BERT, GPT-2, T5} x every strategy: trained for a few steps, or refused with the reason."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from datasets import Dataset

import nlptk
from nlptk import registry, support
from nlptk.errors import UnsupportedError
from nlptk.task import Task
from tests.contract import Outcome, changed_parameters, may_change, said, train_tiny
from tests.contract_cases import CASES, Case
from tests.tiny_models import FAMILIES, write_checkpoint

HEAD_FIRST = ("feature_extraction", "lp_ft")


def refusal(case: Case, family: str, strategy: str) -> str | None:
    """What the message says where task, family and strategy do not go together: by hand, not taken from the code."""
    if family == "bert" and (case.task == "generation" or case.options.get("method") == "generative"):
        return "bert is an encoder alone"
    if family == "t5" and strategy == "bitfit":
        return "no biases outside its head"
    if case.writes and strategy in HEAD_FIRST:
        return "output layer is its embedding table"
    if case.task == "similarity" and not case.options and strategy in HEAD_FIRST:
        return "the model has none"
    return None


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: write_checkpoint(family, folder / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    for name, case in CASES.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in case.rows))
    return {name: folder / f"{name}.jsonl" for name in CASES}


@pytest.fixture(scope="module")
def matrix() -> list[support.Cell]:
    return support.support_matrix()


@pytest.fixture(scope="module", autouse=True)
def _libraries_out_of_the_collectors_way() -> Iterator[None]:
    """The Trainer collects garbage in every run: a quarter of a second each over all that torch has imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def assert_trains_its_groups(outcome: Outcome, case: Case) -> None:
    """What moved is what the run reports: every parameter of every group, but for a pooler that no head reads."""
    witness = outcome.witness
    assert witness.strayed == 0
    unread = {name: size for found in witness.still.values() for name, size in found.items()}
    assert all(re.search(r"\bpooler\.dense\.", name) for name in unread), unread
    assert not unread or case.task != "classification"
    reported = {group["name"]: group["size"] for group in outcome.result.parameters["groups"]}
    assert {name for name, moved in witness.moved.items() if moved} == reported.keys()
    assert sum(witness.moved.values()) + sum(unread.values()) == sum(reported.values())
    assert sum(reported.values()) == outcome.result.parameters["trainable"]


def assert_says_the_same_again(outcome: Outcome) -> None:
    """The artifact, loaded as for prediction, gives the logits (or texts) that the model in memory gave."""
    again = nlptk.pipeline(outcome.result.artifact)
    found = said(again.task, again.model, again.tokenizer, again.manifest.preprocessing, outcome.witness.rows)
    for before, after in zip(outcome.witness.said, found, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def assert_loads_plainly(artifact: Path) -> None:
    """transformers alone finds every weight of the class that the configuration names, and no other."""
    named = json.loads((artifact / "config.json").read_text())["architectures"][0]
    info = getattr(transformers, named).from_pretrained(artifact, output_loading_info=True)[1]
    assert {kind: found for kind, found in info.items() if found} == {}


def assert_classifies_plainly(artifact: Path, case: Case) -> None:
    """transformers' own pipeline gives the scores of nlptk's."""
    rows = case.inputs()[:8]
    plain = transformers.pipeline("text-classification", model=str(artifact), top_k=None)
    inputs: Any = [row.get("text") or {"text": row["sentence1"], "text_pair": row["sentence2"]} for row in rows]
    said: Any = plain(inputs)
    for ours, theirs in zip(nlptk.pipeline(artifact)(rows), said, strict=True):
        for entry in theirs:
            assert ours["scores"][entry["label"]] == pytest.approx(entry["score"], abs=1e-5)


def assert_streams_data_sets(artifact: Path, case: Case) -> None:
    """A stream over a data set, in memory or read as it goes, predicts what a call does."""
    loaded, rows = nlptk.pipeline(artifact), case.inputs()
    called = loaded(rows)
    dataset = Dataset.from_list(rows)
    for stream in (loaded.stream(dataset), loaded.stream(dataset.to_iterable_dataset())):
        assert list(stream) == called


def test_every_task_has_a_case() -> None:
    # what has a job of its own has a contract of its own: tests/fewshot/
    standard = {name for name in registry.tasks() if registry.get_task(name).job == Task.job}
    assert {case.task for case in CASES.values()} == standard


@pytest.mark.slow
@pytest.mark.parametrize("strategy", sorted(registry.strategies()))
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CASES)
def test_contract(
    name: str,
    family: str,
    strategy: str,
    checkpoints: dict[str, Path],
    data: dict[str, Path],
    tmp_path: Path,
) -> None:
    case, output = CASES[name], tmp_path / "run"
    task = {"name": case.task, **case.options}
    reason = refusal(case, family, strategy) or case.refused.get(family) or case.refused.get(strategy)
    if reason is not None:
        with pytest.raises(UnsupportedError, match=reason):
            train_tiny(checkpoints[family], data[name], output, task=task, strategy=strategy)
        assert not (output / "model").exists()
        return
    outcome = train_tiny(checkpoints[family], data[name], output, task=task, strategy=strategy)
    assert outcome.loss_after < outcome.loss_before

    assert_trains_its_groups(outcome, case)
    changed = changed_parameters(checkpoints[family], outcome.result.artifact)
    assert [parameter for parameter in changed if not may_change(strategy, parameter)] == []
    if strategy not in ("feature_extraction", "prompt_tuning"):
        assert changed, "the backbone was to train, and did not"

    assert_says_the_same_again(outcome)
    again = nlptk.evaluate(outcome.result.artifact, data[name], bootstrap=0).figures
    trained = outcome.result.figures["validation"]
    assert again.keys() == trained.keys()
    for figure, value in trained.items():
        assert again[figure].value == pytest.approx(value.value, abs=1e-5, nan_ok=True), figure
    assert_loads_plainly(outcome.result.artifact)
    if case.task == "classification":
        assert_classifies_plainly(outcome.result.artifact, case)
    if strategy == "full":
        assert_streams_data_sets(outcome.result.artifact, case)


def test_the_support_matrix_says_of_every_pairing_what_the_contract_does(
    matrix: list[support.Cell],
) -> None:
    said: dict[tuple[str, str, str], str | None] = {
        (cell.task, support.FAMILIES[cell.family], cell.strategy): cell.refused for cell in matrix
    }
    expected = {
        (case.pairing, family, strategy): refusal(case, family, strategy)
        for case in CASES.values()
        for family in FAMILIES
        for strategy in registry.strategies()
    }
    assert said.keys() == expected.keys()
    for pairing, reason in expected.items():
        assert reason is None if said[pairing] is None else str(reason) in str(said[pairing]), pairing


def test_the_readme_has_the_support_matrix_of_the_code(matrix: list[support.Cell]) -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert page == support.with_matrix(page, support.as_markdown(matrix)), "run python -m nlptk.support README.md"
