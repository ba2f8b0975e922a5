"""The risk of an entity: bounded, the same in any order, and never less for one contribution more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.entityrisk import MOST_COUNTED, added, band, scores

POINTS = st.lists(st.integers(0, 100), max_size=40)


def score(points: list[int], counts: list[int] | None = None) -> float:
    numbers = np.array(points, np.int64)
    amounts = np.array(counts or [1] * len(points), np.int64)
    return float(scores(np.zeros(len(points), np.int64), numbers, amounts, 1)[0])


def by_hand(points: list[int]) -> float:
    """The definition, term by term."""
    most = sum(100 / i**1.5 for i in range(1, MOST_COUNTED + 1))
    return float(100 * sum(p / i**1.5 for i, p in enumerate(sorted(points, reverse=True), 1)) / most)


@given(POINTS)
def test_it_is_the_series_of_its_definition(points: list[int]) -> None:
    """Sorted, the i-th by i to the 1.5, over what ten thousand of 100 points make."""
    assert score(points) == pytest.approx(by_hand(points))


@given(POINTS, st.integers(1, 20_000))
def test_it_never_leaves_its_bounds(points: list[int], times: int) -> None:
    assert 0 <= score(points, [times] * len(points)) <= 100


def test_ten_thousand_of_the_gravest_are_a_hundred_and_more_are_no_more() -> None:
    assert score([100], [MOST_COUNTED]) == pytest.approx(100)
    assert score([100, 3], [10 * MOST_COUNTED, 5]) == pytest.approx(100)


@given(POINTS, st.randoms(use_true_random=False))
def test_it_does_not_depend_on_the_order(points: list[int], random: object) -> None:
    """To the last bit, and whether equal ones come one by one or counted."""
    shuffled = points[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    distinct = sorted(set(points))
    assert (
        score(points)
        == score(shuffled)
        == (score(distinct, [points.count(p) for p in distinct]) if points else 0.0)
    )


@given(POINTS, st.integers(0, 100), st.data())
def test_one_more_or_a_graver_one_never_lowers_it(points: list[int], more: int, data: st.DataObject) -> None:
    before = score(points)
    assert score([*points, more]) >= before - 1e-9
    if points:
        at = data.draw(st.integers(0, len(points) - 1))
        raised = [*points[:at], data.draw(st.integers(points[at], 100)), *points[at + 1 :]]
        assert score(raised) >= before - 1e-9


@given(st.lists(POINTS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_entities_do_not_touch_each_other(entities: list[list[int]], random: object) -> None:
    """Many at once get what each alone gets."""
    rows = [(owner, p) for owner, points in enumerate(entities) for p in points]
    random.shuffle(rows)  # type: ignore[attr-defined]
    owners, points = (np.array([row[n] for row in rows], np.int64) for n in (0, 1))
    together = scores(owners, points, np.ones(len(rows), np.int64), len(entities))
    assert together.tolist() == [score(points) for points in entities]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=20))
def test_what_each_adds_makes_the_score(entries: list[tuple[int, int]]) -> None:
    ranked = sorted(entries, reverse=True)
    assert sum(added(ranked)) == pytest.approx(score([p for p, _ in ranked], [n for _, n in ranked]))


def test_bands_are_those_of_events() -> None:
    """30 is low, 31 medium, 70 medium, 71 high; halves are rounded up."""
    assert [band(x) for x in (0, 30.4, 30.5, 70.4, 70.5, 100)] == [
        "low",
        "low",
        "medium",
        "medium",
        "high",
        "high",
    ]
