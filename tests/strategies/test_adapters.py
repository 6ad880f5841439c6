"""Strategies through PEFT: what trains, that a saved adapter comes back, and that merging leaves nothing behind."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

from nlptk.errors import RecipeError, UnsupportedError
from nlptk.registry import get_strategy
from nlptk.strategies.contract import Strategy
from nlptk.strategies.peft_adapter import PeftStrategy, block_linears
from nlptk.strategies.trainable import parts_report
from tests.strategies.families import ALL, SEQUENCE, TEXT, batch, build, disturb, logits, output, tokenizer

ADAPTERS = ["lora", "dora", "ia3", "prompt_tuning"]
HEAD_SIZE = {"bert": 51, "distilbert": 323, "roberta": 323, "modernbert": 323, "gpt2": 48, "llama": 48, "t5": 323}


def head_size(form: str) -> dict[str, int]:
    """Of a classifier, or a linear layer on 16 hidden units; the output layer of what writes text stays frozen."""
    family, _, head = form.partition("-")
    if not head:
        return {"head": HEAD_SIZE[form]}
    before = 16 * 16 + 16 if family == "modernbert" else 0  # dense layer and norm, in all of its heads
    return {"token": {"head": before + 16 * 3 + 3}, "answer": {"head": before + 16 * 2 + 2}}.get(head, {})


def make(name: str, **options: object) -> PeftStrategy:
    cls = get_strategy(name)
    strategy = cls(cls.Options.model_validate(options))
    assert isinstance(strategy, PeftStrategy)
    return strategy


def trained(strategy: Strategy, family: str) -> tuple[torch.nn.Module, PreTrainedTokenizerBase]:
    """A prepared model whose trainable parameters have moved, and its tokenizer."""
    tok = strategy.prepare_tokenizer(tokenizer())
    model = strategy.prepare(build(family), tok)
    for group in strategy.groups(model):
        disturb(parameter for _, parameter in group.parameters)
    return model, tok


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("name", ADAPTERS)
def test_exactly_head_and_adapter_train(name: str, family: str) -> None:
    strategy = make(name)
    model = strategy.prepare(build(family), strategy.prepare_tokenizer(tokenizer()))
    groups = {group.name: group for group in strategy.groups(model)}
    in_groups = [n for group in groups.values() for n, _ in group.parameters]
    assert sorted(in_groups) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    assert groups.pop("adapter").size > 0
    assert {name: group.size for name, group in groups.items()} == head_size(family)


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("name", ADAPTERS)
def test_every_trainable_parameter_gets_a_gradient(name: str, family: str) -> None:
    model, tok = trained(make(name), family)
    output(model, tok).square().sum().backward()  # type: ignore[no-untyped-call]
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("name", ADAPTERS)
def test_merge_gives_the_plain_model_with_equal_logits(name: str, family: str) -> None:
    strategy = make(name)
    model, tok = trained(strategy, family)
    before = logits(model, tok)
    merged = strategy.merge(model)
    plain = build(family)
    assert type(merged) is type(plain)
    assert list(merged.state_dict()) == list(plain.state_dict())
    assert {type(m) for m in merged.modules()} == {type(m) for m in plain.modules()}
    assert all(p.requires_grad for p in merged.parameters())
    torch.testing.assert_close(logits(merged, tok), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["roberta", "t5", "t5-answer", *TEXT, "t5-bare"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_merged_model_comes_back_from_its_folder(name: str, family: str, tmp_path: Path) -> None:
    strategy = make(name)
    model, tok = trained(strategy, family)
    before = logits(model, tok)
    merged = strategy.merge(model)
    merged.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(type(merged).from_pretrained(tmp_path), tok), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", [*SEQUENCE, "bert-token", "t5-answer", *TEXT, "bert-bare"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_saved_adapter_comes_back_on_a_fresh_base(name: str, family: str, tmp_path: Path) -> None:
    strategy = make(name)
    model, tok = trained(strategy, family)
    before = logits(model, tok)
    assert strategy.save_adapter(model, tmp_path)
    fresh = build(family)
    disturb(
        (p for n, p in fresh.named_parameters() if n.split(".")[0] in ("classifier", "score", "qa_outputs")), seed=9
    )
    if name == "prompt_tuning":
        reader: Any = fresh.get_encoder() if family == "bert-text" else fresh
        reader.resize_token_embeddings(len(tok), mean_resizing=False)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(fresh, tmp_path), tok), before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_adapter_folder_has_pefts_files_and_no_embedding_matrix(name: str, tmp_path: Path) -> None:
    strategy = make(name)
    model, _ = trained(strategy, "t5")
    strategy.save_adapter(model, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == ["classification_head"]
    with safe_open(tmp_path / "adapter_model.safetensors", framework="pt") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118  # safe_open is no mapping
    assert max(shape[0] for shape in shapes) <= 24


@pytest.mark.parametrize("name", ADAPTERS)
def test_before_training_the_logits_are_those_of_the_base(name: str) -> None:
    strategy = make(name)
    tok = strategy.prepare_tokenizer(tokenizer())
    base = build("bert")
    model = strategy.prepare(copy.deepcopy(base), tok)
    if name == "prompt_tuning":  # the same texts, without the prompt
        tok = tokenizer()
    torch.testing.assert_close(logits(model, tok), logits(base, tok), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("family", "per_layer"), [("bert", 2), ("gpt2", 1), ("llama", 2), ("distilbert", 6)])
def test_lora_targets_query_and_value_or_all_linears_where_peft_knows_no_better(family: str, per_layer: int) -> None:
    strategy = make("lora")
    model = strategy.prepare(build(family), tokenizer())
    assert sum(n.endswith("lora_A.default.weight") for n, _ in model.named_parameters()) == 3 * per_layer


def test_all_linear_leaves_pooler_and_head_alone() -> None:
    strategy = make("lora", target_modules="all-linear")
    model = strategy.prepare(build("bert"), tokenizer())
    adapted = [n for n, _ in model.named_parameters() if "lora_A" in n]
    assert len(adapted) == 3 * 6
    assert all(".encoder.layer." in n for n in adapted)


def test_rank_gives_the_size_of_the_adapter() -> None:
    strategy = make("lora", rank=3, target_modules=["query"])
    groups = strategy.groups(strategy.prepare(build("bert"), tokenizer()))
    assert groups[1].size == 3 * (16 * 3 + 3 * 16)


def test_dora_adds_a_magnitude_for_every_output() -> None:
    sizes = []
    for name in ("lora", "dora"):
        strategy = make(name)
        sizes.append(strategy.groups(strategy.prepare(build("bert"), tokenizer()))[1].size)
    assert sizes[1] - sizes[0] == 3 * 2 * 16


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'query'"):
        make("lora", target_modules=["qurey"]).prepare(build("bert"), tokenizer())


def test_gpt2_linears_are_found_as_conv1d() -> None:
    assert len(block_linears(build("gpt2"))) == 3 * 4


@pytest.mark.parametrize("name", ADAPTERS)
def test_gradient_checkpointing_reaches_adapters_under_frozen_weights(name: str) -> None:
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        strategy = make(name)
        tok = strategy.prepare_tokenizer(tokenizer())
        base: Any = build("llama")  # no dropout: both runs see the same function
        if checkpointing:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model = strategy.prepare(base, tok)
        model.train()(**batch(tok)).logits.square().sum().backward()
        found = [p.grad for group in strategy.groups(model) for _, p in group.parameters]
        assert all(gradient is not None for gradient in found)
        return [gradient for gradient in found if gradient is not None]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_a_head_whose_name_ends_another_modules_name_is_refused() -> None:
    model = build("bert")
    model.bert.add_module("my_classifier", torch.nn.Linear(2, 2))  # type: ignore[union-attr]  # a BertModel
    with pytest.raises(UnsupportedError, match="same ending"):
        make("lora").prepare(model, tokenizer())


def test_merging_a_model_that_prepare_did_not_make_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="unwrap it first"):
        make("lora").merge(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["full", "feature_extraction", "lora", "prompt_tuning"])
def test_the_parts_of_a_model_say_what_trains_in_them_and_what_is_frozen(name: str) -> None:
    cls = get_strategy(name)
    strategy = cls(cls.Options())
    model = strategy.prepare(build("bert"), strategy.prepare_tokenizer(tokenizer()))
    parts = {part["name"]: part for part in parts_report(model, strategy.groups(model))}
    assert list(parts) == ["head", *[f"layer.{n}" for n in reversed(range(len(parts) - 2))], "embeddings"]
    trained = {part: found["trained"] for part, found in parts.items() if found["trained"]}
    assert sum(trained.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    expected = {
        "full": set(parts),
        "feature_extraction": {"head"},
        "lora": set(parts) - {"embeddings"},
        "prompt_tuning": {"head", "embeddings"},
    }
    assert set(trained) == expected[name]
    assert parts["head"]["size"] == HEAD_SIZE["bert"]
