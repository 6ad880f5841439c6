"""Predictions stand beside all columns of their source, whatever formats go in and out; pandas and pyarrow say so."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # ships no types; its stubs lag behind it
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

import nlptk
from nlptk.data import fingerprint, load_splits
from nlptk.recipe import DataSettings
from nlptk.task import Column
from tests.doors import cli, rows, train_tiny, write_rows

COUNT = 12
GIVEN = [
    {"id": f"a-{i:03}", "text": row["text"], "label": "gold", "note": "" if i % 3 else 'with "quotes", and\nlines'}
    for i, row in enumerate(rows(COUNT))
]
"""Texts that every format holds; `label` is a key of the prediction, too."""
KEPT = ["id", "text", "input_label", "note"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("trained"))


def _frame(path: Path) -> pd.DataFrame:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return pd.read_parquet(path)
    if kind in ("json", "jsonl"):
        return pd.read_json(path, lines=kind == "jsonl", dtype=False)
    return pd.read_csv(path, sep="," if kind == "csv" else "\t", keep_default_na=False)


def _source(folder: Path, kind: str) -> str:
    frame, path = pd.DataFrame(GIVEN), folder / f"in.{kind}"
    match kind:
        case "csv" | "tsv" | "csv.gz":
            frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
        case "json" | "jsonl":
            frame.to_json(path, orient="records", lines=kind == "jsonl")
        case "parquet":
            frame.to_parquet(path)
        case "glob":
            frame[:5].to_csv(folder / "part-1.csv", index=False)
            frame[5:].to_csv(folder / "part-2.csv", index=False)
            return str(folder / "part-*.csv")
        case "disk":
            Dataset.from_list(GIVEN).save_to_disk(str(path))
    return str(path)


@pytest.mark.parametrize("target", ["csv", "tsv", "json", "jsonl", "parquet", "csv.gz"])
@pytest.mark.parametrize("source", ["csv", "tsv", "json", "jsonl", "parquet", "csv.gz", "glob", "disk"])
def test_every_column_of_the_source_is_in_the_target_in_order(
    artifact: Path, tmp_path: Path, source: str, target: str
) -> None:
    found = _frame(nlptk.predict(artifact, _source(tmp_path, source), tmp_path / f"out.{target}").target)
    scores = ["scores.bad", "scores.good"] if target[0] in "ct" else ["scores"]
    assert list(found.columns) == ["row", *KEPT, "label", "score", *scores, "truncated"]
    kept = found[KEPT].rename(columns={"input_label": "label"})
    assert kept.to_dict("records") == GIVEN
    assert set(found["label"]) <= {"good", "bad"}
    within = [*range(1, 6), *range(1, COUNT - 4)] if source == "glob" else list(range(1, COUNT + 1))
    assert found["row"].tolist() == within


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_delimited_target_has_a_column_for_the_score_of_each_label(artifact: Path, tmp_path: Path, kind: str) -> None:
    found = _frame(nlptk.predict(artifact, _source(tmp_path, "jsonl"), tmp_path / f"out.{kind}").target)
    expected = nlptk.pipeline(artifact)([row["text"] for row in GIVEN])
    for label in ("bad", "good"):
        wanted = [row["scores"][label] for row in expected]
        assert found[f"scores.{label}"].tolist() == pytest.approx(wanted)


def test_no_input_is_lost_where_its_name_and_its_new_name_are_taken(artifact: Path, tmp_path: Path) -> None:
    given = {"row": 7, "input_label": "first", "label": "second", "score": None, "scores.bad": 1, "text": "order came"}
    source = write_rows(tmp_path / "in.jsonl", [given])
    nested = json.loads(nlptk.predict(artifact, source, tmp_path / "out.jsonl").target.read_text())
    moved = {"input_row": 7, "input_label": "first", "input_input_label": "second", "input_score": None}
    assert {name: nested[name] for name in moved} == moved
    assert nested["scores.bad"] == 1
    with nlptk.predict(artifact, source, tmp_path / "out.csv").target.open(newline="") as stream:
        (flat,) = csv.DictReader(stream)
    assert flat["input_scores.bad"] == "1"
    assert float(flat["scores.bad"]) == pytest.approx(nested["scores"]["bad"])


def test_json_values_pass_as_they_are(artifact: Path, tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"text": "order one", "id": 2**70, "meta": {}, "tags": ["a", 1, None]},
        {"text": "order two", "id": "x", "meta": {"b": {"c": 1.5}}, "half": "\ud83d"},
        {"id": None, "text": "order three"},
    ]
    odd += [{"text": f"order {i}"} for i in range(1000)] + [{"text": "last", "late": True}]
    source = write_rows(tmp_path / "in.jsonl", odd)
    keys = ("row", "label", "score", "scores", "truncated")
    for kind in ("jsonl", "json"):
        text = nlptk.predict(artifact, source, tmp_path / f"out.{kind}").target.read_text()
        found = json.loads(text) if kind == "json" else [json.loads(line) for line in text.splitlines()]
        assert [{key: value for key, value in row.items() if key not in keys} for row in found] == odd
        assert list(found[2])[:3] == ["row", "id", "text"]


def test_nested_and_mixed_json_values_are_json_text_in_csv_and_mixed_ones_in_parquet(
    artifact: Path, tmp_path: Path
) -> None:
    values: dict[str, list[Any]] = {
        "mixed": [1, "a", [2]],
        "nested": [{"a": 1}, {"a": 2}, {"a": 3}],
        "empty": [{}, {}, {}],
        "nothing": [None, None, None],
        "number": [1, 2.5, None],
        "large": [2**70, 1, 2],
    }
    given = [{"text": f"order {i}", **{name: column[i] for name, column in values.items()}} for i in range(3)]
    source = write_rows(tmp_path / "in.jsonl", given)
    table = pq.read_table(nlptk.predict(artifact, source, tmp_path / "out.parquet").target)
    for name in ("mixed", "empty", "large"):
        assert [json.loads(text) for text in table[name].to_pylist()] == values[name]
    for name in ("nested", "nothing", "number"):
        assert table[name].to_pylist() == values[name]
    with nlptk.predict(artifact, source, tmp_path / "out.csv").target.open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    for name in ("nested", "empty", "large"):
        assert [json.loads(row[name]) for row in cells] == values[name]
    assert [row["mixed"] for row in cells] == ["1", "a", "[2]"]
    assert [row["nothing"] for row in cells] == ["", "", ""]


def test_a_number_that_the_type_of_later_rows_does_not_hold_is_kept_to_the_digit(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlptk.data.formats.BATCH_ROWS", 2)
    given = [2**53 + 1, 1, 1.5, 2.5, None, None]
    source = write_rows(tmp_path / "in.jsonl", [{"text": f"order {i}", "n": n} for i, n in enumerate(given)])
    table = pq.read_table(nlptk.predict(artifact, source, tmp_path / "out.parquet").target)
    assert [None if text is None else json.loads(text) for text in table["n"].to_pylist()] == given


def test_parquet_to_parquet_keeps_types_and_to_text_says_them_in_text(artifact: Path, tmp_path: Path) -> None:
    zone = datetime.UTC
    columns: dict[str, pa.Array] = {
        "when": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone), None], pa.timestamp("us", tz="UTC")),
        "day": pa.array([datetime.date(2026, 1, 2), None], pa.date32()),
        "price": pa.array([Decimal("1.10"), None], pa.decimal128(9, 2)),
        "raw": pa.array([b"\x00\xff", None], pa.binary()),
        "small": pa.array([1, None], pa.int8()),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "nested": pa.array([{"at": datetime.date(2026, 1, 2)}, None], pa.struct([("at", pa.date32())])),
    }
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["order one", "order two"], **columns}), source)
    table = pq.read_table(nlptk.predict(artifact, source, tmp_path / "out.parquet").target)
    for name, column in columns.items():
        assert table[name].to_pylist() == column.to_pylist()
        if name != "kind":
            assert table.schema.field(name).type == column.type
    line = nlptk.predict(artifact, source, tmp_path / "out.jsonl").target.read_text().splitlines()[0]
    said = {"when": "2026-01-02T03:04:05+00:00", "day": "2026-01-02", "price": "1.10", "raw": "AP8=", "small": 1}
    found = json.loads(line)
    assert {name: found[name] for name in said} == said
    assert found["nested"] == {"at": "2026-01-02"}


def test_files_of_a_glob_with_different_columns_have_the_columns_of_all(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("text,a\norder one,1\n")
    (tmp_path / "2.csv").write_text("b,text\n2,order two\n")
    for kind in ("csv", "parquet"):
        found = _frame(nlptk.predict(artifact, tmp_path / "[12].csv", tmp_path / f"out.{kind}").target).fillna("")
        assert list(found.columns[:4]) == ["row", "text", "a", "b"]
        assert [[str(cell) for cell in row] for row in found[["text", "a", "b"]].to_numpy()] == [
            ["order one", "1", ""],
            ["order two", "", "2"],
        ]


def test_nameless_columns_are_all_kept(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(",text,,\n0,order one,x,y\n")
    with nlptk.predict(artifact, tmp_path / "in.csv", tmp_path / "out.csv").target.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert list(row.items())[1:5] == [("column 1", "0"), ("text", "order one"), ("column 3", "x"), ("column 4", "y")]


def test_dropped_and_limited_rows_take_their_columns_with_them(artifact: Path, tmp_path: Path) -> None:
    given = [{"id": i, "text": " " if i in (0, 3) else f"order {i}"} for i in range(8)]
    source = write_rows(tmp_path / "in.jsonl", given)
    target = tmp_path / "out.jsonl"
    nlptk.predict(artifact, source, target, data={"bad_rows": "drop", "max_rows": 4})
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(row["row"], row["id"], row["text"]) for row in found] == [(i + 1, i, f"order {i}") for i in (1, 2, 4, 5)]


def test_a_mapped_column_keeps_its_own_name(artifact: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"body": "order came", "text": "another column"}])
    called = cli("predict", artifact, source, tmp_path / "out.jsonl", "columns.text=body")
    assert called.code == 0, called.err
    found = json.loads((tmp_path / "out.jsonl").read_text())
    assert (found["body"], found["text"]) == ("order came", "another column")
    expected = nlptk.pipeline(artifact)("order came")
    assert found["score"] == pytest.approx(expected["score"])


def test_training_carries_no_other_column_along(tmp_path: Path) -> None:
    columns = (Column("text", "text", ("text",)), Column("label", "label", ("label",), target=True))
    found = []
    for name, extra in (("plain", {}), ("more", {"id": 1, "note": "n"})):
        path = write_rows(tmp_path / f"{name}.jsonl", [{**row, **extra} for row in rows()])
        settings = DataSettings.model_validate({"train": str(path), "validation": "none", "test": "none"})
        train = load_splits(settings, columns, seed=0).train
        assert train is not None
        assert train.column_names == ["text", "label", "source_file", "source_row"]
        found.append(fingerprint(train))
    assert found[0] == found[1]


def test_a_compressed_json_target_has_the_columns_too(artifact: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"id": 5, "text": "order came"}])
    target = nlptk.predict(artifact, source, tmp_path / "out.jsonl.gz").target
    assert json.loads(gzip.decompress(target.read_bytes()))["id"] == 5
