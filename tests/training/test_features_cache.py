"""Tokenized rows on disk: found again, never by another tokenizer, and made anew when damaged."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from nlptk import registry
from nlptk.checkpoints import load_tokenizer
from nlptk.data import cache_dir, fingerprint, read_rows
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Features, LabelSpace, Preprocessing
from nlptk.training.features import make_features, tokenizer_fingerprint
from tests.tiny_models import write_checkpoint
from tests.training.runs import write_rows

TASK = registry.get_task("classification")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLPTK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def featurized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every batch that was tokenized."""
    counts: list[int] = []
    original = TASK.featurize

    def counting(self: object, rows: dict[str, list[str]], *args: object) -> object:
        counts.append(len(rows["text"]))
        return original(self, rows, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(TASK, "featurize", counting)
    return counts


def _features(checkpoint: Path, rows: Path, preprocessing: Preprocessing | None = None) -> Features:
    task = TASK(TASK.Options(), labels=LabelSpace(("bad", "good")))
    found = read_rows(str(rows), TASK.columns, settings=DataSettings(), labels=task.labels, targets=True).rows
    return make_features(
        task,
        found,
        load_tokenizer(str(checkpoint)),
        preprocessing or Preprocessing(64),
        rows_fingerprint=fingerprint(found),
    )


def _ids(features: Features) -> list[list[int]]:
    ids: list[list[int]] = features.dataset["input_ids"][:]
    return ids


def test_the_same_rows_are_tokenized_once(tiny: dict[str, Path], rows: Path, featurized: list[int]) -> None:
    first, second = _features(tiny["bert"], rows), _features(tiny["bert"], rows)
    assert featurized == [22]
    assert _ids(first) == _ids(second)
    assert first.ledger == second.ledger


def test_other_rows_or_settings_are_tokenized_anew(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, featurized: list[int]
) -> None:
    _features(tiny["bert"], rows)
    _features(tiny["bert"], write_rows(tmp_path / "more.jsonl", 23))
    _features(tiny["bert"], rows, Preprocessing(63))
    _features(tiny["bert"], rows, Preprocessing(64, "window"))
    assert featurized == [22, 23, 22, 22]


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_one_changed_entry_of_the_tokenizer_changes_its_fingerprint(family: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(family, tmp_path / family)
    before = tokenizer_fingerprint(load_tokenizer(str(checkpoint)))
    file = checkpoint / "tokenizer.json"
    state = json.loads(file.read_text())
    model = state["model"]
    if family == "gpt2":
        model["merges"][-1], model["merges"][-2] = model["merges"][-2], model["merges"][-1]
    elif family == "t5":
        model["vocab"][-1][1] -= 0.5
    else:
        one, two = list(model["vocab"])[-2:]
        model["vocab"][one], model["vocab"][two] = model["vocab"][two], model["vocab"][one]
    file.write_text(json.dumps(state))
    assert tokenizer_fingerprint(load_tokenizer(str(checkpoint))) != before


def test_a_call_of_the_tokenizer_does_not_change_its_fingerprint(tiny: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(str(tiny["bert"]))
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["late", "refund my order"], truncation=True, max_length=3, padding=True)
    assert tokenizer_fingerprint(tokenizer) == before


@pytest.mark.parametrize("damage", ["emptied", "cut short", "one bit"])
def test_damaged_features_are_made_anew(tiny: dict[str, Path], rows: Path, featurized: list[int], damage: str) -> None:
    first = _ids(_features(tiny["bert"], rows))
    (file,) = (cache_dir() / "data").glob("*-features-*")
    data = bytearray(file.read_bytes())
    if damage == "one bit":
        data[len(data) // 2] ^= 1
    kept = {"emptied": 0, "cut short": len(data) // 2, "one bit": len(data)}[damage]
    file.write_bytes(data[:kept])
    assert _ids(_features(tiny["bert"], rows)) == first
    assert featurized == [22, 22]


def test_a_full_disk_is_one_clear_message(tiny: dict[str, Path], rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.arrow_writer import ArrowWriter

    def full(self: object, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    found = _features(tiny["bert"], rows)
    assert len(found.dataset) == 22
    monkeypatch.setattr(ArrowWriter, "write_batch", full)
    monkeypatch.setattr(ArrowWriter, "write_table", full)
    with pytest.raises(DataError, match=r"the disk is full.*NLPTK_CACHE"):
        _features(tiny["bert"], rows, Preprocessing(32))


def test_models_that_share_all_but_their_end_share_no_features(tiny: dict[str, Path], tmp_path: Path) -> None:
    """Base and chat models may have one tokenizer.json and different ends."""
    one, other = (load_tokenizer(str(tiny["gpt2"])) for _ in range(2))
    other.add_special_tokens({"eos_token": other.convert_ids_to_tokens(5)})
    other.save_pretrained(tmp_path / "other")
    other.backend_tokenizer.from_str(one.backend_tokenizer.to_str())
    assert tokenizer_fingerprint(one) != tokenizer_fingerprint(other)
