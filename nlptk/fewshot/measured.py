"""Accuracies of episodes on the disk as they come: a comparison of hours goes on where it was cut off.

A file a process, `measured-NAME-RANK.jsonl`: first what an accuracy depends on beside its episode, then a line an
episode. Other processes may have cut the work among them otherwise, so that what is there is joined first.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from nlptk.data.cache import disk_errors
from nlptk.fewshot.episodes import Episode
from nlptk.report.document import replace_text


class Measured:
    """Of one method. identity: what else the accuracies depend on; those with another one are discarded, and counted on
    standard error: making them took time."""

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]):
        state = PartialState()
        self._folder, self._stem, self._identity = folder, f"measured-{name}", json.dumps(identity)
        self._own = folder / f"{self._stem}-{state.process_index}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)  # other machines need not see the main process's disk
        (lines,) = broadcast_object_list([self._join() if state.is_main_process else None])
        self._known: dict[str, float] = {line["episode"]: line["accuracy"] for line in map(json.loads, lines)}
        if self._known and state.is_main_process:
            print(f"{name}: goes on, {len(self._known)} episodes are measured already", file=sys.stderr)

    def accuracy(self, number: int, episode: Episode) -> float | None:
        """Of an episode, or None where it is not known."""
        return self._known.get(_key(number, episode))

    def add(self, number: int, episode: Episode, accuracy: float) -> None:
        """Keep what was measured. Raises: DataError where the disk does not take it."""
        with disk_errors(self._own, elsewhere="give another output"), self._own.open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write(self._identity + "\n")
            file.write(json.dumps({"episode": _key(number, episode), "accuracy": accuracy}) + "\n")

    @staticmethod
    def any_in(folder: Path) -> bool:
        """Whether a comparison in the folder was cut off."""
        return any(folder.glob("measured-*.jsonl"))

    def remove(self) -> None:
        """Once all are measured and told elsewhere."""
        self._own.unlink(missing_ok=True)

    def _join(self) -> list[str]:
        """The lines of all episodes that are known, now in the main process's file and no other."""
        known: dict[str, None] = {}
        discarded = 0
        files = [path for path in self._folder.glob("measured-*.jsonl") if path.stem.rpartition("-")[0] == self._stem]
        for path in sorted(files):
            first, *rest = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
            whole = [line for line in rest if _is_whole(line)]
            if first == self._identity:
                known |= dict.fromkeys(whole)
            else:
                discarded += len(whole)
        if discarded:
            said = f"{self._own}: {discarded} measured episodes are discarded: the recipe, rows or model changed since"
            print(said, file=sys.stderr)
        replace_text(self._own, "".join(f"{line}\n" for line in (self._identity, *known)))
        for path in files:
            if path != self._own:
                path.unlink()
        return list(known)


def _is_whole(line: str) -> bool:
    """Whether a line says what it should: one that was being written may be cut."""
    try:
        return bool(json.loads(line).keys() == {"episode", "accuracy"})
    except (ValueError, AttributeError):
        return False


def _key(number: int, episode: Episode) -> str:
    """The number, of which what is random in an episode is a function, and what it consists of."""
    digest = hashlib.sha256()
    for part in (episode.classes, episode.support, episode.query):
        digest.update(f"{part.shape}".encode() + np.ascontiguousarray(part, dtype=np.int64).tobytes())
    return f"{number}-{digest.hexdigest()[:16]}"
