"""What the strategies share that train an adapter through PEFT: targets, the head, saving, merging."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk.errors import RecipeError, UnsupportedError
from nlptk.nearest import did_you_mean
from nlptk.strategies.contract import Group, Strategy
from nlptk.strategies.layer_map import anatomy, head_modules, map_layers
from nlptk.strategies.layerwise import as_plain_model

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def block_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> linear layer (nn.Linear or GPT-2's Conv1D) of all that lie inside the layer stacks."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return {
        f"{stack_name}.{name}": module
        for stack_name, stack in anatomy(model).stacks.items()
        for name, module in stack.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
    }


def is_transposed(module: nn.Module) -> bool:
    """Whether the weight is stored as (in, out): GPT-2's Conv1D, PEFT's `fan_in_fan_out`."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def matching(linears: dict[str, nn.Module], suffixes: Iterable[str]) -> list[str]:
    """Names of the linear layers that equal one of `suffixes` or end in a dot and it, as PEFT matches them."""
    endings = tuple(suffixes)
    return [name for name in linears if any(name == e or name.endswith(f".{e}") for e in endings)]


def choose_targets(
    linears: dict[str, nn.Module], wanted: str | Sequence[str] | None, usual: Sequence[str] | None
) -> list[str]:
    """Full names of the layers to adapt.

    wanted: the option `target_modules`: "all-linear", name endings, or None for PEFT's usual ones of this model type
    (`usual`), or for all linear layers of the blocks where PEFT knows none.

    Raises: RecipeError naming the nearest where an ending matches no layer.
    """
    if wanted == "all-linear" or (wanted is None and not (usual and matching(linears, usual))):
        return list(linears)
    if wanted is None:
        assert usual is not None
        return matching(linears, usual)
    endings = [wanted] if isinstance(wanted, str) else list(wanted)
    for ending in endings:
        if not matching(linears, [ending]):
            known = sorted({name.rpartition(".")[2] for name in linears})
            raise RecipeError(
                f"target_modules: no linear layer of the model is called {ending!r}{did_you_mean(ending, known)}; "
                f"known: {', '.join(known)}; or use 'all-linear'"
            )
    return matching(linears, endings)


class PeftStrategy(Strategy):
    """Base of the strategies that wrap the model with a PEFT adapter and train it together with the head.

    The head is in PEFT's `modules_to_save`, so a saved adapter brings it back. No PEFT task type is set: those only
    add guesses about head names and output formats, which the structure of the model answers exactly. A language
    model's output layer stays as it is: it came with the checkpoint, is as large as the vocabulary, and mostly is the
    embedding table.
    """

    lr_kind = "adapter"

    @abstractmethod
    def peft_config(self, model: PreTrainedModel, head: list[str], tokenizer: PreTrainedTokenizerBase) -> PeftConfig:
        """PEFT's own configuration of the adapter. head: names for `modules_to_save`."""

    def prepare(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
        from peft import get_peft_model

        head = [] if _writes_text(model) else list(head_modules(model))
        with warnings.catch_warnings():
            # PEFT reads an attribute that transformers has renamed
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            wrapped: nn.Module = get_peft_model(model, self.peft_config(model, head, tokenizer))
        _check_head(wrapped, head)
        return wrapped

    def groups(self, model: nn.Module) -> list[Group]:
        head = map_layers(model).head
        saved = tuple((name, p) for name, p in head if ".modules_to_save." in name)
        in_head = {id(p) for _, p in head}
        adapter = tuple((n, p) for n, p in model.named_parameters() if id(p) not in in_head and _is_adapter(n))
        return [group for group in (Group("head", saved), Group("adapter", adapter)) if group.parameters]

    def save_adapter(self, model: nn.Module, folder: Path) -> bool:
        """adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
        peft_model = _as_peft(model, "save_adapter")
        # False: the default asks the Hub whether the vocabulary has grown, and then saves all of the embeddings
        peft_model.save_pretrained(folder, save_embedding_layers=False)
        return True

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """The plain model with the adapter folded into its weights. Raises: ValueError where a weight is NaN."""
        peft_model = _as_peft(model, "merge")
        _restore_head(peft_model.get_base_model())
        return as_plain_model(peft_model.merge_and_unload(safe_merge=True))


def _writes_text(model: PreTrainedModel) -> bool:
    """Whether its last layer gives a logit for every token of the vocabulary."""
    output: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return output is not None


def _as_peft(model: nn.Module, doing: str) -> Any:
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        raise UnsupportedError(
            f"{doing}: got {type(model).__name__}, expected the PeftModel that prepare returned; "
            "unwrap it first (accelerator.unwrap_model)"
        )
    return model


def _is_adapter(name: str) -> bool:
    """Whether PEFT made this parameter: its names end in the adapter's, with or without `.weight`."""
    return name.endswith((".default", ".default.weight", ".default.bias"))


def _restore_head(inner: nn.Module) -> None:
    """Put the trained head in the place of PEFT's wrapper around it.

    merge_and_unload does so too, but with IA3 it asks a head of several modules (RoBERTa, T5) for its `weight`.
    """
    from peft.utils.other import ModulesToSaveWrapper

    for name, module in list(inner.named_children()):
        if isinstance(module, ModulesToSaveWrapper):
            setattr(inner, name, module.modules_to_save[module.active_adapter])


def _check_head(wrapped: Any, head: list[str]) -> None:
    """PEFT finds `modules_to_save` by the end of their names; refuse where that caught more than the head."""
    from peft.utils.other import ModulesToSaveWrapper

    inner = wrapped.get_base_model()
    caught = [name for name, module in inner.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    if sorted(caught) != sorted(head):
        raise UnsupportedError(
            f"{type(inner).__name__}: PEFT would train and save {caught} as the head, which is {head}: other modules "
            "have names with the same ending"
        )
