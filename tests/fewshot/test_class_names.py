"""Class names as examples: in a job, in episodes, in meta-training."""

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
from nlptk.errors import DataError, RecipeError
from tests.contract_cases import KEYWORDS
from tests.fewshot.few_shot_rows import META, train
from tests.tiny_models import WORDS


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


def test_words_say_what_an_added_name_does_not(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    loaded = nlptk.pipeline(
        train(checkpoints["bert"], data, tmp_path / "run", "prototypical", class_names=True).artifact
    )
    with pytest.raises(DataError, match=r"class '123': .*'123' has no word.* these are words="):
        loaded.add_class("123", ["my own text"])
    with pytest.raises(DataError, match=f"'{KEYWORDS[0]}', its name's words, stands for '{KEYWORDS[0]}' already; give"):
        loaded.add_class("123", words=KEYWORDS[0])
    loaded.add_class("123", words="great service")
    assert loaded("great service")["label"] == "123"


def test_a_class_that_comes_back_has_the_words_that_were_given_for_it(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    words = {KEYWORDS[0]: "came late again"}
    loaded = nlptk.pipeline(
        train(checkpoints["bert"], data, tmp_path / "run", "prototypical", class_names=words).artifact
    )
    loaded.remove_class(KEYWORDS[0])
    loaded.add_class(KEYWORDS[0], ["thank you"])
    assert loaded.task.support.texts[-2:] == ("thank you", "came late again")  # type: ignore[attr-defined]  # few_shot's


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


def test_words_may_be_for_meta_trained_classes_and_for_no_others(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta = {"train": str(data["meta"]), "validation": str(data["held_out"]), **META, "episodes": 4, "shots": 1}
    known = {WORDS[20]: "meta", WORDS[30]: "held out", KEYWORDS[0]: "own"}
    train(checkpoints["bert"], data, tmp_path / "run", "prototypical", meta=meta, class_names=known)
    with pytest.raises(RecipeError, match="no class 'brokn'"):
        train(
            checkpoints["bert"],
            data,
            tmp_path / "typo",
            "prototypical",
            meta=meta,
            class_names={**known, "brokn": "broken"},
        )


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


def test_words_of_meta_trained_classes_do_not_bar_methods_that_train_nothing(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    task = {
        "name": "few_shot",
        "method": "prototypical",
        "meta": {"train": str(data["held_out"]), **META, "ways": 2, "episodes": 4, "shots": 1},
        "class_names": {WORDS[30]: "held out", WORDS[20]: "measured"},
    }
    keys: dict[str, Any] = {"task": task, "model": checkpoints["bert"], "ways": 3, "shots": [1], "queries": 2}
    keys |= {"data": {"train": data["meta"], "duplicates": "drop"}, "episodes": 4}
    found = nlptk.compare_methods(**keys, methods=["linear_probe", "prototypical"], output=tmp_path / "both")
    assert set(found.figures) == {"linear_probe", "prototypical"}
    del task["meta"]
    with pytest.raises(RecipeError, match=f"no class '{WORDS[30]}'"):
        nlptk.compare_methods(**keys, methods=["linear_probe"], output=tmp_path / "alone")
    with pytest.raises(RecipeError, match="shots: none given"):
        nlptk.compare_methods(**{**keys, "shots": []}, output=tmp_path / "none")
