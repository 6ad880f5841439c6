"""Where each form's head reads, and a head on stored features that gives the whole model's logits."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from nlptk.errors import UnsupportedError
from nlptk.training.readout import (
    backbone,
    find_readout,
    placeholder_ids,
    read_features,
    reads_one_vector,
    stored_backbone,
)
from tests.strategies.families import SEQUENCE, TEXTS, build, logits, tokenizer

READS = {
    "bert": "pooled",
    "distilbert": "first",
    "roberta": "first",
    "modernbert": "first",
    "modernbert mean": "mean",
    "gpt2": "last",
    "llama": "last",
    "t5": "last",
}


def _form(name: str) -> PreTrainedModel:
    """A family's sequence classifier, with `mean` one that reads the mean of the tokens."""
    family, _, pooling = name.partition(" ")
    model = build(family)
    if pooling:
        model.config.classifier_pooling = pooling
    return model


def _ending_text() -> dict[str, torch.Tensor]:
    encoded = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    return {key: encoded[key] for key in ("input_ids", "attention_mask")}


def test_every_form_has_an_entry() -> None:
    assert {name.partition(" ")[0] for name in READS} == set(SEQUENCE)


@pytest.mark.parametrize("form", READS)
def test_the_readout_of_each_form_is_found(form: str) -> None:
    assert find_readout(_form(form)) == READS[form]


@pytest.mark.parametrize("form", READS)
@torch.no_grad()
def test_the_head_on_what_it_reads_gives_the_models_logits(form: str) -> None:
    model = _form(form)
    batch = _ending_text()
    captured = []
    hook = backbone(model).register_forward_hook(lambda module, args, output: captured.append(output))
    whole = logits(model, tokenizer())
    hook.remove()
    read = read_features(captured[0], find_readout(model), batch["attention_mask"])
    with stored_backbone(model):
        head = model(features=read, input_ids=placeholder_ids(model, len(read))).logits
    torch.testing.assert_close(head, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", READS)
def test_probing_leaves_model_gradients_and_generator_as_they_were(form: str) -> None:
    model = _form(form).train()
    base, state = backbone(model), torch.random.get_rng_state()
    find_readout(model)
    assert backbone(model) is base
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_token_classifiers_head_reads_every_token() -> None:
    model = build("bert-token")
    assert find_readout(model) == "tokens"
    assert not reads_one_vector(model)
    assert reads_one_vector(build("bert"))


def test_a_bare_backbone_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no module named 'bert'"):
        backbone(backbone(build("bert")))  # type: ignore[arg-type]
