"""The model folder and its manifest.

An artifact is a plain transformers folder (config.json, model.safetensors, tokenizer files), so whoever has only
`transformers` can load it, plus `nlptk.json`: the task and its labels, how texts become tokens, what was tuned on
validation, the recipe, the fingerprint of the data, the measured figures, and a sha256 of every other file.

Written whole or not at all; verified before anything in it is loaded. No pickle is ever written or read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nlptk.errors import ArtifactError
from nlptk.task import LabelSpace, Preprocessing

MANIFEST = "nlptk.json"
FORMAT = 1
_CHUNK_BYTES = 1 << 20
_UNSAFE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})


@dataclass(frozen=True)
class Manifest:
    """What `nlptk.json` says. task: name and options; files: relative path -> sha256."""

    task: dict[str, Any]
    preprocessing: Preprocessing
    labels: LabelSpace | None = None
    decision: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        labels = self.labels.to_json() if self.labels else None
        return {"format": FORMAT, **asdict(self), "labels": labels}

    @classmethod
    def from_json(cls, state: Mapping[str, Any], where: Path) -> Manifest:
        if state.get("format") != FORMAT:
            raise ArtifactError(
                f"{where}: format {state.get('format')!r}, this nlptk reads {FORMAT}; use the nlptk that wrote it "
                f"({dict(state.get('versions', {})).get('nlptk', 'unknown')})"
            )
        try:
            labels = state["labels"]
            return cls(
                task=dict(state["task"]),
                preprocessing=Preprocessing(**state["preprocessing"]),
                labels=LabelSpace.from_json(labels) if labels else None,
                **{key: dict(state[key]) for key in ("decision", "recipe", "data", "metrics", "versions", "files")},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{where}: not a manifest of nlptk ({error}); train or export the model again"
            ) from error


def resolve(path: str | Path) -> Path:
    """The artifact folder at a path: the folder itself, or `model/` in a run's folder. Raises: ArtifactError."""
    folder = Path(path)
    for candidate in (folder, folder / "model"):
        if (candidate / MANIFEST).is_file():
            return candidate
    if not folder.exists():
        raise ArtifactError(f"{folder}: no such model; give the folder that `nlptk train` wrote (OUTPUT/model)")
    raise ArtifactError(
        f"{folder}: no {MANIFEST} in it, so nlptk did not make it; train from it first (nlptk train model={folder} ...)"
    )


def save(folder: Path, manifest: Manifest, write_files: Callable[[Path], None]) -> None:
    """Write an artifact atomically: `write_files(staging)` fills a sibling folder, which then takes the place of
    `folder`. Killed at any moment, the old artifact or none is there, never half of one.

    Raises: ArtifactError when the disk is full or the folder cannot be written, or holds something else.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise ArtifactError(f"{folder}: exists and is not an artifact of nlptk; give another output or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        write_files(staging)
        state = {**manifest.to_json(), "files": checksums(staging)}
        (staging / MANIFEST).write_text(json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        flush(staging)
        staging.chmod(0o755)
        _replace(staging, folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be written: {error}; the previous artifact, if any, is intact"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(staging: Path, folder: Path) -> None:
    if not folder.exists():
        staging.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    folder.rename(old / folder.name)
    try:
        staging.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def flush(folder: Path) -> None:
    """Flush every file to the disk, so that a power cut after the rename does not leave empty files."""
    for path in (*(p for p in folder.rglob("*") if p.is_file()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder but the manifest, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def load_manifest(path: str | Path, *, verify: bool = True) -> tuple[Path, Manifest]:
    """The folder and manifest of an artifact, its files checked. Raises: ArtifactError naming the file and the cure."""
    folder = resolve(path)
    where = folder / MANIFEST
    try:
        state = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{where}: cannot be read ({error}); copy or train the model again") from error
    manifest = Manifest.from_json(state, where)
    if verify:
        _verify(folder, manifest)
    return folder, manifest


def _verify(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or relative.suffix in _UNSAFE_SUFFIXES:
            raise ArtifactError(
                f"{folder / MANIFEST}: names the file {name!r}, which nlptk never writes; do not trust it"
            )
        path = folder / relative
        if not path.is_file():
            raise ArtifactError(f"{path}: missing, though {MANIFEST} lists it; copy the folder again")
        if sha256(path) != expected:
            raise ArtifactError(
                f"{path}: its sha256 is not the one in {MANIFEST}: the file was changed or damaged; copy the folder "
                "again, or train anew after a deliberate change"
            )
    extra = sorted(p.name for p in folder.iterdir() if p.suffix in _UNSAFE_SUFFIXES)
    if extra:
        raise ArtifactError(f"{folder / extra[0]}: a pickled file in an artifact; nlptk never writes one: remove it")
