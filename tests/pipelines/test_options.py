"""What of a trained model's answering can be changed when it is loaded, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nlptk
from nlptk import registry
from nlptk.artifact import Manifest
from nlptk.errors import RecipeError
from nlptk.pipelines.artifact import load_task
from nlptk.task import LabelSpace, Preprocessing
from tests.tiny_models import WORDS, write_checkpoint

TEXT = "my parcel came late and broken"


def _task(name: str, changed: dict[str, Any], *, trained: dict[str, Any] | None = None, **state: Any) -> Any:
    options = registry.get_task(name).Options.model_validate(trained or {}).model_dump(mode="json")
    return load_task(Manifest({"name": name, "options": options}, Preprocessing(64), **state), changed)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writer")
    rows = [{"source": " ".join(WORDS[n : n + 5]), "target": WORDS[n]} for n in range(8)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = nlptk.train(
        task={"name": "translation", "max_new_tokens": 12},
        model=write_checkpoint("t5", folder / "t5"),
        data={"train": folder / "rows.jsonl", "validation": "none", "test": "none"},
        training={"max_steps": 1, "save_strategy": "no", "disable_tqdm": True},
        output=folder / "run",
    )
    return result.artifact


def test_decoding_is_changed_when_a_model_is_loaded(writer: Path) -> None:
    usual = nlptk.pipeline(writer, device="cpu")
    changed = nlptk.pipeline(writer, device="cpu", options={"max_new_tokens": 3, "num_beams": 4})
    settings: Any = changed.model.generation_config
    assert (settings.max_new_tokens, settings.num_beams) == (3, 4)
    ids = usual.tokenizer(TEXT, return_tensors="pt")
    model: Any = usual.model
    written = model.generate(**ids, max_new_tokens=3, num_beams=4)[0]
    expected = str(usual.tokenizer.decode(written, skip_special_tokens=True)).strip()
    assert changed(TEXT)["translation"] == expected
    assert expected != usual(TEXT)["translation"]


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("translation", {"label_smoothing": 0.1}, r"options\.label_smoothing: cannot.*can: do_sample.*top_p"),
        ("translation", {"num_beam": 4}, r"options\.num_beam: .*did you mean 'num_beams'"),
        ("translation", {"num_beams": 0}, r"options\.num_beams: .*got 0"),
        ("translation", {"top_k": 4}, r"options\.top_k: .*do_sample=true"),
        ("ner", {"scheme": "BIOES"}, "what can: viterbi"),
        ("qa", {"num_beams": 4}, r"options\.num_beams: cannot be changed"),  # it points, and writes nothing
    ],
)
def test_what_cannot_be_changed_is_refused_with_what_can(name: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        _task(name, changed)


def test_a_threshold_given_anew_wins_over_the_tuned_one() -> None:
    space = LabelSpace(("a", "b"), multi=True)
    kept = {"thresholds": [0.2, 0.7]}
    assert _task("classification", {}, labels=space, decision=kept).thresholds() == [0.2, 0.7]
    assert _task("classification", {"thresholds": 0.4}, labels=space, decision=kept).thresholds() == [0.4, 0.4]


@pytest.mark.parametrize(("given", "threshold"), [({}, 1.5), ({"no_answer_threshold": -2.0}, -2.0)])
def test_the_threshold_of_no_answer_can_be_given_anew(given: dict[str, Any], threshold: float) -> None:
    task = _task("qa", given, decision={"no_answer_threshold": 1.5})
    assert task._withholds(threshold + 0.1)
    assert not task._withholds(threshold)


def test_a_threshold_that_training_never_tuned_cannot_be_asked_for() -> None:
    with pytest.raises(RecipeError, match=r"options\.threshold: tuned: nothing was tuned"):
        _task("similarity", {"threshold": "tuned"}, trained={"threshold": 0.5})
