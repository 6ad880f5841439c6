"""Meta-learning by gradient steps: the inner loop by hand, what reaches the start, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModel, AutoTokenizer

from nlptk import registry
from nlptk.fewshot.contract import Learner
from nlptk.fewshot.gradient import CLASSES, PROJECTION, SHIFT, Encoder, MetaHead, adapt, logits
from nlptk.fewshot.rows import PLACE
from tests.tiny_models import write_checkpoint

DIM, WAYS, SHOTS = 6, 3, 4


def episode(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = functional.normalize(torch.randn(WAYS * SHOTS, DIM, generator=generator), dim=1)
    return vectors, torch.arange(WAYS).repeat_interleave(SHOTS)


def meta_head() -> MetaHead:
    torch.manual_seed(1)
    head = MetaHead(DIM, rate=0.3)
    for parameter in (head.start, head.projection, head.shift):
        torch.nn.init.normal_(parameter, std=0.1)
    return head


def by_hand(head: MetaHead, steps: int, *, second_order: bool) -> dict[str, torch.Tensor]:
    """The inner loop with plain autograd."""
    vectors, labels = episode()
    parameters, rates = head.begin(WAYS), head.rates()
    for _ in range(steps):
        loss = functional.cross_entropy(logits(parameters, vectors), labels)
        names = list(parameters)
        slopes = torch.autograd.grad(loss, [parameters[name] for name in names], create_graph=second_order)
        parameters = {n: parameters[n] - rates[n] * slope for n, slope in zip(names, slopes, strict=True)}
    return parameters


def stepped(
    head: MetaHead,
    vectors: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    *,
    moved: tuple[str, ...] = (CLASSES, PROJECTION, SHIFT),
    first_order: bool = False,
) -> dict[str, torch.Tensor]:
    """`adapt` on vectors that no parameter moves."""
    return adapt(
        head.begin(WAYS),
        head.rates(),
        [(lambda _: vectors, labels)],
        steps=steps,
        moved=lambda name: name in moved,
        first_order=first_order,
    )


@pytest.mark.parametrize("first_order", [False, True])
def test_inner_steps_and_their_gradients_are_those_of_plain_autograd(first_order: bool) -> None:
    gradients = []
    for hand in (True, False):
        head, (vectors, labels) = meta_head(), episode()
        if hand:
            found = by_hand(head, 3, second_order=not first_order)
        else:
            found = stepped(head, vectors, labels, 3, first_order=first_order)
        query, answers = episode(1)
        torch.autograd.backward(functional.cross_entropy(logits(found, query), answers))
        gradients.append({name: p.grad for name, p in head.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_second_derivatives_make_a_difference() -> None:
    found = []
    for first_order in (False, True):
        head, (vectors, labels) = meta_head(), episode()
        after = stepped(head, vectors, labels, 3, first_order=first_order)
        torch.autograd.backward(functional.cross_entropy(logits(after, vectors), labels))
        assert head.projection.grad is not None
        found.append(head.projection.grad)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_without_steps_all_classes_look_alike() -> None:
    head, (vectors, _) = meta_head(), episode()
    found = logits(head.begin(WAYS), vectors)
    torch.testing.assert_close(found, found[:, :1].expand(-1, WAYS))


def test_anil_moves_the_class_vectors_alone() -> None:
    head, (vectors, labels) = meta_head(), episode()
    after = stepped(head, vectors, labels, 2, moved=(CLASSES,))
    assert after[PROJECTION] is head.projection
    assert after[SHIFT] is head.shift
    assert not torch.equal(after[CLASSES], head.begin(WAYS)[CLASSES])


def test_steps_lower_the_loss_of_the_support_set() -> None:
    head, (vectors, labels) = MetaHead(DIM, rate=0.3), episode()
    losses = []
    for steps in (0, 1, 5, 20):
        after = stepped(head, vectors, labels, steps, moved=(CLASSES,), first_order=True)
        losses.append(float(functional.cross_entropy(logits(after, vectors), labels).detach()))
    assert losses[0] == pytest.approx(np.log(WAYS), abs=1e-5)
    assert losses == sorted(losses, reverse=True)


def test_a_support_set_in_parts_makes_the_same_steps() -> None:
    head, (vectors, labels) = meta_head(), episode()
    parts = [(lambda _: vectors[:5], labels[:5]), (lambda _: vectors[5:], labels[5:])]
    found = adapt(head.begin(WAYS), head.rates(), parts, steps=3, moved=lambda _: True, first_order=False)
    for name, value in stepped(head, vectors, labels, 3).items():
        torch.testing.assert_close(found[name], value)


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    """A tiny BERT with LoRA adapters that do something."""
    checkpoint = write_checkpoint("bert", tmp_path / "bert")
    model, tokenizer = AutoModel.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    trained = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, value in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    cls = registry.get_task("few_shot")
    task = cls(cls.Options.model_validate({"method": "maml"}), decision={"pooling": "mean"})
    task.tokenizer = tokenizer
    return Learner(task, tokenizer, model, trained, ())


def test_adapters_of_the_encoder_take_the_steps_of_plain_autograd(learner: Learner) -> None:
    """Two steps and the gradient through them, for the head and for every LoRA matrix."""
    texts, labels = ["late order", "quick order", "late late", "quick came"], torch.tensor([0, 1, 0, 1])
    tokens = learner.tokenizer(texts, return_tensors="pt", padding=True)
    batch = {**tokens, PLACE: torch.arange(4)}
    encoder = Encoder(learner)
    names = [name.removeprefix("encoder.") for name in encoder.begin()]
    assert names == [name for name, value in learner.trained.named_parameters() if "lora_" in name]
    head = MetaHead(learner.model.config.hidden_size, rate=0.1, encoder_rate=0.05)
    torch.nn.init.normal_(head.start, std=0.1)
    begun = {**head.begin(2), **encoder.begin()}
    leaves = [head.start, *encoder.begin().values()]

    def by_functional_call(now: dict[str, torch.Tensor]) -> torch.Tensor:
        own = {name: now[f"encoder.{name}"] for name in names}
        with sdpa_kernel(SDPBackend.MATH):
            hidden = torch.func.functional_call(learner.trained, own, (), dict(tokens)).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return functional.normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=1)

    expected = dict(begun)
    for _ in range(2):
        loss = functional.cross_entropy(logits(expected, by_functional_call(expected)), labels)
        slopes = torch.autograd.grad(loss, list(expected.values()), create_graph=True, materialize_grads=True)
        rates = {name: 0.05 if name.startswith("encoder.") else 0.1 for name in expected}
        expected = {n: v - rates[n] * slope for (n, v), slope in zip(expected.items(), slopes, strict=True)}
    support = [(lambda now: encoder.read(now, batch), labels)]
    found = adapt(begun, head.rates(), support, steps=2, moved=lambda _: True, first_order=False)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    gradients = []
    for after in (expected, found):
        loss = functional.cross_entropy(logits(after, by_functional_call(after)), 1 - labels)
        gradients.append(torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    before = {name: value.detach().clone() for name, value in encoder.begin().items()}
    encoder.take(found)
    assert all(torch.equal(value, found[name]) for name, value in encoder.begin().items())
    assert any(not torch.equal(value, found[name]) for name, value in before.items())
