"""Classification x {BERT, GPT-2, T5} x every strategy x {single-label, multi-label, pairs}."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline as transformers_pipeline

import nlptk
from nlptk import registry
from nlptk.errors import UnsupportedError
from tests.contract import changed_parameters, train_tiny
from tests.tiny_models import FAMILIES, WORDS, write_checkpoint

FORMS = ("single", "multi", "pair")
REFUSED = {("t5", "bitfit"): "bias"}
ADAPTED = re.compile(r"(attn|attention|SelfAttention|EncDecAttention|mlp|DenseReluDense|intermediate|output)\b")
"""Modules inside layers that LoRA, DoRA and (IA)3 may change."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: write_checkpoint(family, folder / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    keywords = ("broken", "invoice", "password")
    rows: dict[str, list[dict[str, object]]] = {form: [] for form in FORMS}
    for index in range(48):
        words = [WORDS[(index * 7 + step * 3) % len(WORDS)] for step in range(4 + index % 5)]
        words = [word for word in words if word not in keywords]
        key = keywords[index % 3]
        text = " ".join([*words[:2], key, *words[2:], str(index)])
        rows["single"].append({"text": text, "label": key})
        second = keywords[(index // 3) % 3]
        both = f"{text} {second}"
        rows["multi"].append({"text": both, "labels": sorted({key, second})})
        same = "same" if index % 2 else "other"
        second = f"{key} please thank you" if index % 2 else f"{keywords[(index + 1) % 3]} refund late"
        rows["pair"].append({"sentence1": text, "sentence2": second, "label": same})
    for form, found in rows.items():
        (folder / f"{form}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return {form: folder / f"{form}.jsonl" for form in FORMS}


def _may_change(strategy: str, name: str) -> bool:
    if strategy in ("full", "gradual_unfreezing", "lp_ft"):
        return True
    if strategy == "bitfit":
        return name.endswith("bias")
    if strategy in ("lora", "dora", "ia3"):
        return ADAPTED.search(name) is not None
    return False


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strategy", sorted(registry.strategies()))
@pytest.mark.parametrize("family", FAMILIES)
def test_contract(
    family: str, strategy: str, form: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    def train() -> object:
        return train_tiny(
            checkpoints[family], data[form], tmp_path / "run", task="classification", strategy={"name": strategy}
        )

    if (family, strategy) in REFUSED:
        with pytest.raises(UnsupportedError, match=REFUSED[family, strategy]):
            train()
        return
    outcome = train_tiny(
        checkpoints[family], data[form], tmp_path / "run", task="classification", strategy={"name": strategy}
    )
    assert outcome.loss_after < outcome.loss_before

    artifact = outcome.result.artifact
    again = nlptk.evaluate(artifact, data[form], bootstrap=0)
    assert again.figures["loss"].value == pytest.approx(outcome.loss_after, abs=1e-5)

    names = changed_parameters(checkpoints[family], artifact)
    assert [name for name in names if not _may_change(strategy, name)] == []
    if strategy not in ("feature_extraction", "prompt_tuning"):
        assert names, "the backbone was to train, and did not"

    rows = [json.loads(line) for line in data[form].read_text().splitlines()[:8]]
    ours = nlptk.pipeline(artifact)([{k: v for k, v in row.items() if not k.startswith("label")} for row in rows])
    plain = transformers_pipeline("text-classification", model=str(artifact), top_k=None)
    inputs = [
        {"text": row["sentence1"], "text_pair": row["sentence2"]} if form == "pair" else row["text"] for row in rows
    ]
    theirs: Any = plain(inputs)
    for ours_row, plain_row in zip(ours, theirs, strict=True):
        for entry in plain_row:
            assert ours_row["scores"][entry["label"]] == pytest.approx(entry["score"], abs=1e-5)
