"""Where a model's embeddings, layers and head are, read off its structure.

No list of model names: whatever transformers calls its blocks, they are a `ModuleList` of one class inside the base
model, and the head is what lies outside it. Where no module is the base (T5ForQuestionAnswering), the base is those
modules that hold blocks or embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from nlptk.errors import UnsupportedError

if TYPE_CHECKING:
    from torch import nn

    NamedParameters: TypeAlias = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class LayerMap:
    """Every parameter of a model in exactly one place; names are those of `model.named_parameters()`.

    layers: bottom to top; an encoder-decoder's encoder layers come first. A module after a stack (pooler, final norm)
    belongs to the layer before it. A tied parameter is listed once, where it is registered first.
    headless: why there is no head to train apart from the rest, for a message; None where there is one.
    """

    embeddings: NamedParameters
    layers: list[NamedParameters]
    head: NamedParameters
    headless: str | None = None


@dataclass(frozen=True)
class Anatomy:
    """The modules behind a LayerMap. Names are relative to `model`, the transformers model under any PEFT wrapper.

    prefix: what a PEFT wrapper puts before every name, or "".
    head: name -> module outside the base. stacks: name -> ModuleList of blocks.
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
    """Name -> module of the head: what holds parameters and lies outside the base; empty for a bare base model.

    A model made of models (EncoderDecoderModel) has the head of the one that has a head.
    """
    children = {name: child for name, child in model.named_children() if any(True for _ in child.parameters())}
    base = getattr(model, "base_model_prefix", "")
    if base in children:
        return {name: child for name, child in children.items() if name != base}
    if _is_base(model):
        return {}
    found: dict[str, nn.Module] = {}
    for name, child in children.items():
        if getattr(child, "base_model_prefix", "") in dict(child.named_children()):
            found |= {f"{name}.{inner}": module for inner, module in head_modules(child).items()}
        elif not _holds_base(child):
            found[name] = child
    return found


def _is_base(model: nn.Module) -> bool:
    """Whether it is what AutoModel makes: a base alone, whose last modules (pooler, final norm) are no head."""
    from transformers import MODEL_MAPPING

    kind: Any = type(getattr(model, "config", None))
    bases: Any = MODEL_MAPPING.get(kind, ())
    return isinstance(model, bases)


def _holds_base(module: nn.Module) -> bool:
    from torch import nn

    return any(isinstance(inside, nn.Embedding) or _is_stack(inside) for inside in module.modules())


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
    in_head = tuple(f"{name}." for name in head)
    stacks = {name: stack for name, stack in _outermost_stacks(inner, "") if not f"{name}.".startswith(in_head)}
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


def map_layers(model: nn.Module) -> LayerMap:
    """Put every parameter of `model`, which may be wrapped by PEFT, into embeddings, one of the layers, or the head.

    Raises: UnsupportedError with the reason where the structure is not understood.
    """
    parts = anatomy(model)
    stacks = [f"{parts.prefix}{name}." for name in parts.stacks]
    lengths = [len(stack) for stack in parts.stacks.values()]
    blocks = [f"{stack}{index}." for stack, length in zip(stacks, lengths, strict=True) for index in range(length)]
    heads = tuple(f"{parts.prefix}{name}." for name in parts.head)
    embedding_ids = _embedding_parameters(model)
    found = LayerMap([], [[] for _ in blocks], [], _headless(parts, embedding_ids))
    reached: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        inside = next((index for index, block in enumerate(blocks) if name.startswith(block)), None)
        if inside is not None:
            reached[next(stack for stack in stacks if name.startswith(stack))] = inside
            found.layers[inside].append((name, parameter))
        elif name.startswith(heads):
            found.head.append((name, parameter))
        else:
            below = [reached[stack] for stack in _nearest(name, stacks) if stack in reached]
            outside = not below or id(parameter) in embedding_ids
            (found.embeddings if outside else found.layers[max(below)]).append((name, parameter))
    return found


def _nearest(name: str, stacks: list[str]) -> list[str]:
    """The stacks inside the innermost module that holds the parameter of that name and a stack."""
    while name := name.rpartition(".")[0]:
        if found := [stack for stack in stacks if stack.startswith(f"{name}.")]:
            return found
    return stacks


def _headless(parts: Anatomy, embedding_ids: set[int]) -> str | None:
    if not parts.head:
        return "the model has none"
    if any(id(parameter) in embedding_ids for module in parts.head.values() for parameter in module.parameters()):
        return "the model's output layer is its embedding table"
    return None
