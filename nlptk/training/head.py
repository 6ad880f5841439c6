"""Batch normalization before the classifier while training, folded into it afterwards (Ioffe & Szegedy 2015).

The saved model is a plain transformers model: what the norm learned is in the classifier's weight and bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import nn

from nlptk.errors import UnsupportedError
from nlptk.strategies.layer_map import head_modules, unwrap

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ModelT = TypeVar("ModelT", bound=nn.Module)


class NormedLinear(nn.Linear):
    """A linear classifier whose input is batch-normalized over its features, computed in fp32.

    A subclass of nn.Linear that takes over weight and bias, so that their names in the state dict stay the same.
    """

    def __init__(self, linear: nn.Linear):
        nn.Module.__init__(self)
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = linear.weight
        self.bias = linear.bias
        self.norm = nn.BatchNorm1d(linear.in_features, device=linear.weight.device)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (..., in_features) -> (..., out_features); statistics over all leading dimensions, padding included.

        In training, a batch of one vector has no variance, so it is normalized with the running statistics and leaves
        them as they are.
        """
        vectors = input.reshape(-1, self.in_features).float()
        if self.training and vectors.shape[0] == 1:
            normed = nn.functional.batch_norm(
                vectors,
                self.norm.running_mean,
                self.norm.running_var,
                self.norm.weight,
                self.norm.bias,
                training=False,
                eps=self.norm.eps,
            )
        else:
            normed = self.norm(vectors)
        return super().forward(normed.to(input.dtype).view_as(input))


def final_linear(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """The last nn.Linear of the head with one output a label: its parent module, its name there, and itself.

    Raises: UnsupportedError where the head has none, or it has no bias.
    """
    inner, _ = unwrap(model)
    labels = int(getattr(getattr(inner, "config", None), "num_labels", 0))
    what = type(inner).__name__
    found = None
    for name, head in head_modules(inner).items():
        for inside, module in head.named_modules(prefix=name):
            if isinstance(module, nn.Linear) and module.out_features == labels and ".original_module" not in inside:
                found = (inside, module)
    if found is None:
        raise UnsupportedError(
            f"head.norm: {what} has no nn.Linear with {labels} outputs (num_labels) in its head to put a norm before; "
            "leave it at head.norm=none"
        )
    path, linear = found
    if linear.bias is None:
        raise UnsupportedError(
            f"head.norm: the head of {what} ({path}) has no bias, so the norm's shift could not be folded into it and "
            "the saved model would not be a plain transformers model; leave it at head.norm=none"
        )
    parent_path, _, name = path.rpartition(".")
    return inner.get_submodule(parent_path), name, linear


def add_head_norm(model: PreTrainedModel) -> PreTrainedModel:
    """Put batch normalization before the final classifier, in place. Call it before the strategy's `prepare`.

    Raises: UnsupportedError where the head has no final linear layer with a bias.
    """
    parent, name, linear = final_linear(model)
    if not isinstance(linear, NormedLinear):
        setattr(parent, name, NormedLinear(linear).train(linear.training))
    return model


@torch.no_grad()
def fold_head_norm(model: ModelT) -> ModelT:
    """Fold the norm into the classifier, in place; evaluation logits stay equal. Without a norm nothing happens.

    Under a PEFT wrapper fold before `save_adapter`, so that the adapter fits the plain base; else after `merge`.

    With s = gamma / sqrt(variance + eps): W' = W diag(s) and b' = b + W (beta - mean * s), in fp64.
    """
    for path, module in list(model.named_modules()):
        if not isinstance(module, NormedLinear):
            continue
        norm = module.norm
        mean = cast(torch.Tensor, norm.running_mean).double()
        variance = cast(torch.Tensor, norm.running_var).double()
        scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
        weight = module.weight.double()
        bias = module.bias.double() + weight @ (norm.bias.double() - mean * scale)
        plain = nn.Linear(
            module.in_features, module.out_features, device=module.weight.device, dtype=module.weight.dtype
        )
        plain.weight.copy_(weight * scale)
        plain.bias.copy_(bias)
        parent_path, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent_path), name, plain.train(module.training))
    return model
