"""Classes added and removed without training, as new versions of an artifact."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nlptk
import nlptk.pipelines
from nlptk import artifact
from nlptk.errors import ArtifactError, DataError
from nlptk.pipelines import few_shot
from nlptk.training.run import TrainResult
from tests.contract_cases import KEYWORDS
from tests.fewshot.few_shot_rows import train


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


def test_two_threads_that_add_a_class_each_both_do(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second asks while the first embeds its examples."""
    folder = tmp_path / "model"
    shutil.copytree(trained.artifact, folder)
    loaded = nlptk.pipeline(folder)
    embed = few_shot._vectors
    others: list[threading.Thread] = []

    def slowly(*args: Any) -> Any:
        if not others:
            others.append(threading.Thread(target=loaded.add_class, args=("second", ["thanks a lot"])))
            others[0].start()
            others[0].join(timeout=0.5)
        return embed(*args)

    monkeypatch.setattr(few_shot, "_vectors", slowly)
    loaded.add_class("first", ["great service"])
    others[0].join()
    task: Any = loaded.task
    assert {"first", "second"} < set(task.labels.names)
    assert classes_on_disk(folder) == set(task.labels.names)


def classes_on_disk(folder: Path) -> set[str]:
    task: Any = nlptk.pipeline(folder).task
    return set(task.labels.names)


def test_who_is_asking_while_a_class_is_added_gets_an_answer_of_before(trained: TrainResult, tmp_path: Path) -> None:
    """As in another thread, which has the task in hand."""
    loaded = nlptk.pipeline(trained.artifact)
    task: Any = loaded.task
    before = (task.labels, task.support, task.decision)
    loaded.add_class("praise", ["great service"], output=tmp_path / "more")
    assert (task.labels, task.support, task.decision) == before
    assert "praise" in loaded("great service")["scores"]


def test_what_is_loaded_while_classes_change_is_one_version(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes a class and adds one between the manifest and the support set: as many, others."""
    folder = shutil.copytree(trained.artifact, tmp_path / "model")
    other = nlptk.pipeline(folder)
    read = type(other.task).load_extra
    changes = [partial(other.remove_class, KEYWORDS[0]), partial(other.add_class, "praise", ["great service"])]

    def load_extra(task: Any, place: Path) -> None:
        while changes:
            changes.pop(0)()
        read(task, place)

    monkeypatch.setattr(type(other.task), "load_extra", load_extra)
    loaded = nlptk.pipeline(folder)
    assert loaded("great service")["label"] == "praise"
    assert loaded.manifest.files == other.manifest.files


def test_a_load_that_always_fails_says_why_at_once(trained: TrainResult, tmp_path: Path) -> None:
    folder = shutil.copytree(trained.artifact, tmp_path / "model")
    (folder / "support.jsonl").write_text("{}")
    with pytest.raises(ArtifactError, match="its sha256 is not the one"):
        nlptk.pipeline(folder)


def test_a_link_to_a_model_stays_one(trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(trained.artifact, tmp_path / "version-1")
    (tmp_path / "current").symlink_to("version-1")
    monkeypatch.chdir(tmp_path)
    loaded = nlptk.pipeline("current")
    monkeypatch.chdir("/")
    loaded.add_class("praise", ["great service"])
    assert (tmp_path / "current").is_symlink()
    assert "praise" in nlptk.pipeline(folder)("great service")["scores"]


@pytest.mark.parametrize("method", ["linear_probe", "contrastive", "prototypical"])
def test_a_class_with_one_example_is_not_outvoted(
    method: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    loaded = nlptk.pipeline(train(checkpoints["bert"], data, tmp_path / "run", method).artifact)
    loaded.add_class("praise", ["great service"], output=tmp_path / "more")
    assert loaded("great service")["label"] == "praise"


def test_names_that_look_alike_are_one_and_half_a_letter_is_none(trained: TrainResult, tmp_path: Path) -> None:
    loaded = nlptk.pipeline(trained.artifact)
    loaded.add_class(" caf\u00e9 ", ["strong and black"], output=tmp_path / "more")
    assert loaded.task.labels is not None
    assert "caf\u00e9" in loaded.task.labels.names
    with pytest.raises(DataError, match="is there already"):
        loaded.add_class("cafe\u0301", ["weak and pale"], output=tmp_path / "again")
    for name, text in (("tea", "green \ud83c"), ("te\ud83ca", "green")):
        with pytest.raises(DataError, match="holds half a surrogate pair at character"):
            loaded.add_class(name, [text], output=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_example_that_is_not_read_to_its_end_is_told(
    trained: TrainResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = nlptk.pipeline(trained.artifact)
    read = loaded.manifest.preprocessing.max_length
    longest = " ".join(["answer"] * (read - 2))  # and the two special tokens
    loaded.add_class("praise", [longest], output=tmp_path / "fits")
    assert not caplog.messages
    nlptk.pipeline(trained.artifact).add_class("praise", [f"{longest} now quick"], output=tmp_path / "long")
    assert [message for message in caplog.messages if "its last 2 tokens are not read" in message]


def test_what_cannot_be_added_or_removed_is_refused_and_changes_nothing(trained: TrainResult, tmp_path: Path) -> None:
    loaded = nlptk.pipeline(trained.artifact)
    text = json.loads((trained.artifact / "support.jsonl").read_text().splitlines()[0])["text"]
    for name, examples, said in (
        ("broken", ["x y"], "is there already"),
        ("new", [], "no examples"),
        ("new", "text", "examples is a text"),
        ("new", [" "], "example 0 is only white space"),
        ("new", ["\u200b"], "example 0 is"),
        ("new", [text.upper()], "stands for"),
        (" Broken", ["x y"], "is there already as 'broken'"),
        (None, ["x y"], "its name is"),
        ("new", None, "examples is NoneType"),
        ("new", b"text", "examples is bytes"),
        ("new", {"text": 1}, "examples is dict"),
    ):
        with pytest.raises(DataError, match=said):
            loaded.add_class(name, examples, output=tmp_path / "never")  # type: ignore[arg-type]  # some are wrong
    with pytest.raises(DataError, match="words: this model learns from examples alone"):
        loaded.add_class("new", ["x y"], words="brand new", output=tmp_path / "never")
    for gone, said in (
        ("praise", "there is none; there are"),
        ("brokn", "there is none; did you mean 'broken'"),
        (3, "names are texts: give '3'"),
    ):
        with pytest.raises(DataError, match=said):
            loaded.remove_class(gone, output=tmp_path / "never")  # type: ignore[arg-type]  # one is wrong
    assert not (tmp_path / "never").exists()
    assert loaded.task.labels is not None
    assert set(loaded.task.labels.names) == set(KEYWORDS)


def test_what_another_process_changed_after_loading_stays(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    model = train(checkpoints["bert"], data, tmp_path / "run", "prototypical").artifact
    first, second = nlptk.pipeline(model), nlptk.pipeline(model)
    first.add_class("praise", ["great service"])
    with pytest.raises(ArtifactError, match="changed it since it was loaded"):
        second.add_class("refund", ["money back"])
    labels = nlptk.pipeline(model).task.labels
    assert labels is not None
    assert set(labels.names) == {*KEYWORDS, "praise"}
    train(checkpoints["bert"], data, tmp_path / "run", "contrastive")
    with pytest.raises(ArtifactError, match="changed it since it was loaded"):
        first.add_class("refund", ["money back"])
    assert nlptk.pipeline(model).task.options.method.name == "contrastive"  # type: ignore[attr-defined]  # few_shot's


def test_what_another_process_changes_right_after_a_change_stays(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = train(checkpoints["bert"], data, tmp_path / "run", "prototypical").artifact
    loaded, revise = nlptk.pipeline(model), artifact.revise

    def revised_and_changed_again(*args: Any) -> artifact.Manifest:
        monkeypatch.setattr(artifact, "revise", revise)
        written = revise(*args)
        nlptk.pipeline(model).add_class("theirs", ["great service"])
        return written

    monkeypatch.setattr(artifact, "revise", revised_and_changed_again)
    loaded.add_class("mine", ["money back"])
    with pytest.raises(ArtifactError, match="changed it since it was loaded"):
        loaded.add_class("more", ["thank you"])
    labels = nlptk.pipeline(model).task.labels
    assert labels is not None
    assert set(labels.names) == {*KEYWORDS, "mine", "theirs"}


def test_an_output_beside_the_working_folder_is_found_again_from_another(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = nlptk.pipeline(train(checkpoints["bert"], data, tmp_path / "run", "prototypical").artifact)
    monkeypatch.chdir(tmp_path)
    loaded.add_class("praise", ["great service"], output="more")
    monkeypatch.chdir("/")
    loaded.add_class("refund", ["money back"])
    assert nlptk.pipeline(tmp_path / "more").task.labels == loaded.task.labels


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
