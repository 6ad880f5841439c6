"""LoRA: low-rank updates beside frozen weights (Hu et al. 2022, arXiv:2106.09685)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from nlptk.strategies.contract import StrategyOptions
from nlptk.strategies.peft_adapter import PeftStrategy, block_linears, choose_targets, is_transposed

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LoraOptions(StrategyOptions):
    rank: int = Field(8, ge=1, le=1024, description="Rank r of the update")
    alpha: float = Field(16.0, gt=0.0, description="The update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on the input of the update")
    target_modules: str | list[str] | None = Field(
        None,
        description="Layers to adapt: 'all-linear' or name endings; by default PEFT's own choice for the model type "
        "(attention query and value), or all linear layers of the blocks where PEFT has none",
    )
    rank_stabilized: bool = Field(False, description="Scale by alpha / sqrt(rank) instead (rsLoRA), for ranks above 32")


class Lora(PeftStrategy):
    """Low-rank adapters on the attention projections, and the head."""

    name = "lora"
    summary = "small low-rank matrices beside frozen weights, and the head; optimizer state for these alone"
    Options = LoraOptions
    options: LoraOptions
    use_dora: ClassVar[bool] = False

    def peft_config(self, model: PreTrainedModel, head: list[str], tokenizer: PreTrainedTokenizerBase) -> PeftConfig:
        from peft import LoraConfig
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

        linears = block_linears(model)
        targets = choose_targets(linears, self.options.target_modules, _endings(USUAL.get(model.config.model_type)))
        return LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha,
            lora_dropout=self.options.dropout,
            use_rslora=self.options.rank_stabilized,
            use_dora=self.use_dora,
            target_modules=targets,
            modules_to_save=head,
            fan_in_fan_out=any(is_transposed(linears[name]) for name in targets),
        )


def _endings(usual: list[str] | str | None) -> list[str] | None:
    """PEFT's usual targets where they are name endings; for a few multimodal models it has a regular expression."""
    return usual if isinstance(usual, list) else None
