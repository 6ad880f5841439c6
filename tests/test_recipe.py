"""One job as data: what is written is what runs, through every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

import nlptk
from nlptk.errors import RecipeError
from nlptk.recipe import apply_overrides, make_recipe, parse_value, read_recipe, schema, to_yaml
from tests.doors import FAST, ROOT, cli, train_tiny, write_rows
from tests.tiny_models import write_checkpoint

EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*.yaml") if not p.name.startswith("pretrain_"))
JOB = {"task": "classification", "model": "CHECKPOINT", "data": "rows.csv"}
TYPES: dict[str, Any] = {
    "string": str,
    "object": dict,
    "array": list,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> list[str]:
    """What the parts of JSON Schema that a recipe's schema uses say against a value; [] where it is valid."""
    if "$ref" in rule:
        return faults(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root)
    if "anyOf" in rule:
        tries = [faults(value, choice, root) for choice in rule["anyOf"]]
        return [] if [] in tries else [f"{value!r}: none of {len(tries)} choices"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{value!r} is none of {rule['enum']}"]
    if "const" in rule and value != rule["const"]:
        return [f"{value!r} is not {rule['const']!r}"]
    kind = rule.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind in ("number", "integer"))):
        return [f"{value!r} is no {kind}"]
    found: list[str] = []
    if isinstance(value, dict):
        known = rule.get("properties", {})
        found += [f"{key} is missing" for key in rule.get("required", []) if key not in value]
        for key, item in value.items():
            other = rule.get("additionalProperties", True)
            if key in known or isinstance(other, dict):
                found += faults(item, known.get(key, other), root)
            elif other is False:
                found.append(f"{key} is unknown")
    if isinstance(value, list) and "items" in rule:
        found += [fault for item in value for fault in faults(item, rule["items"], root)]
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_takes_the_example_recipes(path: Path) -> None:
    assert EXAMPLES
    whole = schema()
    assert faults(yaml.safe_load(path.read_text()), whole, whole) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"sed": 1},
        {"seed": "one"},
        {"task": "clasification"},
        {"task": {"name": "classification", "smoothing": 0.1}},
        {"strategy": {"name": "lora", "rnk": 4}},
        {"data": {"trian": "rows.csv"}},
        {"preprocessing": {"long_text": "cut"}},
    ],
)
def test_the_schema_refuses_what_nlptk_refuses(wrong: dict[str, Any]) -> None:
    whole = schema()
    assert faults({**JOB, **wrong}, whole, whole)
    with pytest.raises(RecipeError):
        make_recipe({**JOB, **wrong})


def test_map_reduce_is_said_to_be_the_tasks() -> None:
    with pytest.raises(RecipeError, match=r"long_text: map_reduce is the task's own: set task\.long_text=map_reduce"):
        make_recipe({**JOB, "preprocessing": {"long_text": "map_reduce"}})


@pytest.mark.parametrize("short", [{"strategy": {"layer_decay": 0.9}}, {"optimizer": {"eps": 1e-6}}, {}])
def test_the_schema_takes_components_without_a_name_where_there_is_a_default(short: dict[str, Any]) -> None:
    whole = schema()
    assert faults({**JOB, **short}, whole, whole) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_shown_recipe_is_the_same_recipe_again(path: Path, tmp_path: Path) -> None:
    shown = cli("recipe", "show", path)
    assert shown.code == 0, shown.err
    (tmp_path / "shown.yaml").write_text(shown.out)
    assert nlptk.resolve_recipe(tmp_path / "shown.yaml") == nlptk.resolve_recipe(path)
    whole = schema()
    assert faults(yaml.safe_load(shown.out), whole, whole) == []


def test_an_override_turns_a_name_into_a_block_and_keeps_it() -> None:
    assert apply_overrides({"strategy": "lora"}, ["strategy.rank=4"])["strategy"] == {"name": "lora", "rank": 4}
    assert apply_overrides({"data": "a.csv"}, ["data.test=0.2"])["data"] == {"train": "a.csv", "test": 0.2}


def test_an_option_without_a_name_belongs_to_the_default() -> None:
    recipe = make_recipe(apply_overrides(JOB, ["optimizer.eps=1e-6"]))
    assert recipe.optimizer == {"name": "adamw", "eps": 1e-6}


def test_an_override_adds_to_what_a_text_stands_for() -> None:
    task = nlptk.resolve_recipe(
        {"task": "few_shot", "model": "m", "data": "d.jsonl"},
        overrides=["task.method=cloze", "task.method.tuning=none"],
    ).task
    assert (task["method"]["name"], task["method"]["tuning"]) == ("cloze", "none")


def test_an_override_does_not_change_the_mapping_it_is_laid_over() -> None:
    before = {"training": {"seed": 1}}
    apply_overrides(before, ["training.seed=2"])
    assert before == {"training": {"seed": 1}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1E3", 1000.0),
        ("-2e-1", -0.2),
        ("2", 2),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[1, 2e-3]", [1, 0.002]),
        ("{a: 1}", {"a": 1}),
        ("a=b", "a=b"),
        ("", None),
    ],
)
def test_a_value_reads_as_people_mean_it(text: str, value: Any) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_three_doors_make_one_recipe(tmp_path: Path) -> None:
    words = ["strategy=lora", "strategy.rank=4", "training.learning_rate=5e-5", "data.columns.text=body", "seed=3"]
    (tmp_path / "job.yaml").write_text(
        "task: classification\nmodel: CHECKPOINT\ndata: {train: rows.csv, columns: {text: body}}\n"
        "strategy: {name: lora, rank: 4}\ntraining: {learning_rate: 5.0e-5}\nseed: 3\n"
    )
    by_file = nlptk.resolve_recipe(tmp_path / "job.yaml")
    by_words = cli("recipe", "show", "task=classification", "model=CHECKPOINT", "data=rows.csv", *words)
    by_call = nlptk.resolve_recipe(
        task="classification",
        model=Path("CHECKPOINT"),
        data={"train": Path("rows.csv"), "columns": {"text": "body"}},
        strategy={"name": "lora", "rank": 4},
        training={"learning_rate": 5e-5},
        seed=3,
    )
    assert by_file == by_call
    assert yaml.safe_load(by_words.out) == by_call.model_dump(mode="json")


def test_a_mapping_may_hold_paths_and_numbers_of_numpy_but_no_arrays() -> None:
    import numpy as np

    assert nlptk.resolve_recipe({**JOB, "model": Path("here")}).model == "here"
    seed = nlptk.resolve_recipe({**JOB, "seed": np.int64(3)}).seed
    assert (seed, type(seed)) == (3, int)
    with pytest.raises(RecipeError, match="ndarray"):
        nlptk.resolve_recipe({**JOB, "seed": np.arange(3)})


def test_rows_in_memory_are_refused_with_the_way_to_save_them() -> None:
    from datasets import Dataset

    with pytest.raises(RecipeError, match="save_to_disk"):
        nlptk.resolve_recipe({**JOB, "data": Dataset.from_dict({"text": ["a"]})})


def test_the_saved_recipe_is_the_resolved_one_and_replays_to_the_same_bits(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "task": "classification",
        "model": str(write_checkpoint("bert", tmp_path / "bert")),
        "data": {"train": str(write_rows(tmp_path / "rows.jsonl")), "test": "none"},
        "training": {**FAST, "learning_rate": 1e-3},
        "bootstrap": 0,
    }
    first = nlptk.train(keys, output=tmp_path / "first").artifact
    saved = json.loads((first / "nlptk.json").read_text())["recipe"]
    assert saved == nlptk.resolve_recipe(keys, output=tmp_path / "first").model_dump(mode="json")

    again = nlptk.train(saved, output=tmp_path / "again").artifact
    start = load_file(tmp_path / "bert" / "model.safetensors")
    one, two = load_file(first / "model.safetensors"), load_file(again / "model.safetensors")
    assert any(not one[f"bert.{name}"].equal(tensor) for name, tensor in start.items()), "nothing was trained"
    assert all(two[name].equal(tensor) for name, tensor in one.items())


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one = load_file(train_tiny(tmp_path / "one", seed=0) / "model.safetensors")
    two = load_file(train_tiny(tmp_path / "two", seed=1) / "model.safetensors")
    assert not one["classifier.weight"].equal(two["classifier.weight"])


def test_the_yaml_of_a_recipe_says_every_key() -> None:
    recipe = make_recipe(JOB)
    assert set(yaml.safe_load(to_yaml(recipe))) == set(type(recipe).model_fields)


@pytest.mark.parametrize(
    ("text", "value"), [("no", "no"), ("off", "off"), ("yes", "yes"), ("true", True), ("False", False)]
)
def test_only_true_and_false_are_booleans(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_a_strategy_named_no_is_a_name() -> None:
    given = apply_overrides({"task": "classification", "model": "m", "data": "d.csv"}, ["training.save_strategy=no"])
    assert make_recipe(given).training == {"save_strategy": "no"}
    assert yaml.safe_load(to_yaml(make_recipe(given)))["training"] == {"save_strategy": "no"}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"task": "similarity", "form": "cross_encoder"}, "task.form"),
        ({"task": {"name": "qa"}, "method": "generative"}, "task.method"),
        ({"strategy": "lora", "alpha": 16}, "strategy.alpha"),
        ({"layer_decay": 0.9}, "strategy.layer_decay"),
        ({"max_length": 64}, "preprocessing.max_length"),
    ],
)
def test_a_key_that_stands_a_level_too_high_is_told_its_place(given: dict[str, Any], place: str) -> None:
    key = next(key for key in given if key not in ("task", "strategy"))
    with pytest.raises(RecipeError, match=rf"^recipe: {key}: unknown key; did you mean '{place}'\?$"):
        make_recipe({**JOB, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": {"train": "a", "validation": 1.5}}, "data.validation: expected a file, a fraction between 0 and 1"),
        (
            {"data": {"train": "a", "test": 0}},
            "data.test: expected a file, a fraction between 0 and 1, or none for no ",
        ),
        ({"task": {"name": "classification", "class_weights": {"0": "heavy"}}}, "task.class_weights.0: expected a num"),
        ({"task": {"name": "classification", "class_weights": "heavy"}}, "task.class_weights: expected 'balanced' or"),
        (
            {"task": {"name": "classification", "class_weights": {"a": -1}}},
            "task.class_weights.a: expected a number ",
        ),
        ({"task": {"name": "classification", "class_weights": {"a": float("nan")}}}, "task.class_weights.a: expected"),
        ({"packing": "maybe"}, "packing: expected 'auto' or true or false; got 'maybe'"),
        ({"data": {"train": ["a", 2]}}, "data.train.1: expected a text; got 2"),
        ({"seed": -1}, "seed: expected a number greater than or equal to 0; got -1"),
        ({"task": {"name": "few_shot", "method": "protypical"}}, "task.method: no method named 'protypical'; did you"),
        ({"task": {"name": "few_shot", "method": {"name": "cloze", "templat": "x"}}}, "task.method.templat: unknown "),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_once_in_plain_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe({**JOB, **given})
    assert str(caught.value).startswith(f"recipe: {said}")
    assert str(caught.value).count("recipe: ") == 1


def test_dates_and_numbers_as_keys_are_the_text_that_was_written(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "output: 2026-01-31\ntask: {name: classification, class_weights: {0: 1, 1: 2.5}}\n"
    )
    read = read_recipe(tmp_path / "r.yaml")
    assert read == {"output": "2026-01-31", "task": {"name": "classification", "class_weights": {"0": 1, "1": 2.5}}}


def test_an_unknown_key_beside_an_unknown_task_is_still_named() -> None:
    with pytest.raises(RecipeError, match=r"^recipe: modle: unknown key; did you mean 'model'\?$"):
        make_recipe({**JOB, "task": "unheard", "modle": "x"})


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("|", "|"),
        (">", ">"),
        (",", ","),
        ("#", "#"),
        (" ", " "),
        ("runs/a #1", "runs/a #1"),
        ("'|'", "|"),
        ('"a b"', "a b"),
        ("null", None),
        ("", None),
        ("5e-5", 5e-5),
        ("true", True),
        ("[a, 1]", ["a", 1]),
        ("{a: 1}", {"a": 1}),
        ("sst2", "sst2"),
    ],
)
def test_a_word_on_the_command_line_keeps_what_yaml_would_take_for_a_mark(word: str, value: Any) -> None:
    assert apply_overrides({}, [f"data.label_separator={word}"]) == {"data": {"label_separator": value}}
