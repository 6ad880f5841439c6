"""Every parameter of every family lands in exactly one place, in the right order."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from nlptk.errors import UnsupportedError
from nlptk.strategies.layer_map import LayerMap, map_layers
from nlptk.strategies.trainable import parameter_report
from tests.strategies.families import ALL, ANSWER, BARE, LAYERS, SEQUENCE, TOKEN, build, minilm

FIRST_AND_LAST = {
    "bert": ("bert.encoder.layer.0.", "bert.pooler.dense.bias"),
    "distilbert": ("distilbert.transformer.layer.0.", "distilbert.transformer.layer.2.output_layer_norm.bias"),
    "roberta": ("roberta.encoder.layer.0.", "roberta.encoder.layer.2.output.LayerNorm.bias"),
    "modernbert": ("model.layers.0.", "model.final_norm.weight"),
    "gpt2": ("transformer.h.0.", "transformer.ln_f.bias"),
    "llama": ("model.layers.0.", "model.norm.weight"),
    "t5": ("transformer.encoder.block.0.", "transformer.decoder.final_layer_norm.weight"),
}
HEADS = {
    "bert": {"classifier"},
    "distilbert": {"pre_classifier", "classifier"},
    "roberta": {"classifier"},
    "modernbert": {"head", "classifier"},
    "gpt2": {"score"},
    "llama": {"score"},
    "t5": {"classification_head"},
}
EMBEDDINGS = {"bert": 5, "distilbert": 4, "roberta": 5, "modernbert": 2, "gpt2": 2, "llama": 1, "t5": 1}


def everything(found: LayerMap) -> list[str]:
    places = [found.embeddings, *found.layers, found.head]
    return [name for place in places for name, _ in place]


@pytest.mark.parametrize("family", ALL)
def test_every_parameter_is_in_exactly_one_place(family: str) -> None:
    model = build(family)
    assert sorted(everything(map_layers(model))) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("family", ALL)
def test_there_are_as_many_layers_as_the_configuration_says(family: str) -> None:
    decoder = {"bert-text": LAYERS, "t5": LAYERS - 1, "t5-answer": LAYERS - 1, "t5-text": LAYERS - 1}
    assert len(map_layers(build(family)).layers) == LAYERS + decoder.get(family, 0)


@pytest.mark.parametrize("family", SEQUENCE)
def test_layers_run_from_bottom_to_top_and_trailing_modules_join_the_last(family: str) -> None:
    layers = map_layers(build(family)).layers
    first, last = FIRST_AND_LAST[family]
    assert layers[0][0][0].startswith(first)
    assert layers[-1][-1][0] == last


def test_t5_encoder_norm_belongs_to_the_last_encoder_layer() -> None:
    layers = map_layers(build("t5")).layers
    assert layers[LAYERS - 1][-1][0] == "transformer.encoder.final_layer_norm.weight"


@pytest.mark.parametrize("family", SEQUENCE)
def test_the_head_is_what_lies_outside_the_base(family: str) -> None:
    assert {name.split(".")[0] for name, _ in map_layers(build(family)).head} == HEADS[family]


@pytest.mark.parametrize("family", SEQUENCE)
def test_embeddings_are_those_of_the_family(family: str) -> None:
    found = map_layers(build(family)).embeddings
    assert len(found) == EMBEDDINGS[family]
    assert all(any(part in name for part in ("embed", "wte", "wpe", "shared")) for name, _ in found)


def test_names_are_those_of_the_peft_wrapper() -> None:
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(build("roberta"), LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))
    assert sorted(everything(map_layers(wrapped))) == sorted(name for name, _ in wrapped.named_parameters())
    assert len(map_layers(wrapped).layers) == LAYERS


def test_the_head_that_peft_keeps_beside_the_one_that_trains_counts_once() -> None:
    from peft import LoraConfig, get_peft_model

    model = build("roberta")
    alone = sum(parameter.numel() for parameter in model.parameters())
    wrapped = get_peft_model(model, LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))
    added = sum(parameter.numel() for name, parameter in wrapped.named_parameters() if "lora_" in name)
    report = parameter_report(wrapped, [])
    assert report["total"] == alone + added
    assert sum(part["size"] for part in report["parts"]) == alone + added


def test_minilm_has_six_layers() -> None:
    model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=2)
    found = map_layers(model)
    assert len(found.layers) == 6
    # 4 attention projections, 2 feed-forward, 2 norms, with biases, of hidden 384 and intermediate 1536
    assert sum(p.numel() for _, p in found.layers[0]) == 4 * (384 * 384 + 384) + 2 * 384 * 1536 + 1536 + 384 + 4 * 384


@pytest.mark.parametrize("form", [*TOKEN, *ANSWER, "llama-text"])
def test_the_head_of_other_forms_is_their_output_layer(form: str) -> None:
    found = map_layers(build(form))
    own = {"head.dense", "head.norm"} if form.startswith("modernbert") else set()
    names = {name.rpartition(".")[0] for name, _ in found.head}
    assert names <= {"classifier", "score", "qa_outputs", "lm_head", *own}
    assert found.head
    assert found.headless is None


@pytest.mark.parametrize("form", BARE)
def test_a_base_model_has_no_head_whatever_follows_its_layers(form: str) -> None:
    found = map_layers(build(form))
    assert found.head == []
    assert found.headless is not None
    assert found.headless.endswith("has none")


@pytest.mark.parametrize("form", ["bert-text", "gpt2-text", "t5-text"])
def test_an_output_layer_that_is_the_embedding_table_is_no_head(form: str) -> None:
    found = map_layers(build(form))
    assert "embedding table" in str(found.headless)
    assert not any(name.endswith(("lm_head.weight", "decoder.weight")) for name, _ in found.head)


def test_each_half_of_an_encoder_decoder_keeps_its_own_modules() -> None:
    found = map_layers(build("bert-text"))
    assert len(found.layers) == 2 * LAYERS
    assert found.layers[LAYERS - 1][-1][0] == "encoder.pooler.dense.bias"
    assert found.layers[LAYERS][0][0].startswith("decoder.bert.encoder.layer.0.")
    assert len(found.embeddings) == 2 * EMBEDDINGS["bert"]
    assert all(".embeddings." in name for name, _ in found.embeddings)


def test_a_model_without_a_stack_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no stack of layers"):
        map_layers(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_layers_spread_over_parallel_lists_are_refused() -> None:
    model = torch.nn.Module()
    for name in ("attentions", "ffns"):
        model.add_module(name, torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Linear(2, 2)) for _ in range(2)))
    with pytest.raises(UnsupportedError, match="side by side"):
        map_layers(model)
