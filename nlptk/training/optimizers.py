"""One table of optimizers, and the way from parameter groups to a torch optimizer.

All are torch.optim's own; what nlptk adds is a sensible learning rate for each way of fine-tuning, and weight decay on
matrices only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nlptk.errors import RecipeError
from nlptk.nearest import did_you_mean
from nlptk.strategies.contract import Group

if TYPE_CHECKING:
    import torch

LR_KINDS = ("full", "head", "bias", "adapter", "prompt")


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer.

    torch_class: its name in torch.optim; arguments: what it is made with beside learning rate and weight decay.
    learning_rates: default for each `Strategy.lr_kind`. Those for full, and AdamW's for bias and adapter, lowered the
    loss of all-MiniLM-L6-v2 on 1,000 rows of SST-2 in one epoch of batches of 8. AdamW's for head is the second-best
    of 0.01, 0.03 and 0.1 on all rows (benchmarks/feature_extraction.py); 0.1 was a little better there, but worst for
    two small models with uninformative features. The others are scaled from them.
    usual_range: learning rates worth trying in full fine-tuning.
    state_bytes: optimizer state for each trainable fp32 parameter.
    decay: "decoupled" shrinks the weights themselves by lr * weight_decay (Loshchilov & Hutter 2019); "L2" adds
    weight_decay * weight to the gradient, which adaptive methods then rescale with it.
    weight_decay: default. With L2 it is 0: on the task above, 0.01 outweighed the true gradient and Adam did not learn.
    fused_on: device types where torch has a fused kernel for it.
    """

    name: str
    torch_class: str
    learning_rates: Mapping[str, float]
    usual_range: tuple[float, float]
    when: str
    state_bytes: float
    decay: Literal["decoupled", "L2"] = "L2"
    weight_decay: float = 0.0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fused_on: tuple[str, ...] = ()


def _rates(full: float, head: float, bias: float, adapter: float, prompt: float) -> dict[str, float]:
    return {"full": full, "head": head, "bias": bias, "adapter": adapter, "prompt": prompt}


ROWS = (
    OptimizerRow(
        "adamw",
        "AdamW",
        _rates(full=5e-5, head=3e-2, bias=4e-3, adapter=2e-3, prompt=3e-2),
        usual_range=(1e-5, 1e-4),
        when="the default for transformers",
        state_bytes=8,
        decay="decoupled",
        weight_decay=0.01,
        fused_on=("cpu", "cuda"),
    ),
    OptimizerRow(
        "adam",
        "Adam",
        _rates(full=5e-5, head=3e-2, bias=4e-3, adapter=2e-3, prompt=3e-2),
        usual_range=(1e-5, 1e-4),
        when="to repeat older work; without weight decay it is AdamW, with it (L2) it learns worse",
        state_bytes=8,
        fused_on=("cpu", "cuda"),
    ),
    OptimizerRow(
        "adafactor",
        "Adafactor",
        _rates(full=1e-3, head=3e-2, bias=3e-2, adapter=3e-2, prompt=3e-2),
        usual_range=(3e-4, 3e-3),
        when="memory is short: almost no state; T5's own; its rate is relative to the size of each weight",
        state_bytes=0.1,
        decay="decoupled",
        weight_decay=0.01,
    ),
    OptimizerRow(
        "rmsprop",
        "RMSprop",
        _rates(full=2e-5, head=3e-2, bias=4e-3, adapter=2e-3, prompt=3e-2),
        usual_range=(5e-6, 1e-4),
        when="half of Adam's state; no momentum, so it is noisier on small batches",
        state_bytes=4,
    ),
    OptimizerRow(
        "adagrad",
        "Adagrad",
        _rates(full=5e-4, head=5e-2, bias=2e-2, adapter=1e-2, prompt=3e-1),
        usual_range=(1e-4, 2e-3),
        when="rare features matter (a head on frozen features); its steps shrink for good, so not for long runs",
        state_bytes=4,
        fused_on=("cpu",),
    ),
    OptimizerRow(
        "sgd",
        "SGD",
        _rates(full=1e-1, head=1.0, bias=5e-1, adapter=5e-1, prompt=5.0),
        usual_range=(3e-2, 3e-1),
        when="no state at all; slow on transformers, wants warmup and clipping",
        state_bytes=0,
        fused_on=("cpu", "cuda"),
    ),
    OptimizerRow(
        "momentum",
        "SGD",
        _rates(full=2e-2, head=1e-1, bias=1e-1, adapter=1e-1, prompt=1.0),
        usual_range=(5e-3, 5e-2),
        when="SGD that averages its direction over about ten steps (momentum 0.9)",
        state_bytes=4,
        arguments={"momentum": 0.9},
        fused_on=("cpu", "cuda"),
    ),
    OptimizerRow(
        "nesterov",
        "SGD",
        _rates(full=2e-2, head=1e-1, bias=1e-1, adapter=1e-1, prompt=1.0),
        usual_range=(5e-3, 5e-2),
        when="momentum that looks one step ahead; a little steadier at the same rate",
        state_bytes=4,
        arguments={"momentum": 0.9, "nesterov": True},
        fused_on=("cpu", "cuda"),
    ),
)


def _row(name: str) -> OptimizerRow:
    by_name = {row.name: row for row in ROWS}
    if name not in by_name:
        raise RecipeError(
            f"optimizer: no optimizer named {name!r}{did_you_mean(name, by_name)}; known: {', '.join(by_name)}"
        )
    return by_name[name]


def optimizer_table() -> list[dict[str, Any]]:
    """The table for `nlptk optimizers`, JSON-able: one row an optimizer, keys as in OptimizerRow."""
    return [
        {
            "name": row.name,
            "torch_class": f"torch.optim.{row.torch_class}",
            "arguments": dict(row.arguments),
            "learning_rates": dict(row.learning_rates),
            "usual_range": list(row.usual_range),
            "decay": row.decay,
            "weight_decay": row.weight_decay,
            "state_bytes": row.state_bytes,
            "fused_on": list(row.fused_on),
            "when": row.when,
        }
        for row in ROWS
    ]


def default_learning_rate(name: str, lr_kind: str) -> float:
    """The learning rate of optimizer `name` for a `Strategy.lr_kind`. Raises: RecipeError naming the nearest name."""
    rates = _row(name).learning_rates
    if lr_kind not in rates:
        raise RecipeError(f"lr_kind: {lr_kind!r} is unknown{did_you_mean(lr_kind, rates)}; known: {', '.join(rates)}")
    return rates[lr_kind]


def default_weight_decay(name: str) -> float:
    """The weight decay of optimizer `name` where the recipe gives none. Raises: RecipeError naming the nearest name."""
    return _row(name).weight_decay


def decays(name: str, parameter: torch.nn.Parameter) -> bool:
    """Whether weight decay applies to a parameter of that name: to matrices only.

    Not to biases and norms (vectors), nor to (IA)^3's factors, which are stored as (1, n) and rest at 1, not at 0.
    """
    return parameter.ndim > 1 and name.rpartition(".")[2] != "bias" and ".ia3_l." not in name


def parameter_groups(groups: Iterable[Group], *, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """torch param_groups, in the order of `groups`: each as `name` and, for what does not decay, `name.no_decay`.

    Every one carries params, lr (learning_rate * lr_scale), weight_decay and name; empty ones are left out.
    """
    result = []
    for group in groups:
        for name, decay in ((group.name, True), (f"{group.name}.no_decay", False)):
            chosen = [parameter for p_name, parameter in group.parameters if decays(p_name, parameter) is decay]
            if chosen:
                result.append(
                    {
                        "params": chosen,
                        "lr": learning_rate * group.lr_scale,
                        "weight_decay": weight_decay if decay else 0.0,
                        "name": name,
                    }
                )
    return result


def build_optimizer(
    name: str,
    groups: Iterable[Group],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """The torch optimizer of that name over all groups, those frozen at the start included.

    learning_rate: of a group with lr_scale 1. options: further arguments of the torch class by their own names; they
    override the table's. Uses torch's fused kernel where there is one for the parameters' device.

    Raises: RecipeError for an unknown optimizer or option, with the nearest name, or a value torch refuses.
    """
    import torch

    row = _row(name)
    optimizer_class: type[torch.optim.Optimizer] = getattr(torch.optim, row.torch_class)
    arguments = {**row.arguments, **_checked(row, optimizer_class, options or {})}
    param_groups = parameter_groups(groups, learning_rate=learning_rate, weight_decay=weight_decay)
    devices = {parameter.device.type for group in param_groups for parameter in group["params"]}
    chooses_kernel = {"fused", "foreach", "differentiable"} & set(arguments)
    if row.fused_on and devices <= set(row.fused_on) and not chooses_kernel:
        arguments["fused"] = True
    try:
        return optimizer_class(param_groups, lr=learning_rate, weight_decay=weight_decay, **arguments)  # type: ignore[call-arg]  # the base class declares no arguments; _checked has
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"optimizer {name} (torch.optim.{row.torch_class}): {error}") from error


def _checked(
    row: OptimizerRow, optimizer_class: type[torch.optim.Optimizer], options: Mapping[str, Any]
) -> dict[str, Any]:
    """`options` with YAML's lists as tuples; refuses what the class does not take."""
    own = {"self", "params", "lr", "weight_decay"}
    known = [name for name in inspect.signature(optimizer_class.__init__).parameters if name not in own]
    for option in options:
        if option in own:
            raise RecipeError(
                f"optimizer.options: {option} is not an option of {row.name}; set the recipe's learning rate, weight "
                "decay or strategy instead"
            )
        if option not in known:
            raise RecipeError(
                f"optimizer.options: {row.name} has no option {option!r}{did_you_mean(option, known)}; "
                f"known: {', '.join(known)}"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
