"""Batch normalization before the classifier, and its folding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from nlptk.errors import UnsupportedError
from nlptk.registry import get_strategy
from nlptk.training.head import NormedLinear, add_head_norm, final_linear, fold_head_norm
from tests.strategies.families import batch, build, logits, tokenizer

WITH_BIAS = ["bert", "distilbert", "roberta", "t5", "bert-token", "distilbert-token", "roberta-token", "t5-token"]
CLASSIFIER = {
    "bert": "classifier.weight",
    "distilbert": "classifier.weight",
    "roberta": "classifier.out_proj.weight",
    "t5": "classification_head.out_proj.weight",
}


def trained(family: str) -> PreTrainedModel:
    """A model with a norm that has seen three batches and whose gamma and beta have moved."""
    model = add_head_norm(build(family))
    norm = next(module for module in model.modules() if isinstance(module, NormedLinear)).norm
    torch.manual_seed(3)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-1.0, 1.0)
        for _ in range(3):
            model.train()(**batch(tokenizer()))
    model.train(False)
    return model


@pytest.mark.parametrize("family", WITH_BIAS)
def test_folding_keeps_the_logits_and_leaves_a_plain_model(family: str) -> None:
    model = trained(family)
    before = logits(model, tokenizer())
    folded = fold_head_norm(model)
    plain = build(family)
    assert list(folded.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in folded.modules()] == [type(m) for m in plain.modules()]
    torch.testing.assert_close(logits(folded, tokenizer()), before, atol=1e-5, rtol=1e-5)


def test_folding_by_hand() -> None:
    model = add_head_norm(build("bert"))
    linear = model.classifier
    assert isinstance(linear, NormedLinear)
    assert linear.norm.running_mean is not None
    assert linear.norm.running_var is not None
    with torch.no_grad():
        linear.weight.fill_(2.0)
        linear.bias.fill_(1.0)
        linear.norm.running_mean.fill_(3.0)
        linear.norm.running_var.fill_(4.0 - linear.norm.eps)
        linear.norm.weight.fill_(5.0)
        linear.norm.bias.fill_(7.0)
    folded = fold_head_norm(model).classifier
    assert isinstance(folded, torch.nn.Linear)
    # s = 5 / 2; W' = 2 s; b' = 1 + 16 * 2 * (7 - 3 s)
    torch.testing.assert_close(folded.weight, torch.full((3, 16), 5.0))
    torch.testing.assert_close(folded.bias, torch.full((3,), 1 + 16 * 2 * (7 - 7.5)))


@pytest.mark.parametrize("family", CLASSIFIER)
def test_the_norm_stands_before_the_last_linear_of_the_head(family: str) -> None:
    model = add_head_norm(build(family))
    normed = [name for name, module in model.named_modules() if isinstance(module, NormedLinear)]
    assert [f"{name}.weight" for name in normed] == [CLASSIFIER[family]]


def test_in_training_the_classifier_sees_zero_mean_and_unit_variance() -> None:
    linear = NormedLinear(torch.nn.Linear(4, 4))
    with torch.no_grad():
        linear.weight.copy_(torch.eye(4))
        linear.bias.zero_()
    output = linear.train()(5 + 3 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(output.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.var(0, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)


def test_a_batch_of_one_row_trains_on_the_running_statistics() -> None:
    linear = NormedLinear(torch.nn.Linear(4, 2)).train()
    linear(torch.randn(8, 4))
    assert linear.norm.running_mean is not None
    statistics = linear.norm.running_mean.clone()
    row = torch.randn(1, 4)
    in_training = linear(row)
    in_training.sum().backward()
    assert linear.norm.weight.grad is not None
    assert torch.equal(linear.norm.running_mean, statistics)
    torch.testing.assert_close(in_training, linear.eval()(row))


def test_one_row_of_a_whole_model_does_not_crash() -> None:
    model = add_head_norm(build("roberta")).train()
    encoded = tokenizer()(["w1 w2"], return_tensors="pt")
    assert model(input_ids=encoded["input_ids"]).logits.shape == (1, 3)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_head_without_a_bias_is_refused_for_that(family: str) -> None:
    with pytest.raises(UnsupportedError, match=r"\(score\) has no bias"):
        add_head_norm(build(family))


def test_a_head_without_the_right_width_is_refused() -> None:
    model = build("bert")
    model.classifier = torch.nn.Linear(16, 5)
    with pytest.raises(UnsupportedError, match=r"no nn\.Linear with 3 outputs"):
        add_head_norm(model)


def test_adding_twice_adds_one() -> None:
    model = add_head_norm(add_head_norm(build("bert-token")))
    assert sum(isinstance(module, torch.nn.BatchNorm1d) for module in model.modules()) == 1


def test_folding_a_model_without_a_norm_changes_nothing() -> None:
    model = build("bert")
    before = logits(model, tokenizer())
    assert torch.equal(logits(fold_head_norm(model), tokenizer()), before)


@pytest.mark.parametrize("name", ["full", "feature_extraction", "lora"])
def test_the_norm_trains_with_the_head_and_folds_after_merging(name: str) -> None:
    strategy_class = get_strategy(name)
    strategy = strategy_class(strategy_class.Options())
    model = strategy.prepare(add_head_norm(build("roberta")), tokenizer())
    head = strategy.groups(model)[0]
    assert sum(".norm." in parameter_name for parameter_name, _ in head.parameters) == 2
    with torch.no_grad():
        model.train()(**batch(tokenizer()))
    before = logits(model, tokenizer())
    folded = fold_head_norm(strategy.merge(model))
    assert list(folded.state_dict()) == list(build("roberta").state_dict())
    torch.testing.assert_close(logits(folded, tokenizer()), before, atol=1e-5, rtol=1e-5)


def test_the_final_linear_is_found_through_a_peft_wrapper() -> None:
    strategy_class = get_strategy("lora")
    model = strategy_class(strategy_class.Options()).prepare(build("roberta"), tokenizer())
    linear = final_linear(model)[2]
    assert linear.weight.requires_grad


def test_folding_before_saving_gives_an_adapter_for_a_plain_base(tmp_path: Path) -> None:
    strategy_class = get_strategy("lora")
    strategy = strategy_class(strategy_class.Options())
    model = strategy.prepare(add_head_norm(build("bert")), tokenizer())
    with torch.no_grad():
        model.train()(**batch(tokenizer()))
    before = logits(model, tokenizer())
    strategy.save_adapter(fold_head_norm(model), tmp_path)
    loaded = PeftModel.from_pretrained(build("bert"), tmp_path)
    torch.testing.assert_close(logits(loaded, tokenizer()), before, atol=1e-5, rtol=1e-5)
