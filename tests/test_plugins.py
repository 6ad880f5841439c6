"""A task or a strategy is one file: registered by a distribution's entry point, or dropped into tasks/."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from nlptk import registry
from nlptk.errors import NlptkError
from nlptk.recipe import schema
from tests.doors import ROOT, Called, python, write_rows
from tests.tiny_models import write_checkpoint

TASK = '''
    """A number for a text: nothing but the contract."""
    import numpy as np
    from pydantic import Field
    from nlptk import task
    from nlptk.task import Column, Figure, Scores

    class Options(task.TaskOptions):
        scale: float = Field(1.0, gt=0, description="Targets are divided by it")

    class Rating(task.Task):
        name = "rating"
        summary = "a number for a text"
        pipeline_tag = "text-classification"
        Options = Options
        columns = (Column("text", "text", ("text",)), Column("stars", "number", ("stars",), target=True))
        lower_is_better = frozenset({"loss", "mae"})

        def primary(self):
            return "mae"

        def auto_class(self, config):
            return "AutoModelForSequenceClassification"

        def config_overrides(self):
            return {"num_labels": 1, "problem_type": "regression"}

        def featurize(self, rows, tokenizer, preprocessing):
            ids = tokenizer(rows["text"], truncation=True, max_length=preprocessing.max_length)["input_ids"]
            count = [len(row) for row in ids]
            found = {"input_ids": ids, "row": list(range(len(ids))), "length": count, "lost": [0] * len(ids)}
            if "stars" in rows:
                found["labels"] = [value / self.options.scale for value in rows["stars"]]
            return {**found, "tokens": count}

        def loss(self, outputs, labels):
            return ((outputs.logits[:, 0] - labels.float()) ** 2).sum()

        def outputs(self, outputs, batch):
            return list(outputs.logits[:, 0].float().cpu().numpy())

        def pool(self, outputs, features):
            return [float(value) * self.options.scale for value in outputs]

        def decode(self, pooled, rows, features):
            return [{"stars": value, "truncated": False} for value in pooled]

        def score(self, pooled, rows, *, bootstrap=0, sections=False, seed=0):
            return Scores({"mae": Figure(float(np.abs(np.asarray(pooled) - np.asarray(rows["stars"])).mean()))})
'''
STRATEGY = '''
    """Only the biases of the head."""
    from nlptk.strategies.contract import Group, Strategy

    class HeadBias(Strategy):
        name = "head_bias"
        summary = "one number trains"
        lr_kind = "head"

        def groups(self, model):
            for parameter in model.parameters():
                parameter.requires_grad = False
            chosen = [(name, p) for name, p in model.named_parameters() if name == "classifier.bias"]
            for _, parameter in chosen:
                parameter.requires_grad = True
            return [Group("bias of the head", tuple(chosen))]

        def merge(self, model):
            return model.requires_grad_(True)
'''


def install(folder: Path, name: str, files: dict[str, str], entry_points: str) -> Path:
    """A distribution as pip leaves it: a package and its .dist-info, in a folder to put on the path."""
    package = folder / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for file, content in files.items():
        (package / file).write_text(textwrap.dedent(content))
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    return folder


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(
        tmp_path_factory.mktemp("site"),
        "nlptk-stars",
        {"rating.py": TASK, "bias.py": STRATEGY},
        """
        [nlptk.tasks]
        rating = nlptk_stars.rating:Rating
        [nlptk.strategies]
        head_bias = nlptk_stars.bias:HeadBias
        """,
    )


def listed(called: Called) -> dict[str, dict[str, Any]]:
    assert called.code == 0, called.err
    return {row["name"]: row for row in json.loads(called.out)}


def nlptk(*words: str, cwd: Path, path: Path) -> Called:
    return python("-m", "nlptk", *words, cwd=cwd, path=[path, ROOT])


@pytest.mark.parametrize(("command", "name"), [("tasks", "rating"), ("strategies", "head_bias")])
def test_a_distribution_adds_to_the_listings_and_is_named_there(
    plugin: Path, tmp_path: Path, command: str, name: str
) -> None:
    found = listed(nlptk(command, "--json", cwd=tmp_path, path=plugin))
    assert found[name]["from"] == "nlptk-stars 1.2"
    assert found[name]["error"] is None
    assert {"tasks": "classification", "strategies": "lora"}[command] in found


@pytest.mark.slow
def test_a_run_uses_a_plugins_task_and_strategy_from_rows_to_predictions(plugin: Path, tmp_path: Path) -> None:
    write_checkpoint("bert", tmp_path / "bert")
    rows = [{"text": f"order {i} came {'late' if i % 2 else 'quick'}", "stars": 1 if i % 2 else 5} for i in range(20)]
    write_rows(tmp_path / "rows.jsonl", rows)
    words = ["task=rating", "task.scale=5", "strategy=head_bias", "model=bert", "data=rows.jsonl", "output=run"]
    called = nlptk("train", *words, "bootstrap=0", "--json", cwd=tmp_path, path=plugin)
    assert called.code == 0, called.err
    result = json.loads(called.out[called.out.index("{") :])
    assert result["parameters"]["trainable"] == 1
    assert result["figures"]["test"]["mae"]["value"] >= 0
    assert json.loads((tmp_path / "run/model/nlptk.json").read_text())["task"]["options"] == {"scale": 5.0}

    called = nlptk("predict", "run", "rows.jsonl", "out.jsonl", cwd=tmp_path, path=plugin)
    assert called.code == 0, called.err
    predicted = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in predicted] == [row["text"] for row in rows]
    assert all(isinstance(row["stars"], float) for row in predicted)


FAULTS = {
    "missing library": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "syntax": ("def (", "SyntaxError"),
    "name": ("class Rating(Task): pass", "NameError: name 'Task' is not defined"),
    "no such class": ("", "AttributeError"),
    "no task": ("class Rating: name = 'rating'", "not a subclass of Task"),
    "other name": ("from nlptk.task import Task\nclass Rating(Task): name = 'other'", "has the name 'other'"),
    "half a task": ("from nlptk.task import Task\nclass Rating(Task): name = 'rating'", "lacks .*summary.*auto_class"),
}


@pytest.mark.parametrize(("content", "cause"), FAULTS.values(), ids=FAULTS)
def test_a_broken_plugin_is_listed_with_its_cause_and_refused_with_it_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, cause: str
) -> None:
    name = f"nlptk-broken-{abs(hash(content))}"
    points = f"[nlptk.tasks]\nrating = {name.replace('-', '_')}.rating:Rating\n"
    monkeypatch.syspath_prepend(install(tmp_path, name, {"rating.py": content}, points))
    registry.tasks.cache_clear()
    try:
        with pytest.raises(NlptkError, match=f"plugin 'rating' of {name} 1.2: .*{cause}"):
            registry.get_task("rating")
        assert registry.get_task("classification").name == "classification"
    finally:
        monkeypatch.undo()
        registry.tasks.cache_clear()


def test_the_listing_shows_a_broken_plugin_and_goes_on(tmp_path: Path) -> None:
    site = install(
        tmp_path / "site",
        "nlptk-rusty",
        {"rating.py": "import no_such_library"},
        "[nlptk.tasks]\nrating = nlptk_rusty.rating:Rating\n",
    )
    called = nlptk("tasks", cwd=tmp_path, path=site)
    assert called.code == 0, called.err
    said = " ".join(called.out.split())
    assert "BROKEN: plugin 'rating' of nlptk-rusty 1.2: cannot import nlptk_rusty.rating:Rating" in said
    assert "classification" in said
    schema_of = nlptk("recipe", "schema", cwd=tmp_path, path=site)
    assert json.loads(schema_of.out)["title"] == "Recipe"


@pytest.mark.parametrize("other", ["nlptk-stars-too", "nlptk itself"])
def test_two_plugins_of_one_name_are_both_named(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    point = "rating" if other != "nlptk itself" else "classification"
    site = install(tmp_path, "nlptk-stars-too", {}, f"[nlptk.tasks]\n{point} = nlptk_stars.rating:Rating\n")
    monkeypatch.syspath_prepend(plugin)
    monkeypatch.syspath_prepend(site)
    registry.tasks.cache_clear()
    try:
        first = "nlptk_tasks.classification" if point == "classification" else "nlptk-stars 1.2"
        with pytest.raises(NlptkError, match="the name is taken twice") as refusal:
            registry.get_task(point)
        assert first in str(refusal.value)
        assert "nlptk-stars-too 1.2" in str(refusal.value)
        assert "uninstall one of the two" in str(refusal.value)
    finally:
        monkeypatch.undo()
        registry.tasks.cache_clear()


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of tasks to drop files into, in the place of the real one."""
    package = import_module("nlptk_tasks")
    folder = Path(shutil.copytree(package.__path__[0], tmp_path / "tasks"))
    monkeypatch.setattr(package, "__path__", [str(folder)])
    registry.tasks.cache_clear()
    yield folder
    monkeypatch.undo()
    registry.tasks.cache_clear()


def test_a_file_dropped_into_tasks_is_found_by_its_name_with_its_options_in_the_schema(dropped: Path) -> None:
    (dropped / "rating_dropped.py").write_text(textwrap.dedent(TASK).replace('"rating"', '"rating_dropped"'))
    assert registry.get_task("rating_dropped").summary == "a number for a text"
    choices = schema()["properties"]["task"]["anyOf"]
    assert "rating_dropped" in choices[0]["enum"]
    options = next(choice for choice in choices if choice.get("title") == "task rating_dropped")
    assert options["properties"]["scale"]["description"] == "Targets are divided by it"


def test_a_file_in_tasks_with_a_mistake_breaks_no_other_task(dropped: Path) -> None:
    (dropped / "unfinished.py").write_text("def (")
    assert registry.get_task("classification").name == "classification"
    with pytest.raises(NlptkError, match=r"nlptk_tasks.unfinished: cannot be imported: SyntaxError.*mend the file"):
        registry.get_task("unfinished")
