"""Methods on the same episodes: accuracy with intervals, paired differences, and a plot of accuracy against shots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from nlptk.environment import Watch
from nlptk.errors import RecipeError, UnsupportedError
from nlptk.fewshot.adapting import teach
from nlptk.fewshot.contract import Learner, Method
from nlptk.fewshot.data import split_rows, with_class_names, without_repeats
from nlptk.fewshot.episodes import Episode, Protocol
from nlptk.fewshot.evaluation import adapted_accuracies, frozen_accuracies, mean_interval, paired_differences
from nlptk.fewshot.methods import make_method
from nlptk.fewshot.rows import LabelledRows, frozen_vectors
from nlptk.fewshot.run import BATCH, empty_material, lesson_arguments, settled, taught_by
from nlptk.recipe import Recipe, to_yaml
from nlptk.report import sections, write_report
from nlptk.report.document import replace_text
from nlptk.task import Figure, Section
from nlptk.training.occupation import sole_run
from nlptk.training.preparation import load_data, prepare
from nlptk.training.reporting import context


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    accuracies: method -> shots -> (episodes,); the same episodes for all methods. baseline: the first method's name.
    report: report.html, beside results.json; episodes: shots -> the file in which the episode list was saved.
    """

    accuracies: dict[str, dict[int, np.ndarray]]
    baseline: str
    report: Path
    episodes: dict[int, Path]

    @property
    def figures(self) -> dict[str, dict[int, Figure]]:
        """method -> shots -> mean accuracy with its 95 % interval."""
        return {m: {k: mean_interval(values) for k, values in by.items()} for m, by in self.accuracies.items()}

    def differences(self, shots: int) -> dict[str, Figure]:
        """Method -> mean difference to the baseline on the same episodes, with its 95 % interval."""
        return paired_differences({name: by[shots] for name, by in self.accuracies.items()}, self.baseline)

    def lines(self) -> list[str]:
        """What the command line says."""
        said = ["accuracy (mean and 95 % interval over episodes)"]
        for name, by in self.figures.items():
            for k, figure in by.items():
                paired = self.differences(k).get(name)
                more = f"   {_shown(paired)} to {self.baseline}" if paired is not None else ""
                said.append(f"  {name:<14} {k:>3} shots   {_shown(figure)}{more}")
        return [*said, f"report  {self.report}"]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        figures = {m: {str(k): f.to_json() for k, f in by.items()} for m, by in self.figures.items()}
        shots = list(next(iter(self.accuracies.values())))
        paired = {str(k): {name: f.to_json() for name, f in self.differences(k).items()} for k in shots}
        paths = {str(k): str(path) for k, path in self.episodes.items()}
        return {
            "accuracy": figures,
            "differences": {"to": self.baseline, "by_shots": paired},
            "episodes": paths,
            "report": str(self.report),
        }


def compare(
    recipes: Mapping[str, Recipe],
    *,
    protocol: Protocol,
    shots: Sequence[int],
    output: Path,
    replay: Mapping[int, Path] | None = None,
    where: str = "recipe",
) -> Comparison:
    """Every recipe's method on the same episodes of the rows of `data.train`.

    recipes: name -> recipe; they differ in `task` alone. protocol: its shots are replaced by each of `shots`. replay:
    shots -> a saved list of episodes to use instead of drawing them.

    Raises: NlptkError: rows that the protocol cannot be drawn from, classes that were meta-trained on, ...
    """
    watch = Watch()
    with sole_run(output, where=where):
        found: dict[str, dict[int, np.ndarray]] = {}
        lists: dict[int, list[Episode]] = {}
        for name, recipe in recipes.items():
            job = _Job.prepare(settled(_for_episodes(recipe, output / name), where), where)
            if not lists:
                lists = {k: _episodes(job.rows, replace(protocol, shots=k), (replay or {}).get(k)) for k in shots}
            found[name] = job.accuracies(lists)
            watch.lap(name)
        saved = {k: output / f"episodes-{protocol.ways}-way-{k}-shot.json" for k in lists}
        result = Comparison(found, next(iter(found)), output / "report.html", saved)
        if PartialState().is_main_process:
            for k, episodes in lists.items():
                job.rows.pool.save(episodes, saved[k])
            text = json.dumps(result.to_json(), indent=2)
            replace_text(output / "results.json", text + "\n")
            _report(result, recipes, protocol, watch)
    return result


def _for_episodes(recipe: Recipe, output: Path) -> Recipe:
    """All rows to draw from, and a folder of its own for what is meta-trained."""
    alone = {"validation": "none", "test": "none"}
    keep = {"output": str(output), "data": recipe.data.model_copy(update=alone)}
    return recipe.model_copy(update=keep)


def _episodes(rows: LabelledRows, protocol: Protocol, replay: Path | None) -> list[Episode]:
    return rows.pool.draw_all(protocol) if replay is None else rows.pool.load(replay)


@dataclass(frozen=True)
class _Job:
    """One method with its model, meta-trained where its recipe says so, and the rows to draw from."""

    recipe: Recipe
    method: Method
    learner: Learner
    learned: Mapping[str, np.ndarray]
    rows: LabelledRows
    args: Any
    adapts: bool
    frozen: bool

    @classmethod
    def prepare(cls, recipe: Recipe, where: str) -> _Job:
        prepared = prepare(recipe, load_data(recipe))
        task: Any = prepared.task
        method = make_method(task.settings.method)
        learner = Learner(task, prepared.tokenizer, prepared.model, prepared.trained, prepared.groups)
        rows = split_rows(prepared, "train")
        if recipe.data.duplicates == "drop":
            rows = rows_without_repeats(rows)
        rows = with_class_names(rows, prepared.preprocessing)
        learned: Mapping[str, np.ndarray] = {}
        frozen = False
        adapts = method.trains == "support" or method.settles(learner)
        if method.trains != "support":
            taught = taught_by(recipe, prepared, method, where, apart_from=rows, whole=not adapts)
            learned, frozen = taught.learned, taught.frozen
            if not adapts:
                learner = replace(learner, model=taught.model, trained=taught.model)
        elif prepared.strategy.scheduled():
            raise UnsupportedError(
                f"strategy {prepared.strategy.name}: what trains changes on the way, which episodes of a few steps do "
                "not have; use full or lora"
            )
        args = lesson_arguments(recipe, prepared, None, where, validated=False)
        return cls(recipe, method, learner, learned, rows, args, adapts, frozen)

    def accuracies(self, lists: Mapping[int, list[Episode]]) -> dict[int, np.ndarray]:
        """shots -> (episodes,)."""
        material = empty_material(self.learner, learned=self.learned, seed=self.recipe.seed)
        if not self.adapts:
            encoder = self.learner.model
            if self.frozen:
                vectors = frozen_vectors(self.rows, encoder, batch_size=64)
            else:
                vectors = self.rows.vectors(encoder, batch_size=64, show=True)
            return {
                k: frozen_accuracies(self.method, vectors, self.rows, e, material=material) for k, e in lists.items()
            }
        return {
            k: adapted_accuracies(
                self.method,
                self.learner,
                self.rows,
                episodes,
                adapt=self._adapt,
                material=material,
                hidden=bool(self.args.disable_tqdm),
            )
            for k, episodes in lists.items()
        }

    def _adapt(self, support: LabelledRows) -> None:
        if self.method.trains != "support":
            return self.method.settle(self.learner, support, self.learned)
        size = int(self.recipe.training.get("per_device_train_batch_size", BATCH))
        lesson = self.method.support_lesson(self.learner, support, batch_size=size, seed=self.recipe.seed)
        if lesson is not None:
            teach(lesson, self.args, self.recipe.optimizer)
        return None


def rows_without_repeats(rows: LabelledRows) -> LabelledRows:
    """The first of every row whose text is the same."""
    numbered = rows.rows.add_column("_place", np.arange(len(rows.rows)))
    kept = without_repeats(numbered)["_place"][:]
    return rows.subset(kept, rows.labels[kept], rows.names)


def named_recipes(recipe: Recipe, methods: Sequence[str]) -> dict[str, Recipe]:
    """The recipe once for every method, each with its own defaults, and with `task.meta` where the method has a use for
    it. Raises: RecipeError for a method that needs it where the recipe has none."""
    from nlptk import registry

    options: Any = registry.get_task(recipe.task["name"]).Options
    found = {}
    for name in dict.fromkeys(methods):
        method = {"name": name} if name != recipe.task["method"]["name"] else recipe.task["method"]
        task = {**{k: v for k, v in recipe.task.items() if k != "name"}, "method": method}
        if make_method(options.model_validate({**task, "meta": None}).method).trains != "meta":
            task["meta"] = None
        checked = options.model_validate(task).model_dump(mode="json")
        found[name] = recipe.model_copy(update={"task": {"name": recipe.task["name"], **checked}})
    if not found:
        raise RecipeError("methods: none given; name at least one")
    return found


def _report(result: Comparison, recipes: Mapping[str, Recipe], protocol: Protocol, watch: Watch) -> None:
    figures = result.figures
    shots = list(next(iter(result.accuracies.values())))
    rows: list[list[Any]] = []
    for name, by in figures.items():
        for k, figure in by.items():
            paired = result.differences(k).get(name)
            rows.append([name, k, _shown(figure), _shown(paired) if paired is not None else "-"])
    columns = ["method", "shots", "accuracy", f"difference to {result.baseline}"]
    line = {name: [[float(k), figure.value] for k, figure in by.items()] for name, by in figures.items()}
    note = (
        f"{protocol.ways}-way, {protocol.queries} queries a class, {protocol.episodes} episodes, the same for all; "
        "mean and 95 % interval over episodes, differences paired."
    )
    parts: list[Section] = [
        sections.table("Accuracy", columns, rows, note=note, group="Results"),
        *(
            [sections.curves("Accuracy by shots", line, x_label="shots", y_label="accuracy", group="Results")]
            if len(shots) > 1
            else []
        ),
        sections.facts("Time", {f"{name} (s)": round(s, 1) for name, s in watch.laps_s.items()}, group="Run"),
        *(sections.code(f"Recipe of {n}", to_yaml(r), language="yaml", group="Run") for n, r in recipes.items()),
    ]
    first = next(iter(recipes.values()))
    report = {
        "title": f"few-shot episodes · {Path(str(first.data.train)).parent.name or first.data.train}",
        "subtitle": note,
        "headline": {f"{name}, {k} shots": f.to_json() for name, by in figures.items() for k, f in by.items()},
        "sections": parts,
        "context": {**context(first.seed, watch), **{f"protocol {key}": v for key, v in asdict(protocol).items()}},
    }
    write_report(result.report.parent, report)


def _shown(figure: Figure) -> str:
    """`0.674 ± 0.008`."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ± {(figure.high - figure.low) / 2:.3f}"
