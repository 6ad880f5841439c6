"""Embeddings of texts: how tokens become one vector, and the losses that move the vectors of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

Pooling = Literal["mean", "cls", "last"]
"""The tokens an embedding is made of: the mean of all, the first, the last."""
SHARPNESS = 20.0
"""Factor of cosines under exp: Su 2022 for CoSENT; as a temperature of 0.05 for negatives in the batch."""
MARGIN = 0.5
"""Cosine distance at which a pair that does not belong together is far enough apart."""


def embedding_class(config: PreTrainedConfig) -> str:
    """The Auto class of a model that embeds texts: of an encoder-decoder the encoder alone."""
    from transformers import AutoModelForTextEncoding

    encodes = config.is_encoder_decoder or type(config) in AutoModelForTextEncoding._model_mapping
    return "AutoModelForTextEncoding" if encodes else "AutoModel"


def usual_pooling(model: PreTrainedModel) -> Pooling:
    """The mean for what reads in both directions; the last token of a decoder, which alone has seen the text."""
    from transformers import AutoModelForMaskedLM, AutoModelForTextEncoding

    both_ways = (AutoModelForMaskedLM, AutoModelForTextEncoding)
    return "mean" if any(type(model.config) in auto._model_mapping for auto in both_ways) else "last"


def pool_tokens(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """hidden: (texts, tokens, dim), padded on the right; mask: (texts, tokens). Returns: (texts, dim)."""
    import torch

    if pooling == "mean":
        summed: torch.Tensor = (hidden * mask[:, :, None]).sum(dim=1)
        return summed / mask.sum(dim=1, keepdim=True).clamp(min=1)
    last = mask.sum(dim=1) - 1 if pooling == "last" else torch.zeros_like(mask[:, 0])
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def cosent(cosines: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """log(1 + sum of exp(20 (cos_j - cos_i)) over the pairs i that are more alike than the pairs j); both (pairs,).

    Su 2022, "CoSENT (1): a more effective sentence embedding scheme than Sentence-BERT", kexue.fm/archives/8847; Huang
    et al. 2024, doi:10.1109/TASLP.2024.3402087.
    """
    import torch

    wrong_way = SHARPNESS * (cosines[None, :] - cosines[:, None])
    wrong_way = wrong_way.masked_fill(gold[:, None] <= gold[None, :], -torch.inf)
    return torch.logsumexp(torch.cat([wrong_way.new_zeros(1), wrong_way.flatten()]), dim=0)


def contrastive(cosines: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """Summed: half the squared distance of pairs that belong together, and of others what lacks to MARGIN, squared.

    Hadsell, Chopra and LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping", with cosine distance.
    """
    far = 1 - cosines
    return 0.5 * (gold * far.square() + (1 - gold) * (MARGIN - far).clamp(min=0).square()).sum()


def in_batch_negatives(
    first: torch.Tensor, second: torch.Tensor, positive: torch.Tensor, *, ids: torch.Tensor
) -> torch.Tensor:
    """Summed over the pairs that belong together: the cross-entropy of picking, by cosine, the right second text.

    Candidates are all second texts of the batch but those that are right by what the rows say: repeats of the pair's
    own one, and partners of the same first text. first, second: (pairs, dim); positive: (pairs,) bool; ids: (pairs, 2,
    tokens).

    Henderson et al. 2017, arXiv:1705.00652, 4.4; the temperature as in van den Oord et al. 2018, arXiv:1807.03748.
    """
    import torch
    from torch.nn import functional

    same_first, same_second = ((side[:, None] == side[None, :]).all(dim=2) for side in ids.unbind(1))
    own = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    right_too = (same_second | same_first & positive[None, :]) & ~own
    cosines = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    logits = (SHARPNESS * cosines).masked_fill(right_too, -torch.inf)
    losses = functional.cross_entropy(logits, torch.arange(len(ids), device=ids.device), reduction="none")
    return losses[positive].sum()
