"""Virtual tokens that a fast tokenizer puts before every text, and keeps through saving and loading.

The tokenizer's post-processor (the part that adds [CLS] and [SEP]) is rewritten as JSON: all kinds of it become a
template, and the virtual tokens stand right before the first text of the template. As part of the template they count
as special tokens, so truncation leaves room for them, and they carry no word, no offset and no label.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nlptk.errors import UnsupportedError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME = "<|prompt_{}|>"


def with_prompt_tokens(tokenizer: PreTrainedTokenizerBase, count: int) -> PreTrainedTokenizerBase:
    """A tokenizer like `tokenizer` that puts `count` virtual tokens before every text; the given one is unchanged.

    It is of the generic class: BertTokenizer, RobertaTokenizer and T5Tokenizer build their own post-processor anew
    whenever they are loaded, and would forget the virtual tokens.

    Raises: UnsupportedError for a tokenizer without the Rust backend, or one that already has another number of them.
    """
    from tokenizers import AddedToken

    present = _present(tokenizer)
    if len(present) == count:
        return tokenizer
    if present:
        raise UnsupportedError(
            f"prompt_tuning: the tokenizer already has {len(present)} virtual tokens and tokens={count} was asked for; "
            "start from the tokenizer of the base checkpoint"
        )
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnsupportedError(
            f"prompt_tuning: {type(tokenizer).__name__} has no Rust backend (tokenizer.json), whose post-processor is "
            "where virtual tokens are inserted; convert the checkpoint's tokenizer, or use lora"
        )
    generic: PreTrainedTokenizerBase = _generic(tokenizer)
    names = [NAME.format(index) for index in range(count)]
    generic.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    ids = prompt_token_ids(generic)
    backend: Any = generic.backend_tokenizer
    state = json.loads(backend.to_str())
    backend.post_processor = _build(insert_prompt(state.get("post_processor"), dict(zip(names, ids, strict=True))))
    return generic


def _generic(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The same tokenizer as transformers' generic fast class, which loads tokenizer.json as it is."""
    from transformers import PreTrainedTokenizerFast

    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder) / "tokenizer_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        for replaces_post_processor in ("add_bos_token", "add_eos_token"):
            config.pop(replaces_post_processor, None)
        config["tokenizer_class"] = PreTrainedTokenizerFast.__name__
        config["model_input_names"] = list(tokenizer.model_input_names)
        file.write_text(json.dumps(config), encoding="utf-8")
        generic = PreTrainedTokenizerFast.from_pretrained(folder)
    generic.name_or_path = tokenizer.name_or_path
    return generic


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the virtual tokens, in order. Raises: UnsupportedError where there are none."""
    names = _present(tokenizer)
    if not names:
        raise UnsupportedError(
            "prompt_tuning: the tokenizer has no virtual tokens; call prepare_tokenizer before prepare"
        )
    vocabulary = tokenizer.get_added_vocab()
    return [vocabulary[name] for name in names]


def _present(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    added = tokenizer.get_added_vocab()
    names: list[str] = []
    while (name := NAME.format(len(names))) in added:
        names.append(name)
    return names


def insert_prompt(processor: dict[str, Any] | None, prompt: dict[str, int]) -> dict[str, Any]:
    """The JSON of a post-processor that does what `processor` does and puts `prompt` (token -> id) before text A.

    Raises: UnsupportedError for a kind of post-processor that is not known.
    """
    kind = None if processor is None else processor["type"]
    if processor is None:
        return _with_prompt(_template(["A"], ["A", "B"], {}), prompt)
    if kind == "TemplateProcessing":
        return _with_prompt(processor, prompt)
    if kind == "BertProcessing":
        return _with_prompt(_bert_template(processor), prompt)
    if kind == "RobertaProcessing":
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": processor["add_prefix_space"],
            "trim_offsets": processor["trim_offsets"],
            "use_regex": True,
        }
        # RoBERTa trims offsets only where asked to; ByteLevel with trim_offsets=False leaves them alone
        return {"type": "Sequence", "processors": [byte_level, _with_prompt(_roberta_template(processor), prompt)]}
    if kind == "ByteLevel":
        return {"type": "Sequence", "processors": [processor, insert_prompt(None, prompt)]}
    if kind == "Sequence":
        return {"type": "Sequence", "processors": _in_sequence(processor["processors"], prompt)}
    raise UnsupportedError(
        f"prompt_tuning: the tokenizer's post-processor is of the kind {kind}, expected one of TemplateProcessing, "
        "BertProcessing, RobertaProcessing, ByteLevel, Sequence; use lora"
    )


def _in_sequence(processors: list[dict[str, Any]], prompt: dict[str, int]) -> list[dict[str, Any]]:
    """The steps of a sequence with the prompt in the one that places the special tokens, or in a new last one."""
    for index, step in enumerate(processors):
        if step["type"] != "ByteLevel":
            return [*processors[:index], insert_prompt(step, prompt), *processors[index + 1 :]]
    return [*processors, insert_prompt(None, prompt)]


def _piece(name: str, type_id: int) -> dict[str, Any]:
    if name in ("A", "B"):
        return {"Sequence": {"id": name, "type_id": type_id}}
    return {"SpecialToken": {"id": name, "type_id": type_id}}


def _template(
    single: list[str], pair: list[str], special: dict[str, int], second_type: tuple[int, int] = (2, 1)
) -> dict[str, Any]:
    """A TemplateProcessing. second_type: (position in pair, token type id) from which the type id holds."""
    start, type_id = second_type
    return {
        "type": "TemplateProcessing",
        "single": [_piece(name, 0) for name in single],
        "pair": [_piece(name, type_id if index >= start else 0) for index, name in enumerate(pair)],
        "special_tokens": {name: {"id": name, "ids": [id_], "tokens": [name]} for name, id_ in special.items()},
    }


def _bert_template(processor: dict[str, Any]) -> dict[str, Any]:
    (sep, sep_id), (cls, cls_id) = processor["sep"], processor["cls"]
    return _template(
        [cls, "A", sep], [cls, "A", sep, "B", sep], {cls: cls_id, sep: sep_id}, second_type=(3, 1)
    )  # fmt: skip


def _roberta_template(processor: dict[str, Any]) -> dict[str, Any]:
    (sep, sep_id), (cls, cls_id) = processor["sep"], processor["cls"]
    return _template(
        [cls, "A", sep], [cls, "A", sep, sep, "B", sep], {cls: cls_id, sep: sep_id}, second_type=(0, 0)
    )  # fmt: skip


def _with_prompt(template: dict[str, Any], prompt: dict[str, int]) -> dict[str, Any]:
    def inserted(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        at = next(i for i, piece in enumerate(pieces) if piece.get("Sequence", {}).get("id") == "A")
        type_id = pieces[at]["Sequence"]["type_id"]
        return [*pieces[:at], *(_piece(name, type_id) for name in prompt), *pieces[at:]]

    special = {name: {"id": name, "ids": [id_], "tokens": [name]} for name, id_ in prompt.items()}
    return {
        "type": "TemplateProcessing",
        "single": inserted(template["single"]),
        "pair": inserted(template["pair"]),
        "special_tokens": {**template["special_tokens"], **special},
    }


def _build(processor: dict[str, Any]) -> Any:
    """The post-processor described by JSON, made by the tokenizers library itself."""
    from tokenizers import Tokenizer

    empty = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}
    return Tokenizer.from_str(json.dumps({**empty, "post_processor": processor})).post_processor
