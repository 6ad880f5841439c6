"""The cache of converted rows: Arrow files that are written once, checked when opened, and safe with many processes.

An entry is a small JSON file that names the Arrow files it owns together with their digests. The Arrow files are put in
place first and the JSON file last, each by an atomic rename, so that a reader sees a whole entry or none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptk.errors import DataError

FORMAT_VERSION = 10
"""Part of every key; raise it when what is stored, or how it is read, changes."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWRITABLE = (
    *(errno.EACCES, errno.EROFS, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)


def cache_dir() -> Path:
    """The folder nlptk caches in: $NLPTK_CACHE, else $XDG_CACHE_HOME/nlptk, else ~/.cache/nlptk."""
    own = os.environ.get("NLPTK_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "nlptk"


def key_of(*parts: object) -> str:
    """A name for what was made from these (JSON-able) parts by this version of the reader."""
    canonical = json.dumps([FORMAT_VERSION, *parts], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:40]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def disk_errors(path: Path, *, elsewhere: str = "set NLPTK_CACHE to another folder") -> Iterator[None]:
    """Turn a failed write at or below `path` into a DataError; elsewhere: how to write to another place."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(f"{path}: the disk is full; free some space, or {elsewhere}") from error
        if error.errno in _UNWRITABLE:
            raise DataError(f"{path}: cannot be written: {error.strerror}; {elsewhere}") from error
        raise


@dataclass(frozen=True)
class Entry:
    """What the cache holds under one key: Arrow files by name, and what was noted about them."""

    files: dict[str, Path]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """Where the files of an entry are written before they are put in place."""

    folder: Path
    key: str
    token: str

    def path(self, name: str) -> Path:
        return self.folder / f".{self.key}-{name}-{self.token}.tmp"

    def commit(self, names: list[str], meta: Mapping[str, Any]) -> Entry:
        """Rename the written files into place, then the JSON file that makes them an entry."""
        files: dict[str, str] = {}
        for name in names:
            digest = file_digest(self.path(name))
            target = f"{self.key}-{name}-{digest[:16]}.arrow"
            os.replace(self.path(name), self.folder / target)
            files[name] = f"{target}:{digest}"
        state = json.dumps({"files": files, "meta": meta}, ensure_ascii=True)
        self.path("entry").write_text(state, encoding="ascii")
        os.replace(self.path("entry"), self.folder / f"{self.key}.json")
        return Entry({name: self.folder / f.split(":")[0] for name, f in files.items()}, json.loads(state)["meta"])


@contextmanager
def draft(key: str) -> Iterator[Draft]:
    """Room to write an entry; what was not committed is removed again."""
    folder = cache_dir() / "data"
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield Draft(folder, key, token)
        finally:
            for left in folder.glob(f".{key}-*-{token}.tmp"):
                left.unlink(missing_ok=True)


def find(key: str) -> Entry | None:
    """The whole, undamaged entry under a key, or None: what is missing or damaged is made anew."""
    folder = cache_dir() / "data"
    try:
        state = json.loads((folder / f"{key}.json").read_text(encoding="ascii"))
        named = {name: value.split(":") for name, value in state["files"].items()}
        files = {name: folder / target for name, (target, _) in named.items()}
        meta = state["meta"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    for name, path in files.items():
        if not path.is_file() or file_digest(path) != named[name][1]:
            return None
    return Entry(files, meta)
