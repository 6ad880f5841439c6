"""The wheel holds everything that the sources have, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("nlptk", "tasks", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.skipif(not (ROOT / "nlptk").is_dir(), reason="needs the sources, which are not here")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in the wheel, built from a copy of the sources so that no build/ is left among them."""
    copy, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    # without isolation: the environment's own setuptools, no network
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def sources() -> set[str]:
    """Every file of the packages, by its name in the wheel."""
    files = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in (("nlptk", "nlptk"), ("tasks", "nlptk_tasks"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "nlptk_tasks/classification.py" in files
    return files


def test_wheel_holds_every_file_of_nlptk_and_of_tasks_and_no_other(wheel: list[str]) -> None:
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert sorted(sources() ^ packed) == []


def test_wheel_holds_type_markers_and_samples(wheel: list[str]) -> None:
    assert {
        "nlptk/py.typed",
        "nlptk_tasks/py.typed",
        "nlptk/samples/messages_train.jsonl",
        "nlptk/samples/reviews.csv",
    } <= set(wheel)


def test_wheel_carries_the_licence_and_the_command(wheel: list[str]) -> None:
    inner = {name.split(".dist-info/")[1] for name in wheel if ".dist-info/" in name}
    assert {"licenses/LICENSE", "entry_points.txt", "METADATA"} <= inner


def test_constraints_pin_every_requirement_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"  # no local suffix: an index decides which build it serves
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    pinned = {name.lower().replace("_", "-") for name in pins}
    assert [line for line in wanted if name_of(line) not in pinned] == []


def name_of(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0].split("[")[0].strip().lower().replace("_", "-")
