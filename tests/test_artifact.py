"""The model folder: whole or absent, verified before it is loaded, and plain transformers."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline as transformers_pipeline

import nlptk
from nlptk import artifact
from nlptk.artifact import Manifest
from nlptk.errors import ArtifactError
from nlptk.task import Preprocessing
from tests.doors import ROOT, python, rows, train_tiny

MANIFEST = Manifest(task={"name": "classification", "options": {}}, preprocessing=Preprocessing(64))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "model"))


def _writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "config.json").write_text(text)
        (folder / "model.safetensors").write_text(text * 2)

    return write


def _text(folder: Path) -> str:
    """What an artifact of `_writer` holds, verified."""
    place, _ = artifact.load_manifest(folder)
    one, two = (place / "config.json").read_text(), (place / "model.safetensors").read_text()
    assert one * 2 == two
    return one


def _edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any], *, sealed: bool) -> None:
    """Change nlptk.json; sealed: as one would who also renews its own checksum."""
    path = folder / "nlptk.json"
    state = json.loads(path.read_text())
    change(state)
    if sealed:
        said = {key: value for key, value in state.items() if key != "sha256"}
        state["sha256"] = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(state))


def test_the_manifest_lists_the_sha256_of_every_other_file(trained: Path) -> None:
    listed = json.loads((trained / "nlptk.json").read_text())["files"]
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in trained.iterdir()
        if path.name != "nlptk.json"
    }
    assert listed == found


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "nlptk.json"])
def test_a_flipped_bit_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}: .*(copy the folder|again)"):
        nlptk.pipeline(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: missing.*copy the folder again"):
        nlptk.pipeline(copy)


def test_swapped_labels_in_the_manifest_are_refused(copy: Path) -> None:
    _edit_manifest(copy, lambda state: state["labels"]["names"].reverse(), sealed=False)
    with pytest.raises(ArtifactError, match=r"nlptk.json: it was changed or damaged"):
        nlptk.pipeline(copy)


@pytest.mark.parametrize("content", ["[]", '"text"', "{", "{}", '{"format": 99}', '{"format": 1}'])
def test_a_manifest_that_is_none_is_refused(copy: Path, content: str) -> None:
    (copy / "nlptk.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"nlptk\.json: "):
        nlptk.pipeline(copy)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "sub/../../outside.json", "..\\outside.json"])
def test_a_manifest_that_names_a_file_outside_is_refused(copy: Path, name: str) -> None:
    (copy.parent / "outside.json").write_text("{}")
    _edit_manifest(copy, lambda state: state["files"].update({name: hashlib.sha256(b"{}").hexdigest()}), sealed=True)
    with pytest.raises(ArtifactError, match="never writes; do not trust it"):
        nlptk.pipeline(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.bin", "adapter/adapter_model.pt"])
def test_a_pickled_file_beside_the_weights_is_refused(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ArtifactError, match=rf"{Path(name).name}: a pickled file.*remove it"):
        nlptk.pipeline(copy)


@pytest.mark.parametrize("name", ["adapter_config.json", "added_tokens.json", "model-00002-of-00002.safetensors"])
def test_an_unlisted_file_that_transformers_would_load_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_text("{}")
    with pytest.raises(ArtifactError, match=rf"{name}: not listed"):
        nlptk.pipeline(copy)


def test_a_readme_beside_the_weights_is_nobodys_business(copy: Path) -> None:
    (copy / "README.md").write_text("# A model")
    assert nlptk.pipeline(copy)(["order came late"])[0]["label"] in ("good", "bad")


def test_labels_survive_saving_and_loading_in_transformers_own_configuration(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert config["label2id"] == {"bad": 0, "good": 1}
    assert nlptk.pipeline(trained).manifest.labels == nlptk.pipeline(trained).task.labels


def test_transformers_own_pipeline_gives_the_same_scores(trained: Path) -> None:
    texts = [row["text"] for row in rows(12)]
    ours = nlptk.pipeline(trained)(texts)
    plain: Any = transformers_pipeline("text-classification", model=str(trained), top_k=None)(texts)
    for own, other in zip(ours, plain, strict=True):
        assert own["scores"] == pytest.approx({entry["label"]: entry["score"] for entry in other}, abs=1e-6)


@pytest.mark.slow
def test_transformers_loads_it_where_nlptk_cannot_be_imported(trained: Path, tmp_path: Path) -> None:
    code = """
        import sys
        for name in ("nlptk", "nlptk_tasks"):
            sys.modules[name] = None
        from transformers import pipeline
        print(pipeline("text-classification", model=sys.argv[1])("order 3 came late")[0]["label"])
    """
    called = python("-c", textwrap.dedent(code), trained, cwd=tmp_path)
    assert called.out.strip() in ("good", "bad"), called.err


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from nlptk import artifact
    from nlptk.task import Preprocessing

    folder, when = Path(sys.argv[1]), sys.argv[2]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def write(staging):
        if when == "writing":
            (staging / "config.json").write_text("ne")
            die()
        (staging / "config.json").write_text("new")
        (staging / "model.safetensors").write_text("newnew")

    renames = iter(range(99))
    rename = Path.rename

    def dying_rename(self, target):
        number = next(renames)
        if when == f"before rename {number}":
            die()
        result = rename(self, target)
        if when == f"after rename {number}":
            die()
        return result

    Path.rename = dying_rename
    artifact.save(folder, artifact.Manifest({"name": "classification", "options": {}}, Preprocessing(64)), write)
"""


@pytest.mark.parametrize(
    ("when", "left"),
    [
        ("writing", "old"),
        ("before rename 0", "old"),
        ("after rename 0", None),
        ("before rename 1", None),
        ("after rename 1", "new"),
    ],
)
def test_a_save_killed_at_any_moment_leaves_the_old_the_new_or_a_message_that_says_how_to_get_the_old_one(
    tmp_path: Path, when: str, left: str | None
) -> None:
    folder = tmp_path / "model"
    artifact.save(folder, MANIFEST, _writer("old"))
    called = python("-c", textwrap.dedent(KILLED), folder, when, cwd=tmp_path, path=[ROOT])
    assert called.code == -9, called.err
    if left is None:
        with pytest.raises(ArtifactError, match="the one before is whole: mv ") as refusal:
            artifact.load_manifest(tmp_path)
        command = str(refusal.value).rpartition("whole: ")[2]
        subprocess.run(command, shell=True, check=True)
        left = "old"
    assert _text(folder) == left


def test_a_first_save_killed_while_writing_leaves_no_artifact(tmp_path: Path) -> None:
    called = python("-c", textwrap.dedent(KILLED), tmp_path / "model", "writing", cwd=tmp_path, path=[ROOT])
    assert called.code == -9, called.err
    with pytest.raises(ArtifactError, match="no such model"):
        artifact.load_manifest(tmp_path / "model")


@pytest.mark.parametrize("when", ["writing", "after rename 0", "after rename 1"])
def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path, when: str) -> None:
    folder = tmp_path / "model"
    artifact.save(folder, MANIFEST, _writer("old"))
    python("-c", textwrap.dedent(KILLED), folder, when, cwd=tmp_path, path=[ROOT])
    assert [path for path in tmp_path.iterdir() if ".new-" in path.name or ".old-" in path.name]
    artifact.save(folder, MANIFEST, _writer("newest"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    assert _text(folder) == "newest"


def test_the_next_save_puts_the_old_artifact_back_before_it_begins(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    artifact.save(folder, MANIFEST, _writer("old"))
    python("-c", textwrap.dedent(KILLED), folder, "after rename 0", cwd=tmp_path, path=[ROOT])

    def fail(staging: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactError):
        artifact.save(folder, MANIFEST, fail)
    assert _text(folder) == "old"


def test_a_full_disk_is_said_and_leaves_the_old_artifact(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    artifact.save(folder, MANIFEST, _writer("old"))

    def fail(staging: Path) -> None:
        (staging / "config.json").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactError, match=r"cannot be written: No space left on device; the previous.*free some"):
        artifact.save(folder, MANIFEST, fail)
    assert _text(folder) == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_weights_and_tokenizer_that_the_disk_does_not_take_are_an_artifact_error(trained: Path, tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from pathlib import Path
        from transformers import AutoModel, AutoTokenizer
        from nlptk import artifact
        from nlptk.errors import ArtifactError
        from nlptk.task import Preprocessing

        manifest = artifact.Manifest({"name": "classification", "options": {}}, Preprocessing(64))
        parts = [AutoModel.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        for part in parts:
            try:
                artifact.save(Path(sys.argv[2]), manifest, part.save_pretrained)
            except ArtifactError as error:
                print("refused:", error)
    """
    called = python("-c", textwrap.dedent(code), trained, tmp_path / "model", cwd=tmp_path, path=[ROOT])
    assert called.out.count("refused: ") == 2, called.err
    assert called.out.count("File too large") == 2
    assert not (tmp_path / "model").exists()


def test_a_defect_while_writing_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    def fail(staging: Path) -> None:
        raise KeyError("logits")

    with pytest.raises(KeyError):
        artifact.save(tmp_path / "model", MANIFEST, fail)


def test_a_second_process_is_refused_while_one_writes(tmp_path: Path) -> None:
    folder = tmp_path / "model"

    def write(staging: Path) -> None:
        called = python("-c", textwrap.dedent(KILLED), folder, "never", cwd=tmp_path, path=[ROOT])
        assert "another process is writing it" in called.err
        _writer("first")(staging)

    artifact.save(folder, MANIFEST, write)
    assert _text(folder) == "first"


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("four years")
    with pytest.raises(ArtifactError, match="not an artifact of nlptk; give another output"):
        artifact.save(tmp_path / "model", MANIFEST, _writer("new"))
    assert (tmp_path / "model" / "thesis.txt").read_text() == "four years"


def test_all_files_may_be_read_by_whom_the_umask_lets_read(trained: Path, tmp_path: Path) -> None:
    """safetensors makes its files readable by their owner alone."""
    (tmp_path / "new").write_text("")
    expected = (tmp_path / "new").stat().st_mode & 0o777
    assert {path.name: path.stat().st_mode & 0o777 for path in trained.iterdir()} == {
        path.name: expected for path in trained.iterdir()
    }
