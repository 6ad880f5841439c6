"""Three dropout rates under every family's own names."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoConfig,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
)

from nlptk.errors import RecipeError, UnsupportedError
from nlptk.training.dropout import override_dropout


@pytest.mark.parametrize(
    ("config", "given", "expected"),
    [
        (BertConfig(), {"hidden": 0.2}, {"hidden_dropout_prob": 0.2}),
        (BertConfig(), {"attention": 0.3}, {"attention_probs_dropout_prob": 0.3}),
        (BertConfig(), {"head": 0.4}, {"classifier_dropout": 0.4}),
        (RobertaConfig(), {"hidden": 0.2, "head": 0.4}, {"hidden_dropout_prob": 0.2, "classifier_dropout": 0.4}),
        (DistilBertConfig(), {"hidden": 0.2}, {"dropout": 0.2}),
        (DistilBertConfig(), {"attention": 0.3}, {"attention_dropout": 0.3}),
        (DistilBertConfig(), {"head": 0.4}, {"seq_classif_dropout": 0.4}),
        (GPT2Config(), {"hidden": 0.2}, {"resid_pdrop": 0.2, "embd_pdrop": 0.2}),
        (GPT2Config(), {"attention": 0.3}, {"attn_pdrop": 0.3}),
        (T5Config(), {"hidden": 0.2}, {"dropout_rate": 0.2}),
        (T5Config(), {"head": 0.4}, {"classifier_dropout": 0.4}),
        (LlamaConfig(), {"attention": 0.3}, {"attention_dropout": 0.3}),
        (ModernBertConfig(), {"hidden": 0.2}, {"embedding_dropout": 0.2, "mlp_dropout": 0.2}),
        (BertConfig(), {}, {}),
        (BertConfig(), {"hidden": 0.0}, {"hidden_dropout_prob": 0.0}),
    ],
)
def test_each_family_is_set_by_its_own_fields(
    config: PreTrainedConfig, given: dict[str, float], expected: dict[str, float]
) -> None:
    assert override_dropout(config, **given) == expected
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("config", "kind"),
    [(LlamaConfig(), "hidden"), (LlamaConfig(), "head"), (GPT2Config(), "head"), (T5Config(), "attention")],
)
def test_a_family_without_such_a_dropout_is_named(config: PreTrainedConfig, kind: str) -> None:
    with pytest.raises(UnsupportedError, match=f"model type {config.model_type}\\) has no {kind} dropout"):
        override_dropout(config, **{kind: 0.1})


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_a_value_outside_the_range_is_refused(value: float) -> None:
    with pytest.raises(RecipeError, match="expected a probability"):
        override_dropout(BertConfig(), hidden=value)


def test_nothing_is_set_where_one_of_several_is_refused() -> None:
    config = GPT2Config(resid_pdrop=0.1)
    with pytest.raises(UnsupportedError):
        override_dropout(config, hidden=0.5, head=0.5)
    assert config.resid_pdrop == 0.1


def test_a_bert_built_afterwards_has_the_rates() -> None:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    override_dropout(config, hidden=0.25, attention=0.5, head=0.75)
    rates = {
        n: m.p for n, m in BertForSequenceClassification(config).named_modules() if isinstance(m, torch.nn.Dropout)
    }
    assert rates["bert.embeddings.dropout"] == 0.25
    assert rates["bert.encoder.layer.0.attention.self.dropout"] == 0.5
    assert rates["dropout"] == 0.75


def test_a_distilbert_built_afterwards_has_the_rates() -> None:
    config = DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    override_dropout(config, hidden=0.25, attention=0.5, head=0.75)
    model = DistilBertForSequenceClassification(config)
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert rates["distilbert.embeddings.dropout"] == 0.25
    assert rates["distilbert.transformer.layer.0.attention.dropout"] == 0.5
    assert rates["dropout"] == 0.75


def test_the_parts_of_a_model_that_have_the_rate_of_their_own_get_it() -> None:
    config = AutoConfig.for_model("t5gemma")
    assert override_dropout(config, hidden=0.4) == {"dropout_rate": 0.4}
    assert config.encoder.dropout_rate == config.decoder.dropout_rate == 0.4
