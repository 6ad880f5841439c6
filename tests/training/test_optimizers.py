"""The optimizers against plain torch, what decays, and the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from nlptk.errors import RecipeError
from nlptk.registry import get_strategy
from nlptk.strategies.contract import Group
from nlptk.training.optimizers import (
    LR_KINDS,
    ROWS,
    build_optimizer,
    decays,
    default_learning_rate,
    default_weight_decay,
    optimizer_table,
    parameter_groups,
)

torch.set_num_threads(1)

PLAIN: dict[str, Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01, weight_decay=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01, weight_decay=0.1),
}


def matrix() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.arange(1.0, 7.0).reshape(2, 3) / 5)


def one_group(*parameters: tuple[str, torch.nn.Parameter], lr_scale: float = 1.0) -> list[Group]:
    return [Group("all", parameters, lr_scale)]


def steps(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, count: int = 3) -> torch.Tensor:
    for _ in range(count):
        optimizer.zero_grad()
        parameter.grad = 3 * parameter.detach() ** 2
        optimizer.step()
    return parameter.detach()


def bert() -> BertForSequenceClassification:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
    return BertForSequenceClassification(config)


def test_the_table_covers_what_is_tested() -> None:
    assert {row.name for row in ROWS} == set(PLAIN)


@pytest.mark.parametrize("name", PLAIN)
def test_three_steps_equal_plain_torch(name: str) -> None:
    ours, theirs = matrix(), matrix()
    built = build_optimizer(name, one_group(("w", ours)), learning_rate=0.01, weight_decay=0.1)
    torch.testing.assert_close(steps(built, ours), steps(PLAIN[name]([theirs]), theirs))


@pytest.mark.parametrize("name", PLAIN)
def test_lr_scale_is_the_same_as_a_lower_rate(name: str) -> None:
    ours, theirs = matrix(), matrix()
    scaled = build_optimizer(name, one_group(("w", ours), lr_scale=0.25), learning_rate=0.04, weight_decay=0.1)
    torch.testing.assert_close(steps(scaled, ours), steps(PLAIN[name]([theirs]), theirs))


@pytest.mark.parametrize("name", PLAIN)
def test_without_a_gradient_decay_leaves_vectors_alone(name: str) -> None:
    weight, bias, norm = matrix(), torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    groups = one_group(("dense.weight", weight), ("dense.bias", bias), ("LayerNorm.weight", norm))
    optimizer = build_optimizer(name, groups, learning_rate=0.01, weight_decay=0.1)
    for parameter in (weight, bias, norm):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(bias, torch.ones(3))
    assert torch.equal(norm, torch.ones(3))
    assert (weight < matrix()).all()


def test_adamw_decay_is_decoupled() -> None:
    weight = matrix()
    optimizer = build_optimizer("adamw", one_group(("w", weight)), learning_rate=0.01, weight_decay=0.1)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), matrix().detach() * (1 - 0.01 * 0.1))


def test_adam_decay_is_l2_and_rescaled_by_adam() -> None:
    weight = matrix()
    optimizer = build_optimizer("adam", one_group(("w", weight)), learning_rate=0.01, weight_decay=0.1)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()  # the decay is the whole gradient, so the first step is the learning rate, whatever its size
    torch.testing.assert_close(weight.detach(), matrix().detach() - 0.01, rtol=1e-5, atol=1e-6)


def test_no_norm_and_no_bias_of_bert_decays() -> None:
    model = bert()
    normed = {
        f"{name}.{inner}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for inner, _ in module.named_parameters()
    }
    for name, parameter in model.named_parameters():
        assert decays(name, parameter) is (name not in normed and not name.endswith(".bias")), name


def test_ia3_factors_do_not_decay_towards_zero() -> None:
    strategy_class = get_strategy("ia3")
    strategy = strategy_class(strategy_class.Options())
    model = strategy.prepare(bert(), None)  # type: ignore[arg-type]  # (IA)^3 looks at no tokenizer
    adapter = strategy.groups(model)[1]
    assert adapter.parameters
    assert not any(decays(name, parameter) for name, parameter in adapter.parameters)


def test_each_group_becomes_two_with_their_names_and_rates() -> None:
    strategy_class = get_strategy("full")
    groups = strategy_class(strategy_class.Options.model_validate({"layer_decay": 0.5})).groups(bert())
    built = parameter_groups(groups, learning_rate=1.0, weight_decay=0.1)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in built] == [
        ("head", 1.0, 0.1),
        ("head.no_decay", 1.0, 0.0),
        ("layer.1", 0.5, 0.1),
        ("layer.1.no_decay", 0.5, 0.0),
        ("layer.0", 0.25, 0.1),
        ("layer.0.no_decay", 0.25, 0.0),
        ("embeddings", 0.125, 0.1),
        ("embeddings.no_decay", 0.125, 0.0),
    ]


def test_a_group_without_vectors_stays_one() -> None:
    assert [g["name"] for g in parameter_groups(one_group(("w", matrix())), learning_rate=1, weight_decay=0)] == ["all"]


def test_frozen_parameters_are_in_the_optimizer_and_do_not_move() -> None:
    frozen, free = matrix(), matrix()
    frozen.requires_grad_(False)
    optimizer = build_optimizer("adamw", one_group(("a", frozen), ("b", free)), learning_rate=0.1, weight_decay=0.1)
    steps(optimizer, free)
    assert torch.equal(frozen, matrix())
    assert not torch.equal(free, matrix())


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "adamw", "adagrad"])
def test_the_fused_kernel_is_used_on_a_cpu(name: str) -> None:
    optimizer = build_optimizer(name, one_group(("w", matrix())), learning_rate=0.1)
    assert optimizer.defaults["fused"] is True


def test_an_option_can_ask_for_another_kernel() -> None:
    optimizer = build_optimizer("adamw", one_group(("w", matrix())), learning_rate=0.1, options={"foreach": True})
    assert optimizer.defaults["fused"] is None


def test_options_reach_torch_and_lists_become_tuples() -> None:
    optimizer = build_optimizer(
        "adamw", one_group(("w", matrix())), learning_rate=0.1, options={"betas": [0.8, 0.9], "eps": 1e-6}
    )
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["eps"] == 1e-6


def test_an_option_overrides_the_table() -> None:
    optimizer = build_optimizer("momentum", one_group(("w", matrix())), learning_rate=0.1, options={"momentum": 0.5})
    assert optimizer.defaults["momentum"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betaz": (0.9, 0.99)}, "did you mean 'betas'"),
        ({"lr": 0.1}, "lr is not an option"),
        ({"betas": (1.5, 0.9)}, "Invalid beta"),
        ({"fused": True, "foreach": True}, "cannot be `True` together"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_optimizer("adamw", one_group(("w", matrix())), learning_rate=0.1, options=options)


def test_an_unknown_optimizer_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'adamw'"):
        build_optimizer("adanw", [], learning_rate=0.1)


def test_an_unknown_lr_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match="did you mean 'adapter'"):
        default_learning_rate("adamw", "adaptor")


@pytest.mark.parametrize("name", PLAIN)
def test_the_default_for_full_fine_tuning_lies_in_the_usual_range(name: str) -> None:
    low, high = next(row.usual_range for row in ROWS if row.name == name)
    assert low <= default_learning_rate(name, "full") <= high


def test_only_decoupled_decay_is_on_by_default() -> None:
    assert {row.name for row in ROWS if default_weight_decay(row.name) > 0} == {"adamw", "adafactor"}


def test_every_row_has_a_rate_for_every_kind_and_is_jsonable() -> None:
    table = json.loads(json.dumps(optimizer_table()))
    assert all(set(row["learning_rates"]) == set(LR_KINDS) for row in table)


@pytest.mark.parametrize("name", PLAIN)
def test_the_state_is_as_large_as_the_table_says(name: str) -> None:
    weight = torch.nn.Parameter(torch.randn(256, 256))
    optimizer = build_optimizer(name, one_group(("w", weight)), learning_rate=1e-3)
    steps(optimizer, weight, count=1)
    state = sum(v.numel() * v.element_size() for v in optimizer.state[weight].values() if torch.is_tensor(v))
    row = next(row for row in ROWS if row.name == name)
    assert state / weight.numel() == pytest.approx(row.state_bytes, abs=0.1)
