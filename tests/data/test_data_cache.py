"""The cache: used when whole, made anew when damaged, shared by processes, plain about a full disk."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nlptk.data import cache, cache_dir, load_splits
from nlptk.errors import DataError
from nlptk.recipe import DataSettings
from nlptk.task import Column

Write = Callable[[str, str | bytes], Path]
ROWS = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(50))


def _texts(path: Path, columns: tuple[Column, ...]) -> list[str]:
    settings = DataSettings.model_validate({"train": str(path), "validation": "none"})
    train = load_splits(settings, columns, seed=0).train
    assert train is not None
    return list(train["text"])


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NLPTK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "nlptk"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "nlptk"


def test_a_second_load_reads_no_file_again(
    write: Write, columns: tuple[Column, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.csv", ROWS)
    first = _texts(path, columns)

    def refuse(*_: object) -> None:
        raise AssertionError("the source was opened again")

    monkeypatch.setattr("nlptk.data.rows.open_reader", refuse)
    assert _texts(path, columns) == first


def test_a_changed_file_is_read_again(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("a.csv", ROWS)
    _texts(path, columns)
    stamp = path.stat()
    path.write_text(ROWS.replace("text 7,", "TEXT 7,"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "TEXT 7" in _texts(path, columns)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "entry", "not an entry"])
def test_damage_in_the_cache_is_mended(write: Write, columns: tuple[Column, ...], own_cache: Path, damage: str) -> None:
    path = write("a.csv", ROWS)
    first = _texts(path, columns)
    pattern = "*.json" if "entry" in damage else "*.arrow"
    files = list((own_cache / "data").glob(pattern))
    assert files
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        if damage == "remove":
            file.unlink()
        else:
            file.write_bytes({"cut": bytes(content[:-9]), "not an entry": b"[]"}.get(damage, bytes(content)))
    assert _texts(path, columns) == first


def test_nothing_temporary_is_left_behind(write: Write, columns: tuple[Column, ...], own_cache: Path) -> None:
    _texts(write("a.csv", ROWS), columns)
    with pytest.raises(DataError):
        _texts(write("b.csv", ROWS + ",\n"), columns)
    assert not list(own_cache.rglob("*.tmp"))


def test_two_processes_may_fill_the_cache_at_once(write: Write, columns: tuple[Column, ...]) -> None:
    path = write("a.csv", ROWS)
    script = (
        "import sys; from nlptk.data import load_splits; from nlptk.recipe import DataSettings;"
        "from nlptk.task import Column;"
        "c = (Column('text', 'text', ('text',)), Column('label', 'label', ('label',), target=True));"
        "s = load_splits(DataSettings(train=sys.argv[1], validation='none'), c, seed=0);"
        "print(s.report.fingerprint)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [process.communicate(timeout=60)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    settings = DataSettings.model_validate({"train": str(path), "validation": "none"})
    assert printed == [load_splits(settings, columns, seed=0).report.fingerprint] * 2


def _fill_the_disk(folder: Path) -> None:
    with cache.disk_errors(folder), Path("/dev/full").open("w") as full:
        full.write("x")


def test_a_full_disk_is_said_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the disk is full; free some space, or set NLPTK_CACHE"):
        _fill_the_disk(tmp_path)


def test_arrows_own_error_of_a_full_disk_carries_the_code_that_is_looked_for() -> None:
    import pyarrow as pa

    with pytest.raises(OSError, match="space") as caught, pa.OSFile("/dev/full", "wb") as sink:
        sink.write(b"x" * 100_000)
    assert caught.value.errno == errno.ENOSPC


def test_a_cache_that_cannot_be_written_is_said_with_its_cure(
    write: Write, columns: tuple[Column, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLPTK_CACHE", str(write("a file", "")))
    with pytest.raises(DataError, match="cannot be written: Not a directory; set NLPTK_CACHE"):
        _texts(write("a.csv", ROWS), columns)


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, json, nlptk.data;"
        "print(json.dumps([m for m in ('torch', 'datasets', 'pyarrow', 'numpy', 'transformers') if m in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == []
