"""CoNLL files as people have them, lists of ClassLabel, and formats that the recipe names."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from nlptk.data import load_splits, read_rows, read_whole_rows, write_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column, RowRules

Write = Callable[[str, str | bytes], Path]
COLUMNS = (
    Column("tokens", "json", ("tokens",), required=False),
    Column("tags", "json", ("tags", "ner_tags"), required=False, target=True),
    Column("text", "text", ("text",), required=False),
)
FORMS = RowRules(forms=(("tokens", "tags"), ("text",)))
TWO = [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter", "Blackburn"], ["B-PER", "I-PER"])]


def _read(path: Path, **settings: Any) -> Dataset:
    return read_rows(path, COLUMNS, settings=DataSettings.model_validate(settings), targets=True, rules=FORMS).rows


def _pairs(rows: Dataset) -> list[tuple[list[str], list[str]]]:
    return [(row["tokens"], row["tags"]) for row in rows.to_list()]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n", id="tabs"),
        pytest.param("EU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER", id="spaces, no end of line"),
        pytest.param("EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP X B-PER\nBlackburn NNP X I-PER\n", id="2003"),
        pytest.param("\n\nEU\tB-ORG\nrejects\tO\n\t\n \n\nPeter\tB-PER\nBlackburn\tI-PER\n\n \t\n", id="blank lines"),
        pytest.param("EU \tB-ORG \r\n rejects\tO\t\r\n\r\nPeter  B-PER\r\nBlackburn \t I-PER\r\n", id="stray blanks"),
        pytest.param("-DOCSTART- O\n\nEU B-ORG\nrejects O\n-DOCSTART- O\nPeter B-PER\nBlackburn I-PER", id="marks"),
        pytest.param("-DOCSTART- -X- -X- O\n\nEU\tB-ORG\nrejects\tO\n\ufeff\nPeter\tB-PER\nBlackburn\tI-PER", id="bom"),
        pytest.param(
            "# id = 1\n# text = EU rejects\nEU\tB-ORG\nrejects\tO\n\n# id = 2\nPeter\tB-PER\nBlackburn\tI-PER\n",
            id="comments",
        ),
        pytest.param(
            "#begin document (a); part 0\nEU B-ORG\nrejects O\n\n# id a b=c\nPeter B-PER\nBlackburn I-PER\n#end",
            id="documents",
        ),
    ],
)
def test_every_habit_of_conll_files_gives_the_same_rows(write: Write, content: str) -> None:
    assert _pairs(_read(write("a.conll", content))) == TWO


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.iob2", "a.bio", "a.conll.gz"])
def test_the_extensions_of_conll_files(write: Write, name: str) -> None:
    content = b"EU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER\n"
    assert _pairs(_read(write(name, gzip.compress(content) if name.endswith("gz") else content))) == TWO


@pytest.mark.parametrize("token", ["#", "#nlp", "\u00a0", "\u200b", "\u2028", "\x85", '"'])
def test_a_strange_token_is_a_token(write: Write, token: str) -> None:
    found = _pairs(_read(write("a.conll", f"{token}\tO\nEU\tB-ORG\n{token}\tB-X\n")))
    assert found == [([token, "EU", token], ["O", "B-ORG", "B-X"])]


def test_a_rows_number_is_its_place_among_the_sentences(write: Write) -> None:
    path = write("a.conll", "-DOCSTART- O\n\n# id 1\nEU B-ORG\nrejects O\n\n\nPeter B-PER\n")
    assert _read(path)["source_row"][:] == [1, 2]


def test_a_line_with_other_columns_is_named_and_its_sentence_can_be_dropped(write: Write) -> None:
    path = write("a.conll", "EU\tB-ORG\nrejects\n\nPeter\tB-PER\nBlackburn\tI-PER\n\na\tb\tO\n")
    with pytest.raises(
        DataError, match=r"row 1: 1 column where the file has 2 \(line 2\); row 3: 3 columns where .* \(line 7\)"
    ):
        _read(path)
    assert _pairs(_read(path, bad_rows="drop")) == TWO[1:]


def test_a_file_of_tokens_alone_can_be_predicted_and_not_trained_on(write: Write) -> None:
    path = write("a.conll", "EU\nrejects\n\nPeter\n")
    rules = RowRules(forms=(("tokens",), ("text",)))
    rows = read_rows(path, COLUMNS, settings=DataSettings.model_validate({}), rules=rules).rows
    assert rows["tokens"][:] == [["EU", "rejects"], ["Peter"]]
    with pytest.raises(DataError, match="expected columns for tokens and tags, or text; found tokens"):
        _read(path)


def test_predictions_keep_the_tags_of_their_file(write: Write) -> None:
    path = write("a.conll", "EU\tB-ORG\nrejects\tO\n")
    rows, inputs, _ = read_whole_rows(path, COLUMNS, settings=DataSettings.model_validate({}), rules=FORMS)
    assert rows.column_names == ["tokens", "source_file", "source_row"]
    assert list(inputs) == [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}]


@pytest.mark.parametrize("content", ["", "\n \n\t\n", "-DOCSTART- -X- O\n\n"])
def test_a_file_without_a_token_says_so(write: Write, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.conll: the file is empty; expected a token and its tag a line"):
        _read(write("a.conll", content))


def test_long_files_are_read_in_batches(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlptk.data.conll.BATCH_ROWS", 2)
    found = _pairs(_read(write("a.conll", "".join(f"w{n} O\n\n" for n in range(5)))))
    assert [tokens for tokens, _ in found] == [[f"w{n}"] for n in range(5)]


def test_wnut17_is_whole(shared: Callable[[str], Path]) -> None:
    """Sentences as its authors count them; entities as lines that begin one."""
    for split, sentences in {"train": 3394, "validation": 1009, "test": 1287}.items():
        path = shared("wnut17") / f"{split}.conll"
        rows = _pairs(_read(path))
        assert len(rows) == sentences
        begun = sum("\tB-" in line for line in path.read_text(encoding="utf-8").split("\n"))
        assert sum(tag.startswith("B-") for _, tags in rows for tag in tags) == begun


@pytest.mark.parametrize("name", ["rows.txt", "rows.csv", "rows"])
def test_data_format_overrides_the_extension(write: Write, name: str) -> None:
    path = write(f"folder/{name}", "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n")
    assert _pairs(_read(path, format="conll")) == TWO
    assert _pairs(_read(path.parent, format="conll")) == TWO


def test_data_format_holds_for_every_format(tmp_path: Path) -> None:
    for kind in ("csv", "tsv", "json", "jsonl", "parquet"):
        write_rows(tmp_path / f"rows.{kind}", [{"text": "one"}, {"text": "two"}])
        path = (tmp_path / f"rows.{kind}").rename(tmp_path / f"{kind}.data")
        assert _read(path, format=kind)["text"][:] == ["one", "two"]
        with pytest.raises(DataError, match=r"\.data is not a kind of file nlptk knows; .* or set data\.format"):
            _read(path)


def test_one_file_read_in_two_formats_is_not_mixed_up_in_the_cache(write: Write) -> None:
    path = write("a.tsv", "text\tother\na b\tO\n")
    assert _read(path)["text"][:] == ["a b"]
    assert _read(path, format="conll")["tokens"][:] == [["text", "a b"]]


def test_conll_is_read_and_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.conll is not a kind of file nlptk writes; expected \.csv, \.tsv"):
        write_rows(tmp_path / "a.conll", [{"tokens": ["a"]}])


FEATURES = Features(
    {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-ORG", "B-PER", "I-PER"]))}
)
NUMBERED = {"tokens": [tokens for tokens, _ in TWO], "ner_tags": [[1, 0], [2, 3]]}


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_a_list_of_class_labels_is_read_as_names(tmp_path: Path, kind: str) -> None:
    dataset, path = Dataset.from_dict(NUMBERED, FEATURES), tmp_path / f"a.{kind}"
    if kind == "parquet":
        dataset.to_parquet(path)
    else:
        dataset.save_to_disk(path)
    assert _pairs(_read(path)) == TWO


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    Dataset.from_dict(NUMBERED, FEATURES).to_parquet(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    tags = pa.array([[1, 0], [2, 4]], table.schema.field("ner_tags").type)
    pq.write_table(table.set_column(1, table.schema.field("ner_tags"), tags), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 2: tags holds 4, which is outside 0\.\.3"):
        _read(tmp_path / "a.parquet")


def test_a_row_that_has_no_form_whole_is_bad(write: Write) -> None:
    path = write("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["b"], "tags": null}\n{"tokens": ["c"]}\n')
    with pytest.raises(
        DataError, match=r"row 2: has tokens, but no tags \(expected tokens and tags, or text\); row 3: "
    ):
        _read(path)
    assert _read(path, bad_rows="drop")["tokens"][:] == [["a"]]


@pytest.mark.parametrize("mark", ["-DOCSTART- -X- O\n", "#begin document (a); part 0\n"])
def test_the_sentences_of_a_document_can_be_kept_on_one_side_of_a_split(write: Write, mark: str) -> None:
    sentences = [f"word{number} O\nParis B-LOC\n" for number in range(40)]
    blocks = ["\n".join(sentences[first : first + 4]) for first in range(0, 40, 4)]
    path = write("a.conll", "".join(f"{mark}\n{block}\n" for block in blocks))
    given = {"train": str(path), "validation": 0.3, "test": "none", "group": "document"}
    splits = load_splits(DataSettings.model_validate(given), COLUMNS, seed=0, rules=FORMS)
    assert splits.train is not None
    assert splits.validation is not None
    sides = [{(row - 1) // 4 for row in rows["source_row"]} for rows in (splits.train, splits.validation)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(range(10))
