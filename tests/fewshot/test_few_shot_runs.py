"""The contract of few-shot methods: on every family they train or are refused, measure, come back equal, and serve."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import nlptk
import nlptk.pipelines
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.training.run import TrainResult
from tests.contract_cases import KEYWORDS
from tests.fewshot.few_shot_rows import META, train
from tests.tiny_models import FAMILIES

EMBEDDING = ("linear_probe", "prototypical", "contrastive", "maml", "fomaml", "anil", "reptile")


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


def test_examples_that_repeat_one_another_are_told(
    checkpoints: dict[str, Path], data: dict[str, Path], trained: TrainResult, tmp_path: Path
) -> None:
    lines = data["support"].read_text().splitlines(keepends=True)
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert first["label"] != last["label"]
    both = json.dumps({"text": first["text"], "label": last["label"]}) + "\n"
    (tmp_path / "support.jsonl").write_text("".join([*lines, *lines[:2], both]))
    result = train(
        checkpoints["bert"], {**data, "support": tmp_path / "support.jsonl"}, tmp_path / "run", "prototypical"
    )
    told = f"2 of {len(lines) + 3} examples repeat another one's text, and teach nothing new"
    assert told in result.warnings
    assert not any("repeat another" in line for line in trained.warnings)


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


def test_transformers_pipeline_says_the_same(trained: TrainResult) -> None:
    served: Any = transformers.pipeline("few-shot-classification", model=str(trained.artifact))  # type: ignore[call-overload]
    texts = ["the parcel came broken", "my invoice shows"]
    assert served(texts) == nlptk.pipeline(trained.artifact)(texts)
    one_by_one = served(texts, batch_size=1)
    assert one_by_one == nlptk.pipeline(trained.artifact, batch_size=1)(texts)
    with pytest.raises(DataError, match="batch_size: 0; give"):
        served(texts, batch_size=0)
    with pytest.raises(UnsupportedError, match="takes no top_k"):
        served(texts, top_k=2)


def test_a_head_drawn_at_random_has_no_class_names(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    """What the checkpoint knew of classes of its own is no name for the new ones either."""
    started = tmp_path / "model"
    shutil.copytree(checkpoints["bert"], started)
    config = transformers.AutoConfig.from_pretrained(started)
    config.id2label, config.label2id = {0: "no", 1: "yes"}, {"no": 0, "yes": 1}
    config.save_pretrained(started)
    result = train(started, data, tmp_path / "run", "prototypical")
    served = nlptk.pipeline(result.artifact)
    served.add_class("lamp", ["the lamp is dark", "a lamp without light"], output=tmp_path / "more")
    for folder in (result.artifact, tmp_path / "more"):
        plain = transformers.pipeline("text-classification", model=str(folder))
        assert plain("the lamp is dark")[0]["label"] in ("LABEL_0", "LABEL_1")
        assert nlptk.pipeline(folder)("the lamp is dark")["label"] in {*KEYWORDS, "lamp"}


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


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"method": "maml"}, "task.meta: missing"),
        ({"method": "linear_probe", "meta": "rows.jsonl"}, "does not meta-train"),
        ({"method": {"name": "cloze", "template": "{text}"}}, "template: expected {mask} in it, once"),
        ({"method": "prototypical", "out_of_scope": "x.jsonl"}, "set task.rejection=tuned"),
        ({"method": "cloze", "class_names": True}, "has words for its classes"),
        ({"method": "prototypical", "rejection": True}, "expected tuned, off or a cosine"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    task: dict[str, Any], said: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        train(checkpoints["bert"], data, tmp_path / "run", **task)


def test_a_class_without_rows_is_refused(checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.train: no row has the label 'nothing' \(1 of 4 classes are so\)"):
        nlptk.train(
            task="few_shot",
            model=checkpoints["bert"],
            data={"train": data["support"], "label_names": ["nothing", *KEYWORDS], "duplicates": "keep"},
            output=tmp_path / "run",
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({KEYWORDS[0]: "late"}, "none for"),
        ({**{name: name for name in KEYWORDS}, "brokn": "late"}, "no class 'brokn'"),
        (dict.fromkeys(KEYWORDS, "late"), "have the same word"),
    ],
)
def test_label_words_that_do_not_fit_the_classes_are_refused(
    words: dict[str, str], said: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    method = {"name": "cloze", "template": "{text} it is {mask} .", "label_words": words}
    with pytest.raises(RecipeError, match=said):
        train(checkpoints["bert"], data, tmp_path / "run", method)


def test_a_class_is_added_to_a_cloze_with_label_words(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    words = {name: name for name in KEYWORDS}
    method = {"name": "cloze", "template": "{text} it is {mask} .", "label_words": words}
    loaded = nlptk.pipeline(train(checkpoints["bert"], data, tmp_path / "run", method).artifact)
    loaded.add_class("late", ["came late again"], output=tmp_path / "more")
    later = nlptk.pipeline(tmp_path / "more")
    assert set(later("came late again")["scores"]) == {*KEYWORDS, "late"}
    assert later("came late again")["label"] == "late"  # by its example: nothing was tuned to write its word
    with pytest.raises(DataError, match=r"class 'lost': .*'late' and 'lost' have the same word.* these are words="):
        later.add_class("lost", ["nowhere"], words="late", output=tmp_path / "never")
    later.add_class("lost", ["nowhere"], words="gone", output=tmp_path / "most")
    task: Any = nlptk.pipeline(tmp_path / "most").task
    assert task.settings.method.label_words == {**words, "late": "late", "lost": "gone"}
    later.remove_class("lost", output=tmp_path / "fewer")
    again = nlptk.pipeline(tmp_path / "fewer")
    again.add_class("lost", ["nowhere"], output=tmp_path / "again")  # it has the word that was given for it
    assert nlptk.pipeline(tmp_path / "again")("nowhere") == nlptk.pipeline(tmp_path / "most")("nowhere")
    assert nlptk.pipeline(tmp_path / "fewer")("came late again") == nlptk.pipeline(tmp_path / "more")("came late again")


@pytest.mark.parametrize("change", ["batch", "meta"])
def test_a_run_is_not_resumed_with_other_rows_or_batches(
    change: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    rows = tmp_path / "meta.jsonl"
    shutil.copy(data["meta"], rows)
    task: dict[str, Any] = {"name": "few_shot", "method": "contrastive"}
    if change == "meta":
        task = {"name": "few_shot", "method": "prototypical", "meta": {"train": str(rows), **META, "episodes": 8}}

    def run(**training: Any) -> None:
        nlptk.train(
            task=task,
            model=checkpoints["bert"],
            data={"train": data["support"], "duplicates": "keep"},
            training={"disable_tqdm": True, "save_strategy": "steps", "save_steps": 1, **training},
            bootstrap=0,
            output=tmp_path / "run",
        )

    run()
    if change == "meta":
        rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-6]))
    with pytest.raises(RecipeError, match="examples of a batch" if change == "batch" else r"task\.meta\.train"):
        run(resume_from_checkpoint="auto", **({"per_device_train_batch_size": 4} if change == "batch" else {}))


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


@pytest.mark.parametrize(("rate", "told"), [(1e-12, True), (0.003, False)])
def test_meta_training_that_does_not_help_is_told(
    rate: float, told: bool, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta: dict[str, Any] = {
        "train": str(data["meta"]),
        "validation": str(data["held_out"]),
        **META,
        "episodes": 24,
        "shots": 1,
    }
    meta["validation_episodes"] = 60
    result = nlptk.train(
        task={"name": "few_shot", "method": "prototypical", "meta": meta},
        model=checkpoints["bert"],
        data={"train": data["support"], "validation": "none", "test": "none", "duplicates": "keep"},
        training={"disable_tqdm": True, "learning_rate": rate},
        bootstrap=0,
        output=tmp_path / "run",
    )
    said = [line for line in result.warnings if "on the validation classes" in line and "it did not help" in line]
    assert bool(said) == told


def test_what_was_not_trained_is_not_counted_and_shared_classes_are_told(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    meta = {"train": str(data["meta"]), **META, "episodes": 4, "shots": 1}
    result = train(checkpoints["bert"], data, tmp_path / "run", "anil", meta=meta)
    assert [group["name"] for group in result.parameters["groups"]] == ["start"]
    assert any("are meta-trained on too, such as 'password'" in line for line in result.warnings)
    result = train(checkpoints["bert"], data, tmp_path / "more", "prototypical", meta=meta)
    assert result.parameters["trainable"] > 0


def test_a_threshold_from_few_examples_alone_is_warned_of(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    for shots, told in ((3, True), (8, False)):
        rows = [json.loads(line) for line in data["test"].read_text().splitlines()]
        kept = [row for name in KEYWORDS for row in [r for r in rows if r["label"] == name][:shots]]
        (tmp_path / f"{shots}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        result = nlptk.train(
            task={"name": "few_shot", "method": "prototypical", "rejection": "tuned"},
            model=checkpoints["bert"],
            data={"train": tmp_path / f"{shots}.jsonl"},
            output=tmp_path / f"run-{shots}",
        )
        assert any("comes from the examples alone" in line for line in result.warnings) == told, len(kept)
