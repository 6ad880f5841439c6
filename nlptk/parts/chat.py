"""Conversations as token ids, by the tokenizer's chat template, with the tokens that are the assistant's.

Which tokens these are, the template says itself where it has `{% generation %}` marks. Elsewhere it is found by
differences: a turn is what the conversation up to and with it has more than the one before it with the prompt for an
answer (`add_generation_prompt`). Where a template renders the beginning of a conversation otherwise once it goes on
(Qwen3 leaves older thoughts out, Phi-3 ends the whole with an end of text), a turn is its content and what closes it,
behind as much of that prompt as there is. What cannot be told apart like that either is refused.

Templates that let a model think before it answers (`enable_thinking`) are asked not to: rows hold no thoughts.

Special tokens are those of the template alone: what a message spells out ("<|im_end|>") is text, so that no message can
end its turn or begin another's. Its first character is replaced by `nlptk.parts.windows.STAND_IN`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nlptk.errors import DataError, UnsupportedError
from nlptk.parts.prompts import JOINT, behind_joint, end_token
from nlptk.parts.windows import special_tokens, without_special

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
"""`role` and `content`."""
ASSISTANT, SYSTEM, USER = "assistant", "system", "user"
FORM = "expected {'role': ..., 'content': ...}"
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = [{"role": USER, "content": "a"}, {"role": ASSISTANT, "content": "b"}]


@dataclass(frozen=True)
class ConversationIds:
    """One entry a token. spoken: whether it is the assistant's; sizes: UTF-8 bytes it adds, 0 for special tokens."""

    ids: list[int]
    spoken: list[bool]
    sizes: list[int]


def check_messages(value: Any) -> list[Message]:
    """The messages of one conversation. Raises: ValueError with what is wrong."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"the conversation is {value!r:.60}; expected a list of messages, each {FORM[9:]}")
    return [_checked(message, f"message {place}") for place, message in enumerate(value, start=1)]


def _checked(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise ValueError(f"{where} is {message!r:.60}; {FORM}")
    given = {key: value for key, value in message.items() if value is not None}
    for key in ("role", "content"):
        if not isinstance(given.get(key), str):
            raise ValueError(f"{where}: {key} is {given.get(key)!r:.60}; expected a text")
    if more := given.keys() - {"role", "content"}:
        raise ValueError(f"{where} has {min(more)!r}, which is not read; {FORM} and nothing else")
    return {"role": given["role"], "content": given["content"]}


def to_answer(messages: Sequence[Message]) -> list[Message]:
    """The conversation without the assistant's turn at its end, if it has one: what is to be answered."""
    end = len(messages)
    while end and messages[end - 1]["role"] == ASSISTANT:
        end -= 1
    return list(messages[:end])


def conversation_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> ConversationIds:
    """A whole conversation. Where the template closes the last turn with no special token, the end of text does.

    Raises: UnsupportedError for a tokenizer without a template, or with one whose turns cannot be told apart;
    DataError for a conversation that the template refuses.
    """
    plain = _harmless(tokenizer, messages)
    text = _render(tokenizer, plain)
    ids, offsets = _encode(tokenizer, text)
    if _MARKS.search(tokenizer.get_chat_template()):
        spoken = [bool(mark) for mark in _marked(tokenizer, plain)]
    else:
        turns = _turns(tokenizer, plain, text)
        inside = [first for first, _ in turns if any(start < first < end for start, end in offsets)]
        if inside:  # a token that begins in the prompt cannot be written after it
            ids, offsets = _encode(tokenizer, text, inside)
        spoken = [any(first <= start < last for first, last in turns) for start, _ in offsets]
    special, reached, sizes = special_tokens(tokenizer), 0, []
    for token, (start, end) in zip(ids, offsets, strict=True):
        sizes.append(0 if token in special else len(text[max(start, reached) : end].encode()))
        reached = max(reached, end)
    if spoken[-1] and not _closing(ids, spoken, special):
        return ConversationIds([*ids, end_token(tokenizer)], [*spoken, True], [*sizes, 0])
    return ConversationIds(ids, spoken, sizes)


def conversation_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], room: int
) -> tuple[list[int], int]:
    """What the assistant's answer to a conversation follows, in at most `room` tokens, and how many were lost.

    Where it does not fit, the oldest turns but the system's go first; of the last one, if need be, the beginning of
    what it says.
    """
    plain = _harmless(tokenizer, messages)
    whole = ids = _prompt_ids(tokenizer, plain)
    system = [message for message in plain[:1] if message["role"] == SYSTEM]
    rest = plain[len(system) :]
    while len(ids) > room:
        later = next((n for n in range(1, len(rest)) if rest[n]["role"] == USER), None)
        if later is None:
            break
        rest = rest[later:]
        ids = _prompt_ids(tokenizer, [*system, *rest])
    end = ids[-room:]
    while len(ids) > room and rest and (said := rest[0]["content"]):
        places = _encode(tokenizer, said)[1]
        last = places[: len(ids) - room][-1][1] if places else len(said)
        rest = [{**rest[0], "content": said[max(1, last) :]}, *rest[1:]]  # some tokens have no character
        ids = _prompt_ids(tokenizer, [*system, *rest])
    ids = ids if len(ids) <= room else end  # there is no room even for what stands around it
    return ids, len(whole) - len(ids)


def turn_ends(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special token with which the template closes the assistant's turns; [] for a template that has none, or that
    cannot render the simplest conversation."""
    if tokenizer.chat_template is None:
        return []
    try:
        found = conversation_ids(tokenizer, _PROBE)
    except (DataError, UnsupportedError):
        return []
    return _closing(found.ids, found.spoken, special_tokens(tokenizer))[:1]


def _closing(ids: Sequence[int], spoken: Sequence[bool], special: dict[int, str]) -> list[int]:
    """The special tokens in the last turn, after its first token that is none."""
    first = max((i for i in range(len(ids)) if not spoken[i]), default=-1) + 1
    last = ids[first:]
    text = next((i for i, token in enumerate(last) if token not in special), len(last))
    return [token for token in last[text:] if token in special]


def _harmless(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[Message]:
    names = special_tokens(tokenizer).values()
    return [{"role": message["role"], "content": without_special(message["content"], names)} for message in messages]


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], **how: Any) -> Any:
    """What the template makes of the messages: their text, unless `how` (of `apply_chat_template`) says otherwise."""
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise UnsupportedError(
            f"messages: tokenizer {tokenizer.name_or_path} has no chat template; give rows of prompt and completion, "
            "or set tokenizer.chat_template and save the tokenizer into the checkpoint's folder"
        )
    try:
        return tokenizer.apply_chat_template(list(messages), **{"tokenize": False, "enable_thinking": False, **how})
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"messages: the tokenizer's chat template refuses a conversation of {roles}, which begins with "
            f"{messages[0]['content'][:60]!r}: {error}; drop or mend rows of that kind"
        ) from error


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    return _encode(tokenizer, _render(tokenizer, messages, add_generation_prompt=True))[0]


def _encode(
    tokenizer: PreTrainedTokenizerBase, text: str, cuts: Sequence[int] = ()
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids and their characters. cuts: characters that begin a token, whatever the tokenizer would join."""
    how: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": False, "verbose": False}

    found: list[int] = []
    places: list[tuple[int, int]] = []
    for begin, end in pairwise([0, *cuts, len(text)]):
        joint = JOINT if begin else ""
        encoding = tokenizer(joint + text[begin:end], **how).encodings[0]
        kept: Sequence[int] = behind_joint(encoding) if joint else range(len(encoding))
        if not kept:
            joint, encoding = "", tokenizer(text[begin:end], **how).encodings[0]
            kept = range(len(encoding))
        ids, offsets, shift = encoding.ids, encoding.offsets, begin - len(joint)
        found += [ids[place] for place in kept]
        places += [(shift + offsets[place][0], shift + offsets[place][1]) for place in kept]
    return found, places


def _marked(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """1 at the tokens that the template marks as generated."""
    how = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    found = _render(tokenizer, messages, **how, tokenizer_kwargs={"split_special_tokens": False, "verbose": False})
    marks: list[int] = found["assistant_masks"]
    return marks


def _turns(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], whole: str) -> list[tuple[int, int]]:
    """First character of each of the assistant's turns, and the one past its last."""
    found = []
    for place, message in enumerate(messages):
        if message["role"] != ASSISTANT:
            continue
        through = _render(tokenizer, messages[: place + 1])
        before = _before(tokenizer, messages[:place])
        if whole.startswith(through) and through.startswith(before):
            turn = whole[len(before) : len(through)]
        else:
            turn = _closed(through, len(_shared(before, through)), message["content"], tokenizer.eos_token)
            end = len(_shared(before, whole))  # behind what stands before the turn, or some of its characters later
            begin = next((n for n in range(end, max(-1, end - len(turn)), -1) if whole.startswith(turn, n)), end)
            before = whole[:begin]
        if not turn or not whole.startswith(before + turn):
            raise UnsupportedError(
                "messages: the tokenizer's chat template renders the beginning of a conversation otherwise once it "
                "goes on, so that the assistant's tokens cannot be told; put {% generation %} and {% endgeneration %} "
                "around the assistant's content in the template"
            )
        found.append((len(before), len(before + turn)))
    return found


def _before(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """What the answer to the messages follows. Where the assistant speaks first: what any two such answers share."""
    if messages:
        return str(_render(tokenizer, messages, add_generation_prompt=True))
    one, other = (_render(tokenizer, [{"role": ASSISTANT, "content": content}]) for content in "ab")
    return _shared(one, other)


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    return one[: next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))]


def _closed(conversation: str, begin: int, content: str, end: str | None) -> str:
    """The content, which stands from the character `begin` on, with what closes its turn at the end of a conversation,
    but the end of the text; "" if it is not there as it is."""
    place = conversation.find(content.strip(), begin)
    if place < 0:
        return ""
    turn = conversation[begin if conversation[begin:place].isspace() else place :]
    return turn.removesuffix(end) if end else turn
