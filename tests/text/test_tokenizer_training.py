"""Trained tokenizers: plain transformers folders, special tokens as the family has them, SentencePiece's own ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import sentencepiece
from transformers import AutoTokenizer, BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase, T5Tokenizer

from nlptk.errors import ArtifactError, DataError, RecipeError
from nlptk.text.recipe import Kind
from nlptk.text.tokenizer_folder import make_tokenizer
from nlptk.text.tokenizer_training import train_tokenizer
from tests.doors import python
from tests.text.samples import document, write_rows, write_text

KINDS = get_args(Kind)
ROOT = Path(__file__).resolve().parents[2]
TEXTS = [document(seed) for seed in range(30)]
UNSEEN = "Anber read the umbrella — under the boat, near 7 o’clock.  Ünseen Æther…\nNext  line ﬁne"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(family, kind) -> folder of a tokenizer."""
    root = tmp_path_factory.mktemp("tokenizers")
    text = write_text(root / "text.txt", 30)
    found = {}
    for family in ("bert", "gpt2", "t5"):
        for kind in KINDS:
            place = root / f"{family}-{kind}"
            make_tokenizer(text, place, family=family, kind=kind, vocab_size=520, min_frequency=1)
            found[family, kind] = place
    return found


def load(folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return loaded


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    text = tokenizer.decode(ids)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_bert_gets_its_special_tokens_whatever_the_kind(folders: dict[tuple[str, str], Path], kind: str) -> None:
    tokenizer = load(folders["bert", kind])
    words = len(tokenizer("Anber", add_special_tokens=False)["input_ids"])
    pair = tokenizer("Anber", "Anber")
    assert text_of(tokenizer, pair["input_ids"]).startswith("[CLS]")
    tokens = tokenizer.convert_ids_to_tokens(pair["input_ids"])
    assert [tokens[0], tokens[words + 1], tokens[-1]] == ["[CLS]", "[SEP]", "[SEP]"]
    assert pair["token_type_ids"] == [0] * (words + 2) + [1] * (words + 1)
    assert tokenizer.mask_token == "[MASK]"
    assert tokenizer.tokenize("[MASK]") == ["[MASK]"]
    assert tokenizer.pad_token_id is not None


@pytest.mark.parametrize("kind", KINDS)
def test_gpt_gets_an_end_of_text_and_frames_nothing(folders: dict[tuple[str, str], Path], kind: str) -> None:
    tokenizer = load(folders["gpt2", kind])
    assert tokenizer.bos_token == tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.tokenize("<|endoftext|>") == ["<|endoftext|>"]
    assert tokenizer.eos_token_id not in tokenizer("Anber read")["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_t5_gets_end_pad_and_a_hundred_sentinels_that_end_the_vocabulary(
    folders: dict[tuple[str, str], Path], kind: str
) -> None:
    tokenizer = load(folders["t5", kind])
    assert tokenizer("Anber")["input_ids"][-1] == tokenizer.eos_token_id == 1
    assert tokenizer.pad_token_id == 0
    sentinels = [tokenizer.convert_tokens_to_ids(f"<extra_id_{number}>") for number in range(100)]
    assert sentinels == list(range(len(tokenizer) - 1, len(tokenizer) - 101, -1))
    assert tokenizer.tokenize("<extra_id_7>") == ["<extra_id_7>"]
    assert tokenizer.decode(sentinels[3], skip_special_tokens=True) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_known_text_comes_back(folders: dict[tuple[str, str], Path], family: str, kind: str) -> None:
    tokenizer = load(folders[family, kind])
    ids = tokenizer(TEXTS[3], add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
    squeezed = "".join(text_of(tokenizer, ids).split())
    assert squeezed == "".join(TEXTS[3].split())
    assert len(tokenizer) <= 520


@pytest.mark.parametrize(("kind", "space"), [("bpe", "\n  "), ("character", "  ")])
def test_byte_level_and_characters_keep_white_space(
    folders: dict[tuple[str, str], Path], kind: str, space: str
) -> None:
    tokenizer = load(folders["gpt2", kind])
    text = f"Anber{space}read the letter "
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_nothing_is_unknown_to_byte_level_bpe(folders: dict[tuple[str, str], Path]) -> None:
    tokenizer = load(folders["gpt2", "bpe"])
    text = "ﷺ 漢字 \x00 😀"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("text", [UNSEEN, *TEXTS[:5], " leading,  double   spaces ", "Ａ ﬁ ½ … \u200b x"])
def test_unigram_gives_the_ids_that_sentencepiece_itself_gives(folders: dict[tuple[str, str], Path], text: str) -> None:
    folder = folders["t5", "unigram"]
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model")).encode(text)
    assert load(folder)(text, add_special_tokens=False)["input_ids"] == theirs


@pytest.mark.parametrize(
    ("family", "kind", "cls"),
    [("t5", "unigram", T5Tokenizer), ("bert", "wordpiece", BertTokenizer), ("gpt2", "bpe", GPT2Tokenizer)],
)
def test_the_familys_own_class_loads_the_same_tokenizer(
    folders: dict[tuple[str, str], Path], family: str, kind: str, cls: Any
) -> None:
    folder = folders[family, kind]
    lowercase = {"do_lower_case": False} if family == "bert" else {}
    own, auto = cls.from_pretrained(folder, **lowercase), load(folder)
    assert len(own) == len(auto)
    for text in (*TEXTS[:3], UNSEEN):
        assert own(text)["input_ids"] == auto(text)["input_ids"]


def test_t5_tokenizer_loads_from_the_sentencepiece_model_alone(
    folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("google.protobuf", reason="transformers reads SentencePiece models with protobuf")
    whole = folders["t5", "unigram"]
    (tmp_path / "spiece.model").write_bytes((whole / "spiece.model").read_bytes())
    alone = T5Tokenizer.from_pretrained(tmp_path)
    assert [alone(text)["input_ids"] for text in TEXTS[:3]] == [load(whole)(text)["input_ids"] for text in TEXTS[:3]]
    assert alone.convert_tokens_to_ids("<extra_id_0>") == load(whole).convert_tokens_to_ids("<extra_id_0>")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_text_gives_the_same_ids_in_another_process(
    folders: dict[tuple[str, str], Path], tmp_path: Path, kind: str
) -> None:
    # hash tables are seeded by the process: only another one shows an order that depends on them
    code = "import sys; from nlptk.text.tokenizer_folder import make_tokenizer as make; "
    code += "make(sys.argv[1], sys.argv[2], family='bert', kind=sys.argv[3], vocab_size=520, min_frequency=1)"
    text = folders["bert", kind].parent / "text.txt"
    done = python("-c", code, text, tmp_path / "again", kind, cwd=tmp_path, path=[ROOT])
    assert done.code == 0, done.err
    assert (tmp_path / "again/tokenizer.json").read_text() == (folders["bert", kind] / "tokenizer.json").read_text()


def test_lowercase_folds_case(tmp_path: Path) -> None:
    for family, kind in (("bert", "wordpiece"), ("t5", "unigram"), ("gpt2", "bpe")):
        made = train_tokenizer(lambda: iter(TEXTS), family=family, kind=kind, vocab_size=520, lowercase=True)  # type: ignore[arg-type]  # pairs of literals
        made.save(tmp_path / family)
        tokenizer = load(tmp_path / family)
        assert tokenizer("ANNA Read")["input_ids"] == tokenizer("anna read")["input_ids"]


def test_json_lines_and_text_lines_train_the_same_tokenizer(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt")
    write_rows(tmp_path / "a.jsonl", column="body")
    make_tokenizer(tmp_path / "a.txt", tmp_path / "one", family="bert", vocab_size=400)
    make_tokenizer(str(tmp_path / "*.jsonl"), tmp_path / "two", family="bert", vocab_size=400, column="body")
    assert (tmp_path / "one/tokenizer.json").read_bytes() == (tmp_path / "two/tokenizer.json").read_bytes()


def test_an_output_that_is_there_is_not_touched(folders: dict[tuple[str, str], Path]) -> None:
    folder = folders["bert", "bpe"]
    before = (folder / "tokenizer.json").read_bytes()
    with pytest.raises(ArtifactError, match="exists already"):
        make_tokenizer(folder.parent / "text.txt", folder, family="bert")
    assert (folder / "tokenizer.json").read_bytes() == before


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"vocab_size: 200 leaves no room beside 1 special tokens and 256 bytes"):
        train_tokenizer(lambda: iter(TEXTS), family="gpt2", vocab_size=200)
    with pytest.raises(RecipeError, match="leaves no room"):
        train_tokenizer(lambda: iter(TEXTS), family="t5", vocab_size=100)


def test_text_that_the_vocabulary_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"tokenizer.vocab_size: 10 pieces do not fit this text"):
        train_tokenizer(lambda: iter(TEXTS), family="t5", vocab_size=110)
    with pytest.raises(DataError, match="gives no token"):
        train_tokenizer(lambda: iter([]), family="bert")
