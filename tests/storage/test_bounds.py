"""Bounds leave out no match that could make a rule fire, and most of those that could not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.keyed import Keyed
from parsers.sigma.matching import Target
from storage.bounds import Bounds, Fresh
from storage.preconditions import Need, Source

GROUP = (Target("user.id", (("user_id", ()),)),)
VALUE = (Target("request.ip", (("ip", ()),)),)
REACH = 10

Event = tuple[int, int, int]  # time, group (0: none), value (0: none)


def fed(bounds: Bounds, need: Need, events: Sequence[Event]) -> list[bool]:
    times, groups, values = (np.array([event[at] for event in events]) for at in range(3))
    counted = values.astype(np.uint64) if need.distinct else None
    fresh = Fresh(times, Keyed.of(groups.astype(np.uint64)), counted)
    (mask,) = bounds.feed({need.sources[0]: fresh}, [(times, fresh.groups)])
    found: list[bool] = mask.tolist()
    return found


def need(least: int, *, distinct: bool) -> Need:
    return Need((Source("r", GROUP, VALUE),), least, distinct)


EVENTS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 60), st.integers(0, 400)), st.integers(0, 3), st.sampled_from([0, 5, 5, 6, 7])
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    batches=st.lists(EVENTS, min_size=1, max_size=6),
    least=st.integers(1, 5),
    distinct=st.booleans(),
    forget=st.booleans(),
)
def test_no_match_is_left_out_that_is_in_a_window_with_enough(batches, least, distinct, forget):
    """Random streams with late events, some of them later than what is remembered."""
    wanted = need(least, distinct=distinct)
    bounds = Bounds([wanted], REACH)
    seen: list[Event] = []
    for batch in batches:
        found = fed(bounds, wanted, batch)
        seen += batch
        for (at, group, _), kept in zip(batch, found, strict=True):
            assert not (kept and not group)
            for end, other, _ in seen:
                if other != group or not group or not at <= end <= at + REACH:
                    continue
                inside = [e for e in seen if e[1] == group and end - REACH <= e[0] <= end]
                count = len({e[2] for e in inside if e[2]}) if distinct else len(inside)
                assert kept or count < least, (at, group, end)
        if forget:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("storage.bounds.FORGET_GROUPS", 0)
                bounds.forget(max(event[0] for event in seen) - 3 * REACH)


def test_few_matches_concern_nobody_until_there_are_enough():
    """Four of five, then the fifth; another group stays out."""
    wanted = need(5, distinct=False)
    bounds = Bounds([wanted], REACH)
    assert fed(bounds, wanted, [(at, 1, 5) for at in range(4)]) == [False] * 4
    assert fed(bounds, wanted, [(4, 1, 5), (4, 2, 5)]) == [True, False]


def test_matches_further_apart_than_two_stretches_do_not_add_up():
    """One a stretch, for ever, is two at most."""
    wanted = need(3, distinct=False)
    bounds = Bounds([wanted], REACH)
    assert not any(any(fed(bounds, wanted, [(at * REACH, 1, 5)])) for at in range(50))


def test_one_value_again_and_again_is_one_value():
    """A session at one address, over many stretches; then another address comes."""
    wanted = need(2, distinct=True)
    bounds = Bounds([wanted], REACH)
    assert not any(any(fed(bounds, wanted, [(at, 1, 5)] * 3)) for at in range(0, 100, 3))
    assert fed(bounds, wanted, [(101, 1, 6)]) == [True]


def test_every_need_must_be_met_in_the_same_stretch_of_time():
    """Many of the one and none of the other is not enough."""
    many, other = need(2, distinct=False), Need((Source("other", GROUP),), 1)
    bounds = Bounds([many, other], REACH)
    assert fed(bounds, many, [(at, 1, 5) for at in range(5)]) == [False] * 5
    times = np.array([7])
    fresh = {other.sources[0]: Fresh(times, Keyed.of(np.array([1], np.uint64)), None)}
    (mask,) = bounds.feed(fresh, [(times, Keyed.of(np.array([1], np.uint64)))])
    assert mask.tolist() == [True]


def test_groups_that_are_over_are_let_go_of(monkeypatch):
    """Memory follows the groups that are met, not those that ever were; what then comes late concerns everybody."""
    monkeypatch.setattr("storage.bounds.FORGET_GROUPS", 8)
    wanted = need(3, distinct=False)
    bounds = Bounds([wanted], REACH)
    for at in range(200):
        fed(bounds, wanted, [(at * REACH, at + 1, 5)])
        bounds.forget((at - 3) * REACH)
    small = Bounds([wanted], REACH)
    fed(small, wanted, [(1, 1, 5)])
    assert bounds.bytes == small.bytes
    assert fed(bounds, wanted, [(1000, 77, 5)]) == [True]
