"""What the commands print, for people and for programs."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import nlptk
from nlptk.cli import _figure_lines, app
from nlptk.listing import WIDTH, aligned
from nlptk.samples import sample_path
from nlptk.task import Figure
from tests.doors import ROOT, cli, write_rows
from tests.tiny_models import write_checkpoint


def test_the_version_is_that_of_the_distribution() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert cli("--version").out == f"nlptk {wanted}\n"


def test_nothing_at_all_prints_the_help() -> None:
    called = cli()
    assert called.code == 0
    assert "Exit codes: 0 done; 2 something to mend" in called.out
    assert {command.name or command.callback.__name__ for command in app.registered_commands if command.callback} <= {
        line.split()[0] for line in called.out.partition("Commands:")[2].splitlines() if line.strip()
    }


@pytest.mark.parametrize("name", nlptk.__all__)
def test_a_public_name_is_what_it_says_whatever_was_imported_before(name: str) -> None:
    for module in ("nlptk.recipe", "nlptk.pipelines", "nlptk.api", "nlptk.training.tuning"):
        import_module(module)
    assert callable(getattr(nlptk, name))


@pytest.mark.parametrize("command", ["tasks", "strategies", "optimizers"])
def test_a_listing_fits_a_terminal_and_keeps_its_columns(command: str) -> None:
    called = cli(command)
    assert called.code == 0, called.err
    lines = called.out.partition("\n\n")[0].splitlines()
    assert max(map(len, called.out.splitlines())) <= WIDTH == 120
    last = lines[0].rindex("  ") + 2
    assert len(lines) > 1
    assert all(line[last - 2 : last] == "  " and line[last] != " " for line in lines)


@pytest.mark.parametrize("command", ["tasks", "strategies", "optimizers"])
def test_a_listing_says_to_programs_what_it_says_to_people(command: str) -> None:
    people, programs = cli(command).out, json.loads(cli(command, "--json").out)
    assert programs
    assert all(any(line.startswith(f"{row['name']} ") for line in people.splitlines()) for row in programs)


def test_a_table_puts_numbers_to_the_right_and_wraps_its_last_column_below_itself() -> None:
    table = aligned(["n", "word", "said"], [[5, "a", "x " * 70], [1000, "bb", "y"]])
    assert table == [
        "   n  word  said",
        f"   5  a     {('x ' * 54).strip()}",
        f"            {('x ' * 16).strip()}",
        "1000  bb    y",
    ]


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Rows with one of everything that can be found: 12 to train, 4 to validate."""
    rows = [{"text": f"thing number {i}", "label": "ab"[i % 2]} for i in range(9)]
    rows += [{"text": "Thing number 0!", "label": "b"}, {"text": "thing number 1", "label": "b"}]
    rows += [{"text": " ", "label": "a"}]
    held = [{"text": "thing number 2", "label": "a"}, {"text": "new thing", "label": "c"}]
    held += [{"text": "new " * 30, "label": "b"}, {"text": "other new thing", "label": "a"}]
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "dev.jsonl", held)
    return tmp_path


def test_the_summary_of_an_inspection_says_all_that_was_found(messy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(messy)
    write_checkpoint("bert", messy / "bert")
    words = ["validation=dev.jsonl", "test=none", "--tokenizer", "bert", "--max-length", "16"]
    called = cli("inspect", "train.jsonl", *words)
    assert called.code == 0, called.err
    said = " ".join(called.out.split())
    for wanted in (
        "splits train 11, validation 3",
        "text=text, label=label",
        "train: 1 row left out (bad row): train.jsonl row 12: text is only white space",
        "train: 2 rows repeat a text of the same split: train.jsonl row 10 = train.jsonl row 1, 'Thing number 0!' "
        "train.jsonl row 11 = train.jsonl row 2, 'thing number 1'",
        "LEAKAGE: 1 row of validation has a text that train has too: dev.jsonl row 1 = train.jsonl row 3",
        "1 text comes with different labels, on 2 rows: 'thing number 0' (train.jsonl row 1: a; train.jsonl row 10: b)",
        "validation: 1 row with the label 'c', which training lacks: dev.jsonl: row 2",
        "b 6 1 a 5 2 commonest / rarest 1.2 2",
        "validation 16 1 33.3 76",  # 90 tokens (see length) and two special ones, of which 16 fit
    ):
        assert wanted in said, f"{wanted!r} is not in\n{called.out}"
    assert max(map(len, called.out.splitlines())) <= WIDTH
    assert "{" not in called.out


def test_up_to_three_examples_of_a_finding_are_shown_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"thing {i}", "label": "ab"[i % 2]} for i in range(20)]
    rows += [{"text": f"Thing {i}!", "label": "ba"[i % 2]} for i in range(5)] + [{"text": "", "label": "a"}] * 5
    write_rows(tmp_path / "t.jsonl", rows)
    write_rows(tmp_path / "d.jsonl", [{"text": f"new {i}", "label": "c" if i > 2 else "a"} for i in range(9)])
    called = cli("inspect", "t.jsonl", "validation=d.jsonl", "test=none")
    lines = [line.strip() for line in called.out.splitlines()]
    # the five bad rows, repeated texts and conflicts are known from how the rows were made
    place = lines.index("train: 5 rows left out (bad row):")
    bad = [f"t.jsonl row {i}: text is empty" for i in (26, 27, 28)]
    assert lines[place + 1 : place + 5] == [*bad, "and 2 more"]
    repeated = [f"t.jsonl row {20 + i} = t.jsonl row {i}, 'Thing {i - 1}!'" for i in (1, 2, 3, 4)]
    assert [line in lines for line in repeated] == [True, True, True, False]
    place = lines.index("5 texts come with different labels, on 10 rows:")
    assert [line.split(" (")[0] for line in lines[place + 1 : place + 4]] == ["'thing 0'", "'thing 1'", "'thing 2'"]
    place = lines.index("validation: 6 rows with the label 'c', which training lacks:")
    assert lines[place + 1] == "d.jsonl: rows 4, 5, 6 (and 3 more)"


def test_clean_rows_are_said_to_be_clean() -> None:
    called = cli("inspect", sample_path("messages_train.jsonl"), "test=none", "validation=none", "duplicates=drop")
    assert called.code == 0, called.err
    assert "train   " in called.out
    assert "splits   train 900" in called.out


def test_an_inspection_for_programs_is_what_the_function_returns(messy: Path) -> None:
    called = cli("inspect", messy / "train.jsonl", "--json")
    assert json.loads(called.out) == json.loads(json.dumps(nlptk.inspect(messy / "train.jsonl")))


def test_a_length_to_cut_at_is_refused_without_the_tokenizer_that_counts_it(messy: Path) -> None:
    called = cli("inspect", messy / "train.jsonl", "--max-length", "16")
    assert called.code == 2
    assert "max_length 16: lengths are counted in tokens; give the checkpoint of a tokenizer" in called.err


def test_many_labels_are_cut_to_the_commonest(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": f"l{i % 50:02}"} for i in range(160)]
    called = cli("inspect", write_rows(tmp_path / "rows.jsonl", rows), "validation=none", "test=none")
    found = [line.split() for line in called.out.splitlines()]
    assert ["l00", "4"] in found
    assert ["l40", "3"] not in found
    assert ["(20", "more", "labels)", "60"] in found


def test_an_inspection_of_entities_shows_their_types_and_what_training_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(
        tmp_path / "t.jsonl", [{"tokens": ["in", "Rome", str(i)], "tags": ["O", "B-LOC", "O"]} for i in range(3)]
    )
    write_rows(tmp_path / "d.jsonl", [{"tokens": ["by", "Ada"], "tags": ["O", "B-PER"]}])
    called = cli("inspect", "t.jsonl", "validation=d.jsonl", "test=none", "--task", "ner")
    assert called.code == 0, called.err
    said = [" ".join(line.split()) for line in called.out.splitlines()]
    assert "entities train % validation %" in said
    assert "LOC 3 100 0 0" in said
    assert "train tokens words 3 3 3 3 3 3 3" in said
    place = said.index("validation: 1 row with the label 'PER', which training lacks:")
    assert said[place + 1] == "d.jsonl: row 1"


def test_an_inspection_says_what_the_task_would_refuse_to_train_on(tmp_path: Path) -> None:
    rows = [{"tokens": ["nothing", str(i)], "tags": ["O", "O"]} for i in range(3)]
    found = nlptk.inspect({"train": write_rows(tmp_path / "t.jsonl", rows), "validation": "none"}, task="ner")
    (note,) = (note for note in found["report"]["notes"] if "refuse" in note)
    assert note.startswith("with its default settings, task ner would refuse to train: train: no row has an entity")


def test_an_inspection_of_questions_shows_how_many_have_an_answer(tmp_path: Path) -> None:
    rows = [{"question": f"who {i}", "context": f"Ada {i}", "answer": "Ada" if i else ""} for i in range(4)]
    data = {"train": write_rows(tmp_path / "t.jsonl", rows), "validation": "none", "test": "none"}
    assert nlptk.inspect(data, task="qa")["counts"] == {"train": {"questions": {"with an answer": 3, "without": 1}}}


def test_an_inspection_of_conversations_measures_messages(tmp_path: Path) -> None:
    turn = [{"role": "user", "content": "how many"}, {"role": "assistant", "content": "two"}]
    rows = [{"messages": turn}, {"messages": [{"role": "system", "content": "be brief"}, *turn]}]
    data = {"train": write_rows(tmp_path / "t.jsonl", rows), "validation": "none", "test": "none"}
    found = nlptk.inspect(data, task="generation")
    assert found["counts"]["train"] == {"messages of": {"user": 2, "assistant": 2, "system": 1}}
    lengths = found["lengths"]["train"]["conversation"]
    assert (lengths["messages"]["max"], lengths["words"]["max"]) == (3, 5)


def test_an_inspection_of_translations_by_language_measures_each(tmp_path: Path) -> None:
    rows = [{"translation": {"en": "one two", "de": "eins"}}, {"translation": {"en": "three", "de": "drei"}}]
    data = {"train": write_rows(tmp_path / "t.jsonl", rows), "validation": "none", "test": "none"}
    lengths = nlptk.inspect(data, task="translation")["lengths"]["train"]
    assert {role: units["words"]["max"] for role, units in lengths.items()} == {
        "translation en": 2,
        "translation de": 1,
    }


def test_the_tasks_are_listed_with_their_columns_and_the_names_these_are_found_by() -> None:
    said = [" ".join(line.split()) for line in cli("tasks").out.splitlines()]
    assert "qa question read question, query" in said
    assert "context read context, passage, paragraph, document" in said
    assert "ner: rows have tokens and tags, or text and entities" in said


def test_the_listing_of_tasks_for_programs_holds_their_columns() -> None:
    (found,) = (task for task in json.loads(cli("tasks", "--json").out) if task["name"] == "summarization")
    assert found["columns"][0] == {
        "role": "document",
        "kind": "text",
        "names": ["document", "text", "article"],
        "required": True,
        "target": False,
        "together": False,
    }


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure(184.0), "  support              184"),
        (Figure(0.25), "  support              0.2500"),
        (Figure(1.0, 1.0, 1.0), "  support              1.0000  [1.0000, 1.0000]"),
    ],
)
def test_counts_are_printed_whole_and_measures_with_decimals(figure: Figure, line: str) -> None:
    assert _figure_lines({"support": figure}) == [line]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"body": "x"}', [], "no text in column 'text' (it has: body); set --column"),
        ('{"text": "x"}', ["--encoding", "utf-9"], "--encoding=utf-9: no such encoding"),
        ('{"text": "x"}', ["--vocab-size", "2"], "--vocab-size: 2 leaves no room"),
        ('{"text": "some letters"}', ["--kind", "unigram", "--vocab-size", "8"], "--vocab-size: "),
        ('{"text": "x"}', ["--kind", "word", "--min-frequency", "9"], "or a smaller --min-frequency"),
    ],
)
def test_the_tokenizer_command_speaks_of_its_own_options(
    tmp_path: Path, content: str, options: list[str], message: str
) -> None:
    (tmp_path / "texts.jsonl").write_text(content + "\n")
    words: list[str | Path] = [tmp_path / "texts.jsonl", "--output", tmp_path / "made", "--family", "bert", *options]
    called = cli("tokenizer", "train", *words)
    assert called.code == 2
    assert message in called.err
