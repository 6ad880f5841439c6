"""A file of rows -> a file of predictions: every format, in order, resumable, one process at a time."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

import nlptk
from nlptk.errors import DataError
from nlptk.pipelines import files
from nlptk.pipelines.artifact import Pipeline
from tests.doors import ROOT, cli, python, rows, train_tiny, write_rows

TEXTS = [row["text"] for row in rows(30)]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("other"), seed=5)


@pytest.fixture(scope="module")
def expected(artifact: Path) -> list[dict[str, Any]]:
    return nlptk.pipeline(artifact)(TEXTS)


def _write(path: Path) -> Path:
    """The texts in the format of the name, by the formats' own libraries."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    stream = io.StringIO()
    if kind in ("csv", "tsv"):
        writer = csv.writer(stream, delimiter="," if kind == "csv" else "\t")
        writer.writerows([["text"], *([text] for text in TEXTS)])
    elif kind == "jsonl":
        stream.writelines(json.dumps({"text": text}) + "\n" for text in TEXTS)
    elif kind == "json":
        json.dump([{"text": text} for text in TEXTS], stream)
    content = stream.getvalue().encode()
    if kind == "parquet":
        Dataset.from_dict({"text": TEXTS}).to_parquet(path)
        return path
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return list(pq.read_table(io.BytesIO(_content(path))).to_pylist())
    text = _content(path).decode()
    if kind == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if kind == "json":
        return list(json.loads(text))
    table = csv.DictReader(io.StringIO(text), delimiter="," if kind == "csv" else "\t")
    return [{key: _typed(key, value) for key, value in row.items()} for row in table]


def _typed(key: str, cell: str) -> Any:
    return json.loads(cell) if key in ("row", "score", "truncated") or key.startswith("scores.") else cell


def _bad(row: dict[str, Any]) -> float:
    """The score of the label `bad`, in a column of its own or in the nested scores."""
    return float(row["scores.bad"] if "scores.bad" in row else row["scores"]["bad"])


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


@pytest.mark.parametrize("name", ["csv", "tsv", "json", "jsonl", "parquet", "csv.gz", "jsonl.gz", "parquet.gz"])
def test_any_format_goes_in_and_out_in_order(
    artifact: Path, expected: list[dict[str, Any]], tmp_path: Path, name: str
) -> None:
    source = _write(tmp_path / ("in.parquet" if name == "parquet.gz" else f"in.{name}"))
    result = nlptk.predict(artifact, source, tmp_path / f"out.{name}")
    found = _read(result.target)
    assert [row["text"] for row in found] == TEXTS
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert [_bad(row) for row in found] == pytest.approx([row["scores"]["bad"] for row in expected])
    assert [row["row"] for row in found] == list(range(1, 1 + len(TEXTS)))


class KilledError(Exception):
    pass


def _break_after(count: int, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Every stream of predictions ends with an error after so many."""
    stream = Pipeline.stream

    def broken(self: Pipeline, given: Any, **named: Any) -> Iterator[Any]:
        for number, prediction in enumerate(stream(self, given, **named)):
            if number == count:
                raise error
            yield prediction

    patch.setattr(Pipeline, "stream", broken)


def test_a_killed_process_is_resumed_to_the_very_same_file(artifact: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    code = """
        import os, signal, sys
        import nlptk
        from nlptk.pipelines.artifact import Pipeline

        stream = Pipeline.stream

        def dying(self, rows, **named):
            for number, prediction in enumerate(stream(self, rows, **named)):
                if number == 18:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield prediction

        Pipeline.stream = dying
        nlptk.predict(*sys.argv[1:])
    """
    target = tmp_path / "out.csv"
    called = python("-c", textwrap.dedent(code), artifact, source, target, cwd=tmp_path, path=[ROOT])
    assert called.code == -9, called.err
    assert not target.exists()
    result = nlptk.predict(artifact, source, target)
    assert result.resumed == 18
    whole = nlptk.predict(artifact, source, tmp_path / "whole.csv")
    assert whole.resumed == 0
    assert target.read_bytes() == whole.target.read_bytes()
    assert not (tmp_path / "out.csv.partial").exists()


def _interrupted(artifact: Path, folder: Path, patch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Source and target of a call that was interrupted after 20 predictions."""
    source = write_rows(folder / "in.jsonl", [{"text": text} for text in TEXTS])
    with patch.context() as context:
        _break_after(20, context, KilledError())
        with pytest.raises(KilledError):
            nlptk.predict(artifact, source, folder / "out.jsonl")
    return source, folder / "out.jsonl"


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_last_line_is_predicted_again(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    source, target = _interrupted(artifact, tmp_path, monkeypatch)
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(partial.read_bytes()[:-cut])
    assert 0 < nlptk.predict(artifact, source, target).resumed < 20
    assert [row["text"] for row in _read(target)] == TEXTS
    assert target.read_bytes() == nlptk.predict(artifact, source, tmp_path / "whole.jsonl").target.read_bytes()


def test_predictions_of_another_model_are_not_used(
    artifact: Path,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, target = _interrupted(artifact, tmp_path, monkeypatch)
    capsys.readouterr()
    assert nlptk.predict(other, source, target).resumed == 0
    assert capsys.readouterr().err == f"{target}.partial: 20 predictions are discarded: the model has changed since\n"
    expected = nlptk.pipeline(other)(TEXTS)
    assert [row["score"] for row in _read(target)] == pytest.approx([row["score"] for row in expected])


def test_predictions_of_other_rows_are_not_used(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = _interrupted(artifact, tmp_path, monkeypatch)
    write_rows(source, [{"text": text} for text in reversed(TEXTS)])
    capsys.readouterr()
    assert nlptk.predict(artifact, source, target).resumed == 0
    assert capsys.readouterr().err == f"{target}.partial: 20 predictions are discarded: the rows have changed since\n"
    assert [row["text"] for row in _read(target)] == TEXTS[::-1]


def test_a_call_cut_short_after_its_last_prediction_only_writes_the_file(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])

    def fail(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as context:
        context.setattr(files, "write_rows", fail)
        with pytest.raises(KilledError):
            nlptk.predict(artifact, source, tmp_path / "out.jsonl")
    assert nlptk.predict(artifact, source, tmp_path / "out.jsonl").resumed == len(TEXTS)
    assert len(_read(tmp_path / "out.jsonl")) == len(TEXTS)


def test_a_partial_file_that_is_none_of_ours_is_begun_anew(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.jsonl.partial").write_bytes(b"\xff\xfe nonsense\n{}\n")
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    assert nlptk.predict(artifact, source, tmp_path / "out.jsonl").resumed == 0
    assert len(_read(tmp_path / "out.jsonl")) == len(TEXTS)
    assert "its first line does not say of which model and rows they are" in capsys.readouterr().err


def test_a_call_that_goes_on_takes_the_other_columns_of_the_source_as_they_are_now(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = _interrupted(artifact, tmp_path, monkeypatch)  # of rows that had no other column
    write_rows(source, [{"id": f"new {i}", "text": text} for i, text in enumerate(TEXTS)])
    assert nlptk.predict(artifact, source, target).resumed == 20
    assert [row["id"] for row in _read(target)] == [f"new {i}" for i in range(len(TEXTS))]
    assert target.read_bytes() == nlptk.predict(artifact, source, tmp_path / "whole.jsonl").target.read_bytes()


def test_a_second_process_on_one_target_is_refused(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": "order 1 came late"}])
    refusals = []
    stream = Pipeline.stream

    def watched(self: Pipeline, given: Any, **named: Any) -> Iterator[Any]:
        words = ("-m", "nlptk", "predict", artifact, source, tmp_path / "out.jsonl")
        refusals.append(python(*words, cwd=tmp_path, path=[ROOT]))
        yield from stream(self, given, **named)

    monkeypatch.setattr(Pipeline, "stream", watched)
    nlptk.predict(artifact, source, tmp_path / "out.jsonl")
    assert refusals[0].code == 2
    assert "another process is writing it; wait for it or give another target" in refusals[0].err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "text\nfine\n   \n", "in.csv, row 2: text is only white space"),
        ("in.jsonl", '{"text": "fine"}\n{"text": NaN}\n', r"in.jsonl, row 2: text is missing \(NaN\)"),
        ("in.jsonl", '{"text": "fine"}\n{"txt": "lost"}\n', "in.jsonl, row 2: text is missing"),
        ("in.jsonl", '{"text": "fine"}\n{"text": 7}\n', "in.jsonl, row 2: text is the number 7"),
    ],
)
def test_a_row_without_a_text_is_refused_by_its_number(
    artifact: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        nlptk.predict(artifact, tmp_path / name, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_other_rows_are_read_as_those_of_training_were(tmp_path: Path) -> None:
    """By the names of their columns, or the conventional ones, and with labels separated alike."""
    cells = [f"{row['text']},{row['label']}|any" for row in rows()]
    (tmp_path / "train.csv").write_text("\n".join(["body,tags", *cells]) + "\n")
    (tmp_path / "new.csv").write_text("\n".join(["Body,tags", *cells[:5]]) + "\n")
    (tmp_path / "usual.csv").write_text("\n".join(["text,labels", *cells[:5]]) + "\n")
    read = {"columns": {"text": "body", "label": "tags"}, "label_separator": "|"}
    data = {"train": str(tmp_path / "train.csv"), "validation": "none", "test": "none", **read}
    model = train_tiny(tmp_path, data=data, output=tmp_path / "run")
    for name in ("new.csv", "usual.csv"):
        found = nlptk.evaluate(model, tmp_path / name, bootstrap=0)
        assert found.rows == 5
        assert found.data.label_counts["rows"]["any"] == 5
        assert nlptk.predict(model, tmp_path / name, tmp_path / "out.jsonl").rows == 5


def test_rows_of_another_form_are_refused_by_their_file_with_the_cure(tmp_path: Path) -> None:
    pairs = [{"text": row["text"], "text_pair": "where is it?", "label": row["label"]} for row in rows()]
    data = {"train": str(write_rows(tmp_path / "pairs.jsonl", pairs)), "validation": "none", "test": "none"}
    pair_model = train_tiny(tmp_path, data=data, output=tmp_path / "run")
    source = write_rows(tmp_path / "in.jsonl", [{"text": "order 1 came late", "other": "where is it?"}])
    with pytest.raises(DataError, match=r"in.jsonl: has text; this model was trained on text, text_pair; of another"):
        nlptk.predict(pair_model, source, tmp_path / "out.jsonl")
    named = {"columns": {"text_pair": "other"}}
    assert nlptk.predict(pair_model, source, tmp_path / "out.jsonl", data=named).rows == 1
    write_rows(source, [pairs[0], {"text": "order 1 came late", "text_pair": None}])
    with pytest.raises(DataError, match=r"in.jsonl, row 2: text_pair is missing"):
        nlptk.predict(pair_model, source, tmp_path / "out.jsonl")


@pytest.mark.parametrize("where", ["partial", "target"])
def test_a_full_disk_is_one_message_and_what_was_predicted_is_kept(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    source = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    with monkeypatch.context() as context:
        if where == "partial":
            _break_after(20, context, full)  # as the write of the 20th line would
        else:
            replace = os.replace

            def fail(source: Path, place: Path) -> None:
                if Path(place).name == "out.jsonl":
                    raise full
                replace(source, place)

            context.setattr("nlptk.data.writing.os.replace", fail)
        called = cli("predict", artifact, source, tmp_path / "out.jsonl")
    assert called.code == 2
    assert "out.jsonl: the disk is full; free some space, or give another" in called.err
    assert not (tmp_path / "out.jsonl").exists()
    assert nlptk.predict(artifact, source, tmp_path / "out.jsonl").resumed == (20 if where == "partial" else 30)


def test_what_the_command_says_to_a_program(artifact: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": "order " * 500}, {"text": "order"}])
    called = cli("predict", artifact, source, tmp_path / "out.csv", "--json")
    state = {"target": str(tmp_path / "out.csv"), "rows": 2, "resumed": 0, "truncated": 1, "dropped": []}
    assert json.loads(called.out) == state
