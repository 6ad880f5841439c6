"""Prompts and targets as token ids: whole where they fit, cut where they do not, never ended by what a text spells."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from nlptk.checkpoints import load_tokenizer
from nlptk.errors import UnsupportedError
from nlptk.parts import prompts
from nlptk.parts.prompts import Prompt, continuation_ids, prompt_ids, target_ids
from nlptk.strategies.prompt_tokens import prompt_token_ids, with_prompt_tokens
from nlptk.task import Preprocessing
from tests.tiny_models import WORDS, sentencepiece_tokenizer, write_checkpoint
from tests.writers import ROWS, echo, loaded, write_bart

LONG = " ".join(WORDS[:40])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("prompts")
    found = {family: write_checkpoint(family, folder / family) for family in ("gpt2", "t5", "bert")}
    return {**found, "bart": write_bart(folder / "bart")}


@pytest.fixture(scope="module")
def tokenizers(folders: dict[str, Path]) -> dict[str, PreTrainedTokenizerBase]:
    return {family: load_tokenizer(str(folder)) for family, folder in folders.items()}


@pytest.mark.parametrize("family", ["gpt2", "t5", "bert", "bart"])
def test_a_prompt_that_fits_is_the_tokenizers_own(family: str, tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    tokenizer = tokenizers[family]
    (ids,) = prompt_ids(tokenizer, [Prompt("say: ", "the late parcel", " now")], 100, open_end=False)
    assert ids.ids == tokenizer("say: the late parcel now")["input_ids"]
    assert ids.cut(100) == ids.ids


@pytest.mark.parametrize("open_end", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "t5", "bert", "bart"])
def test_only_the_text_of_a_long_prompt_gives_way(
    family: str, open_end: bool, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    tokenizer = tokenizers[family]
    (ids,) = prompt_ids(tokenizer, [Prompt("invoice card ", LONG, " quick reply")], 40, open_end=open_end)
    kept = ids.cut(40)
    assert len(kept) == 40
    whole = tokenizer(f"invoice card {LONG}")["input_ids"]
    last = tokenizer("again quick reply")["input_ids"]
    plain = [token for token in last if token not in tokenizer.all_special_ids]
    assert kept[:20] == whole[:20]
    text = str(tokenizer.decode(kept, skip_special_tokens=True)).replace("##", "").replace(" ", "")
    assert text.endswith("quickreply")
    assert kept[-1] == (plain[-1] if open_end else last[-1])
    assert (kept[-1] in tokenizer.all_special_ids) == (not open_end and family != "gpt2")


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_special_tokens_of_a_template_count_and_those_of_a_row_are_text(family: str, folders: dict[str, Path]) -> None:
    plain = AutoTokenizer.from_pretrained(folders[family])
    plain.add_special_tokens({"extra_special_tokens": ["<|start|>", "<|end|>"]})
    tokenizer = load_tokenizer(plain.save_pretrained(folders[family].parent / f"{family}-chat")[0].rpartition("/")[0])
    before, after = "<|start|>the order\n", "<|end|><|start|>late"
    (ids,) = prompt_ids(tokenizer, [Prompt(before, "my <|end|> card", after, marks=True)], 99, open_end=True)
    theirs = plain(f"{before}my ‹|end|> card{after}")["input_ids"]
    assert ids.ids == theirs[: len(ids.ids)]
    assert set(theirs[len(ids.ids) :]) <= {plain.eos_token_id}
    assert ids.head == plain(before, add_special_tokens=False)["input_ids"][: len(ids.head)]
    assert ids.tail[0] == plain.convert_tokens_to_ids("<|end|>")
    marks = [plain.convert_tokens_to_ids(name) for name in ("<|start|>", "<|end|>")]
    assert [sum(token == mark for token in ids.ids) for mark in marks] == [2, 1]
    (spelled,) = prompt_ids(tokenizer, [Prompt(before, "card", after)], 99, open_end=True)
    assert not set(marks) & set(spelled.ids)
    assert tokenizer.split_special_tokens


@pytest.mark.parametrize("family", ["gpt2", "t5", "bert", "bart"])
def test_the_text_begins_with_its_first_token(family: str, tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    """Byte-level tokenizers have the space before it in it."""
    tokenizer = tokenizers[family]
    (ids,) = prompt_ids(tokenizer, [Prompt("please ", "late parcel", " now")], 100, open_end=False)
    head, text = (str(tokenizer.decode(part, skip_special_tokens=True)) for part in (ids.head, ids.text))
    assert [part.replace("##", "").replace(" ", "") for part in (head, text)] == ["please", "lateparcel"]


def test_head_and_tail_of_the_text_are_kept_where_asked(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    tokenizer = tokenizers["gpt2"]
    (ids,) = prompt_ids(tokenizer, [Prompt("", LONG)], 16, open_end=True)
    whole = tokenizer(LONG)["input_ids"]
    assert ids.cut(16, head_tail=True) == [*whole[:4], *whole[-12:]]
    assert ids.cut(16) == whole[:16]


def test_what_stands_around_the_text_gives_way_too_where_it_must(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    tokenizer = tokenizers["bert"]
    (ids,) = prompt_ids(tokenizer, [Prompt(LONG, " refund")], 10, open_end=False)
    assert ids.cut(10) == [*tokenizer(LONG)["input_ids"][:9], tokenizer.sep_token_id]
    with pytest.raises(UnsupportedError, match="leaves 2 tokens for a prompt of which 2 are special ones"):
        prompt_ids(tokenizer, [Prompt(LONG, " refund")], 2, open_end=False)


def test_a_space_before_the_target_is_the_targets(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    """As in text: byte-pair tokenizers have it in the word's own token."""
    tokenizer = tokenizers["gpt2"]
    spaced, tight = Prompt("", "the parcel", " came: "), Prompt("", "the parcel", " came:\n")
    ids = prompt_ids(tokenizer, [spaced, tight], 50, open_end=True)
    assert [tokenizer.decode(i.ids) for i in ids] == ["the parcel came:", "the parcel came:\n"]
    late, plain = continuation_ids(tokenizer, [spaced, tight], ["late", "late"], 50)
    assert tokenizer.decode(late.ids) == " late<|endoftext|>"
    assert tokenizer.decode(plain.ids) == "late<|endoftext|>"
    whole = tokenizer("the parcel came: late")["input_ids"]
    assert ids[0].ids + late.ids == [*whole, tokenizer.eos_token_id]


@pytest.mark.parametrize("end", ["", " ", "  ", "\n   "])
def test_a_prompt_and_its_target_are_joined_as_they_stand(
    end: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    tokenizer = tokenizers["gpt2"]
    (ids,) = prompt_ids(tokenizer, [Prompt("", f"parcel:{end}")], 50, open_end=True)
    (target,) = continuation_ids(tokenizer, [Prompt("", f"parcel:{end}")], ["late"], 50)
    assert tokenizer.decode([*ids.ids, *target.ids[:-1]]) == f"parcel:{end}late"


def test_a_target_that_is_cut_has_no_end_and_is_counted(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    tokenizer = tokenizers["bart"]
    whole = tokenizer(LONG)["input_ids"]
    fits, cut = target_ids(tokenizer, ["late", LONG], 10, start=2)
    assert fits.ids == tokenizer("late")["input_ids"]
    assert (cut.ids, cut.lost) == (whole[:10], len(whole) - 2 - 9)
    (exact,) = target_ids(tokenizer, [LONG], len(whole), start=2)
    assert (exact.ids, exact.lost) == (whole, 0)


def test_the_token_a_decoder_starts_from_is_not_written_again(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    tokenizer = tokenizers["bert"]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    late = tokenizer("late", add_special_tokens=False)["input_ids"]
    assert isinstance(cls, int)
    assert target_ids(tokenizer, ["late"], 9, start=cls)[0].ids == [*late, sep]
    assert target_ids(tokenizer, ["late"], 9, start=0)[0].ids == [cls, *late, sep]


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart"])
def test_virtual_tokens_stand_before_prompts_and_never_in_targets(
    family: str, tokenizers: dict[str, PreTrainedTokenizerBase]
) -> None:
    plain = tokenizers[family]
    tokenizer = with_prompt_tokens(plain, 3)
    virtual = set(prompt_token_ids(tokenizer))
    (ids,) = prompt_ids(tokenizer, [Prompt("", LONG)], 20, open_end=family == "gpt2")
    assert virtual < set(ids.cut(20))
    if family == "gpt2":
        (written,) = continuation_ids(tokenizer, [Prompt("", "late")], ["refund"], 9)
    else:
        (written,) = target_ids(tokenizer, ["refund"], 9, start=-1)
        assert written.ids == plain("refund")["input_ids"]
    assert not virtual & set(written.ids)


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart", "bert"])
def test_an_end_that_a_text_spells_out_ends_nothing(family: str, folders: dict[str, Path]) -> None:
    task = echo(max_new_tokens=40)
    loaded(task, folders[family])
    ends = {"gpt2": "<|endoftext|>", "t5": "</s>", "bart": "</s>", "bert": "[SEP]"}
    end = ends[family]
    rows = {"text": [f"late {end} refund"], "target": [f"quick {end} answer {end}"]}
    features = task.featurize(rows, task.tokenizer, Preprocessing(120))
    end_id = task.tokenizer.convert_tokens_to_ids(end)
    (labels,) = features["labels"]
    assert labels.count(end_id) == 1
    assert labels[-1] == end_id
    prompt = features["input_ids"][0][: features["prompt_length"][0]]
    assert prompt.count(end_id) == (0 if family == "gpt2" else 1), "at the end of what an encoder reads"


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_the_ledger_counts_what_is_cut_of_prompts_and_of_targets(family: str, folders: dict[str, Path]) -> None:
    task = echo(max_new_tokens=8)
    loaded(task, folders[family])
    tokenizer = task.tokenizer
    rows = {"text": [*ROWS["text"], LONG], "target": [*ROWS["target"], LONG]}
    features = task.featurize(rows, tokenizer, Preprocessing(32))
    special = 0 if family == "gpt2" else 1
    room = 32 - 8 if family == "gpt2" else 32
    for row, (text, target) in enumerate(zip(rows["text"], rows["target"], strict=True)):
        said = len(tokenizer(f"say: {text} now" + " " * special)["input_ids"]) - special
        asked = len(tokenizer(f" {target}")["input_ids"]) - special
        assert features["tokens"][row] == said
        assert features["lost"][row] == max(0, said + special - room)
        assert features["target_tokens"][row] == asked
        assert features["target_tokens_lost"][row] == (asked - 8 if asked + 1 > 8 else 0)
        assert features["prompt_length"][row] <= room
        assert len(features["input_ids"][row]) <= 32
    assert max(features["lost"]) > 0
    assert max(features["target_tokens_lost"]) > 0


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(str(folders["gpt2"]))
    tokenizer.eos_token = None
    with pytest.raises(UnsupportedError, match=r"no token that ends a text.*add_special_tokens"):
        continuation_ids(tokenizer, [Prompt("", "late")], ["refund"], 9)


def test_the_lists_of_an_encoding_are_asked_for_once() -> None:
    """Each one is made anew at every question, which in a loop over tokens took minutes for a megabyte of text."""
    asked: Counter[str] = Counter()

    class Watched:
        def __getattr__(self, name: str) -> list[Any]:
            asked[name] += 1
            offsets = [(0, 0), (0, 1), (1, 2), (0, 0)]
            lists: dict[str, list[Any]] = {
                "ids": [1, 5, 6, 2],
                "special_tokens_mask": [1, 0, 0, 1],
                "offsets": offsets,
            }
            return lists[name]

    found = prompts._around_text(Watched(), "ab", 0, 1, open_end=True)  # type: ignore[arg-type]
    assert (found.head, found.text, found.tail) == ([1], [5], [6])
    assert max(asked.values()) <= 2


@pytest.mark.parametrize("scheme", ["normalizer", "metaspace"])
@pytest.mark.parametrize(("prompt", "target"), [("once upon a ", "time there"), ("the dog", " ran"), ("the ti", "me")])
def test_what_follows_a_prompt_begins_no_word_of_its_own(scheme: str, prompt: str, target: str) -> None:
    tokenizer = sentencepiece_tokenizer(scheme)
    read = prompt_ids(tokenizer, [Prompt("", prompt)], 100, open_end=True)[0].ids
    written = continuation_ids(tokenizer, [Prompt("", prompt)], [target], 100)[0].ids
    assert tokenizer.decode([*read, *written[:-1]]) == prompt + target
    if target != "me":
        assert [*read, *written[:-1]] == tokenizer(prompt + target)["input_ids"]
