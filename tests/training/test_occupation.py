"""One run an output folder, and what a run that cannot write says and leaves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from nlptk.errors import ArtifactError, DataError, RecipeError
from nlptk.training import checkpointing, safe_trainer
from nlptk.training.occupation import LOCK, sole_run
from tests.training.runs import train

HOLD = """
import sys, time
from pathlib import Path
from nlptk.training.occupation import sole_run
with sole_run(Path(sys.argv[1]), where="recipe"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds tmp_path / run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_into_the_folder_is_refused_and_a_killed_one_holds_nothing(
    tiny: dict[str, Path], rows: Path, tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    try:
        with pytest.raises(RecipeError, match="another run is writing into"):
            train(tiny["bert"], rows, tmp_path / "run")
    finally:
        holder.kill()
        holder.communicate()
    train(tiny["bert"], rows, tmp_path / "run", training={"max_steps": 1})
    assert (tmp_path / "run" / "model").is_dir()


def test_a_lock_file_left_behind_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("")
    for _ in range(2):
        with sole_run(tmp_path, where="recipe"):
            pass


def test_the_other_processes_of_a_run_take_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sole_run(tmp_path, where="recipe"):
        monkeypatch.setenv("RANK", "1")
        with sole_run(tmp_path, where="recipe"):
            pass


def test_what_a_killed_run_left_half_written_is_removed(tiny: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    half = tmp_path / "run" / ".checkpoint-2.partial"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    train(tiny["bert"], rows, tmp_path / "run", training={"max_steps": 1})
    assert not half.exists()


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")],
    ids=["system", "safetensors"],
)
@pytest.mark.parametrize("place", ["save_state", "seal"])
def test_a_full_disk_while_checkpointing_is_one_message_and_earlier_checkpoints_stay(
    tiny: dict[str, Path],
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    place: str,
) -> None:
    original = getattr(checkpointing, place)

    def full(*args: object) -> None:
        if "checkpoint-4" in str(args[0]):
            raise failure
        original(*args)

    monkeypatch.setattr(safe_trainer, place, full)
    training = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 5}
    with pytest.raises(ArtifactError, match=r"could not be written.*No space left.*resume_from_checkpoint"):
        train(tiny["bert"], rows, tmp_path / "run", training=training)
    assert sorted(path.name for path in (tmp_path / "run").glob("*checkpoint*")) == ["checkpoint-2"]
    monkeypatch.undo()
    train(tiny["bert"], rows, tmp_path / "run", training={**training, "resume_from_checkpoint": True})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RecipeError, match="cannot be written"), sole_run(tmp_path / "run", where="recipe"):
        pass


def test_a_finished_run_leaves_no_lock_and_nothing_half_written(
    tiny: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    train(tiny["bert"], rows, tmp_path / "run", training={"max_steps": 1})
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["all_results.json", "checkpoint-1", "model", "report.html", "report.json", "trainer_state.json"]


def test_a_run_that_fails_before_it_wrote_anything_leaves_no_folder(tiny: dict[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "rows.jsonl"
    empty.write_text("")
    (tmp_path / "mine").mkdir()
    for output in (tmp_path / "runs" / "one", tmp_path / "mine" / "one", tmp_path / "mine"):
        with pytest.raises(DataError):
            train(tiny["bert"], empty, output)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "rows.jsonl"]


def test_what_a_failed_run_has_written_stays(tmp_path: Path) -> None:
    def interrupted() -> None:
        with sole_run(tmp_path / "run", where="recipe"):
            (tmp_path / "run" / "checkpoint-1").mkdir()
            (tmp_path / "run" / "checkpoint-1" / "model.safetensors").write_bytes(b"weights")
            (tmp_path / "run" / "empty").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "checkpoint-1", "model.safetensors"]


def test_a_refused_second_run_takes_nothing_from_the_first(tmp_path: Path) -> None:
    with sole_run(tmp_path / "run", where="recipe"):
        with pytest.raises(RecipeError, match="another run"), sole_run(tmp_path / "run", where="recipe"):
            pass
        assert (tmp_path / "run" / LOCK).exists()
