"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): trained virtual tokens before every text.

The virtual tokens are real entries of the tokenizer's vocabulary, put before the text by its post-processor, and what
trains is their rows of the embedding matrix. PEFT's own prompt tuning passes `inputs_embeds`, which
T5ForSequenceClassification refuses, and cannot be merged; rows of the embedding matrix work for every family, and the
result is a plain model with a plain tokenizer that needs neither PEFT nor nlptk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nlptk.errors import UnsupportedError
from nlptk.strategies.contract import StrategyOptions
from nlptk.strategies.peft_adapter import PeftStrategy
from nlptk.strategies.prompt_tokens import prompt_token_ids, with_prompt_tokens

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PromptTuningOptions(StrategyOptions):
    tokens: int = Field(20, ge=1, le=256, description="Virtual tokens before every text; they count in max_length")
    seed: int = Field(0, ge=0, description="Seed of the vocabulary rows that the virtual tokens start from")


class PromptTuning(PeftStrategy):
    """The embeddings of a few virtual tokens, and the head.

    A saved adapter holds the rows of the virtual tokens and the head. To load it, resize the base model's embeddings
    to the vocabulary of the tokenizer first, then `PeftModel.from_pretrained`.
    """

    name = "prompt_tuning"
    summary = "virtual tokens before every text, and the head; the backbone stays shareable between tasks"
    Options = PromptTuningOptions
    options: PromptTuningOptions
    lr_kind = "prompt"

    def prepare_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """A tokenizer with the virtual tokens. Raises: UnsupportedError for one without the Rust backend."""
        return with_prompt_tokens(tokenizer, self.options.tokens)

    def prepare(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
        ids = prompt_token_ids(tokenizer)
        rows = _matrix(model).shape[0]
        if max(ids) >= rows:  # T5's matrix has spare rows: never shrink it
            _reader(model).resize_token_embeddings(max(ids) + 1, mean_resizing=False)
        _start_from_vocabulary(_matrix(model), ids, rows=min(rows, min(ids)), seed=self.options.seed)
        if model.can_generate():
            _never_write(model, ids)
        wrapped = super().prepare(model, tokenizer)
        _tie_rows(wrapped)
        return wrapped

    def check_feature(self, feature: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises: UnsupportedError for rows that are read without the virtual tokens: in blocks of texts, or through a
        chat template."""
        first = feature["input_ids"][0]
        ids = first if isinstance(first, list) else feature["input_ids"]  # a bi-encoder reads two lists
        if prompt_token_ids(tokenizer)[0] not in ids:
            raise UnsupportedError(
                "prompt_tuning: rows of this form are not read one text at a time, behind the virtual tokens, so "
                "nothing would train; give rows of prompt and completion, or another strategy, such as lora"
            )

    def peft_config(self, model: PreTrainedModel, head: list[str], tokenizer: PreTrainedTokenizerBase) -> PeftConfig:
        # TrainableTokensConfig has no modules_to_save, so the head would be lost with the adapter; LoraConfig has both,
        # and with PEFT's placeholder for "no module" it adds no low-rank matrices
        from peft import LoraConfig
        from peft.utils.constants import DUMMY_TARGET_MODULES

        ids = prompt_token_ids(tokenizer)
        return LoraConfig(
            target_modules=DUMMY_TARGET_MODULES,
            trainable_token_indices=dict.fromkeys(_embedding_names(model), ids),
            modules_to_save=head,
        )


def _start_from_vocabulary(weight: torch.Tensor, ids: list[int], *, rows: int, seed: int) -> None:
    """Fill rows `ids` of weight (vocabulary, hidden) with copies of random rows below `rows` (Lester et al., 3.2)."""
    import torch

    if rows < 1:
        raise UnsupportedError("prompt_tuning: the model's vocabulary has no row to start the virtual tokens from")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(rows, (len(ids),), generator=generator).to(weight.device)
    with torch.no_grad():
        weight[torch.tensor(ids, device=weight.device)] = weight[chosen]


def _never_write(model: PreTrainedModel, ids: list[int]) -> None:
    """Keep the virtual tokens out of generated text: where the output layer is the embedding table, they are in it."""
    settings = model.generation_config
    assert settings is not None
    settings.suppress_tokens = sorted({*(settings.suppress_tokens or []), *ids})


def _reader(model: PreTrainedModel) -> PreTrainedModel:
    """The part that reads the prompt: an EncoderDecoderModel leaves resizing to its encoder."""
    from transformers import EncoderDecoderModel

    return model.get_encoder() if isinstance(model, EncoderDecoderModel) else model


def _matrix(model: PreTrainedModel) -> nn.Parameter:
    """The input embedding matrix (vocabulary, hidden)."""
    return model.get_input_embeddings().get_parameter("weight")


def _embedding_names(model: PreTrainedModel) -> list[str]:
    """Names of every module that reads the input embedding matrix; T5 has three: shared, encoder's and decoder's."""
    from torch import nn

    weight = _matrix(model)
    modules = model.named_modules(remove_duplicate=False)
    return [name for name, module in modules if isinstance(module, nn.Embedding) and module.weight is weight]


def _tie_rows(wrapped: nn.Module) -> None:
    """Let all modules that read the embedding matrix train the same rows.

    PEFT sees ties only where the outermost class declares them, which T5ForSequenceClassification does not: it would
    train separate rows for shared, encoder and decoder, which no single matrix can hold. Saved, each module gets its
    copy of the rows, so PEFT loads them without knowing of the tie.
    """
    from peft.utils.other import TrainableTokensWrapper

    wrappers = [module for module in wrapped.modules() if isinstance(module, TrainableTokensWrapper)]
    for wrapper in wrappers[1:]:
        wrapper.token_adapter.trainable_tokens_delta = wrappers[0].token_adapter.trainable_tokens_delta
