"""Training without padding: the rows of a batch laid end to end in one sequence, no row seeing another.

Linear layers, norms and embeddings run on real tokens alone. Attention is block-diagonal, with positions restarted in
every row: under flash attention by its own variable-length kernels, elsewhere by spreading queries, keys and values
over the rows of a padded block just for the attention product and gathering them back, which costs two copies and no
wasted matrix product. The batch carries transformers' own names for such sequences (`cu_seq_lens_q`, `max_length_q`).

Whether a model form allows it is measured, not listed: `install` compares packed and padded logits on two random
rows and refuses a form on which they differ (T5's relative position bias; a decoder that recomputes positions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from nlptk.batches import label_batch
from nlptk.checkpoints import model_limit
from nlptk.errors import UnsupportedError
from nlptk.training.readout import Readout, backbone, find_readout

ATTENTION = "nlptk_packed"
TOLERANCE = 1e-4  # float32 rounding between two orders of summation stays far below it on two short rows
LONGEST_WINDOW = 1024
"""Sliding windows are tried out up to this many tokens; longer ones would take a long row for a short trial."""


class _Spread(torch.autograd.Function):
    """(tokens, features) -> (slots, features) with zeros in the slots no token goes to. Its backward gathers."""

    @staticmethod
    def forward(ctx: Any, packed: torch.Tensor, slots: torch.Tensor, size: int) -> torch.Tensor:
        ctx.save_for_backward(slots)
        return packed.new_zeros(size, packed.shape[1]).index_copy_(0, slots, packed)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        return grads[0].index_select(0, slots), None, None


class _Gather(torch.autograd.Function):
    """(slots, features) -> (tokens, features). Its backward spreads; slots are distinct, so nothing is summed."""

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(slots)
        ctx.size = padded.shape[0]
        return padded.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slots,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.size, grads[0].shape[1]).index_copy_(0, slots, grads[0]), None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_slots: torch.Tensor | None = None,
    packed_mask: torch.Tensor | None = None,
    **kwargs: Any,  # the attention interface of transformers: each model passes its own
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface, (1, heads, tokens, head size) -> (1, tokens, heads, head size).

    packed_slots: (tokens,) place of each token in the padded block; packed_mask: (rows, longest), True at tokens.
    Without them it is the ordinary sdpa attention. A layer that passes `sliding_window` sees no further than that.
    """
    if packed_slots is None or packed_mask is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return plain
    rows, longest = packed_mask.shape

    def spread(states: torch.Tensor) -> torch.Tensor:
        _, heads, tokens, size = states.shape
        flat = states[0].transpose(0, 1).reshape(tokens, heads * size)
        block: torch.Tensor = _Spread.apply(flat, packed_slots, rows * longest)  # type: ignore[no-untyped-call]
        return block.view(rows, longest, heads, size).transpose(1, 2)

    mask = packed_mask[:, None, None, :]
    places = torch.arange(longest, device=mask.device)
    back = places[:, None] - places[None, :]
    causal = kwargs.pop("is_causal", None)
    if causal if causal is not None else getattr(module, "is_causal", True):
        mask = mask & (back >= 0)
    if (window := kwargs.get("sliding_window")) is not None:
        mask = mask & (back.abs() < window)
    output, _ = sdpa_attention_forward(
        module, spread(query), spread(key), spread(value), mask, is_causal=False, **kwargs
    )
    heads, size = output.shape[2:]
    gathered: torch.Tensor = _Gather.apply(output.reshape(rows * longest, heads * size), packed_slots)  # type: ignore[no-untyped-call]
    return gathered.view(1, -1, heads, size), None


def _mask(*args: Any, **kwargs: Any) -> Any:
    return sdpa_mask(*args, **kwargs)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, _mask)


@dataclass
class PackingCollator:
    """Features -> one packed sequence. position_offset: id of a row's first position (RoBERTa starts at 2)."""

    position_offset: int
    readout: Readout

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor | int]:
        ids = [feature["input_ids"] for feature in features]
        lengths = torch.tensor([len(row) for row in ids])
        ends = torch.cumsum(lengths, 0)
        bounds = torch.cat([torch.zeros(1, dtype=torch.long), ends])
        packed = torch.tensor([token for row in ids for token in row])
        positions = torch.arange(len(packed)) - torch.repeat_interleave(bounds[:-1], lengths)
        reads = {"last": ends - 1, "tokens": torch.arange(len(packed))}.get(self.readout, bounds[:-1])
        batch: dict[str, torch.Tensor | int] = {
            "input_ids": packed[reads][:, None],
            "packed_ids": packed[None],
            "packed_reads": reads,
            "position_ids": (positions + self.position_offset)[None],
            "cu_seq_lens_q": bounds.int(),
            "cu_seq_lens_k": bounds.int(),
            "max_length_q": int(lengths.max()),
            "max_length_k": int(lengths.max()),
        }
        if "token_type_ids" in features[0]:
            types = [value for feature in features for value in feature["token_type_ids"]]
            batch["token_type_ids"] = torch.tensor(types)[None]
        if "labels" in features[0]:
            batch["labels"] = label_batch([feature["labels"] for feature in features])
        return batch


def _layout(bounds: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = (bounds[1:] - bounds[:-1]).long()
    mask = torch.arange(longest, device=bounds.device)[None, :] < lengths[:, None]
    return mask.flatten().nonzero().flatten(), mask


class Packing:
    """A model that also takes packed batches, until `remove`d. Padded batches go through it as before."""

    def __init__(self, model: PreTrainedModel):
        self._model = model
        self._attention = model.config._attn_implementation
        self.readout: Readout = find_readout(model)
        base = backbone(model)
        model.set_attn_implementation(ATTENTION)
        self._hooks = [
            base.register_forward_pre_hook(self._before, with_kwargs=True),
            base.register_forward_hook(self._after, with_kwargs=True),
        ]
        self.position_offset = 0

    def _before(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if kwargs.get("packed_ids") is None:
            return None
        slots, mask = _layout(kwargs["cu_seq_lens_q"], kwargs["max_length_q"])
        kwargs = {**kwargs, "packed_slots": slots, "packed_mask": mask}
        ids = kwargs.pop("packed_ids")
        return ((ids, *args[1:]), kwargs) if args else ((), {**kwargs, "input_ids": ids})

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if kwargs.get("packed_slots") is None:
            return None
        if self.readout in ("tokens", "mean"):
            mask = kwargs["packed_mask"]
            block = _Spread.apply(output.last_hidden_state[0], kwargs["packed_slots"], mask.numel())  # type: ignore[no-untyped-call]
            block = block.view(*mask.shape, -1)
            if self.readout == "mean":  # as one token, which is its own mean
                block = block.sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None, None]
            output.last_hidden_state = block  # what the head, and the task, get of padded rows
            return output
        read = output.last_hidden_state[0, kwargs["packed_reads"]][:, None]
        output.last_hidden_state = read
        if self.readout == "pooled":
            output.pooler_output = module.pooler(read)  # type: ignore[operator]
        return output

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation(self._attention)

    def collator(self) -> PackingCollator:
        return PackingCollator(self.position_offset, self.readout)

    @torch.no_grad()
    def difference(self) -> float:
        """Largest difference between packed and padded logits of two random rows, one longer than a layer's window."""
        device = next(self._model.parameters()).device
        config = self._model.config.get_text_config()
        size, window = config.vocab_size, getattr(config, "sliding_window", None)
        longest = 7 + min(window or 0, LONGEST_WINDOW, (model_limit(self._model) or LONGEST_WINDOW) - 7)
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randint(4, size, (length,), generator=generator).tolist() for length in (longest, 4)]
        padded = torch.zeros(2, longest, dtype=torch.long)
        mask = torch.zeros(2, longest, dtype=torch.long)
        for index, row in enumerate(rows):
            padded[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        pad = config.pad_token_id
        padded[mask == 0] = pad if pad is not None else 0
        packed = {
            key: value.to(device) if isinstance(value, torch.Tensor) else value
            for key, value in self.collator()([{"input_ids": row} for row in rows]).items()
        }
        training = self._model.training
        self._model.train(False)
        ours = self._model(**packed)[0]
        theirs = self._model(input_ids=padded.to(device), attention_mask=mask.to(device))[0]
        self._model.train(training)
        difference = (ours - theirs).abs()
        return float(difference[mask.to(device) == 1].max() if self.readout == "tokens" else difference.max())


def install(model: PreTrainedModel) -> tuple[Packing | None, str]:
    """The packing of a model, or None and the reason why its form does not allow it."""
    if model.config.is_encoder_decoder:
        return None, "an encoder-decoder's relative position bias covers the whole packed sequence"
    try:
        packing = Packing(model)
    except UnsupportedError as error:
        return None, str(error)
    positions = getattr(getattr(backbone(model), "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    packing.position_offset = 0 if padding is None else padding + 1
    try:
        difference = packing.difference()
    except RuntimeError as error:  # of torch: shapes that do not fit, as of T5's position bias
        packing.remove()
        return None, f"{type(model).__name__} does not take packed rows: {error}"
    if difference > TOLERANCE:
        packing.remove()
        return None, f"packed and padded logits of {type(model).__name__} differ by {difference:.1e}"
    return packing, "rows are packed without padding"
