"""(IA)^3: learned scales on keys, values and feed-forward activations (Liu et al. 2022, arXiv:2205.05638)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nlptk.strategies.contract import StrategyOptions
from nlptk.strategies.peft_adapter import PeftStrategy, block_linears, choose_targets, is_transposed, matching

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Ia3Options(StrategyOptions):
    target_modules: str | list[str] | None = Field(
        None,
        description="Layers to scale: 'all-linear' or name endings; by default PEFT's own choice for the model type "
        "(keys, values, feed-forward output), or all linear layers of the blocks where PEFT has none",
    )


class Ia3(PeftStrategy):
    """One trained factor per key, value and feed-forward unit, and the head."""

    name = "ia3"
    summary = "learned scales on keys, values and feed-forward units, and the head; the smallest adapter"
    Options = Ia3Options
    options: Ia3Options

    def peft_config(self, model: PreTrainedModel, head: list[str], tokenizer: PreTrainedTokenizerBase) -> PeftConfig:
        from peft import IA3Config
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as USUAL_FEEDFORWARD
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as USUAL

        linears = block_linears(model)
        kind = model.config.model_type
        targets = choose_targets(linears, self.options.target_modules, USUAL.get(kind))
        if kind in USUAL_FEEDFORWARD:
            feedforward = matching(linears, USUAL_FEEDFORWARD[kind])
        else:
            feedforward = [name for name, module in linears.items() if _contracts(module)]
        return IA3Config(
            target_modules=targets,
            feedforward_modules=[name for name in feedforward if name in targets],
            modules_to_save=head,
            fan_in_fan_out=any(is_transposed(linears[name]) for name in targets),
        )


def _contracts(module: nn.Module) -> bool:
    """Whether a linear layer has more inputs than outputs: a block's feed-forward output, scaled at its input."""
    rows, columns = module.get_parameter("weight").shape
    inputs, outputs = (rows, columns) if is_transposed(module) else (columns, rows)
    return inputs > outputs
