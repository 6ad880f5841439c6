"""Tokenizers trained from text, each a plain transformers folder with the special tokens of its model family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk.errors import RecipeError
from nlptk.text.option_names import Named, in_recipe
from nlptk.text.recipe import NATIVE_KIND, Family, Kind
from nlptk.text.tokenizer_kinds import BYTES, Texts, train_kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

SENTENCEPIECE_FILE = "spiece.model"
SENTINELS = 100
"""T5's <extra_id_0> ... <extra_id_99>, which stand for hidden spans."""


@dataclass(frozen=True)
class SpecialTokens:
    """A family's special tokens by their role, in the order of their ids, and how a text is framed by them."""

    roles: dict[str, str]
    single: str | None = None
    pair: str | None = None
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")


_END_OF_TEXT = SpecialTokens({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
_BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
SPECIAL: dict[Family, SpecialTokens] = {
    "bert": SpecialTokens(
        _BERT,
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        inputs=("input_ids", "token_type_ids", "attention_mask"),
    ),
    "modernbert": SpecialTokens(_BERT, single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]"),
    "gpt2": _END_OF_TEXT,
    "llama": _END_OF_TEXT,
    "t5": SpecialTokens(
        {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, single="$A </s>", pair="$A </s> $B </s>"
    ),
}


@dataclass(frozen=True)
class TrainedTokenizer:
    """tokenizer: transformers' fast one; sentencepiece: the `.model` file of a unigram tokenizer, else None."""

    tokenizer: PreTrainedTokenizerBase
    sentencepiece: bytes | None = None

    def save(self, folder: Path) -> None:
        """tokenizer.json, tokenizer_config.json and, of a unigram tokenizer, spiece.model."""
        self.tokenizer.save_pretrained(folder)
        if self.sentencepiece is not None:
            (folder / SENTENCEPIECE_FILE).write_bytes(self.sentencepiece)


def train_tokenizer(
    texts: Texts,
    *,
    family: Family,
    kind: Kind | None = None,
    vocab_size: int = 8000,
    lowercase: bool = False,
    min_frequency: int = 2,
    named: Named = in_recipe,
) -> TrainedTokenizer:
    """A tokenizer of that kind, with that family's special tokens, from texts read one at a time.

    texts: begins a reading of them; twice for WordPiece. The same texts give the same tokenizer, id by id.

    kind: `word`, `character`, `bpe` (byte level: no text is unknown to it), `wordpiece` or `unigram`; default: the
    family's own. vocab_size: tokens in all, special ones and T5's 100 sentinels included; small texts may give fewer.
    named: what error messages call the settings.

    Raises: DataError where the text is empty or too small, RecipeError for a vocabulary without room for any word.
    """
    kind = kind or NATIVE_KIND[family]
    special = SPECIAL[family]
    roles = {**special.roles, **_own_roles(kind, special)}
    tokens = list(dict.fromkeys(roles.values()))
    sentinels = SENTINELS if family == "t5" else 0
    room = vocab_size - sentinels
    if room <= len(tokens) + (BYTES if kind == "bpe" else 0):
        raise RecipeError(
            f"{named('vocab_size')}: {vocab_size} leaves no room beside "
            f"{vocab_size - room + len(tokens)} special tokens"
            + (f" and {BYTES} bytes" if kind == "bpe" else "")
            + "; give thousands"
        )
    backend, proto = train_kind(
        kind,
        texts,
        tokens,
        unknown=roles.get("unk_token"),
        size=room,
        lowercase=lowercase,
        min_frequency=min_frequency,
        named=named,
    )
    if special.single:
        _frame(backend, special)
    return TrainedTokenizer(_wrap(backend, roles, special.inputs, sentinels), proto)


def _own_roles(kind: Kind, special: SpecialTokens) -> dict[str, str]:
    """Special tokens that a kind of tokenizer needs or brings of its own."""
    if kind == "unigram":
        return {"unk_token": "<unk>", **({"pad_token": "<pad>"} if "pad_token" in special.roles else {})}
    return {"unk_token": "<unk>"} if kind != "bpe" and "unk_token" not in special.roles else {}


def _frame(backend: Tokenizer, special: SpecialTokens) -> None:
    from tokenizers import processors

    used = [token for token in special.roles.values() if token in (special.single or "")]
    backend.post_processor = processors.TemplateProcessing(
        single=special.single, pair=special.pair, special_tokens=[(token, backend.token_to_id(token)) for token in used]
    )


def _wrap(
    backend: Tokenizer, roles: dict[str, str], inputs: tuple[str, ...], sentinels: int
) -> PreTrainedTokenizerBase:
    from transformers import PreTrainedTokenizerFast

    more: dict[str, Any] = {}
    if sentinels:
        names = [f"<extra_id_{number}>" for number in range(sentinels)]
        # the last sentinel has the first id, as in T5's own vocabulary
        backend.add_special_tokens(names[::-1])
        more["extra_special_tokens"] = names
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor declares no types
        tokenizer_object=backend,
        **roles,
        **more,
        model_input_names=list(inputs),
        clean_up_tokenization_spaces=False,
    )
