"""Where a model's embeddings, layers and head are, read off its structure.

No list of model names: whatever transformers calls its blocks, they are a `ModuleList` of one class inside the base
model (`base_model_prefix`), and the head is what lies outside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from nlptk.errors import UnsupportedError

if TYPE_CHECKING:
    from torch import nn

    NamedParameters: TypeAlias = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class LayerMap:
    """Every parameter of a model in exactly one place; names are those of `model.named_parameters()`.

    layers: bottom to top; an encoder-decoder's encoder layers come first. A module after a stack (pooler, final norm)
    belongs to the layer before it. A tied parameter is listed once, where it is registered first.
    """

    embeddings: NamedParameters
    layers: list[NamedParameters]
    head: NamedParameters


@dataclass(frozen=True)
class Anatomy:
    """The modules behind a LayerMap. Names are relative to `model`, the transformers model under any PEFT wrapper.

    prefix: what a PEFT wrapper puts before every name, or "".
    head: name -> module directly under the model and outside the base. stacks: name -> ModuleList of blocks.
    """

    model: nn.Module
    prefix: str
    head: dict[str, nn.Module]
    stacks: dict[str, nn.ModuleList]


def unwrap(model: nn.Module) -> tuple[nn.Module, str]:
    """The transformers model under a PEFT wrapper, and the prefix the wrapper gives its parameter names."""
    get_base_model = getattr(model, "get_base_model", None)
    if get_base_model is None:
        return model, ""
    inner: nn.Module = get_base_model()
    prefix = next(name for name, module in model.named_modules() if module is inner)
    return inner, f"{prefix}."


def head_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> module of the head: the model's children outside its base that hold parameters.

    A model without a separate base (T5ForConditionalGeneration) has its output embeddings for a head.
    """
    prefix = getattr(model, "base_model_prefix", "")
    children = dict(model.named_children())
    if prefix in children:
        return {name: m for name, m in children.items() if name != prefix and any(True for _ in m.parameters())}
    get_output = getattr(model, "get_output_embeddings", None)
    output = get_output() if get_output is not None else None
    return {name: module for name, module in children.items() if output is not None and module is output}


def _is_stack(module: nn.Module) -> bool:
    """A ModuleList of one or more blocks of one class, each with modules and parameters of its own."""
    from torch import nn

    if not isinstance(module, nn.ModuleList) or len(module) == 0:
        return False
    return len({type(block) for block in module}) == 1 and all(
        any(True for _ in block.children()) and any(True for _ in block.parameters()) for block in module
    )


def _outermost_stacks(module: nn.Module, name: str) -> Iterator[tuple[str, nn.ModuleList]]:
    from torch import nn

    for child_name, child in module.named_children():
        full = f"{name}.{child_name}" if name else child_name
        if _is_stack(child):
            assert isinstance(child, nn.ModuleList)
            yield full, child
        else:
            yield from _outermost_stacks(child, full)


def anatomy(model: nn.Module) -> Anatomy:
    """Find head and layer stacks. Raises: UnsupportedError where there is no stack, or parts of a layer in several."""
    inner, prefix = unwrap(model)
    head = head_modules(inner)
    stacks = {
        name: stack for name, stack in _outermost_stacks(inner, "") if name.split(".", 1)[0] not in head
    }  # fmt: skip
    what = type(inner).__name__
    if not stacks:
        raise UnsupportedError(
            f"{what}: no stack of layers found (a torch.nn.ModuleList of blocks of one class inside the base model); "
            "strategies that work by layer cannot train it"
        )
    parents = [name.rpartition(".")[0] for name in stacks]
    if len(set(parents)) < len(parents):
        raise UnsupportedError(
            f"{what}: {', '.join(stacks)} lie side by side, so one layer's parts are spread over several lists; "
            "strategies that work by layer cannot train it"
        )
    return Anatomy(inner, prefix, head, stacks)


def _embedding_parameters(model: nn.Module) -> set[int]:
    from torch import nn

    return {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}


def map_layers(model: nn.Module, *, need_head: bool = True) -> LayerMap:
    """Put every parameter of `model`, which may be wrapped by PEFT, into embeddings, one of the layers, or the head.

    need_head: refuse a model without a head of its own (a bare base model, or a language model whose output
    embeddings are tied to the input ones).

    Raises: UnsupportedError with the reason where the structure is not understood.
    """
    parts = anatomy(model)
    blocks = [f"{parts.prefix}{name}.{index}." for name, stack in parts.stacks.items() for index in range(len(stack))]
    heads = tuple(f"{parts.prefix}{name}." for name in parts.head)
    embedding_ids = _embedding_parameters(model)
    found = LayerMap([], [[] for _ in blocks], [])
    current = -1
    for name, parameter in model.named_parameters():
        inside = next((index for index, block in enumerate(blocks) if name.startswith(block)), None)
        if inside is not None:
            current = inside
            found.layers[inside].append((name, parameter))
        elif name.startswith(heads) and heads:
            found.head.append((name, parameter))
        elif current < 0 or id(parameter) in embedding_ids:
            found.embeddings.append((name, parameter))
        else:
            found.layers[current].append((name, parameter))
    if need_head and not found.head:
        what = type(parts.model).__name__
        why = "is tied to its input embeddings" if parts.head else "does not exist"
        raise UnsupportedError(f"{what}: its head {why}, so there is nothing to train apart from the base model")
    return found
