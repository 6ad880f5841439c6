"""Strategies that leave the modules alone: what trains, when, how fast, and that the model comes out plain."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nlptk.errors import UnsupportedError
from nlptk.registry import get_strategy
from nlptk.strategies.contract import Progress, Strategy
from nlptk.strategies.trainable import apply_trainable
from tests.strategies.families import ALL, SEQUENCE, batch, build, logits, tokenizer

PLAIN = ["full", "feature_extraction", "gradual_unfreezing", "lp_ft", "bitfit"]
FROM_THE_TOP = ["head", "layer.2", "layer.1", "layer.0", "embeddings"]


def make(name: str, **options: object) -> Strategy:
    cls = get_strategy(name)
    return cls(cls.Options.model_validate(options))


def at(step: int, total: int = 100, per_epoch: float = 10) -> Progress:
    return Progress(step=step, total_steps=total, steps_per_epoch=per_epoch)


def refused(name: str, form: str) -> bool:
    if name == "bitfit":
        return form.startswith(("modernbert", "llama", "t5"))
    headless = form.endswith(("-text", "-bare")) and form != "llama-text"
    return headless and name in ("feature_extraction", "lp_ft")


@pytest.mark.parametrize(("name", "family"), [(n, f) for n in PLAIN for f in ALL if not refused(n, f)])
def test_after_prepare_exactly_the_groups_may_train(name: str, family: str) -> None:
    strategy = make(name)
    model = strategy.prepare(build(family), tokenizer())
    in_groups = [n for group in strategy.groups(model) for n, _ in group.parameters]
    assert sorted(in_groups) == sorted(n for n, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("name", PLAIN)
def test_merge_gives_the_same_model_with_everything_trainable(name: str) -> None:
    strategy, model = make(name), build("bert")
    before = logits(model, tokenizer())
    merged = strategy.merge(strategy.prepare(model, tokenizer()))
    assert merged is model
    assert all(p.requires_grad for p in merged.parameters())
    assert torch.equal(logits(merged, tokenizer()), before)


def test_full_trains_every_parameter() -> None:
    model = build("bert")
    groups = make("full").groups(model)
    assert sum(group.size for group in groups) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["full", "gradual_unfreezing", "bitfit"])
@pytest.mark.parametrize("form", ["gpt2-text", "gpt2-bare"])
def test_without_a_head_of_its_own_a_model_starts_at_its_top_layer(name: str, form: str) -> None:
    strategy = make(name)
    groups = strategy.groups(build(form))
    expected = FROM_THE_TOP[1:-1] if name == "bitfit" else FROM_THE_TOP[1:]
    assert [group.name for group in groups] == expected
    assert "layer.2" in strategy.trainable_at(at(0), groups)


@pytest.mark.parametrize("name", ["feature_extraction", "lp_ft"])
@pytest.mark.parametrize(
    ("form", "reason"), [("gpt2-text", "output layer is its embedding table"), ("bert-bare", "the model has none")]
)
def test_what_trains_a_head_apart_is_refused_without_one(name: str, form: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=f"strategy {name}: .*{reason}; use full"):
        make(name).groups(build(form))


def test_layer_decay_is_a_power_of_the_depth_below_the_head() -> None:
    groups = make("full", layer_decay=0.5).groups(build("bert"))
    assert [(g.name, g.lr_scale) for g in groups] == list(zip(FROM_THE_TOP, [1, 0.5, 0.25, 0.125, 0.0625], strict=True))


def test_bitfit_layer_decay_counts_levels_without_biases() -> None:
    scales = {g.name: g.lr_scale for g in make("bitfit", layer_decay=0.5).groups(build("gpt2"))}
    assert scales == {"head": 1.0, "layer.2": 0.5, "layer.1": 0.25, "layer.0": 0.125}


def test_feature_extraction_trains_the_head_alone_and_runs_the_backbone_once() -> None:
    strategy = make("feature_extraction")
    model = strategy.prepare(build("bert"), tokenizer())
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"classifier.weight", "classifier.bias"}
    assert strategy.runs_backbone_once


def test_gradual_unfreezing_is_done_at_the_fraction() -> None:
    strategy = make("gradual_unfreezing", until_fraction=0.4)
    groups = strategy.groups(build("bert"))
    counts = [len(strategy.trainable_at(at(step), groups)) for step in (0, 9, 10, 20, 30, 39, 40, 99)]
    assert counts == [1, 1, 2, 3, 4, 4, 5, 5]
    assert strategy.scheduled()


def test_gradual_unfreezing_starts_from_the_head_and_ends_with_the_embeddings() -> None:
    strategy = make("gradual_unfreezing")
    groups = strategy.groups(build("bert"))
    seen: list[str] = []
    for step in range(100):
        now = strategy.trainable_at(at(step), groups)
        assert set(seen) <= now
        seen += sorted(now - set(seen))
    assert seen == FROM_THE_TOP


def test_gradual_unfreezing_by_epochs() -> None:
    strategy = make("gradual_unfreezing", every_epochs=0.5)
    groups = strategy.groups(build("bert"))
    assert [len(strategy.trainable_at(at(step), groups)) for step in (0, 4, 5, 10, 99)] == [1, 1, 2, 3, 5]


def test_every_stage_of_a_float_fraction_starts_on_its_step() -> None:
    strategy = make("gradual_unfreezing", until_fraction=0.3)
    groups = strategy.groups(build("bert"))
    starts = [next(s for s in range(41) if len(strategy.trainable_at(at(s, 40), groups)) == n) for n in range(1, 6)]
    assert starts == [0, 3, 6, 9, 12]


def test_lp_ft_trains_the_head_first() -> None:
    strategy = make("lp_ft", head_fraction=0.2)
    groups = strategy.groups(build("bert"))
    assert strategy.trainable_at(at(19), groups) == {"head"}
    assert strategy.trainable_at(at(20), groups) == set(FROM_THE_TOP)


def test_lp_ft_by_epochs() -> None:
    strategy = make("lp_ft", head_epochs=2)
    groups = strategy.groups(build("bert"))
    assert [len(strategy.trainable_at(at(step), groups)) for step in (19, 20)] == [1, 5]


def test_bitfit_trains_biases_and_the_head_only() -> None:
    model = build("bert")
    names = {n for group in make("bitfit").groups(model) for n, _ in group.parameters}
    assert names == {n for n, _ in model.named_parameters() if n.endswith(".bias")} | {"classifier.weight"}


@pytest.mark.parametrize("family", ["llama", "t5", "t5-text", "t5-answer", "llama-bare"])
def test_bitfit_refuses_a_model_without_biases(family: str) -> None:
    with pytest.raises(UnsupportedError, match="has no biases outside its head"):
        make("bitfit").groups(build(family))


@pytest.mark.parametrize("family", SEQUENCE)
def test_gradient_checkpointing_reaches_the_layers_above_a_frozen_part(family: str) -> None:
    def gradients(checkpointing: bool) -> dict[str, torch.Tensor]:
        strategy = make("gradual_unfreezing")
        model: Any = build(family)
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        strategy.prepare(model, tokenizer())
        apply_trainable(strategy.groups(model), {"head", "layer.2"})
        torch.manual_seed(5)  # the same dropout in both runs
        model.train()(**batch(tokenizer())).logits.square().sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)
