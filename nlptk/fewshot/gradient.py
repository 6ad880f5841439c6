"""maml, fomaml, anil, reptile: a start from which a few gradient steps on a support set go far.

The head reads unit vectors z: its features are z + P z + p, and a class's logit is SCALE times their product with the
class's vector. Meta-training learns P and p (which begin at zero). All classes start from one vector, so that the start
does not know how many classes there will be, and sees them all alike until the first inner step (Ye and Chao 2022, "How
to Train Your MAML to Excel in Few-Shot Classification", arXiv:2106.09517); what they share cancels in the softmax, so
the vector is zero. The step size of each tensor is
learnt too (Li et al. 2017, "Meta-SGD", arXiv:1707.09835, here one number a tensor, and one for all adapters together),
but for reptile, whose update says nothing of them. All of it stays linear in z.

With an adapter strategy (lora, dora, ia3) the inner steps move the encoder's adapters as well, but for anil, whose
inner steps move the class vectors alone. Afterwards the encoder stays as the support set made it, and class vectors are
adapted on its vectors, so that classes can be added by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from nlptk.fewshot.contract import Batch, Learner, Lesson, Material, Method
from nlptk.fewshot.episodes import Protocol
from nlptk.fewshot.prototypical import meta_protocol
from nlptk.fewshot.rows import LabelledRows, frozen_vectors, row_vectors
from nlptk.parts.methods import GradientOptions, MetaOptions
from nlptk.parts.support import Head, unit
from nlptk.strategies.contract import Group

SCALE = 10.0
PROJECTION, SHIFT, RATE = "projection", "shift", "rate."
CLASSES = "classes"
"""Parameter of the inner loop: (ways, dim), zero at first."""
SUPPORT, QUERY = "support", "query"
ENCODER = "encoder"
"""`encoder.NAME`: an adapter's parameter in the inner loop; `encoder` alone: the step size of all of them."""
SETTLING_ROWS = 64

Parameters = dict[str, torch.Tensor]
Read = Callable[[Parameters], torch.Tensor]
"""The unit vectors of some rows, (rows, dim), as the parameters of the inner loop make them."""


class MetaHead(torch.nn.Module):
    """What meta-training learns: the start of the inner loop, and the logarithms of its step sizes."""

    def __init__(self, dim: int, *, rate: float, encoder_rate: float | None = None):
        super().__init__()
        self.projection = torch.nn.Parameter(torch.zeros(dim, dim))
        self.shift = torch.nn.Parameter(torch.zeros(dim))
        rates = dict.fromkeys((CLASSES, PROJECTION, SHIFT), rate)
        if encoder_rate is not None:
            rates[ENCODER] = encoder_rate
        self.log_rates = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.tensor(value).log()) for name, value in rates.items()}
        )

    def begin(self, ways: int) -> Parameters:
        """Parameters of the inner loop before its first step."""
        return _begin(self.projection, self.shift, ways)

    def rates(self) -> Parameters:
        return {name: value.exp() for name, value in self.log_rates.items()}


def logits(parameters: Parameters, vectors: torch.Tensor) -> torch.Tensor:
    """vectors: (rows, dim) of length 1 -> (rows, ways)."""
    read = vectors + vectors @ parameters[PROJECTION].T + parameters[SHIFT]
    return SCALE * read @ parameters[CLASSES].T


def adapt(
    parameters: Parameters,
    rates: Parameters,
    support: Sequence[tuple[Read, torch.Tensor]],
    *,
    steps: int,
    moved: Callable[[str], bool],
    first_order: bool,
) -> Parameters:
    """Parameters after gradient steps on a support set.

    support: the set in parts, each with its labels (rows,); the loss is the mean over all classes of the mean over
    their rows. moved: which parameters the steps move; first_order: the steps' gradients count as constants (no second
    derivatives).
    """
    counts = torch.bincount(torch.cat([labels for _, labels in support]), minlength=len(parameters[CLASSES]))
    weight = 1 / (counts.clamp(min=1) * (counts > 0).sum())

    def loss(inner: Parameters, fixed: Parameters, read: Read, labels: torch.Tensor) -> torch.Tensor:
        now = {**fixed, **inner}
        return functional.cross_entropy(logits(now, read(now)), labels, weight=weight, reduction="sum")

    gradient: Callable[[Parameters, Parameters, Read, torch.Tensor], Parameters] = torch.func.grad(loss)
    for _ in range(steps):
        inner = {name: value for name, value in parameters.items() if moved(name)}
        found = [gradient(inner, parameters, read, labels) for read, labels in support]
        for name, value in inner.items():
            slope = torch.stack([part[name] for part in found]).sum(dim=0) if len(found) > 1 else found[0][name]
            rate = rates[name.partition(".")[0]]
            parameters = {**parameters, name: value - rate * (slope.detach() if first_order else slope)}
    return parameters


class Encoder:
    """An encoder whose adapters the inner loop moves. names: of the parameters that train."""

    def __init__(self, learner: Learner):
        self._task, self.module = learner.task, learner.trained
        self._names = [name for name, value in learner.trained.named_parameters() if value.requires_grad]

    def begin(self) -> Parameters:
        """Its parameters of the inner loop, as they are."""
        own = dict(self.module.named_parameters())
        return {f"{ENCODER}.{name}": own[name] for name in self._names}

    def read(self, parameters: Parameters, batch: Batch) -> torch.Tensor:
        """The unit vectors of a batch's rows; attention in its plain form, which alone has second derivatives."""
        own = {name: parameters[f"{ENCODER}.{name}"] for name in self._names}

        called: Any = lambda **inputs: torch.func.functional_call(self.module, own, (), inputs)  # noqa: E731
        with sdpa_kernel(SDPBackend.MATH):
            return functional.normalize(row_vectors(self._task, called, batch), dim=1)

    @torch.no_grad()
    def take(self, parameters: Parameters) -> None:
        """Make them its own."""
        for name, value in self.begin().items():
            value.copy_(parameters[name])


class GradientMethod(Method):
    """The four of them differ in what the inner steps move and in what reaches the start."""

    options: GradientOptions
    trains = "meta"
    uses = Method.uses | {"meta"}
    needs_meta = True

    def moved(self, name: str) -> bool:
        """Whether the inner steps move a parameter."""
        return name == CLASSES or self.options.name != "anil"

    def moves_encoder(self, learner: Learner) -> bool:
        return learner.adapted

    def settles(self, learner: Learner) -> bool:
        return learner.adapted and self.options.name != "anil"

    def settle(self, learner: Learner, rows: LabelledRows, learned: Mapping[str, np.ndarray]) -> None:
        encoder = Encoder(learner)
        begun = encoder.begin()
        device = next(iter(begun.values())).device
        head, rates = _begun(learned, len(rows.names), device)
        learner.trained.eval()
        support = []
        for start in range(0, len(rows.labels), SETTLING_ROWS):
            labels = torch.from_numpy(rows.labels[start : start + SETTLING_ROWS]).to(device)
            batch = rows.batch(range(start, start + len(labels)))
            support.append((_reader(encoder, {name: value.to(device) for name, value in batch.items()}), labels))
        found = adapt(
            {**head, **begun}, rates, support, steps=self.options.test_steps, moved=self.moved, first_order=True
        )
        encoder.take(found)

    def head(self, material: Material) -> Head:
        return self.head_after(material, self.options.test_steps)

    def head_after(self, material: Material, steps: int) -> Head:
        """The head after so many inner steps; after none it sees all classes alike."""
        begun, rates = _begun(material.learned, len(material.names), torch.device("cpu"))
        vectors, labels = torch.from_numpy(unit(material.vectors)), torch.from_numpy(material.labels)
        found = adapt(begun, rates, [(lambda _: vectors, labels)], steps=steps, moved=self.moved, first_order=True)
        return _as_head(found)

    def meta_lesson(self, learner: Learner, rows: LabelledRows, meta: MetaOptions, *, seed: int) -> Lesson:
        return _MetaLesson(self, learner, rows, meta, seed=seed)


def _begin(projection: torch.Tensor, shift: torch.Tensor, ways: int) -> Parameters:
    return {CLASSES: projection.new_zeros(ways, len(shift)), PROJECTION: projection, SHIFT: shift}


def _begun(learned: Mapping[str, np.ndarray], ways: int, device: torch.device) -> tuple[Parameters, Parameters]:
    """The head's parameters before the first inner step, and the step sizes, from what meta-training left."""
    state = {name: torch.from_numpy(np.array(value)).to(device) for name, value in learned.items()}
    begun = _begin(state[PROJECTION], state[SHIFT], ways)
    return begun, {name.removeprefix(RATE): value for name, value in state.items() if name.startswith(RATE)}


def _reader(encoder: Encoder | None, rows: Any) -> Read:
    """rows: a batch of tokens for the encoder, or without one unit vectors."""
    return lambda parameters: rows if encoder is None else encoder.read(parameters, rows)


def _as_head(found: Mapping[str, torch.Tensor]) -> Head:
    """logits = SCALE (z + P z + p) c = z (SCALE (c + P^T c)) + SCALE p c."""
    classes, projection, shift = (found[name].detach().numpy() for name in (CLASSES, PROJECTION, SHIFT))
    weight = SCALE * (classes + classes @ projection)
    return Head(weight.astype(np.float32), (SCALE * classes @ shift).astype(np.float32), unit_length=True)


class EpisodeParts(torch.utils.data.Dataset[Batch]):
    """Item i: the support rows and the query rows of episode i, class by class: as unit vectors where `vectors`
    (rows, dim) of a frozen encoder are given, else as batches of tokens."""

    def __init__(self, rows: LabelledRows, protocol: Protocol, vectors: np.ndarray | None):
        rows.pool.check(protocol)
        self._rows, self._protocol = rows, protocol
        self._vectors = torch.from_numpy(unit(vectors)) if vectors is not None else None

    def __len__(self) -> int:
        return self._protocol.episodes

    def __getitem__(self, index: int) -> Batch:
        episode = self._rows.pool.draw(self._protocol, index)
        parts = {SUPPORT: self._rows.learnt_from(episode).ravel(), QUERY: episode.query.ravel()}
        if self._vectors is not None:
            return {name: self._vectors[chosen] for name, chosen in parts.items()}
        return {name: self._rows.batch(chosen.tolist()) for name, chosen in parts.items()}


class _Inner(torch.nn.Module):
    """Inner loop and outer loss of an episode in one call, as several processes need it.

    examples: of each class in a support set; queries: likewise. encoder: what the inner loop reads tokens with; None:
    the episodes are vectors already.
    """

    def __init__(
        self,
        head: MetaHead,
        method: GradientMethod,
        encoder: Encoder | None,
        *,
        ways: int,
        examples: int,
        queries: int,
    ):
        super().__init__()
        self.head = head
        self.trained = encoder.module if encoder is not None else None
        self._method, self._encoder = method, encoder
        self._ways, self._each = ways, {SUPPORT: examples, QUERY: queries}
        self.register_state_dict_post_hook(_drop_frozen)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch) -> torch.Tensor:
        method, encoder = self._method, self._encoder
        begun, rates = self.head.begin(self._ways), self.head.rates()
        places = torch.arange(self._ways, device=begun[CLASSES].device)
        labels = {name: places.repeat_interleave(each) for name, each in self._each.items()}
        if encoder is not None:
            begun |= encoder.begin()
        read: dict[str, Read] = {name: _reader(encoder, batch[name]) for name in labels}
        reptile = method.options.name == "reptile"
        found = adapt(
            begun,
            rates,
            # reptile has no outer loss, and learns from all rows of the episode
            [(read[name], labels[name]) for name in ((SUPPORT, QUERY) if reptile else (SUPPORT,))],
            steps=method.options.inner_steps,
            moved=method.moved,
            first_order=method.options.name in ("fomaml", "reptile"),
        )
        if reptile:
            return _towards(begun, found)
        return functional.cross_entropy(logits(found, read[QUERY](found)), labels[QUERY])


def _drop_frozen(module: torch.nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Checkpoints hold what trains: the rest is the pretrained model's, which is loaded anyway."""
    for name, value in module.named_parameters(remove_duplicate=False):
        if not value.requires_grad:
            state.pop(f"{prefix}{name}", None)


def _towards(begun: Parameters, found: Parameters) -> torch.Tensor:
    """A loss whose gradient at the start is the way back from where the steps led: reptile's update."""
    total = next(iter(begun.values())).new_zeros(())
    for name, value in begun.items():
        total = total + (value - found[name].detach()).square().sum() / 2
    return total


class _MetaLesson(Lesson):
    def __init__(self, method: GradientMethod, learner: Learner, rows: LabelledRows, meta: MetaOptions, *, seed: int):
        options, protocol = method.options, meta_protocol(meta, seed)
        encoder = Encoder(learner) if learner.adapted else None
        # on a frozen encoder 1e-3 fits the projection to the classes of meta-training: on new ones it does harm
        self.learning_rate = 1e-4 if encoder is None else 1e-3
        if encoder is None:
            vectors = frozen_vectors(rows, learner.trained, batch_size=64)
        else:  # a row shows the size
            vectors = rows.subset([0], rows.labels[:1], rows.names).vectors(learner.trained, batch_size=64)
        self.batches = EpisodeParts(rows, protocol, vectors if encoder is None else None)
        self._head = MetaHead(
            vectors.shape[1],
            rate=options.inner_learning_rate,
            encoder_rate=options.encoder_learning_rate if encoder is not None else None,
        )
        examples = meta.shots + rows.names_count
        self.module = _Inner(self._head, method, encoder, ways=meta.ways, examples=examples, queries=meta.queries)
        own = tuple((f"head.{name}", value) for name, value in self._head.named_parameters())
        self.groups = [Group("meta", own), *(learner.groups if encoder is not None else ())]
        self.per_step = meta.episodes_per_step

    def loss(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = module(batch)
        return loss

    def learned(self) -> dict[str, np.ndarray]:
        head = self._head
        state: dict[str, Any] = {PROJECTION: head.projection, SHIFT: head.shift}
        state |= {f"{RATE}{name}": value for name, value in head.rates().items()}
        return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}
