"""The similarity task in whole runs: every family and form, and the same numbers from the libraries that load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModel, AutoModelForTextEncoding, BartConfig, BartModel
from transformers import pipeline as transformers_pipeline

import nlptk
from nlptk.checkpoints import quiet
from nlptk.errors import DataError, UnsupportedError
from nlptk.training.run import TrainResult
from tests.tiny_models import FAMILIES, WORDS, write_checkpoint

POOLED = {"bert": "mean", "gpt2": "last", "t5": "mean"}
LONG = " ".join(WORDS * 4)  # past the 128 tokens of the tiny models


def _pairs(path: Path, target: str) -> Path:
    """Pairs of one text, of half of it, and of two."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(48):
            words = [WORDS[(row * 7 + step * 3) % len(WORDS)] for step in range(4 + row % 5)]
            others = [WORDS[(row * 5 + step * 11 + 1) % len(WORDS)] for step in range(5)]
            second = [others, [*words[:2], *others[:2]], words][row % 3]
            gold = {"score": [0.0, 2.5, 5.0][row % 3], "label": "same" if row % 3 == 2 else "not_same"}[target]
            pair = {"sentence1": f"{' '.join(words)} {row}", "sentence2": " ".join(second), target: gold}
            file.write(json.dumps(pair) + "\n")
    return path


def _train(model: Path, rows: Path, output: Path, *, epochs: int = 20, **keys: Any) -> TrainResult:
    task = {"name": "similarity", **keys.pop("task", {})}
    return nlptk.train(
        task=task,
        model=model,
        data={"train": rows, "validation": rows, "test": "none", "duplicates": "keep"},
        output=output,
        training={
            "num_train_epochs": epochs,
            "per_device_train_batch_size": 48,  # all pairs, for CoSENT's loss of many is not that of few
            "learning_rate": 0.01,
            "eval_on_start": True,
            "eval_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
        },
        bootstrap=0,
        **keys,
    )


def _loss_before(result: TrainResult) -> float:
    history = json.loads((result.folder / "trainer_state.json").read_text())["log_history"]
    return float(next(entry["eval_loss"] for entry in history if "eval_loss" in entry))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: write_checkpoint(family, folder / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pairs")
    return {target: _pairs(folder / f"{target}.jsonl", target) for target in ("score", "label")}


@pytest.fixture(scope="module")
def artifacts(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Bi-encoders of scored pairs, one epoch each."""
    folder = tmp_path_factory.mktemp("trained")
    return {f: _train(checkpoints[f], data["score"], folder / f, epochs=1).artifact for f in FAMILIES}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["score", "label"])
@pytest.mark.parametrize("form", ["bi_encoder", "cross_encoder"])
@pytest.mark.parametrize("strategy", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_contract(
    family: str,
    strategy: str,
    form: str,
    target: str,
    checkpoints: dict[str, Path],
    data: dict[str, Path],
    tmp_path: Path,
) -> None:
    # CoSENT's loss of all pairs is near a maximum over them, which may rise while their order gets better
    task = {"form": form, **({"loss": "mse"} if form == "bi_encoder" and target == "score" else {})}
    result = _train(checkpoints[family], data[target], tmp_path / "run", task=task, strategy=strategy)
    assert result.metrics["eval_loss"] < _loss_before(result)
    again = nlptk.evaluate(result.artifact, data[target], bootstrap=0)
    found = result.figures["validation"]
    assert {k: f.value for k, f in again.figures.items()} == pytest.approx(
        {k: f.value for k, f in found.items()}, abs=1e-5
    )
    rows = [json.loads(line) for line in data[target].read_text().splitlines()]
    said = nlptk.pipeline(result.artifact)([(row["sentence1"], row["sentence2"]) for row in rows])
    if target == "label":
        right = [row["label"] == prediction["label"] for row, prediction in zip(rows, said, strict=True)]
        assert np.mean(right) == pytest.approx(found["accuracy"].value)
    else:
        scores = [prediction["score"] for prediction in said]
        assert min(scores) >= 0
        assert max(scores) <= 5
        gold = [row["score"] for row in rows]
        # a score is cut to its range, a cosine is not
        assert spearmanr(scores, gold).statistic == pytest.approx(found["spearman"].value, abs=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_sentence_transformers_gives_the_same_embeddings(family: str, artifacts: dict[str, Path]) -> None:
    texts = ["late order", "please reset my password now", LONG, "refund"]
    ours = nlptk.pipeline(artifacts[family]).embed(texts)
    with quiet():
        theirs = SentenceTransformer(str(artifacts[family]), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts), ours, atol=1e-5)
    assert theirs.max_seq_length == 128
    pooling: Any = theirs[1]
    assert pooling.pooling_mode == {"mean": "mean", "last": "lasttoken"}[POOLED[family]]


def test_embeddings_are_the_pooled_last_layer(artifacts: dict[str, Path]) -> None:
    for family, pooling in POOLED.items():
        loaded = nlptk.pipeline(artifacts[family])
        auto = AutoModelForTextEncoding if family == "t5" else AutoModel
        with quiet():
            model = auto.from_pretrained(artifacts[family])
        ids = loaded.tokenizer("please reset my password", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            hidden = model(input_ids=ids).last_hidden_state[0]
        expected = hidden.mean(dim=0) if pooling == "mean" else hidden[-1]
        np.testing.assert_allclose(loaded.embed("please reset my password", normalize=False), expected, atol=1e-5)


def test_of_t5_only_the_encoder_is_kept(artifacts: dict[str, Path]) -> None:
    assert not [name for name in load_file(artifacts["t5"] / "model.safetensors") if name.startswith("decoder")]
    config = json.loads((artifacts["t5"] / "config.json").read_text())
    assert config["architectures"] == ["T5EncoderModel"]


def test_a_prediction_is_the_cosine_of_the_embeddings(artifacts: dict[str, Path], data: dict[str, Path]) -> None:
    loaded = nlptk.pipeline(artifacts["bert"])
    pair = ("late order", "please reset my password")
    cosine = float(np.prod([loaded.embed(text) for text in pair], axis=0).sum())
    slope, start = loaded.task.decision["line"]
    expected = min(5.0, max(0.0, start + slope * cosine))
    assert loaded([pair])[0] == {"score": pytest.approx(expected, abs=1e-4), "truncated": False}
    assert loaded([(pair[0], LONG)])[0]["truncated"] is True


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cross_encoder_gives_the_same_scores_in_sentence_transformers_and_transformers(
    family: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    model = checkpoints[family]
    result = _train(model, data["score"], tmp_path / "run", task={"form": "cross_encoder"}, epochs=1)
    pairs = [("late order", "refund please"), ("late order", "late order"), ("my card", LONG)]
    loaded = nlptk.pipeline(result.artifact)
    ours = [row["score"] / 5 for row in loaded(pairs)]
    with quiet():
        theirs = CrossEncoder(str(result.artifact), device="cpu").predict(pairs, batch_size=1)
        plain: Any = transformers_pipeline("text-classification", model=str(result.artifact))
    assert ours == pytest.approx(theirs.tolist(), abs=1e-5)
    short = [plain([{"text": a, "text_pair": b}])[0]["score"] for a, b in pairs[:2]]
    assert ours[:2] == pytest.approx(short, abs=1e-5)
    with pytest.raises(UnsupportedError, match="embeds none"):
        loaded.embed(["late order"])


def test_training_from_a_sentence_transformers_folder_takes_its_pooling(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    with quiet():
        model = SentenceTransformer(str(checkpoints["bert"]), device="cpu")
        assert model[1].pooling_mode == "mean"
        model[1].pooling_mode = "cls"  # type: ignore[assignment]
        model.save(str(folder))
    result = _train(folder, data["score"], tmp_path / "run", epochs=1)
    assert nlptk.pipeline(result.artifact).task.decision["pooling"] == "cls"
    again = _train(result.artifact, data["score"], tmp_path / "again", epochs=1)  # what nlptk itself wrote, likewise
    assert nlptk.pipeline(again.artifact).task.decision["pooling"] == "cls"
    given = _train(folder, data["score"], tmp_path / "given", epochs=1, task={"pooling": "mean"})
    assert nlptk.pipeline(given.artifact).task.decision["pooling"] == "mean"
    # what MiniLM's folder has, from before version 6
    old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_max_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(old))
    with pytest.raises(UnsupportedError, match=r"pooling_mode_max_tokens.*task\.pooling"):
        _train(folder, data["score"], tmp_path / "max", epochs=1)


def test_an_encoder_decoder_whose_encoder_does_not_stand_alone_is_refused(
    data: dict[str, Path], tmp_path: Path
) -> None:
    folder = write_checkpoint("gpt2", tmp_path / "bart")
    shape: dict[str, Any] = {"vocab_size": 400, "d_model": 16}
    for side in ("encoder", "decoder"):
        shape |= {f"{side}_layers": 1, f"{side}_ffn_dim": 16, f"{side}_attention_heads": 2}
    with quiet():
        BartModel(BartConfig(**shape)).save_pretrained(folder)
    with pytest.raises(UnsupportedError, match="AutoModelForTextEncoding for the bart"):
        _train(folder, data["score"], tmp_path / "run", epochs=1)


def test_windows_carry_what_truncation_loses(
    checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    how = {"max_length": 16, "long_text": "window", "stride": 4}
    result = _train(checkpoints["bert"], data["score"], tmp_path / "run", epochs=1, preprocessing=how)
    loaded = nlptk.pipeline(result.artifact)
    one, other = f"{LONG} late refund", f"{LONG} screen freezes"
    assert np.abs(loaded.embed(one) - loaded.embed(other)).max() > 1e-4  # cut, they would be equal
    found = loaded([(one, "late refund"), (other, "late refund")])
    assert found[0]["score"] != found[1]["score"]
    assert not found[0]["truncated"]


@pytest.mark.parametrize("long_text", ["window", "truncate_head_tail"])
def test_a_run_warns_where_sentence_transformers_embeds_long_texts_otherwise(
    long_text: str, checkpoints: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    how = {"max_length": 16, "long_text": long_text}
    result = _train(checkpoints["bert"], data["score"], tmp_path / "run", epochs=1, preprocessing=how)
    theirs = SentenceTransformer(str(result.artifact), device="cpu").encode(LONG, normalize_embeddings=True)
    assert np.abs(theirs - nlptk.pipeline(result.artifact, device="cpu").embed(LONG)).max() > 1e-4
    told = "sentence-transformers embeds a text of more than 16 tokens otherwise"
    assert any(told in line for line in result.warnings)


def test_a_file_of_pairs_becomes_a_file_of_scores(
    artifacts: dict[str, Path], data: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "scores.csv"
    nlptk.predict(artifacts["bert"], data["score"], target)
    lines = target.read_text().splitlines()
    assert lines[0].split(",") == ["row", "sentence1", "sentence2", "input_score", "score", "truncated"]
    assert len(lines) == 49


def test_bad_rows_are_named(artifacts: dict[str, Path], tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"row 1: no 'sentence2'"):
        nlptk.pipeline(artifacts["bert"])([("a", "b"), {"sentence1": "late"}])
    rows = tmp_path / "rows.jsonl"
    pairs = [{"sentence1": "late", "sentence2": "refund", "score": 1.0}, {"sentence1": "late", "sentence2": "order"}]
    rows.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    with pytest.raises(DataError, match=r"row 2: has sentence1, sentence2 \(expected score, or label\)"):
        _train(checkpoints["bert"], rows, tmp_path / "run")


@pytest.mark.slow
def test_a_thousand_pairs_raise_the_spearman_of_minilm_on_other_years(
    minilm: Path, shared_data: Path, tmp_path: Path
) -> None:
    lines = (shared_data / "sts/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    train = tmp_path / "train.jsonl"
    train.write_text("".join(lines[index] for index in np.random.default_rng(0).permutation(len(lines))[:1000]))
    test = shared_data / "sts/test.jsonl"
    rates = {"untuned": 0.0, "tuned": 2e-5}
    figures = {}
    for name, rate in rates.items():
        result = nlptk.train(
            task="similarity",
            model=minilm,
            data={"train": train, "validation": "none", "test": test, "duplicates": "drop"},
            training={"max_steps": 1, "learning_rate": rate}
            if not rate
            else {"num_train_epochs": 1, "learning_rate": rate},
            bootstrap=0,
            output=tmp_path / name,
        )
        figures[name] = result.figures["test"]["spearman"].value
    assert figures["tuned"] > figures["untuned"]
