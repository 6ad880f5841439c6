"""Methods on the same episodes: accuracy with intervals, paired differences, and a plot of accuracy against shots."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from nlptk.data import fingerprint
from nlptk.data.problems import conflict_lines
from nlptk.environment import Watch
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.fewshot.adapting import teach
from nlptk.fewshot.contract import Learner, Method
from nlptk.fewshot.data import refuse_unknown_names, split_rows, with_class_names, without_repeats
from nlptk.fewshot.episodes import Episode, Protocol
from nlptk.fewshot.evaluation import adapted_accuracies, frozen_accuracies, mean_interval, paired_differences
from nlptk.fewshot.measured import Measured
from nlptk.fewshot.methods import make_method
from nlptk.fewshot.rows import LabelledRows, frozen_vectors
from nlptk.fewshot.settings import check_head, make_method_of, settled, trains
from nlptk.fewshot.sharing import ALONE
from nlptk.fewshot.teaching import BATCH, META_OWN, empty_material, learner_of, lesson_arguments, taught_by
from nlptk.recipe import Recipe, make_recipe, to_yaml
from nlptk.report import sections, write_report
from nlptk.report.document import replace_text
from nlptk.task import Figure, Section
from nlptk.training.identity import shaping
from nlptk.training.occupation import sole_run
from nlptk.training.preparation import left_random, load_data, prepare
from nlptk.training.reporting import context
from nlptk.training.stored_features import model_fingerprint

RESULTS = "results.json"


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    accuracies: method -> shots -> (episodes,); the same episodes for all methods. baseline: the first method's name.
    report: report.html, beside results.json; episodes: shots -> the file in which the episode list was saved; warnings:
    of what makes a method's figures doubtful.
    """

    accuracies: dict[str, dict[int, np.ndarray]]
    baseline: str
    report: Path
    episodes: dict[int, Path]
    warnings: Sequence[str] = ()

    @property
    def figures(self) -> dict[str, dict[int, Figure]]:
        """method -> shots -> mean accuracy with its 95 % interval."""
        return {
            m: {k: mean_interval(values, least=0.0) for k, values in by.items()} for m, by in self.accuracies.items()
        }

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
        return [*said, *(f"warning: {line}" for line in self.warnings), f"report  {self.report}"]

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
            "warnings": list(self.warnings),
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

    recipes: name -> recipe; they differ in `task`, and in `strategy` where nothing trains. protocol: its shots are
    replaced by each of `shots`. replay: shots -> a saved list of episodes to use instead of drawing them.

    A comparison that was cut off goes on: episodes that a method has trained on are not measured again.

    Raises: NlptkError: rows that the protocol cannot be drawn from, classes that were meta-trained on, a folder with a
    trained model, whose report would be replaced, ...
    """
    watch = Watch()
    if (output / "model").exists():
        raise RecipeError(f"{where}: output: {output} has a trained model with its report; give another folder")
    jobs = {name: settled(_for_episodes(recipe, output / name), where) for name, recipe in recipes.items()}
    _check_shots(jobs, min(shots), where)
    meta_trained = any(job.task["meta"] is not None for job in jobs.values())  # on classes that may have words, too
    with sole_run(output, where=where):
        found: dict[str, dict[int, np.ndarray]] = {}
        lists: dict[int, list[Episode]] = {}
        replaced = (output / RESULTS).exists() and not Measured.any_in(output)
        warnings = [f"replaces the comparison of an earlier run in {output}"] * replaced
        warnings += _left_out(next(iter(recipes.values())))
        kept: list[Measured] = []
        for name, recipe in jobs.items():
            job = _Job.prepare(recipe, where)
            if not meta_trained:
                refuse_unknown_names(job.learner.task, [job.rows])
            if not lists:
                lists = {k: _episodes(job.rows, replace(protocol, shots=k), (replay or {}).get(k)) for k in shots}
                protocol = _protocol_of(lists, protocol)
            job.rows.check_queries(lists)
            if job.adapts:
                kept.append(Measured(output, name, job.identity()))
            found[name] = job.accuracies(lists, kept[-1] if job.adapts else None)
            warnings += [f"{name}: {line}" for line in job.warnings]
            watch.lap(name)
            saved = {k: output / f"episodes-{protocol.ways}-way-{k}-shot.json" for k in lists}
            told = [*warnings, *_to_come([name for name in jobs if name not in found])]
            result = Comparison(found, next(iter(found)), output / "report.html", saved, told)
            if PartialState().is_main_process:  # after each method: a later one may take hours, or fail
                for k, episodes in lists.items():
                    job.rows.pool.save(episodes, saved[k])
                replace_text(output / RESULTS, json.dumps(_with_episodes(result), indent=2) + "\n")
                _report(result, recipes, protocol, watch)
        PartialState().wait_for_everyone()
        for measured in kept:  # all is in the results
            measured.remove()
    return result


def _check_shots(jobs: Mapping[str, Recipe], fewest: int, where: str) -> None:
    """Refuse methods that learn from more examples than there are. Raises: RecipeError."""
    for name, recipe in jobs.items():
        least = make_method_of(recipe).least - bool(recipe.task["class_names"])
        if fewest < least:
            raise RecipeError(
                f"{where}: {name} learns from {least} examples of a class or more, and shots has {fewest}: give more "
                "shots or task.class_names=true, or leave the method out"
            )


def _to_come(names: Sequence[str]) -> list[str]:
    """A warning in what is written while a comparison goes on, or was cut off."""
    return [f"not finished: {', '.join(names)} still to come"] if names else []


def _with_episodes(result: Comparison) -> dict[str, Any]:
    """What programs are told, and the accuracy of every episode, from which all of it follows."""
    each = {name: {str(k): values.tolist() for k, values in by.items()} for name, by in result.accuracies.items()}
    return {**result.to_json(), "accuracy_by_episode": each}


def _for_episodes(recipe: Recipe, output: Path) -> Recipe:
    """All rows to draw from, and a folder of its own for what is meta-trained."""
    alone = {"validation": "none", "test": "none"}
    keep = {"output": str(output), "data": recipe.data.model_copy(update=alone)}
    return recipe.model_copy(update=keep)


def _left_out(recipe: Recipe) -> list[str]:
    """Warnings of files of rows that no episode is drawn from, and of a rejection that none asks for."""
    said = []
    if recipe.task["rejection"] != "off":
        said.append("task.rejection: not used, for every query of an episode is of its classes")
    given = {"data.validation": recipe.data.validation, "data.test": recipe.data.test}
    files = [name for name, value in given.items() if isinstance(value, list) or value not in (None, "none")]
    if files:
        said.append(f"{' and '.join(files)}: not read, for episodes are drawn from data.train alone")
    return said


def _episodes(rows: LabelledRows, protocol: Protocol, replay: Path | None) -> list[Episode]:
    if replay is None:
        return rows.pool.draw_all(protocol)
    found = rows.pool.load(replay)
    if (shots := found[0].support.shape[1]) != protocol.shots:
        raise DataError(
            f"{replay}: a list of {shots}-shot episodes, replayed as {protocol.shots}-shot; give shots={shots}"
        )
    return found


def _protocol_of(lists: Mapping[int, Sequence[Episode]], protocol: Protocol) -> Protocol:
    """What the lists have, which replayed ones may have otherwise than was asked for. Raises: DataError where they
    differ among themselves."""
    shapes = {(*e[0].query.shape, len(e)) for e in lists.values()}
    if len(shapes) > 1:
        listed = "; ".join(f"{w}-way, {q} queries, {n} episodes" for w, q, n in sorted(shapes))
        raise DataError(f"replay: the lists differ ({listed}); replay one at a time")
    ways, queries, episodes = shapes.pop()
    return replace(protocol, ways=ways, queries=queries, episodes=episodes)


_WHOLE_RUNS = {"gradient_accumulation_steps": 1, "fp16": False, "neftune_noise_alpha": None}
"""Fields of the training block that training for an episode does not know, as they are where nothing is given."""
_LENGTH = ("num_train_epochs", "max_steps", "lr_scheduler_kwargs", "data_seed")
"""Arguments that decide how far an episode is trained, beside those that decide what a step does."""


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
    warnings: Sequence[str]

    @classmethod
    def prepare(cls, recipe: Recipe, where: str) -> _Job:
        prepared = prepare(recipe, load_data(recipe))
        args = lesson_arguments(recipe, prepared, where)
        prepared.trained.to(args.device)
        task: Any = prepared.task
        method = make_method(task.settings.method)
        check_head(prepared, method, where)
        learner = learner_of(prepared)
        rows = split_rows(prepared, "train")
        if recipe.data.duplicates == "drop":
            rows = rows_without_repeats(rows)
        rows = with_class_names(rows, prepared.preprocessing)
        method.check_names(rows.names, prepared.tokenizer)
        learned: Mapping[str, np.ndarray] = {}
        warnings = [*conflict_lines(prepared.data.report.conflicts), *left_random(prepared)]
        frozen = False
        adapts = method.trains == "support" or method.settles(learner)
        if method.trains != "support":
            taught = taught_by(recipe, prepared, method, where, apart_from=rows, whole=not adapts)
            learned, frozen = taught.learned, taught.frozen
            warnings += taught.warnings
            if not adapts:
                learner = replace(learner, model=taught.model, trained=taught.model)
        elif idle := [key for key, value in _WHOLE_RUNS.items() if getattr(args, key) != value]:
            raise RecipeError(f"{where}: training.{idle[0]}: the few steps of an episode do without; leave it out")
        elif prepared.strategy.scheduled():
            raise UnsupportedError(
                f"strategy {prepared.strategy.name}: what trains changes on the way, which episodes of a few steps do "
                "not have; use full or lora"
            )
        return cls(recipe, method, learner, learned, rows, args, adapts, frozen, warnings)

    def identity(self) -> dict[str, Any]:
        """What the accuracy of an episode depends on beside the episode. Of meta-training the weights tell."""
        parts = self.recipe.model_dump(mode="json", include={"task", "strategy", "optimizer", "head", "dropout"})
        learned = {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in self.learned.items()}
        return {
            **parts,
            "task": {key: value for key, value in parts["task"].items() if key != "meta"},
            "batch": self.recipe.training.get("per_device_train_batch_size"),
            "seed": self.recipe.seed,
            "rows": fingerprint(self.rows.features.dataset),
            "names": list(self.rows.names),
            "model": model_fingerprint(self.learner.trained),
            "pooling": self.learner.task.decision.get("pooling"),
            "learned": learned,
            **shaping(self.args),
            **{f"training.{name}": getattr(self.args, name) for name in _LENGTH},
        }

    def accuracies(self, lists: Mapping[int, list[Episode]], measured: Measured | None) -> dict[int, np.ndarray]:
        """shots -> (episodes,). measured: where a method adapts, what was measured before."""
        material = empty_material(self.learner, learned=self.learned, seed=self.recipe.seed)
        if not self.adapts:
            see = frozen_vectors if self.frozen else partial(LabelledRows.vectors, show=True)
            vectors = see(self.rows, model=self.learner.model, batch_size=64)
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
                measured=measured,
                hidden=bool(self.args.disable_tqdm),
                what=f"{self.recipe.task['method']['name']}, {k} shots: ",
            )
            for k, episodes in lists.items()
        }

    def _adapt(self, support: LabelledRows) -> None:
        if self.method.trains != "support":
            return self.method.settle(self.learner, support, self.learned)
        size = int(self.recipe.training.get("per_device_train_batch_size", BATCH))
        lesson = self.method.support_lesson(self.learner, support, batch_size=size, seed=self.recipe.seed, share=ALONE)
        return teach(lesson, self.args, self.recipe.optimizer)


def rows_without_repeats(rows: LabelledRows) -> LabelledRows:
    """The first of every row whose text is the same."""
    numbered = rows.rows.add_column("_place", np.arange(len(rows.rows)))
    kept = without_repeats(numbered)["_place"][:]
    return rows.subset(kept, rows.labels[kept], rows.names)


_UNUSED = {"meta": None, "class_names": False, "pooling": None}
"""Settings of the task that only some methods have a use for, as they are without them."""


def named_recipes(recipe: Recipe, methods: Sequence[str], *, where: str = "recipe") -> dict[str, Recipe]:
    """The recipe once for every method, each with its own defaults, and with what of the recipe it has a use for: the
    rows to meta-train on, the strategy of what trains, and the like. Raises: RecipeError for a method there is not."""
    found: dict[str, Recipe] = {}
    for name in methods:
        if name in found:
            raise RecipeError(f"methods: {name} is there twice; name it once")
        whole = recipe.model_dump(mode="json")
        method = {"name": name} if name != whole["task"]["method"]["name"] else whole["task"]["method"]
        plain = make_recipe({**whole, "task": {**whole["task"], **_UNUSED, "method": method}}, where=where)
        used = {key: whole["task"][key] for key in make_method_of(plain).uses}
        chosen = plain.model_copy(update={"task": {**plain.task, **used}})
        if chosen.task["meta"] is not None:
            training = {key: value for key, value in chosen.training.items() if key not in META_OWN}
            chosen = chosen.model_copy(update={"training": training})
        if not trains(chosen):
            chosen = chosen.model_copy(update={"strategy": make_recipe({**whole, "strategy": "full"}).strategy})
        found[name] = chosen
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
    points = {name: [[float(k), f.value, f.low, f.high] for k, f in by.items()] for name, by in figures.items()}
    note = (
        f"{protocol.ways}-way, {protocol.queries} queries a class, {protocol.episodes} episodes, the same for all; "
        "mean and 95 % interval over episodes, differences paired."
    )
    parts: list[Section] = [
        sections.table("Accuracy", columns, rows, note=note, group="Results"),
        *(
            [sections.curves("Accuracy by shots", points, x_label="shots", y_label="accuracy", group="Results")]
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
        "warnings": list(result.warnings),
        "sections": parts,
        "context": {**context(first.seed, watch), **{f"protocol {key}": v for key, v in asdict(protocol).items()}},
    }
    write_report(result.report.parent, report)


def _shown(figure: Figure) -> str:
    """`0.674 ± 0.008`."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    half = max(figure.high - figure.value, figure.value - figure.low)  # one side may end at 0 or 1
    return f"{figure.value:.3f} ± {half:.3f}"
