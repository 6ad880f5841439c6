"""N-way K-shot episodes: seeded, reproducible lists of small tasks, saved and replayed.

An episode names `ways` classes, and of each `shots` rows to learn from (the support set) and `queries` rows to be
tested on. Episode i of a list depends on the seed, i and the rows alone: a longer list begins with the shorter one, and
it does not matter how many processes share the work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptk.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class Protocol:
    """Ways, shots and queries (a class) of every episode, how many there are, and the seed they are drawn with."""

    ways: int
    shots: int
    queries: int = 5
    episodes: int = 600
    seed: int = 0


@dataclass(frozen=True)
class Episode:
    """classes: (ways,) label ids; support: (ways, shots) and query: (ways, queries) rows, none twice."""

    classes: np.ndarray
    support: np.ndarray
    query: np.ndarray


def class_places(rows: np.ndarray) -> np.ndarray:
    """(ways, each) rows of an episode -> (ways * each,) place of the class, in the order of `rows.ravel()`."""
    return np.repeat(np.arange(len(rows)), rows.shape[1])


class Pool:
    """Rows by class, to draw episodes from.

    labels: (rows,) label ids; names: of the ids; keys: equal for rows of equal text; where: begins messages; undrawn:
    rows that no episode draws.

    Raises: DataError for equal texts, which could come to stand on both sides of an episode.
    """

    def __init__(
        self,
        labels: np.ndarray,
        names: Sequence[str],
        keys: Sequence[bytes],
        *,
        where: str,
        undrawn: Collection[int] = (),
    ):
        self.labels, self.names, self.where, self.undrawn = labels, list(names), where, frozenset(undrawn)
        drawn = np.ones(len(labels), dtype=bool)
        drawn[list(undrawn)] = False
        self.by_class = {int(label): np.flatnonzero((labels == label) & drawn) for label in np.unique(labels)}
        self._digest = hashlib.sha256(b"".join([labels.astype("<i8").tobytes(), *keys])).hexdigest()
        again = len(keys) - len(set(keys))
        if again:
            raise DataError(
                f"{where}: {again} rows repeat the text of another row, and an episode could learn from the one and be "
                "tested on the other; set data.duplicates=drop to keep the first of each"
            )

    def check(self, protocol: Protocol) -> None:
        """Refuse rows that the protocol cannot be drawn from. Raises: DataError naming the class and the cure."""
        for name in ("ways", "shots", "queries", "episodes"):
            least = 2 if name == "ways" else 1
            if getattr(protocol, name) < least:
                raise DataError(f"{name}: {getattr(protocol, name)}; give at least {least}")
        if len(self.by_class) < protocol.ways:
            raise DataError(
                f"{self.where}: {len(self.by_class)} classes, fewer than {protocol.ways} ways; lower ways or give rows "
                "of more classes"
            )
        wanted = protocol.shots + protocol.queries
        for label, rows in self.by_class.items():
            if len(rows) < wanted:
                raise DataError(
                    f"{self.where}: class {self.names[label]!r} has {len(rows)} rows, and {protocol.shots} shots with "
                    f"{protocol.queries} queries need {wanted}; give more rows, fewer shots or queries, or drop it"
                )

    def draw(self, protocol: Protocol, index: int) -> Episode:
        """Episode number `index` of a protocol."""
        rng = np.random.default_rng([protocol.seed, index])
        classes = rng.permutation(np.array(list(self.by_class)))[: protocol.ways]
        wanted = protocol.shots + protocol.queries
        rows = np.stack([rng.choice(self.by_class[int(label)], size=wanted, replace=False) for label in classes])
        return Episode(classes, rows[:, : protocol.shots], rows[:, protocol.shots :])

    def draw_all(self, protocol: Protocol) -> list[Episode]:
        """All episodes. Raises: DataError, as `check`."""
        self.check(protocol)
        return [self.draw(protocol, index) for index in range(protocol.episodes)]

    def save(self, episodes: Sequence[Episode], path: Path) -> None:
        """Write an episode list, with what tells whether other rows are the same rows."""
        listed = [{name: getattr(e, name).tolist() for name in ("classes", "support", "query")} for e in episodes]
        state: dict[str, Any] = {"format": FORMAT, "rows": self._digest, "names": self.names, "episodes": listed}
        path.write_text(json.dumps(state) + "\n", encoding="utf-8")

    def load(self, path: Path) -> list[Episode]:
        """The episodes of a list saved for these very rows. Raises: DataError, also for a list that no seed draws."""
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            known, same = state["format"] == FORMAT, state["rows"] == self._digest
            episodes = [
                Episode(*(np.asarray(e[name], dtype=np.int64) for name in ("classes", "support", "query")))
                for e in state["episodes"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no list of episodes ({error}); make one with nlptk fewshot evaluate") from error
        if not known:
            raise DataError(f"{path}: format {state['format']!r}, this nlptk reads {FORMAT}; make the list anew")
        if not same:
            raise DataError(
                f"{path}: made for other rows than {self.where} (texts, labels or their order differ); give the rows "
                "it was made for, or make a list of these"
            )
        if fault := self._fault(episodes):
            raise DataError(f"{path}: {fault}; make the list anew with nlptk fewshot evaluate")
        return episodes

    def _fault(self, episodes: Sequence[Episode]) -> str | None:
        """What is wrong with episodes that were read."""
        if not episodes:
            return "no episodes"
        shapes = {(e.classes.shape, e.support.shape, e.query.shape) for e in episodes}
        classes, support, query = next(iter(shapes))
        if len(shapes) > 1 or not (classes == support[:1] == query[:1] and len(support) == len(query) == 2):
            return "episodes of several shapes, or of none"
        for number, episode in enumerate(episodes):
            rows = np.concatenate([episode.support, episode.query], axis=1)
            if rows.min() < 0 or rows.max() >= len(self.labels):
                return f"episode {number} names a row that there is not"
            if (self.labels[rows] != episode.classes[:, None]).any() or len(set(episode.classes.tolist())) < classes[0]:
                return f"episode {number} has a row of another class, or a class twice"
            if len(np.unique(rows)) < rows.size:
                return f"episode {number} has a row twice"
        return None


def check_disjoint(pools: Sequence[Pool]) -> None:
    """Refuse meta-splits that share a class. Raises: DataError naming the classes."""
    seen: dict[str, str] = {}
    for pool in pools:
        for label in pool.by_class:
            name = pool.names[label]
            if name in seen:
                shared = sorted(
                    {pool.names[other] for other in pool.by_class} & {n for n, w in seen.items() if w == seen[name]}
                )
                listed = ", ".join(map(repr, shared[:5])) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
                raise DataError(
                    f"{pool.where}: shares {listed} with {seen[name]}; meta-learning is measured on classes never "
                    "trained on: move each class into one file"
                )
        seen |= {pool.names[label]: pool.where for label in pool.by_class}
