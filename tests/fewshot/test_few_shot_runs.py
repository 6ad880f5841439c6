"""The contract of few-shot methods: on every family they train or are refused, measure, come back equal, and serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

import nlptk
import nlptk.pipelines
from nlptk.errors import ArtifactError, DataError, RecipeError, UnsupportedError
from nlptk.fewshot.adapting import teach
from nlptk.fewshot.rejection import choose_threshold
from nlptk.training.run import TrainResult
from tests.contract_cases import KEYWORDS
from tests.tiny_models import FAMILIES, WORDS, write_checkpoint

EMBEDDING = ("linear_probe", "prototypical", "contrastive", "maml", "fomaml", "anil", "reptile")
META = {"ways": 3, "shots": 2, "queries": 2, "episodes": 40, "episodes_per_step": 4, "validation_episodes": 10}


def write_classes(path: Path, keywords: tuple[str, ...] | list[str], each: int) -> Path:
    """Rows of a few words, one of which names the class."""
    rows = []
    for index in range(each * len(keywords)):
        key = keywords[index % len(keywords)]
        words = [WORDS[(index * 7 + step * 3) % len(WORDS)] for step in range(4)]
        rows.append({"text": " ".join([key, *[w for w in words if w not in keywords], str(index)]), "label": key})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: write_checkpoint(family, folder / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {
        "support": write_classes(folder / "support.jsonl", KEYWORDS, 6),
        "test": write_classes(folder / "test.jsonl", KEYWORDS, 9),
        "meta": write_classes(folder / "meta.jsonl", WORDS[20:26], 8),
        "held_out": write_classes(folder / "held_out.jsonl", WORDS[30:34], 8),
    }


def train(
    checkpoint: Path,
    data: dict[str, Path],
    output: Path,
    method: str | dict[str, Any],
    *,
    strategy: str = "full",
    **task: Any,
) -> TrainResult:
    return nlptk.train(
        task={"name": "few_shot", "method": method, **task},
        model=checkpoint,
        strategy=strategy,
        data={"train": data["support"], "test": data["test"], "duplicates": "keep"},
        training={"disable_tqdm": True, "save_strategy": "no"} if "meta" not in task else {"disable_tqdm": True},
        bootstrap=0,
        output=output,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", EMBEDDING)
def test_every_method_learns_and_comes_back_equal(
    method: str, family: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    gradient = method in ("maml", "fomaml", "anil", "reptile")
    task: dict[str, Any] = {}
    if gradient:
        task["meta"] = {"train": str(data["meta"]), "validation": str(data["held_out"]), **META}
    result = train(checkpoints[family], data, tmp_path / "run", method, **task)
    figures = result.figures["test"]
    assert figures["accuracy"].value > 0.4  # a third by chance; a random model tells keywords apart somewhat
    again = nlptk.evaluate(result.artifact, data["test"], bootstrap=0).figures
    for name, figure in figures.items():
        assert again[name].value == pytest.approx(figure.value, abs=1e-5), name
    frozen = method != "contrastive"
    before = load_file(checkpoints[family] / "model.safetensors")
    after = load_file(result.artifact / "model.safetensors")
    kept = [torch.equal(before[name], value) for name, value in after.items() if name in before]
    assert all(kept) if frozen else not all(kept)
    named = json.loads((result.artifact / "config.json").read_text())["architectures"][0]
    info = getattr(transformers, named).from_pretrained(result.artifact, output_loading_info=True)[1]
    assert {kind: found for kind, found in info.items() if found} == {}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["maml", "fomaml", "anil", "reptile"])
def test_inner_steps_move_adapters_of_the_encoder(
    method: str, family: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta = {"train": str(data["meta"]), **META, "episodes": 8}
    result = train(
        checkpoints[family], data, tmp_path / "run", {"name": method, "inner_steps": 2}, strategy="lora", meta=meta
    )
    assert result.figures["test"]["accuracy"].value > 0.4
    before = load_file(checkpoints[family] / "model.safetensors")
    after = load_file(result.artifact / "model.safetensors")
    changed = {name for name, value in after.items() if name in before and not torch.equal(before[name], value)}
    assert changed
    again = nlptk.evaluate(result.artifact, data["test"], bootstrap=0).figures
    assert again["accuracy"].value == pytest.approx(result.figures["test"]["accuracy"].value, abs=1e-5)


def test_meta_training_of_adapters_resumes_bit_by_bit(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    found = []
    for name, cut in (("whole", ()), ("resumed", (1,))):
        for stop in (*cut, 2):
            result = nlptk.train(
                task={
                    "name": "few_shot",
                    "method": {"name": "maml", "inner_steps": 1},
                    "meta": {"train": str(data["meta"]), **META, "episodes": 8, "episodes_per_step": 4},
                },
                model=checkpoints["t5"],
                strategy="lora",
                data={"train": data["support"], "duplicates": "keep"},
                training={
                    "disable_tqdm": True,
                    "lr_scheduler_type": "constant",
                    "max_steps": stop,
                    "save_strategy": "steps",
                    "save_steps": 1,
                    "resume_from_checkpoint": "auto",
                },
                bootstrap=0,
                output=tmp_path / name,
            )
        found.append(load_file(result.artifact / "support.safetensors"))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=0, msg=name)


@pytest.fixture(scope="module")
def trained(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    return train(checkpoints["bert"], data, tmp_path_factory.mktemp("trained") / "run", "prototypical")


def test_a_class_is_added_and_removed_without_training(trained: TrainResult, tmp_path: Path) -> None:
    loaded = nlptk.pipeline(trained.artifact)
    weights = load_file(trained.artifact / "model.safetensors")
    text = "quick answer now"
    folder = loaded.add_class("praise", [text, "great service"], output=tmp_path / "more")
    assert loaded(text)["label"] == "praise"
    fresh = nlptk.pipeline(folder)
    assert fresh(text)["label"] == "praise"
    assert fresh(text)["nearest"][0]["text"] == text
    assert fresh.manifest.data["version"] == 2
    for name, value in load_file(folder / "model.safetensors").items():
        assert torch.equal(weights[name], value)
    before = nlptk.pipeline(trained.artifact)(["broken", "invoice", "password"])
    fresh.remove_class("praise")
    after = nlptk.pipeline(folder)(["broken", "invoice", "password"])
    for one, other in zip(before, after, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)


def test_what_cannot_be_added_or_removed_is_refused_and_changes_nothing(trained: TrainResult, tmp_path: Path) -> None:
    loaded = nlptk.pipeline(trained.artifact)
    text = json.loads((trained.artifact / "support.jsonl").read_text().splitlines()[0])["text"]
    for name, examples, said in (
        ("broken", ["x y"], "is there already"),
        ("new", [], "no examples"),
        ("new", "text", "examples is a text"),
        ("new", [" "], "example 0 is empty"),
        ("new", [text.upper()], "stands for"),
        (" Broken", ["x y"], "is there already as 'broken'"),
        (None, ["x y"], "has no name"),
        ("new", None, "examples is NoneType"),
    ):
        with pytest.raises(DataError, match=said):
            loaded.add_class(name, examples, output=tmp_path / "never")  # type: ignore[arg-type]  # some are wrong
    with pytest.raises(DataError, match="there is none"):
        loaded.remove_class("praise", output=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    assert loaded.task.labels is not None
    assert set(loaded.task.labels.names) == set(KEYWORDS)


@pytest.mark.parametrize("method", ["linear_probe", "prototypical", "contrastive"])
def test_a_class_name_is_one_more_example_of_its_class(
    method: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    words = {name: f"{name} please" for name in KEYWORDS[1:]}
    told = train(checkpoints["bert"], data, tmp_path / "told", method, class_names=words)
    rows = [json.loads(line) for line in data["support"].read_text().splitlines()]
    names = nlptk.pipeline(told.artifact).task.labels
    assert names is not None
    rows += [{"text": words.get(name, name), "label": name} for name in names.names]
    by_hand = tmp_path / "by_hand.jsonl"
    by_hand.write_text("".join(json.dumps(row) + "\n" for row in rows))
    same = train(checkpoints["bert"], {**data, "support": by_hand}, tmp_path / "same", method)
    one, other = (load_file(found.artifact / "support.safetensors") for found in (told, same))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name)


def test_episodes_learn_from_class_names(checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path) -> None:
    found = nlptk.compare_methods(
        task={"name": "few_shot", "method": "prototypical", "class_names": True},
        model=checkpoints["bert"],
        data={"train": data["meta"], "duplicates": "keep"},
        output=tmp_path,
        ways=3,
        shots=[1],
        queries=3,
        episodes=12,
    )
    rows = [json.loads(line) for line in data["meta"].read_text().splitlines()]
    listed = json.loads(found.episodes[1].read_text())
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoints["bert"])
    model = transformers.AutoModel.from_pretrained(checkpoints["bert"]).eval()

    def direction(text: str) -> torch.Tensor:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)

    for episode, accuracy in zip(listed["episodes"], found.accuracies["prototypical"][1], strict=True):
        names = [listed["names"][label] for label in episode["classes"]]
        means = [
            direction(rows[place]["text"]) + direction(name)
            for (place,), name in zip(episode["support"], names, strict=True)
        ]
        prototypes = torch.nn.functional.normalize(torch.stack(means), dim=1)
        right = [
            int((prototypes @ direction(rows[query]["text"])).argmax()) == place
            for place, queries in enumerate(episode["query"])
            for query in queries
        ]
        assert accuracy == pytest.approx(np.mean(right))


@pytest.mark.parametrize("method", ["prototypical", "maml", "reptile"])
def test_meta_training_learns_from_class_names_and_a_name_alone_makes_a_class(
    method: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta = {"train": str(data["meta"]), "validation": str(data["held_out"]), **META, "episodes": 8, "shots": 1}
    result = train(checkpoints["bert"], data, tmp_path / "run", method, meta=meta, class_names=True)
    loaded = nlptk.pipeline(result.artifact)
    loaded.add_class("great_service", output=tmp_path / "more")
    fresh = nlptk.pipeline(tmp_path / "more")
    assert fresh("great service")["nearest"][0] == {
        "text": "great service",
        "label": "great_service",
        "cosine": pytest.approx(1.0, abs=1e-5),
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"brokn": "broken"}, "no class 'brokn'"),
        ({KEYWORDS[0]: "?!"}, "has no word"),
        ({KEYWORDS[0]: KEYWORDS[1].upper()}, "have the same words"),
        ({name: f"class {place}" for place, name in enumerate(KEYWORDS)}, "differ in numbers alone"),
    ],
)
def test_class_names_that_say_nothing_are_refused(
    words: dict[str, str], said: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        train(checkpoints["bert"], data, tmp_path / "run", "prototypical", class_names=words)


def test_what_another_process_changed_after_loading_stays(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    model = train(checkpoints["bert"], data, tmp_path / "run", "prototypical").artifact
    first, second = nlptk.pipeline(model), nlptk.pipeline(model)
    first.add_class("praise", ["great service"])
    with pytest.raises(ArtifactError, match="changed since it was loaded"):
        second.add_class("refund", ["money back"])
    labels = nlptk.pipeline(model).task.labels
    assert labels is not None
    assert set(labels.names) == {*KEYWORDS, "praise"}
    train(checkpoints["bert"], data, tmp_path / "run", "contrastive")
    with pytest.raises(ArtifactError, match="changed since it was loaded"):
        first.add_class("refund", ["money back"])
    assert nlptk.pipeline(model).task.options.method.name == "contrastive"  # type: ignore[attr-defined]  # few_shot's


def test_a_new_version_leaves_the_old_ones_files_alone_and_its_evaluations_aside(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    result = train(checkpoints["bert"], data, tmp_path / "run", "prototypical")
    nlptk.evaluate(result.artifact, data["test"], bootstrap=0)
    weights = result.artifact / "model.safetensors"
    weights.chmod(0o440)
    loaded = nlptk.pipeline(result.artifact)
    loaded.add_class("praise", ["great service"], output=tmp_path / "more")
    assert weights.stat().st_mode & 0o777 == 0o440
    assert (result.folder / "evaluations").exists()
    nlptk.pipeline(result.artifact).remove_class(KEYWORDS[0])
    assert not (result.folder / "evaluations").exists()
    assert (result.folder / "evaluations.1").exists()


def test_transformers_pipeline_says_the_same(trained: TrainResult) -> None:
    served: Any = transformers.pipeline("few-shot-classification", model=str(trained.artifact))  # type: ignore[call-overload]
    texts = ["the parcel came broken", "my invoice shows"]
    assert served(texts) == nlptk.pipeline(trained.artifact)(texts)
    with pytest.raises(UnsupportedError, match="takes no top_k"):
        served(texts, top_k=2)


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
    half = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
    assert figure.high - figure.value == pytest.approx(half, rel=1e-3)


def test_a_text_that_is_a_class_name_is_not_drawn_where_names_are_learnt_from(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    rows = data["meta"].read_text().splitlines()
    names = sorted({json.loads(row)["label"] for row in rows})
    rows += [json.dumps({"text": name.upper(), "label": name}) for name in names]
    own = tmp_path / "rows.jsonl"
    own.write_text("\n".join(rows) + "\n")
    keys: dict[str, Any] = {"model": checkpoints["bert"], "data": {"train": own, "duplicates": "keep"}}
    keys |= {"ways": 3, "shots": [1], "queries": 6}
    task = {"name": "few_shot", "method": "prototypical", "class_names": True}
    found = nlptk.compare_methods(task=task, output=tmp_path / "told", episodes=40, **keys)
    drawn = {
        row
        for episode in json.loads(found.episodes[1].read_text())["episodes"]
        for part in (episode["support"], episode["query"])
        for row in np.ravel(part).tolist()
    }
    assert drawn == set(range(len(rows) - len(names)))
    other = nlptk.compare_methods(
        task={"name": "few_shot", "method": "prototypical"}, output=tmp_path / "untold", episodes=40, **keys
    )
    with pytest.raises(DataError, match="draw texts that are a class's name"):
        nlptk.compare_methods(task=task, output=tmp_path / "replayed", episodes=40, replay=[other.episodes[1]], **keys)


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


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"meta": {"train": "test", **META}}, "stand in data.test too"),
        ({"rejection": "tuned", "out_of_scope": "support"}, "stand in data.train too"),
        (
            {"rejection": "tuned", "out_of_scope": "meta", "out_of_scope_test": "meta"},
            "stand in task.out_of_scope_test",
        ),
    ],
)
def test_texts_on_both_sides_are_refused(
    task: dict[str, Any], said: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    settings = {k: str(data[v]) if isinstance(v, str) and v in data else v for k, v in task.items()}
    if "meta" in settings:
        settings["meta"] = {**task["meta"], "train": str(data["test"])}
    with pytest.raises(DataError, match=said):
        train(checkpoints["bert"], data, tmp_path / "run", "prototypical", **settings)


def test_rejection_counts_in_what_is_measured(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    figures = train(checkpoints["bert"], data, tmp_path / "run", "prototypical", rejection=1.0).figures["test"]
    assert figures["rejected"].value == 1
    assert figures["accuracy_with_rejection"].value == 0
    assert "accuracy_of_kept" not in figures
    with pytest.raises(DataError, match="nothing in scope to tell it from"):
        nlptk.train(
            task={"name": "few_shot", "rejection": "tuned", "out_of_scope_test": str(data["meta"])},
            model=checkpoints["bert"],
            data={"train": data["support"], "duplicates": "keep"},
            output=tmp_path / "alone",
        )


@pytest.mark.parametrize("method", ["contrastive", "fomaml"])
def test_rejection_is_not_tuned_on_what_the_encoder_trained_on(
    method: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta = {"meta": {"train": str(data["meta"]), **META}} if method == "fomaml" else {}
    with pytest.raises(DataError, match="trains on its support set"):
        train(checkpoints["bert"], data, tmp_path / "run", method, strategy="lora", rejection="tuned", **meta)


def test_the_threshold_is_the_best_of_all() -> None:
    apart = choose_threshold(np.array([0.8, 0.9]), np.array([0.1, 0.2]))
    assert 0.2 < apart < 0.8
    assert choose_threshold(np.array([0.1, 0.2]), np.array([0.8, 0.9])) <= 0.1  # rejecting anything only does harm
    assert choose_threshold(np.arange(100) / 100, None) == pytest.approx(0.0495)


def test_meta_learning_on_the_classes_that_are_measured_is_refused(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    task = {"name": "few_shot", "method": "anil", "meta": {"train": str(data["meta"]), **META}}
    rows = {"train": data["meta"], "duplicates": "drop"}
    with pytest.raises(DataError, match="never trained on"):
        nlptk.compare_methods(
            task=task, model=checkpoints["bert"], data=rows, output=tmp_path, ways=3, shots=[1], queries=2, episodes=2
        )


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"method": "maml"}, "task.meta: missing"),
        ({"method": "linear_probe", "meta": "rows.jsonl"}, "does not meta-train"),
        ({"method": {"name": "cloze", "template": "{text}"}}, "expected {mask} in the template"),
        ({"method": "prototypical", "out_of_scope": "x.jsonl"}, "set rejection=tuned"),
        ({"method": "cloze", "class_names": True}, "has words for its classes"),
        ({"method": "prototypical", "rejection": True}, "expected tuned, off or a cosine"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    task: dict[str, Any], said: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        train(checkpoints["bert"], data, tmp_path / "run", **task)


def test_a_cloze_without_a_sentinel_or_room_is_refused(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match="extra_id_0"):
        train(checkpoints["t5"], data, tmp_path / "t5", "cloze")
    with pytest.raises(UnsupportedError, match="must come last"):
        train(checkpoints["gpt2"], data, tmp_path / "gpt2", "cloze")
    headless = tmp_path / "headless"
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoints["bert"])
    tokenizer.save_pretrained(headless)
    transformers.AutoModel.from_pretrained(checkpoints["bert"]).save_pretrained(headless)
    with pytest.raises(UnsupportedError, match="would stay random"):
        train(headless, data, tmp_path / "none", {"name": "cloze", "tuning": "none"})


@pytest.mark.parametrize(("family", "template"), [("bert", "{text} it is {mask} ."), ("gpt2", "{text} it is {mask}")])
def test_a_cloze_learns_its_words(
    family: str, template: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    method = {"name": "cloze", "template": template}
    result = nlptk.train(
        task={"name": "few_shot", "method": method},
        model=checkpoints[family],
        data={"train": data["support"], "test": data["test"], "duplicates": "keep"},
        training={"num_train_epochs": 30, "learning_rate": 0.005, "disable_tqdm": True, "save_strategy": "no"},
        bootstrap=0,
        output=tmp_path / "run",
    )
    assert result.figures["test"]["accuracy"].value > 0.6
    assert nlptk.evaluate(result.artifact, data["test"], bootstrap=0).figures["accuracy"] == pytest.approx(
        result.figures["test"]["accuracy"]
    )


def test_episodes_of_an_untuned_cloze_are_what_the_language_model_says(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoints["bert"])
    model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoints["bert"]).eval()
    for part in (tokenizer, model):
        part.save_pretrained(tmp_path / "checkpoint")
    method = {"name": "cloze", "template": "{text} it is {mask} .", "tuning": "none"}
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

    weights = []
    for by_hand in (False, True):
        if by_hand:

            def taught(self: Any, resume_from_checkpoint: Any = None) -> Any:
                teach(self._lesson, self.args, {"name": "adamw"})
                return transformers.trainer_utils.TrainOutput(0, 0.0, {})

            monkeypatch.setattr(training.LessonTrainer, "train", taught)
        torch.manual_seed(0)
        result = nlptk.train(
            task={"name": "few_shot", "method": "contrastive"},
            model=checkpoints["bert"],
            data={"train": data["support"], "test": data["test"], "duplicates": "keep"},
            dropout={"hidden": 0.0, "attention": 0.0},
            training={"disable_tqdm": True, "save_strategy": "no", "learning_rate": 1e-3},
            bootstrap=0,
            output=tmp_path / str(by_hand),
        )
        weights.append(load_file(result.artifact / "model.safetensors"))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-6, rtol=0)
