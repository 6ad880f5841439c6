"""Comparing methods: the same episodes for all, lists that are saved and replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import transformers
from safetensors.torch import load_file

import nlptk
import nlptk.pipelines
from nlptk.errors import DataError, RecipeError
from nlptk.fewshot import comparison
from nlptk.fewshot.adapting import teach
from nlptk.fewshot.cloze import Cloze
from nlptk.fewshot.comparison import _shown
from nlptk.fewshot.evaluation import mean_interval, paired_differences
from nlptk.task import Figure
from tests.fewshot.few_shot_rows import META, write_classes
from tests.tiny_models import WORDS


def test_methods_are_compared_on_the_same_episodes_and_a_list_replays(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"model": checkpoints["bert"], "data": {"train": data["meta"], "duplicates": "drop"}}
    methods = ["linear_probe", "prototypical"]
    protocol: dict[str, Any] = {"ways": 3, "shots": [1, 2], "queries": 3, "episodes": 12}
    first = nlptk.compare_methods(**keys, methods=methods, output=tmp_path / "one", **protocol)
    lists = [first.episodes[shots] for shots in (1, 2)]
    again = nlptk.compare_methods(**keys, methods=methods, output=tmp_path / "two", replay=lists, **protocol)
    for method in methods:
        for shots in (1, 2):
            assert (first.accuracies[method][shots] == again.accuracies[method][shots]).all()
    values = first.accuracies["prototypical"][1]
    figure = first.figures["prototypical"][1]
    assert figure.value == pytest.approx(values.mean())
    assert figure.high is not None
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, values.mean(), scipy.stats.sem(values))
    assert (figure.low, figure.high) == pytest.approx((low, high))


def test_a_comparison_that_is_cut_off_has_what_was_measured_and_says_what_was_not(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = comparison._Job.accuracies

    def until_prototypical(job: Any, lists: Any, measured: Any) -> Any:
        if job.recipe.task["method"]["name"] == "prototypical":
            raise KeyboardInterrupt
        return measure(job, lists, measured)

    monkeypatch.setattr(comparison._Job, "accuracies", until_prototypical)
    how: dict[str, Any] = {"ways": 2, "queries": 2, "episodes": 3, "shots": [1], "output": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        nlptk.compare_methods(
            model=checkpoints["bert"],
            data={"train": data["meta"], "duplicates": "drop"},
            methods=["linear_probe", "prototypical"],
            **how,
        )
    said = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(said["accuracy"]) == ["linear_probe"]
    assert said["warnings"] == ["not finished: prototypical still to come"]


@pytest.mark.parametrize("method", ["contrastive", "maml"])
def test_episodes_that_were_measured_are_not_measured_again(
    method: str,
    checkpoints: dict[str, Path],
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A comparison cut off in its eighth episode, the last line half written, and one line by another process."""
    called = 0
    adapt = comparison._Job._adapt

    def counted(job: Any, support: Any) -> None:
        nonlocal called
        called += 1
        if called == stop:
            raise KeyboardInterrupt
        adapt(job, support)

    monkeypatch.setattr(comparison._Job, "_adapt", counted)
    task: dict[str, Any] = {"name": "few_shot", "method": method}
    if method == "maml":
        task["meta"] = {"train": str(data["held_out"]), **META, "episodes": 4}
    how: dict[str, Any] = {
        "model": checkpoints["bert"],
        "task": task,
        "strategy": "lora" if method == "maml" else "full",
        "data": {"train": data["meta"], "duplicates": "drop"},
        "training": {"disable_tqdm": True},
        **{"ways": 2, "queries": 2, "episodes": 5, "shots": [1, 2] if method == "maml" else [2, 3]},
    }
    stop = -1
    whole = nlptk.compare_methods(**how, output=tmp_path / "whole")
    called, stop = 0, 8
    output = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        nlptk.compare_methods(**how, output=output)
    kept = output / f"measured-{method}-0.jsonl"
    first, *lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 7
    kept.write_text("".join([first, *lines[:5], lines[6][:-9]]))
    (output / f"measured-{method}-1.jsonl").write_text(first + lines[5])
    (output / f"measured-{method}-names-0.jsonl").write_text("of another method\n")
    capsys.readouterr()
    called, stop = 0, -1
    again = nlptk.compare_methods(**how, output=output)
    assert called == 4
    assert f"{method}: goes on, 6 episodes are measured already" in capsys.readouterr().err
    for shots, values in whole.accuracies[method].items():
        assert (again.accuracies[method][shots] == values).all()
    assert [path.name for path in output.glob("measured-*")] == [f"measured-{method}-names-0.jsonl"]
    kept.write_text("".join([first, *lines]))
    called = 0
    nlptk.compare_methods(**{**how, "seed": 1}, output=output)
    assert called == 10
    assert "7 measured episodes are discarded: the recipe, rows or model changed since" in capsys.readouterr().err


def test_a_method_twice_is_refused(checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path) -> None:
    keys: dict[str, Any] = {"model": checkpoints["bert"], "data": str(data["meta"]), "output": tmp_path / "run"}
    with pytest.raises(RecipeError, match="methods: linear_probe is there twice"):
        nlptk.compare_methods(**keys, methods=["linear_probe", "prototypical", "linear_probe"])


def test_a_number_of_shots_alone_and_files_that_are_not_drawn_from(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    how: dict[str, Any] = {"ways": 2, "queries": 2, "episodes": 3, "output": tmp_path / "run"}
    files = {"train": str(data["meta"]), "test": str(data["held_out"]), "duplicates": "drop"}
    with pytest.raises(RecipeError, match="shots: 1, 1; give each number once"):
        nlptk.compare_methods(model=checkpoints["bert"], data=files, shots=[1, 1], **how)
    found = nlptk.compare_methods(model=checkpoints["bert"], data=files, shots=2, **how)
    assert [list(by_shots) for by_shots in found.accuracies.values()] == [[2]]
    unread = "data.test: not read, for episodes are drawn from data.train alone"
    assert found.warnings == [unread]
    again = nlptk.compare_methods(model=checkpoints["bert"], data=files, shots=2, **how)
    assert again.warnings == [f"replaces the comparison of an earlier run in {tmp_path / 'run'}", unread]


def test_classes_that_a_cloze_cannot_tell_apart_are_refused_before_any_episode(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    rows = write_classes(tmp_path / "rows.jsonl", WORDS[20:26], 6)
    rows.write_text(rows.read_text().replace(f'"label": "{WORDS[20]}"', '"label": "late order"'))
    rows.write_text(rows.read_text().replace(f'"label": "{WORDS[21]}"', '"label": "late_order"'))
    with pytest.raises(RecipeError, match="'late order' and 'late_order' have the same word"):
        nlptk.compare_methods(
            model=checkpoints["bert"],
            data={"train": str(rows), "duplicates": "drop"},
            task={
                "name": "few_shot",
                "method": {"name": "cloze", "template": "{text} it is {mask} ."},
            },
            ways=2,
            shots=1,
            queries=2,
            episodes=1,
            output=tmp_path / "run",
        )


def test_meta_training_that_does_not_help_is_told_in_a_comparison_too(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    other = write_classes(tmp_path / "other.jsonl", WORDS[40:43], 8)
    meta = {"train": str(data["held_out"]), "validation": str(other), **META, "episodes": 4}
    found = nlptk.compare_methods(
        model=checkpoints["bert"],
        data={"train": str(data["meta"]), "duplicates": "drop"},
        task={"name": "few_shot", "method": "anil", "meta": meta},
        training={"learning_rate": 1e-12, "disable_tqdm": True},
        ways=2,
        shots=1,
        queries=2,
        episodes=2,
        output=tmp_path / "run",
    )
    assert any(line.startswith("anil: task.meta: on the validation classes") for line in found.warnings)


def test_texts_of_two_classes_are_told(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    rows = write_classes(tmp_path / "rows.jsonl", WORDS[20:24], 6)
    both = [{"text": "late again", "label": label} for label in WORDS[20:22]]
    rows.write_text(rows.read_text() + "".join(json.dumps(row) + "\n" for row in both))
    found = nlptk.compare_methods(
        model=checkpoints["bert"],
        data={"train": str(rows), "duplicates": "drop"},
        methods=["prototypical"],
        ways=2,
        shots=1,
        queries=2,
        episodes=2,
        output=tmp_path / "run",
    )
    assert any("different labels" in line for line in found.warnings)


def test_a_replayed_list_says_what_it_is(checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path) -> None:
    keys: dict[str, Any] = {"model": checkpoints["bert"], "data": {"train": data["meta"], "duplicates": "drop"}}
    first = nlptk.compare_methods(**keys, output=tmp_path / "one", ways=3, shots=[2], queries=3, episodes=4)
    again = nlptk.compare_methods(**keys, output=tmp_path / "two", shots=[2], replay=[first.episodes[2]])
    assert again.episodes[2].name == "episodes-3-way-2-shot.json"
    assert (
        "3-way, 3 queries a class, 4 episodes" in json.loads((tmp_path / "two" / "report.json").read_text())["subtitle"]
    )
    with pytest.raises(DataError, match="2-shot episodes, replayed as 1-shot"):
        nlptk.compare_methods(**keys, output=tmp_path / "three", shots=[1], replay=[first.episodes[2]])


def test_what_a_method_has_no_use_for_is_left_out_of_its_recipe(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"model": checkpoints["bert"], "data": {"train": data["meta"], "duplicates": "drop"}}
    keys |= {"ways": 3, "shots": [1], "queries": 2, "episodes": 2, "training": {"disable_tqdm": True}}
    found = nlptk.compare_methods(
        task={"name": "few_shot", "class_names": True},
        strategy="lora",
        methods=["linear_probe", "contrastive", "cloze"],
        output=tmp_path / "out",
        **keys,
    )
    assert set(found.accuracies) == {"linear_probe", "contrastive", "cloze"}
    steps = {**keys, "training": {"gradient_accumulation_steps": 2}, "shots": [2]}
    with pytest.raises(RecipeError, match="the few steps of an episode do without"):
        nlptk.compare_methods(methods=["contrastive"], output=tmp_path / "steps", **steps)
    with pytest.raises(RecipeError, match="did you mean 'linear_probe'"):
        nlptk.compare_methods(methods=["linear_prob"], output=tmp_path / "typo", **keys)
    with pytest.raises(RecipeError, match=r"task\.meta: missing"):
        nlptk.compare_methods(methods=["linear_probe", "maml"], output=tmp_path / "late", **keys)
    with pytest.raises(RecipeError, match="contrastive learns from 2 examples of a class or more"):
        nlptk.compare_methods(methods=["linear_probe", "contrastive"], output=tmp_path / "late", **keys)
    assert not (tmp_path / "late").exists()


def test_what_is_random_in_an_episode_depends_on_its_number_alone(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlptk.fewshot import comparison

    drawn: list[float] = []
    monkeypatch.setattr(comparison, "teach", lambda *_: drawn.append(float(torch.rand(1))))
    for methods in (["contrastive"], ["linear_probe", "contrastive"]):
        nlptk.compare_methods(
            model=checkpoints["bert"],
            data={"train": data["meta"], "duplicates": "drop"},
            methods=methods,
            output=tmp_path / str(len(methods)),
            ways=3,
            shots=[2],
            queries=2,
            episodes=4,
        )
    assert drawn[:4] == drawn[4:]
    assert len(set(drawn)) == 4


def test_meta_learning_on_the_texts_that_are_measured_is_refused_under_any_name(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    renamed = [json.loads(line) for line in data["meta"].read_text().splitlines()]
    other = tmp_path / "renamed.jsonl"
    other.write_text("".join(json.dumps({**row, "label": f"x_{row['label']}"}) + "\n" for row in renamed))
    task = {"name": "few_shot", "method": "prototypical", "meta": {"train": str(other), **META}}
    rows = {"train": data["meta"], "duplicates": "drop"}
    with pytest.raises(DataError, match="what is measured must not be learnt from"):
        nlptk.compare_methods(
            task=task, model=checkpoints["bert"], data=rows, output=tmp_path, ways=3, shots=[1], queries=2, episodes=2
        )


def test_a_tuned_cloze_answers_with_its_tuned_words(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    original = Cloze.head

    def head(self: Cloze, material: Any) -> Any:
        seen.append(material.model.get_output_embeddings().weight.detach().clone())
        return original(self, material)

    monkeypatch.setattr(Cloze, "head", head)
    nlptk.compare_methods(
        task={"name": "few_shot", "method": {"name": "cloze", "template": "{text} it is {mask} ."}},
        model=checkpoints["bert"],
        data={"train": data["meta"], "duplicates": "drop"},
        training={"disable_tqdm": True},
        output=tmp_path,
        ways=3,
        shots=[2],
        queries=2,
        episodes=2,
    )
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])  # each episode's own


def test_differences_are_paired() -> None:
    generator = np.random.default_rng(0)
    found = {name: generator.random(50) for name in ("one", "other")}
    figure = paired_differences(found, "one")["other"]
    interval = scipy.stats.t.interval(0.95, 49, figure.value, scipy.stats.sem(found["other"] - found["one"]))
    assert figure.value == pytest.approx((found["other"] - found["one"]).mean())
    assert (figure.low, figure.high) == pytest.approx(interval)


def test_an_interval_of_accuracies_ends_at_all_or_none() -> None:
    figure = mean_interval(np.array([1.0, 1.0, 0.8]), least=0.0)
    assert figure.high == 1.0
    assert figure.low == pytest.approx(scipy.stats.t.interval(0.95, 2, 2.8 / 3, scipy.stats.sem([1, 1, 0.8]))[0])


def test_an_interval_that_is_cut_at_one_side_is_shown_by_the_other() -> None:
    assert _shown(Figure(0.97, 0.924, 1.0)) == "0.970 ± 0.046"


def test_meta_learning_on_the_classes_that_are_measured_is_refused(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    task = {"name": "few_shot", "method": "anil", "meta": {"train": str(data["meta"]), **META}}
    rows = {"train": data["meta"], "duplicates": "drop"}
    with pytest.raises(DataError, match="never trained on"):
        nlptk.compare_methods(
            task=task, model=checkpoints["bert"], data=rows, output=tmp_path, ways=3, shots=[1], queries=2, episodes=2
        )


def test_episodes_of_an_untuned_cloze_are_what_the_language_model_says(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoints["bert"])
    model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoints["bert"]).eval()
    for part in (tokenizer, model):
        part.save_pretrained(tmp_path / "checkpoint")
    method = {"name": "cloze", "template": "{text} it is {mask} .", "tuning": "none", "inverse_penalty": None}
    found = nlptk.compare_methods(
        task={"name": "few_shot", "method": method},
        model=tmp_path / "checkpoint",
        data={"train": data["meta"], "duplicates": "drop"},
        output=tmp_path / "out",
        ways=3,
        shots=[1],
        queries=3,
        episodes=6,
    )
    rows = [json.loads(line) for line in data["meta"].read_text().splitlines()]
    listed = json.loads(found.episodes[1].read_text())
    for episode, accuracy in zip(listed["episodes"], found.accuracies["cloze"][1], strict=True):
        words = tokenizer.convert_tokens_to_ids([listed["names"][label] for label in episode["classes"]])
        right = []
        for place, queries in enumerate(episode["query"]):
            for query in queries:
                tokens = tokenizer(f"{rows[query]['text']} it is {tokenizer.mask_token} .", return_tensors="pt")
                at = tokens["input_ids"][0].tolist().index(tokenizer.mask_token_id)
                with torch.no_grad():
                    said = model(**tokens).logits[0, at, words]
                right.append(int(said.argmax()) == place)
        assert accuracy == pytest.approx(np.mean(right))


def test_teaching_for_an_episode_is_what_the_trainer_does(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlptk.fewshot import training

    # attention does not depend on its key biases: without eps Adam makes steps of the noise that is their gradient
    optimizer = {"name": "adamw", "eps": 1e-3}
    weights = []
    for by_hand in (False, True):
        if by_hand:

            def taught(self: Any, resume_from_checkpoint: Any = None) -> Any:
                teach(self._lesson, self.args, optimizer)
                return transformers.trainer_utils.TrainOutput(0, 0.0, {})

            monkeypatch.setattr(training.LessonTrainer, "train", taught)
        torch.manual_seed(0)
        result = nlptk.train(
            task={"name": "few_shot", "method": "contrastive"},
            model=checkpoints["bert"],
            data={"train": data["support"], "test": data["test"], "duplicates": "keep"},
            optimizer=optimizer,
            dropout={"hidden": 0.0, "attention": 0.0},
            training={"disable_tqdm": True, "save_strategy": "no", "learning_rate": 1e-3},
            bootstrap=0,
            output=tmp_path / str(by_hand),
        )
        weights.append(load_file(result.artifact / "model.safetensors"))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-6, rtol=0)
