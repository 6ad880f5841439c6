"""The examples run: every recipe is checked, and trained for two steps on the real checkpoint."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RECIPES = sorted(path for path in EXAMPLES.glob("*.yaml") if not path.name.startswith("pretrain_"))


def with_installed_samples(values: dict[str, object]) -> dict[str, object]:
    """The recipe's data paths, which begin at the root of the repository, as those of the installed samples."""
    from nlptk.samples import sample_path

    data = values["data"]
    assert isinstance(data, dict)

    def moved(value: object) -> object:
        inside = isinstance(value, str) and value.startswith("nlptk/samples/")
        return str(sample_path(str(value).rpartition("/")[2])) if inside else value

    return {**values, "data": {key: moved(value) for key, value in data.items()}}


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"train_classifier", "multilabel", "pairs", "lora"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid(path: Path) -> None:
    from nlptk.recipe import make_recipe, read_recipe

    assert make_recipe(with_installed_samples(read_recipe(path)), where=path.name).output == f"runs/{path.stem}"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nlptk.api") is None, reason="needs nlptk/api.py")
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_trains(path: Path, minilm: Path, tmp_path: Path) -> None:
    import nlptk
    from nlptk.recipe import read_recipe

    values = with_installed_samples(read_recipe(path))
    training = values["training"]
    assert isinstance(training, dict)
    values |= {
        "model": str(minilm),
        "output": str(tmp_path / "run"),
        "bootstrap": 20,
        "training": {**training, "num_train_epochs": 1, "max_steps": 2},
    }
    result = nlptk.train(values)
    assert result.figures["test"]
    assert Path(result.report).is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nlptk.api") is None, reason="needs nlptk/api.py")
def test_demo_trains_measures_reports_and_predicts(minilm: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--output", str(tmp_path / "run"), "--epochs", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "95 % intervals" in done.stdout
    assert (tmp_path / "run" / "report.html").is_file()
