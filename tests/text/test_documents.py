"""Documents from files, and the part that is held out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from nlptk.errors import DataError
from nlptk.text.documents import dividing_share, find_corpus, is_held_out
from tests.text.samples import document


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_make_documents_and_marks_and_empty_lines_go(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\n\n two \nthree\n\ufefffour\n\nfive\n")
    assert list(find_corpus(path).documents()) == ["one", "two", "three", "four", "five"]
    assert list(find_corpus(path, lines_per_document=2).documents()) == ["one\ntwo", "three\nfour", "five"]
    assert list(find_corpus(path, max_documents=2).documents()) == ["one", "two"]


def test_globs_rows_and_compressed_files_come_in_order(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("b1\nb2\n")
    write(tmp_path / "a.txt", "a1\n")
    write(tmp_path / "c.jsonl", json.dumps({"body": " c1\nmore "}) + "\n\n" + json.dumps({"body": ""}) + "\n")
    corpus = find_corpus([tmp_path / "c.jsonl", str(tmp_path / "*.txt*")], column="body")
    assert list(corpus.documents()) == ["c1\nmore", "a1", "b1", "b2"]


def test_the_key_follows_content_and_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n")
    key = find_corpus(path).key()
    assert find_corpus(path, lines_per_document=2).key() != key
    assert find_corpus(write(tmp_path / "b.txt", "one\ntwo\n")).key() == key
    assert find_corpus(write(path, "one\ntwO\n")).key() != key


def test_the_held_out_share_is_kept_and_grows_from_a_smaller_one() -> None:
    texts = [document(seed, sentences=1) for seed in range(4000)]
    small, large = ({text for text in texts if is_held_out(text, share)} for share in (0.05, 0.2))
    assert len(large) / len(texts) == pytest.approx(0.2, abs=0.02)
    assert small < large
    assert not any(is_held_out(text, 0.0) for text in texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"body": "x"}\n', r"a\.jsonl, row 1: no text in column 'text' \(it has: body\); set data\.column"),
        ("a.jsonl", '{"text": "x"}\n{"text": \n', r"a\.jsonl, row 2: not JSON"),
        ("a.jsonl", "[1]\n", r"row 1: no text in column 'text' \(it has: a list, not an object\)"),
        (
            "a.jsonl",
            '{"text": "bad \\ud800"}\n',
            r"a\.jsonl, row 1: text holds half a surrogate pair at character 4; mend the row",
        ),
        ("a.txt", "", r"a\.txt: no text in it; give files with text"),
        ("a.jsonl", '{"text": " "}\n', r"a\.jsonl: no text in it"),
        ("a.csv", "x", r"a\.csv: not a kind of text file nlptk knows; expected \.txt or \.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(find_corpus(write(tmp_path / name, content)).documents())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path / "novels.txt", "x")
    with pytest.raises(DataError, match=r"novel\.txt: file not found; did you mean 'novels\.txt'\?"):
        find_corpus(tmp_path / "novel.txt")
    with pytest.raises(DataError, match=r"\*\.gz: no file matches"):
        find_corpus(str(tmp_path / "*.gz"))
    with pytest.raises(DataError, match="a folder; give its files"):
        find_corpus(tmp_path)


def test_a_dividing_share_holds_out_one_document_and_its_repetitions() -> None:
    for first in range(0, 60, 3):
        texts = [document(seed, sentences=1) for seed in range(first, first + 3)]
        share = dividing_share([*texts, texts[0]])
        assert share is not None
        assert len({text for text in texts if is_held_out(text, share)}) == 1


def test_no_share_divides_one_document() -> None:
    assert dividing_share(["one", "one"]) is None
