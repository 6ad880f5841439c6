"""Batch normalization in the head and dropout overrides, from recipe to artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nlptk.errors import UnsupportedError
from nlptk.training.head import fold_head_norm
from nlptk.training.readout import stored_backbone
from nlptk.training.trainer import NlptkTrainer
from tests.training.runs import train

TEXTS = ["the parcel came late good", "refund my order bad", "invoice"]


@torch.no_grad()
def _logits(model: Any, tokenizer: Any) -> torch.Tensor:
    training = model.training
    model.train(False)
    found: torch.Tensor = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    model.train(training)
    return found


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("bert", {"packing": True}),
        ("bert", {"packing": False, "strategy": "lp_ft"}),
        ("bert", {"strategy": "lora"}),
        ("bert", {"strategy": "feature_extraction"}),
        ("roberta", {"packing": True, "strategy": "lora"}),
        ("t5", {"strategy": "lora"}),
        ("t5", {"strategy": "feature_extraction"}),
    ],
    ids=str,
)
def test_the_artifact_of_a_normed_head_is_plain_and_has_its_logits(
    tiny: dict[str, Path],
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    keys: dict[str, Any],
) -> None:
    """Before folding, with the norm in place and the best checkpoint restored, against the saved folder."""
    before: list[torch.Tensor] = []
    backbones: list[Any] = []
    tokenizer = AutoTokenizer.from_pretrained(tiny[family])

    def fold(model: Any) -> Any:
        """Run the whole model, its backbone put back where training had features in its place."""
        prefix = model.base_model_prefix
        stood = getattr(model, prefix)
        setattr(model, prefix, backbones[0] if backbones else stood)
        before.append(_logits(model, tokenizer))
        setattr(model, prefix, stood)
        return fold_head_norm(model)

    def stored(model: Any) -> Any:
        backbones.append(getattr(model, model.base_model_prefix))
        return stored_backbone(model)

    monkeypatch.setattr("nlptk.training.run.fold_head_norm", fold)
    monkeypatch.setattr("nlptk.training.run.stored_backbone", stored)
    training = {"num_train_epochs": 3, "learning_rate": 0.05}
    result = train(
        tiny[family], rows, tmp_path / "run", validation=rows, head={"norm": "batch"}, training=training, **keys
    )
    plain = AutoModelForSequenceClassification.from_pretrained(result.artifact)
    after = _logits(plain, tokenizer)
    torch.testing.assert_close(after, before[0], atol=1e-5, rtol=1e-5)
    assert (after - after[:1]).abs().max() > 1e-3
    assert not any("norm.running" in name for name in plain.state_dict() if name.startswith("class"))


def test_a_normed_head_is_refused_where_there_is_no_bias(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"\(score\) has no bias"):
        train(tiny["gpt2"], rows, tmp_path / "run", head={"norm": "batch"})


def test_dropout_rates_are_in_the_trained_model_and_its_config(
    tiny: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    rates = {"hidden": 0.3, "attention": 0.4, "head": 0.2}
    result = train(tiny["bert"], rows, tmp_path / "run", dropout=rates)
    config = json.loads((result.artifact / "config.json").read_text())
    assert config["hidden_dropout_prob"] == 0.3
    assert config["attention_probs_dropout_prob"] == 0.4
    assert config["classifier_dropout"] == 0.2


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The rate of every dropout layer that a step of training meets."""
    seen: dict[str, float] = {}
    original = NlptkTrainer.compute_loss

    def looking(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        seen.update({name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and m.training})
        return original(self, model, *args, **kwargs)

    monkeypatch.setattr(NlptkTrainer, "compute_loss", looking)
    return seen


def test_dropout_rates_reach_the_modules_that_train(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, seen: dict[str, float]
) -> None:
    train(tiny["bert"], rows, tmp_path / "run", dropout={"hidden": 0.3, "attention": 0.4, "head": 0.2})
    assert seen["bert.embeddings.dropout"] == 0.3
    assert seen["bert.encoder.layer.1.attention.self.dropout"] == 0.4
    assert seen["dropout"] == 0.2


@pytest.mark.parametrize(("given", "rate"), [({}, 0.0), ({"hidden": 0.3}, 0.0), ({"head": 0.2}, 0.2)])
def test_a_head_on_stored_features_has_dropout_only_where_it_is_asked_for(
    given: dict[str, float], rate: float, tiny: dict[str, Path], rows: Path, tmp_path: Path, seen: dict[str, float]
) -> None:
    result = train(tiny["bert"], rows, tmp_path / "run", strategy="feature_extraction", dropout=given)
    assert seen == {"dropout": rate}
    config = json.loads((result.artifact / "config.json").read_text())
    assert config["hidden_dropout_prob"] == given.get("hidden", 0.1)
    assert config["classifier_dropout"] == given.get("head")


def test_a_family_without_such_a_dropout_is_refused(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"dropout\.head: LlamaConfig.*has no head dropout"):
        train(tiny["llama"], rows, tmp_path / "run", dropout={"head": 0.1})
