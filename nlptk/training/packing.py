"""Training without padding: the rows of a batch laid end to end in one sequence, no row seeing another.

Linear layers, norms and embeddings run on real tokens alone. Attention is block-diagonal, with positions restarted in
every row: queries, keys and values are spread over the rows of padded blocks just for the attention product and
gathered back, which costs two copies and no wasted matrix product. Rows of like length share a block, for attention
takes time and memory by the square of a block's longest row. The batch carries transformers' own names for such
sequences (`cu_seq_lens_q`, `max_length_q`).

Whether a model form allows it is measured, not listed: `install` compares packed logits with those of the model's own
attention on two random rows and refuses a form on which they differ (T5's relative position bias; a decoder that
recomputes positions; attention sinks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from nlptk.batches import label_batch, pad_batch
from nlptk.checkpoints import model_limit, positions_begin_behind
from nlptk.errors import UnsupportedError
from nlptk.training.readout import TRIAL_ERRORS, Readout, backbone, find_readout, in_one_line

ATTENTION = "nlptk_packed"
TOLERANCE = 1e-4  # float32 rounding between two orders of summation stays far below it on two short rows
LONGEST_WINDOW = 1024
"""Sliding windows are tried out up to this many tokens; longer ones would take a long row for a short trial."""
SHORT = 128
"""Rows of up to so many tokens are not worth a block of their own."""


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
    packed_masks: Sequence[torch.Tensor] = (),
    **kwargs: Any,  # the attention interface of transformers: each model passes its own
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface, (1, heads, tokens, head size) -> (1, tokens, heads, head size).

    packed_slots: (tokens,) place of each token among the slots of all blocks, one block after the other; packed_masks:
    of each block (rows, longest), True at tokens. Without them it is the ordinary sdpa attention. A layer that passes
    `sliding_window` sees no further than that.
    """
    if packed_slots is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return plain
    sizes = [mask.numel() for mask in packed_masks]

    def spread(states: torch.Tensor) -> Sequence[torch.Tensor]:
        _, heads, tokens, size = states.shape
        flat = states[0].transpose(0, 1).reshape(tokens, heads * size)
        slots: torch.Tensor = _Spread.apply(flat, packed_slots, sum(sizes))  # type: ignore[no-untyped-call]
        return [
            block.view(*mask.shape, heads, size).transpose(1, 2)
            for block, mask in zip(torch.split(slots, sizes), packed_masks, strict=True)
        ]

    causal = kwargs.pop("is_causal", None)
    causal = causal if causal is not None else getattr(module, "is_causal", True)
    outputs = []
    for mask, q, k, v in zip(packed_masks, spread(query), spread(key), spread(value), strict=True):
        seen = _seen(mask, causal=causal, window=kwargs.get("sliding_window"))
        output, _ = sdpa_attention_forward(module, q, k, v, seen, is_causal=False, **kwargs)
        outputs.append(output.flatten(0, 1).flatten(1))
    gathered: torch.Tensor = _Gather.apply(torch.cat(outputs), packed_slots)  # type: ignore[no-untyped-call]
    return gathered.view(1, -1, *output.shape[2:]), None


def _seen(mask: torch.Tensor, *, causal: bool, window: int | None) -> torch.Tensor:
    """What each token of a block sees: (rows, 1, 1 or longest, longest)."""
    seen = mask[:, None, None, :]
    places = torch.arange(mask.shape[1], device=mask.device)
    back = places[:, None] - places[None, :]
    if causal:
        seen = seen & (back >= 0)
    return seen if window is None else seen & (back.abs() < window)


def _mask(*args: Any, **kwargs: Any) -> Any:
    return sdpa_mask(*args, **kwargs)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, _mask)


@dataclass
class PackingCollator:
    """Features -> one packed sequence. position_offset: id of a row's first position (RoBERTa starts at 2).

    pad_id: heads that read the last token read the last one that is no padding, as transformers' do.
    """

    position_offset: int
    readout: Readout
    pad_id: int = 0

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor | int]:
        ids = [feature["input_ids"] for feature in features]
        lengths = torch.tensor([len(row) for row in ids])
        ends = torch.cumsum(lengths, 0)
        bounds = torch.cat([torch.zeros(1, dtype=torch.long), ends])
        packed = torch.tensor([token for row in ids for token in row])
        positions = torch.arange(len(packed)) - torch.repeat_interleave(bounds[:-1], lengths)
        reads = torch.arange(len(packed)) if self.readout == "tokens" else bounds[:-1]
        if self.readout == "last":
            reads = reads + torch.tensor([_last(row, self.pad_id) for row in ids])
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


def _last(row: Sequence[int], pad_id: int) -> int:
    """Place of the last token that is no padding; the first of a row of padding."""
    return next((place for place in range(len(row) - 1, -1, -1) if row[place] != pad_id), 0)


def blocks_of(lengths: Sequence[int]) -> list[list[int]]:
    """Rows parted into blocks, the longest first: none longer than SHORT costs more than twice what it would alone."""
    found: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if found and 2 * max(lengths[row], SHORT) ** 2 >= lengths[found[-1][0]] ** 2:
            found[-1].append(row)
        else:
            found.append([row])
    return [sorted(rows) for rows in found]


def _layout(bounds: torch.Tensor, *, parted: bool = True) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Slots and masks of the blocks of rows, see `packed_attention`; of one block where they are not to be parted.

    bounds: (rows + 1,), where rows begin and end.
    """
    lengths = bounds.cpu().long().diff()
    begins, masks, taken = torch.zeros_like(lengths), [], 0
    for rows in blocks_of(lengths.tolist()) if parted else [list(range(len(lengths)))]:
        longest = int(lengths[rows].max())
        begins[rows] = taken + longest * torch.arange(len(rows))
        masks.append(torch.arange(longest) < lengths[rows, None])
        taken += longest * len(rows)
    places = torch.arange(int(lengths.sum())) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    slots = torch.repeat_interleave(begins, lengths) + places
    return slots.to(bounds.device), [mask.to(bounds.device) for mask in masks]


class Packing:
    """A model that also takes packed batches, until `remove`d. Padded batches go through it as before."""

    def __init__(self, model: PreTrainedModel, readout: Readout):
        self._model = model
        self._attention = model.config._attn_implementation
        self.readout = readout
        base = backbone(model)
        model.set_attn_implementation(ATTENTION)
        self._hooks = [
            base.register_forward_pre_hook(self._before, with_kwargs=True),
            base.register_forward_hook(self._after, with_kwargs=True),
        ]
        padding = positions_begin_behind(model)
        self.position_offset = 0 if padding is None else padding + 1

    def _before(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if kwargs.get("packed_ids") is None:
            return None
        slots, masks = _layout(kwargs["cu_seq_lens_q"])
        kwargs = {**kwargs, "packed_slots": slots, "packed_masks": masks}
        ids = kwargs.pop("packed_ids")
        if kwargs.get("attention_mask") is None:  # a mask of four dimensions counts as made: none of tokens by tokens
            kwargs["attention_mask"] = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
        return ((ids, *args[1:]), kwargs) if args else ((), {**kwargs, "input_ids": ids})

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if kwargs.get("packed_slots") is None:
            return None
        if self.readout in ("tokens", "mean"):
            slots, (mask,) = _layout(kwargs["cu_seq_lens_q"], parted=False)
            block = _Spread.apply(output.last_hidden_state[0], slots, mask.numel())  # type: ignore[no-untyped-call]
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
        return PackingCollator(self.position_offset, self.readout, _pad_id(self._model))

    @torch.no_grad()
    def difference(self, rows: Sequence[list[int]], own: torch.Tensor) -> float:
        """Largest difference to the logits that the model gave of these rows by its own attention, padded: of packed
        rows, and of padded ones with packing installed."""
        device = own.device
        packed = {
            key: value.to(device) if isinstance(value, torch.Tensor) else value
            for key, value in self.collator()([{"input_ids": row} for row in rows]).items()
        }
        longest = max(map(len, rows))
        real = torch.tensor([[place < len(row) for place in range(longest)] for row in rows], device=device)
        found = 0.0
        for logits in (_in_eval(self._model, packed), _padded(self._model, rows)):
            difference = (logits - own).abs()
            found = max(found, float(difference[real].max() if self.readout == "tokens" else difference.max()))
        return found


def _in_eval(model: PreTrainedModel, batch: Mapping[str, Any]) -> torch.Tensor:
    """The first output, without dropout."""
    training = model.training
    model.train(False)
    try:
        logits: torch.Tensor = model(**batch)[0]
    finally:
        model.train(training)
    return logits


@torch.no_grad()
def _padded(model: PreTrainedModel, rows: Sequence[list[int]]) -> torch.Tensor:
    """The logits of rows padded on the right."""
    device = next(model.parameters()).device
    batch = pad_batch([{"input_ids": row} for row in rows], _pad_id(model))
    return _in_eval(model, {key: value.to(device) for key, value in batch.items()})


def _pad_id(model: PreTrainedModel) -> int:
    return getattr(model.config.get_text_config(), "pad_token_id", None) or 0


def _trial_rows(model: PreTrainedModel, readout: Readout) -> list[list[int]]:
    """Two random rows: one longer than a layer's window, and one that ends in the padding token where a head reads the
    last token, for texts may end so: many decoders pad with the token that ends a text."""
    config = model.config.get_text_config()
    size, window = config.vocab_size, getattr(config, "sliding_window", None)
    longest = 7 + min(window or 0, LONGEST_WINDOW, (model_limit(model) or LONGEST_WINDOW) - 7)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, size, (length,), generator=generator).tolist() for length in (longest, 4)]
    return [rows[0], [*rows[1], _pad_id(model)] if readout == "last" else rows[1]]


def install(model: PreTrainedModel) -> tuple[Packing | None, str]:
    """The packing of a model, or None and the reason why its form does not allow it."""
    if model.config.is_encoder_decoder:
        return None, "an encoder-decoder's relative position bias covers the whole packed sequence"
    name = type(model).__name__
    try:
        readout = find_readout(model)
        rows = _trial_rows(model, readout)
        own = _padded(model, rows)
        packing = Packing(model, readout)
    except UnsupportedError as error:
        return None, str(error)
    except TRIAL_ERRORS as error:
        return None, f"{name} does not take other attention: {in_one_line(error)}"
    try:
        difference = packing.difference(rows, own)
    except TRIAL_ERRORS as error:  # shapes that do not fit, arguments that it does not hand on
        packing.remove()
        return None, f"{name} does not take packed rows: {in_one_line(error)}"
    if difference > TOLERANCE:
        packing.remove()
        return None, f"packed and padded logits of {name} differ by {difference:.1e}"
    return packing, "rows are packed without padding"
