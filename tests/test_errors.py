"""Whatever the user can mend ends with code 2 and one message that says where, what came and the cure."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from nlptk import api
from nlptk.errors import NlptkError
from nlptk.training import preparation
from tests.doors import ROOT, Called, cli, python, rows, train_tiny, write_rows
from tests.tiny_models import write_checkpoint

FILES: dict[str, str | bytes] = {
    "list.yaml": "- task\n- model\n",
    "broken.yaml": "task: [classification,\nmodel: }",
    "nothing.yaml": "",
    "good.yaml": "task: classification\nmodel: bert\ndata: rows.jsonl\noutput: run\n",
    "wrong_key.yaml": "task: classification\nmodel: bert\ndata: {trian: rows.jsonl}\n",
    "no_text.csv": "body,label\ngood,a\nbad,b\n",
    "latin.csv": "text,label\ncafé,a\ntea,b\n".encode("latin-1"),
    "empty.csv": "",
    "header.csv": "text,label\n",
    "one_label.csv": "text,label\nred,a\ngreen,a\nblue,a\n",
    "unseen.csv": "text,label\nwho knows,neither\n",
    "leak.csv": "text,label\nORDER 0 came quick!,good\n",
    "nan.csv": "text,label\ngood,a\n,b\n",
    "half_pairs.csv": "sentence1,sentence2,label\none,two,a\nthree,,b\nfour,five,a\n",
    "ragged.csv": "text,label\ngood,a\nbad,b,c\n",
    "rows.pickle": b"\x80\x04",
}
JOB = ("train", "task=classification", "model=bert", "data=rows.jsonl", "output=run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("errors")
    write_checkpoint("bert", place / "bert")
    write_rows(place / "rows.jsonl")
    for name, content in FILES.items():
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (place / "no_config").mkdir()
    (place / "no_config" / "notes.txt").write_text("nothing")
    write_checkpoint("bert", place / "a_run" / "model")
    (place / "others" / "model").mkdir(parents=True)
    (place / "others" / "model" / "thesis.txt").write_text("four years")
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def refused(called: Called) -> str:
    """The message of a call that was refused as it should be."""
    assert called.code == 2, called.err
    lines = called.err.splitlines()
    assert len(lines) == 1, called.err
    assert lines[0].startswith("nlptk: ")
    return lines[0]


RECIPES = {
    "top-level key": (["train", "good.yaml", "traning.seed=1"], "good.yaml: traning: unknown key.*'training'"),
    "key in a file": (["train", "wrong_key.yaml"], r"wrong_key.yaml: data.trian: unknown key.*'train'"),
    "nested key": ([*JOB, "preprocessing.max_lenght=9"], "preprocessing.max_lenght: unknown key.*'max_length'"),
    "training key": ([*JOB, "training.learning_rat=1"], "training.learning_rat: unknown key.*'learning_rate'"),
    "task key": ([*JOB, "task.label_smoothin=0.1"], "task.label_smoothin: unknown key.*'label_smoothing'"),
    "strategy key": ([*JOB, "strategy=lora", "strategy.rnk=4"], "strategy.rnk: unknown key.*'rank'"),
    "optimizer": ([*JOB, "optimizer=adamww"], "no optimizer named 'adamww'; did you mean 'adamw'.*known: .*sgd"),
    "optimizer option": ([*JOB, "optimizer.beta=[0.9, 0.99]"], "no option 'beta'; did you mean 'betas'"),
    "optimizer's name": ([*JOB, "optimizer.nam=adam"], "optimizer.nam: unknown key; did you mean 'name'"),
    "optimizer's rate": ([*JOB, "optimizer.lr=0.1"], "this is training.learning_rate"),
    "optimizer value": ([*JOB, "optimizer.eps=small"], "optimizer.eps: expected a number.*'small'"),
    "value torch refuses": ([*JOB, "optimizer.betas=[0.9, 1.5]"], "Invalid beta parameter at index 1"),
    "task": (["train", "task=clasification", "model=bert", "data=rows.jsonl"], "did you mean 'classification'"),
    "strategy": ([*JOB, "strategy=lorra"], "no strategy named 'lorra'; did you mean 'lora'"),
    "number": ([*JOB, "training.learning_rate=fast"], "training.learning_rate: expected float, got 'fast'"),
    "choice": ([*JOB, "training.lr_scheduler_type=linaer"], "linaer is not a valid.*'linear'"),
    "batch of none": ([*JOB, "training.per_device_train_batch_size=0"], "per_device_train_batch_size: 0.*at least 1"),
    "tracker": ([*JOB, "training.report_to=wandbb"], "no tracker named 'wandbb'; did you mean 'wandb'"),
    "block": ([*JOB, "training=3"], "recipe: training: .*got 3"),
    "range": ([*JOB, "seed=-1"], "seed: .*greater than or equal to 0; got -1"),
    "file": (["train", "god.yaml"], "god.yaml: no such recipe; did you mean 'good.yaml'"),
    "folder": (["train", "no_config"], "no_config: a folder; give the YAML file"),
    "not YAML": (["train", "broken.yaml"], "broken.yaml: not valid YAML: .*line 2"),
    "a list": (["train", "list.yaml"], "list.yaml: expected a mapping.*found a list"),
    "an empty file": (["train", "nothing.yaml"], "nothing.yaml: expected a mapping.*found nothing"),
    "nothing at all": (["train"], "give a YAML file, or at least task=.* model=.* data="),
    "lacking keys": (["train", "seed=1"], "task: missing.*model: missing.*data: missing"),
    "word": ([*JOB, "quickly"], "'quickly': expected key=value"),
    "override without key": ([*JOB, "=3"], "expected key=value"),
    "override below a value": ([*JOB, "data.train.x=3"], "data.train is a value, not a block"),
    "override that is no YAML": ([*JOB, "seed=[1"], "not a YAML value"),
}


@pytest.mark.parametrize(("words", "message"), RECIPES.values(), ids=RECIPES)
def test_a_wrong_recipe_is_refused_with_the_nearest_name_or_the_type_wanted(
    here: Path, words: list[str], message: str
) -> None:
    assert re.search(message, refused(cli(*words)))


DATA = {
    "missing file": (["data=row.jsonl"], "row.jsonl: file not found; did you mean 'rows.jsonl'"),
    "missing column": (["data=no_text.csv"], "no column for 'text'.*'body', 'label'; set data.columns.text="),
    "mapped column": (["data.columns.text=bdy", "data.train=no_text.csv"], "no column 'bdy'.*did you mean 'body'"),
    "role": (["data.columns.txt=body"], "no such role; did you mean 'text'"),
    "unseen label": (
        ["data.validation=unseen.csv"],
        "'neither' in validation, unseen.csv: row 1; .*data.unseen_labels=drop",
    ),
    "encoding": (["data=latin.csv"], "latin.csv, line 2: byte 0xe9 .*is not utf-8; .*data.encoding"),
    "unknown encoding": (["data.train=latin.csv", "data.encoding=latn"], "no such encoding; for example utf-8"),
    "empty file": (["data=empty.csv"], "empty.csv: the file is empty; expected a header"),
    "header only": (["data=header.csv"], "header.csv: no rows"),
    "one label": (["data=one_label.csv", "data.validation=none"], "every row has the label 'a'.*at least two"),
    "leakage": (["data.validation=leak.csv"], "leakage: 1 row of validation.*leak.csv row 1.*data.duplicates=drop"),
    "empty text": (["data=nan.csv"], "nan.csv, row 2: text is empty; .*data.bad_rows=drop"),
    "half a pair": (["data=half_pairs.csv"], "half_pairs.csv, row 2: text_pair is empty"),
    "ragged line": (["data=ragged.csv"], r"ragged.csv, row 2: 3 fields where the header has 2 \(line 3\)"),
    "kind of file": (["data=rows.pickle"], "not a kind of file nlptk knows; expected .csv"),
}


@pytest.mark.parametrize(("words", "message"), DATA.values(), ids=DATA)
def test_wrong_rows_are_refused_with_file_row_and_cure(here: Path, words: list[str], message: str) -> None:
    assert re.search(message, refused(cli(*JOB, *words)))


MODELS = {
    "missing folder": ([*JOB, "model=./brt"], r"model: ./brt: no such folder; give a folder with config.json"),
    "no config": ([*JOB, "model=no_config"], r"no config.json in it \(it holds notes.txt\); give"),
    "a run": ([*JOB, "model=a_run"], "a_run: the folder of a run; give that of its model, a_run/model"),
    "a file": ([*JOB, "model=rows.jsonl"], "a file; give the folder"),
    "offline": ([*JOB, "model=google/bert_tiny"], "google/bert_tiny: cannot be loaded.*needs the network or a filled"),
    "bare to predict": (["predict", "bert", "rows.jsonl", "o.csv"], "bert: no nlptk.json.*nlptk train model=bert"),
    "bare to evaluate": (["evaluate", "bert", "rows.jsonl"], "bert: no nlptk.json.*nlptk train model=bert"),
    "missing to predict": (["predict", "brt", "rows.jsonl", "o.csv"], "brt: no such model; .*OUTPUT/model"),
    "too long": ([*JOB, "preprocessing.max_length=1000"], "1000 is more than the 128 positions"),
    "occupied output": ([*JOB, "output=others"], "others/model: exists and is not an artifact.*another output"),
    "file as output": ([*JOB, "output=rows.jsonl"], "rows.jsonl is a file; give another output"),
    "no checkpoint": ([*JOB, "training.resume_from_checkpoint=true"], "no checkpoint in run"),
}


@pytest.mark.parametrize(("words", "message"), MODELS.values(), ids=MODELS)
def test_a_model_or_output_that_does_not_fit_is_refused_with_the_cure(
    here: Path, words: list[str], message: str
) -> None:
    assert re.search(message, refused(cli(*words)))


CALLS = {
    "command": (["trian"], "No such command 'trian'. Did you mean 'train'.*see nlptk --help"),
    "option": (["train", "--fast"], "No such option: --fast; see nlptk train --help"),
    "argument": (["predict"], "Missing argument.*see nlptk predict --help"),
    "number": (["tune", "good.yaml", "--trials", "many"], "'--trials'.*see nlptk tune --help"),
    "subcommand": (["recipe"], "Missing command; see nlptk recipe --help"),
}


@pytest.mark.parametrize(("words", "message"), CALLS.values(), ids=CALLS)
def test_a_wrong_call_is_one_message_too(words: list[str], message: str) -> None:
    assert re.search(message, refused(cli(*words)))


@pytest.mark.parametrize(
    "word",
    [
        "optimizer=adamww",
        "optimizer.beta=1",
        "training.learning_rat=1",
        "training.learning_rate=fast",
        "training.lr_scheduler_type=linaer",
        "model=./brt",
        "output=others",
        "early_stopping=true",
    ],
)
def test_no_row_is_read_for_a_run_that_cannot_begin(here: Path, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(preparation, "load_splits", read)
    refused(cli(*JOB, word, *(["data.validation=none"] if word.startswith("early") else [])))


def test_a_target_of_unknown_kind_is_refused_before_anything_is_predicted(here: Path) -> None:
    assert re.search("out.xls: .*not a kind of file", refused(cli("predict", "bert", "rows.jsonl", "out.xls")))


def test_rows_are_not_overwritten_by_their_predictions(here: Path) -> None:
    assert "the rows themselves" in refused(cli("predict", "bert", "rows.jsonl", "./rows.jsonl"))


def test_a_defect_is_not_dressed_as_a_mistake_of_the_user(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api, "train", defect)
    with pytest.raises(ZeroDivisionError):
        cli(*JOB)


def test_an_interruption_ends_with_130(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "train", interrupt)
    assert cli(*JOB).code == 130


@pytest.mark.parametrize(
    "words", [["train", "god.yaml"], ["trian"], pytest.param([*JOB, "data=latin.csv"], marks=pytest.mark.slow)]
)
def test_a_process_of_its_own_ends_with_2_and_no_traceback(here: Path, words: list[str]) -> None:
    called = python("-m", "nlptk", *words, cwd=here, path=[ROOT])
    refused(Called(called.code, called.out, "\n".join(x for x in called.err.splitlines() if not x.startswith("["))))
    assert "Traceback" not in called.err


def test_evaluating_without_labels_says_which_column_is_looked_for(tmp_path: Path) -> None:
    artifact = train_tiny(tmp_path)
    bare = write_rows(tmp_path / "bare.jsonl", [{"text": row["text"]} for row in rows()])
    message = refused(cli("evaluate", artifact, bare))
    assert re.search(r"bare.jsonl: no column for 'label' .*data.columns.label", message)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission_is_refused(here: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in refused(cli(*JOB, f"output={tmp_path / 'closed' / 'run'}"))


def test_every_error_is_an_nlptk_error() -> None:
    with pytest.raises(NlptkError):
        api.resolve_recipe({"task": "classification"})
