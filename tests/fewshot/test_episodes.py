"""Episodes: what is drawn, what is refused, and that a saved list is the same list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlptk.errors import DataError
from nlptk.fewshot.episodes import Pool, Protocol, check_disjoint

NAMES = ("a", "b", "c", "d")


def pool(per_class: int = 8, *, names: tuple[str, ...] = NAMES, where: str = "rows") -> Pool:
    labels = np.repeat(np.arange(len(names)), per_class)
    return Pool(labels, names, [f"{where}{row}".encode() for row in range(len(labels))], where=where)


def test_an_episode_has_its_ways_shots_and_queries_of_the_right_classes_and_no_row_twice() -> None:
    rows = pool()
    for episode in rows.draw_all(Protocol(ways=3, shots=2, queries=4, episodes=50)):
        assert episode.support.shape == (3, 2)
        assert episode.query.shape == (3, 4)
        assert len(set(episode.classes.tolist())) == 3
        every = np.concatenate([episode.support, episode.query], axis=1)
        assert len(np.unique(every)) == every.size
        assert (rows.labels[every] == episode.classes[:, None]).all()


def test_every_class_is_drawn_about_as_often_as_any_other() -> None:
    drawn = np.concatenate([e.classes for e in pool().draw_all(Protocol(ways=2, shots=1, queries=1, episodes=2000))])
    assert np.bincount(drawn) == pytest.approx([1000] * 4, abs=100)  # a binomial's standard deviation is 22


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    short, long = (pool().draw_all(Protocol(ways=3, shots=2, queries=2, episodes=n)) for n in (5, 20))
    for one, other in zip(short, long[:5], strict=True):
        assert (one.support == other.support).all()
        assert (one.query == other.query).all()


def test_another_seed_draws_other_episodes() -> None:
    one, other = (pool().draw(Protocol(ways=3, shots=2, queries=2, seed=seed), 0) for seed in (0, 1))
    assert (one.support != other.support).any()


def test_a_saved_list_is_replayed(tmp_path: Path) -> None:
    episodes = pool().draw_all(Protocol(ways=3, shots=2, queries=2, episodes=4))
    pool().save(episodes, tmp_path / "list.json")
    for one, other in zip(episodes, pool().load(tmp_path / "list.json"), strict=True):
        assert (one.classes == other.classes).all()
        assert (one.support == other.support).all()
        assert (one.query == other.query).all()


def test_a_list_made_for_other_rows_is_refused(tmp_path: Path) -> None:
    pool().save(pool().draw_all(Protocol(ways=2, shots=1, queries=1, episodes=2)), tmp_path / "list.json")
    with pytest.raises(DataError, match="made for other rows"):
        pool(where="other").load(tmp_path / "list.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda listed: listed.clear(), "no episodes"),
        (lambda listed: listed[1].update(query=listed[1]["support"]), "has a row twice|several shapes"),
        (lambda listed: listed[0]["support"][0].__setitem__(0, 1000), "a row that there is not"),
        (lambda listed: listed[0]["classes"].reverse(), "a row of another class"),
        (lambda listed: listed[0]["query"].pop(), "several shapes"),
    ],
)
def test_a_list_that_was_edited_is_refused(change: Callable[[Any], Any], said: str, tmp_path: Path) -> None:
    rows, path = pool(), tmp_path / "episodes.json"
    rows.save(rows.draw_all(Protocol(ways=2, shots=2, queries=2, episodes=2)), path)
    state = json.loads(path.read_text())
    change(state["episodes"])
    path.write_text(json.dumps(state))
    with pytest.raises(DataError, match=said):
        rows.load(path)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("{")
    with pytest.raises(DataError, match="no list of episodes"):
        pool().load(tmp_path / "list.json")


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (Protocol(ways=5, shots=1), "4 classes, fewer than 5 ways"),
        (Protocol(ways=2, shots=5, queries=5), "class 'a' has 8 rows, and 5 shots with 5 queries need 10"),
        (Protocol(ways=1, shots=1), "ways: 1; give at least 2"),
        (Protocol(ways=2, shots=0), "shots: 0; give at least 1"),
    ],
)
def test_rows_too_few_for_the_protocol_are_refused(protocol: Protocol, said: str) -> None:
    with pytest.raises(DataError, match=said):
        pool().draw_all(protocol)


def test_equal_texts_are_refused_because_they_could_stand_on_both_sides() -> None:
    with pytest.raises(DataError, match="2 rows repeat the text of another"):
        Pool(np.array([0, 0, 1, 1]), ("a", "b"), [b"x", b"x", b"x", b"y"], where="rows")


def test_meta_splits_that_share_a_class_are_refused() -> None:
    train, test = pool(names=("a", "b"), where="train"), pool(names=("b", "c"), where="test")
    with pytest.raises(DataError, match="test: shares 'b' with train"):
        check_disjoint([train, test])
    check_disjoint([train, pool(names=("c", "d"), where="test")])
