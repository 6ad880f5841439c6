"""The model folder and its manifest.

An artifact is a plain transformers folder (config.json, model.safetensors, tokenizer files), so whoever has only
`transformers` can load it, plus `nlptk.json`: the task and its labels, how texts become tokens, what was tuned on
validation, the recipe, the fingerprint of the data, the measured figures, and a sha256 of every other file.

Written whole or not at all; verified before anything in it is loaded. No pickle is ever written or read. The checksums,
and that of the manifest itself, find damage and careless edits; they are no signature.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from nlptk.errors import ArtifactError
from nlptk.task import LabelSpace, Preprocessing

MANIFEST = "nlptk.json"
FORMAT = 1
EVALUATIONS = "evaluations"
"""Folder beside a model, for the reports of its evaluations."""
_CHUNK_BYTES = 1 << 20
_UNSAFE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"})
_READ_BY_TRANSFORMERS = re.compile(
    r"(config|generation_config|adapter_config|processor_config|preprocessor_config|tokenizer|tokenizer_config"
    r"|special_tokens_map|added_tokens|vocab|chat_template|.*\.index)\.json"
    r"|(vocab|merges)\.txt|.*\.(safetensors|model|jinja|py)"
)
"""Files at the top of a model folder that change what transformers loads: an artifact has those it lists, no other."""
_UNWRITABLE = re.compile("read-only|not permitted|permission", re.IGNORECASE)
_RUST_FAULT = re.compile(r"\(os error \d+\)$")
_TRIES = 20
_SWAP = 0.05
"""Seconds within which a replaced artifact is there again: two renames."""
Loaded = TypeVar("Loaded")


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
            made_by = dict(state.get("versions") or {}).get("nlptk", "unknown")
            raise ArtifactError(
                f"{where}: format {state.get('format')!r}, this nlptk reads {FORMAT}; use the nlptk that wrote it "
                f"({made_by})"
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
    if not folder.exists() and not _whole_leftovers(folder):
        raise ArtifactError(f"{folder}: no such model; give the folder that `nlptk train` wrote (OUTPUT/model)")
    for candidate in (folder, folder / "model"):
        for left in [] if candidate.exists() else _whole_leftovers(candidate):
            raise ArtifactError(
                f"{candidate}: missing: a run was killed while it replaced the model; the one before is whole: "
                f"mv {left} {candidate}"
            )
    raise ArtifactError(
        f"{folder}: no {MANIFEST} in it, so nlptk did not make it; train from it first (nlptk train model={folder} ...)"
    )


def check_place(folder: Path) -> None:
    """Refuse a place where no artifact can be written. Raises: ArtifactError for a file or a folder of other things."""
    if folder.is_dir():
        if (folder / MANIFEST).is_file() or not any(folder.iterdir()):
            return
        if (folder / "model" / MANIFEST).is_file():
            raise ArtifactError(
                f"{folder}: is a run's folder, whose artifact is {folder / 'model'}; give that, or another output"
            )
        raise ArtifactError(f"{folder}: exists and is not an artifact of nlptk; give another output or remove it")
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir():
        raise ArtifactError(f"{folder}: cannot be written: {place} is a file; give another output")


def save(
    folder: Path,
    manifest: Manifest,
    write_files: Callable[[Path], None],
    *,
    known: Mapping[str, str] | None = None,
) -> Manifest:
    """Write an artifact atomically: `write_files(staging)` fills a sibling folder, which then takes the place of
    `folder`. Killed at any moment, the old artifact or none is there, never half of one; what a killed call left
    behind is put back or removed by the next. known: sha256 of files whose bytes are known, by relative path.

    Returns: the manifest with the files that were written.

    Raises: ArtifactError when the disk is full or the folder cannot be written, holds something else, or is being
    written by another process.
    """
    folder = folder.resolve()  # what a link names is replaced, not the link
    check_place(folder)
    with _disk_faults(folder), _alone(folder):
        _recover(folder)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
        try:
            write_files(staging)
            state = {**manifest.to_json(), "files": checksums(staging, known=known)}
            text = json.dumps({**state, "sha256": _own_digest(state)}, indent=2, ensure_ascii=False)
            (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
            mode = (staging / MANIFEST).stat().st_mode & 0o777  # as the umask has it; safetensors makes files private
            for path in staging.rglob("*"):
                if path.is_file() and path.stat().st_nlink == 1:  # what is shared is another version's too
                    path.chmod(mode)
            flush(staging)
            staging.chmod(0o755)
            _replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return replace(manifest, files=state["files"])


@contextmanager
def _disk_faults(folder: Path) -> Iterator[None]:
    """Turn a failed write into an ArtifactError."""
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:  # safetensors and tokenizers raise no OSError but their own, or a plain Exception
        if not (isinstance(error, OSError) or _RUST_FAULT.search(str(error))):
            raise
        several = isinstance(error, shutil.Error) and error.args[0]  # [(source, target, reason), ...]
        reason = str(several[0][2] if several else getattr(error, "strerror", None) or error)
        cure = "give another output" if _UNWRITABLE.search(reason) else "free some space or give another output"
        raise ArtifactError(
            f"{folder}: cannot be written: {reason}; the previous artifact, if any, is intact; {cure}"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time replaces an artifact; the lock ends with its process, however that ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with held(folder.with_name(f".{folder.name}.lock")):
            yield
    except Timeout:
        with tempfile.TemporaryFile(dir=folder.parent):  # or no file can be made there, and that is why
            pass
        raise ArtifactError(f"{folder}: another process is writing it; wait for it or give another output") from None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file, which is gone afterwards; the lock is the kernel's: a file that is left behind locks nothing.

    Raises: filelock.Timeout, at once, where another process holds it.
    """
    lock = FileLock(str(path))
    lock.acquire(timeout=0)
    try:
        yield
    finally:
        # while it is still held: filelock tries anew where what it locked was unlinked meanwhile
        with suppress(OSError):  # Windows: an open file stays, and filelock removes it
            path.unlink()
        lock.release()


def _recover(folder: Path) -> None:
    """Put back what a killed call had moved aside, and remove what it left."""
    for left in [] if folder.exists() else _whole_leftovers(folder)[:1]:
        left.rename(folder)
    for stale in _leftovers(folder):
        shutil.rmtree(stale, ignore_errors=True)


def _leftovers(folder: Path) -> list[Path]:
    """Hidden siblings in which a killed call kept the new or the old artifact."""
    if not folder.absolute().parent.is_dir():
        return []
    ours = (f".{folder.name}.new-", f".{folder.name}.old-")
    return sorted(path for path in folder.absolute().parent.iterdir() if path.name.startswith(ours))


def _whole_leftovers(folder: Path) -> list[Path]:
    """Old artifacts a killed call had moved aside: they were moved in one piece, manifest included."""
    moved = [left / folder.name for left in _leftovers(folder) if left.name.startswith(f".{folder.name}.old-")]
    return [path for path in moved if (path / MANIFEST).is_file()]


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


def _own_digest(state: Mapping[str, Any]) -> str:
    """sha256 of what a manifest says, whatever its layout."""
    said = {key: value for key, value in state.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def flush(folder: Path) -> None:
    """Flush every file to the disk, so that a power cut after the rename does not leave empty files."""
    for path in (*(p for p in folder.rglob("*") if p.is_file()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def set_aside(folder: Path, *, move: bool = True) -> Path:
    """Rename a folder to the first free one of NAME.1, NAME.2, ..., which is returned; move: or only say which."""
    numbers = (number for number in itertools.count(1) if not folder.with_name(f"{folder.name}.{number}").exists())
    aside = folder.with_name(f"{folder.name}.{next(numbers)}")
    if move:
        folder.rename(aside)
    return aside


def revise(source: Path, folder: Path, manifest: Manifest, write_changed: Callable[[Path], None]) -> Manifest:
    """Write a new version of the artifact in `source`, which may be `folder` itself, as `save` does.

    write_changed: fills a folder with the files that are new or other than before; all others are shared with the old
    version where the file system can (hard links), else copied. manifest: of the new version; its `files` are of the
    old one, whose digests are kept for what has not changed.

    Returns and raises: as `save`; ArtifactError too where `source` holds other files than these by now: what another
    process wrote meanwhile stays.
    """
    with tempfile.TemporaryDirectory(prefix="nlptk-") as scratch:
        write_changed(Path(scratch))
        changed = {path.relative_to(scratch).as_posix() for path in Path(scratch).rglob("*") if path.is_file()}
        kept = {name: digest for name, digest in manifest.files.items() if name not in changed}

        def write(staging: Path) -> None:
            if load_manifest(source, verify=False)[1].files != manifest.files:
                raise ArtifactError(
                    f"{source}: another process changed it since it was loaded here; run this again, in Python with "
                    "the model loaded anew"
                )
            for name in kept:
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                _share(source / name, staging / name)
            shutil.copytree(scratch, staging, dirs_exist_ok=True)

        return save(folder, manifest, write, known=kept)


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def checksums(folder: Path, *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """sha256 of every file below a folder but the manifest, by relative path; known: those that need no reading."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: (known or {}).get(name) or sha256(path) for name, path in names.items()}


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
    if not isinstance(state, dict):
        raise ArtifactError(f"{where}: not a manifest of nlptk; train or export the model again")
    manifest = Manifest.from_json(state, where)
    if state.get("sha256") != _own_digest(state):
        raise ArtifactError(f"{where}: it was changed or damaged after it was written; copy the folder again")
    if verify:
        _verify(folder, manifest)
    return folder, manifest


def load_unchanged(path: str | Path, load: Callable[[], Loaded]) -> Loaded:
    """What `load` makes of an artifact, of one version whole: it is asked again where another process replaced the
    artifact meanwhile.

    Raises: ArtifactError where that happens every time; whatever `load` raises of an artifact that stays as it is.
    """
    for _ in range(_TRIES):
        before = _version(path)
        try:
            found = load()
        except Exception:
            if _version(path) == before:
                raise
        else:
            if _version(path) == before:
                return found
    raise ArtifactError(f"{path}: replaced by another process each of the {_TRIES} times it was loaded; try again")


def _version(path: str | Path) -> str | None:
    """What tells an artifact from the one that takes its place; None where there is none that can be read."""
    for _ in range(2):
        try:
            return str(json.loads((resolve(path) / MANIFEST).read_text(encoding="utf-8"))["sha256"])
        except (ArtifactError, OSError, ValueError, LookupError, TypeError):
            time.sleep(_SWAP)
    return None


def _verify(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or "\\" in name or relative.suffix in _UNSAFE_SUFFIXES:
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
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _UNSAFE_SUFFIXES):
        raise ArtifactError(f"{path}: a pickled file in an artifact; nlptk never writes one: remove it")
    for path in sorted(folder.iterdir()):
        if _READ_BY_TRANSFORMERS.fullmatch(path.name) and path.name not in manifest.files:
            raise ArtifactError(
                f"{path}: not listed in {MANIFEST}, and transformers would load it with the model: remove it"
            )
