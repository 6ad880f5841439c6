"""Prompts and targets as token ids that fit, with what was cut counted.

A prompt is tokenized in one piece, so that its ids are those of the whole string; its text is found again by offsets.
Special tokens that a text spells out ("</s>") are text (see `nlptk.parts.windows`): no row ends the writing early.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nlptk.errors import UnsupportedError
from nlptk.parts.windows import special_tokens, window_rows, without_special
from nlptk.task import Preprocessing

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

WHOLE = 1 << 30  # a max_length that cuts nothing
JOINT = "\n"
"""Stands before a text that goes on from another: SentencePiece tokenizers mark the beginning of whatever they read."""


@dataclass(frozen=True)
class Prompt:
    """What a model reads of one row. text: the part that gives way where the whole does not fit; marks: whether special
    tokens stand in what is around it ("<|im_start|>user") and count, for that is the user's own template."""

    before: str
    text: str
    after: str = ""
    marks: bool = False

    def __str__(self) -> str:
        return self.before + self.text + self.after


@dataclass(frozen=True)
class PromptIds:
    """A prompt as token ids: head, text and tail. tokens: how many of them are no special tokens."""

    head: list[int]
    text: list[int]
    tail: list[int]
    tokens: int

    @property
    def ids(self) -> list[int]:
        return [*self.head, *self.text, *self.tail]

    def cut(self, room: int, *, head_tail: bool = False) -> list[int]:
        """At most `room` ids: the text gives up its end, or, with head_tail, what follows its first quarter."""
        kept = len(self.text) - max(0, len(self.head) + len(self.text) + len(self.tail) - room)
        head = max(1, kept // 4) if head_tail else kept
        return [*self.head, *self.text[:head], *self.text[len(self.text) - (kept - head) :], *self.tail]


@dataclass(frozen=True)
class TargetIds:
    """A target as token ids, its end included unless it was cut off. tokens: how many the whole target has, special
    tokens apart; lost: those that were cut off."""

    ids: list[int]
    tokens: int
    lost: int


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that ends a text: `</s>`, `<|endoftext|>`, or BERT's `[SEP]`. Raises: UnsupportedError."""
    found = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if found is None:
        raise UnsupportedError(
            f"tokenizer {tokenizer.name_or_path}: it has no token that ends a text, so generation would never stop; "
            "give it one: tokenizer.add_special_tokens({'eos_token': '</s>'}), and save it"
        )
    return int(found)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], room: int, *, open_end: bool
) -> list[PromptIds]:
    """Prompts as token ids, uncut, but such that cutting the text alone makes them fit into `room`.

    open_end: the writing goes on from the prompt (decoders): no special tokens after the text, and without a space at
    its end, for a space between two words is the second one's.

    Raises: UnsupportedError where `room` holds no more than the special tokens.
    """
    marked = any(prompt.marks for prompt in prompts)
    if marked:
        names = special_tokens(tokenizer).values()
        prompts = [replace(prompt, text=without_special(prompt.text, names)) for prompt in prompts]
    strings = [str(prompt).removesuffix(" ") if open_end else str(prompt) for prompt in prompts]
    with _special_found(tokenizer) if marked else nullcontext():
        encodings = _encode(tokenizer, strings)
    found = []
    for encoding, prompt, string in zip(encodings, prompts, strings, strict=True):
        start = len(prompt.before)
        ids = _around_text(encoding, string, start, start + len(prompt.text), open_end=open_end)
        if len(ids.head) + len(ids.tail) >= room:  # what stands around the text has to give way too
            ids = _around_text(encoding, string, 0, len(string), open_end=open_end)
        if len(ids.head) + len(ids.tail) >= room:
            raise UnsupportedError(
                f"preprocessing.max_length: leaves {room} tokens for a prompt of which {len(ids.head) + len(ids.tail)} "
                "are special ones; give a larger one"
            )
        found.append(ids)
    return found


def continuation_ids(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], targets: Sequence[str], limit: int
) -> list[TargetIds]:
    """What a decoder is to write after each prompt: at most `limit` ids, the end of text among them."""
    spaced = [" " * str(prompt).endswith(" ") + text for prompt, text in zip(prompts, targets, strict=True)]
    end = [end_token(tokenizer)]
    return [_cut_target([], ids, end, limit) for ids in continued(tokenizer, spaced)]


def continued(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts as they stand behind another one.

    SentencePiece tokenizers of decoders (Llama 2, Mistral) begin whatever they read with the mark of a word's
    beginning: here it goes to a joint before the text, which is taken off again.
    """
    found = []
    for encoding in _encode(tokenizer, [JOINT + text for text in texts]):
        ids = encoding.ids
        found.append([ids[place] for place in behind_joint(encoding)])
    joined = [place for place, ids in enumerate(found) if not ids]
    for place, encoding in zip(joined, _encode(tokenizer, [texts[place] for place in joined]), strict=True):
        found[place] = _plain(encoding)
    return found


def behind_joint(encoding: Encoding) -> list[int]:
    """Places of the tokens that follow the joint; none where a token holds some of both."""
    found = []
    for place, (special, (start, end)) in enumerate(zip(encoding.special_tokens_mask, encoding.offsets, strict=True)):
        if start < len(JOINT) < end:
            return []
        if not special and end > len(JOINT):
            found.append(place)
    return found


def target_ids(
    tokenizer: PreTrainedTokenizerBase, targets: Sequence[str], limit: int, *, start: int
) -> list[TargetIds]:
    """What the decoder of an encoder-decoder is to write: at most `limit` ids, with the tokenizer's special tokens.

    start: id that the decoder begins with, which is not written again. Virtual tokens of a prompt are no target.
    """
    end, named = end_token(tokenizer), set(tokenizer.all_special_ids)
    found = []
    for encoding in _encode(tokenizer, targets, as_target=True):
        before, after = _special(encoding)
        head = [token for token in before if token in named and token != start]
        found.append(_cut_target(head, _plain(encoding), after if end in after else [*after, end], limit))
    return found


def target_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that stand before and after a target."""
    return _special(_encode(tokenizer, ["a"], as_target=True)[0])


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, as_target: bool = False) -> list[Encoding]:
    """Whole texts with the tokenizer's special tokens around them; as_target: with those of the target language."""
    if as_target and hasattr(tokenizer, "_switch_to_target_mode"):
        tokenizer._switch_to_target_mode()
    try:
        return [row.windows[0] for row in window_rows(tokenizer, texts, None, Preprocessing(WHOLE))]
    finally:
        if as_target and hasattr(tokenizer, "_switch_to_input_mode"):
            tokenizer._switch_to_input_mode()


@contextmanager
def _special_found(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Within it, special tokens that a text spells are these tokens."""
    before = tokenizer.split_special_tokens
    tokenizer.split_special_tokens = False
    try:
        yield
    finally:
        tokenizer.split_special_tokens = before


def _around_text(encoding: Encoding, string: str, start: int, end: int, *, open_end: bool) -> PromptIds:
    """The tokens that lie within the characters start to end of the string, and those before and after them. The space
    before the text is its first token's, where tokenizers have it so."""
    # an Encoding makes each of its lists anew whenever it is asked for one
    ids, mask, offsets = encoding.ids, encoding.special_tokens_mask, encoding.offsets
    ids = ids[: len(ids) - len(_special(encoding)[1])] if open_end else ids
    plain = [i for i in range(len(ids)) if not mask[i]]
    spaced = len(string[:start].rstrip(" "))
    inner = [i for i in plain if spaced <= offsets[i][0] and start < offsets[i][1] <= end]
    first, last = (inner[0], inner[-1] + 1) if inner else (len(ids), len(ids))
    return PromptIds(ids[:first], ids[first:last], ids[last:], len(plain))


def _special(encoding: Encoding) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    ids, plain = encoding.ids, [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return (ids[: plain[0]], ids[plain[-1] + 1 :]) if plain else ([], ids)


def _plain(encoding: Encoding) -> list[int]:
    return [token for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special]


def _cut_target(before: list[int], plain: list[int], after: list[int], limit: int) -> TargetIds:
    """A target that is cut has no end: it would teach to stop in the middle."""
    if len(before) + len(plain) + len(after) <= limit:
        return TargetIds([*before, *plain, *after], len(plain), 0)
    kept = plain[: max(limit - len(before), 1)]
    return TargetIds([*before, *kept], len(plain), len(plain) - len(kept))
