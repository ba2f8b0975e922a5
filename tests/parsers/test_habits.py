"""Habits: the fast fold says of every event what a plain one says, however the stream is cut into batches."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.acts import Acts
from parsers.habits import Habits
from parsers.keyed import Keyed
from parsers.people import DAY_SECONDS, LEARNING_DAYS, MOST_COUNTED
from parsers.points import BEHAVIOUR
from tests.parsers.plain_habits import Act, PlainHabits

START = 20_500 * DAY_SECONDS  # in 2026
PLACES = [(52.5, 13.4), (35.7, 139.7), (40.7, -74.0), (52.4, 13.1), (math.nan, math.nan)]


def stream(seed: int, size: int, *, days: float) -> list[Act]:
    """Some users who do what users do, at a pace of the seed's choice, and now and then something else."""
    chance = random.Random(seed)
    now = START
    acts = []
    step = max(1, int(days * DAY_SECONDS / size))
    users = [chance.getrandbits(64) | 1 for _ in range(chance.choice((1, 3, 30)))]
    burst = 0
    for _ in range(size):
        burst = chance.choice((0,) * 99 + (100,)) if burst <= 0 else burst - 1
        now += 0 if burst else chance.choice((0, 0, 1, step, step, 2 * step))
        if chance.random() < 0.01:
            now += chance.choice((20, 70, 100, 190)) * DAY_SECONDS
        late = chance.random() < 0.05
        seconds = now - chance.randrange(3 * DAY_SECONDS) if late else now
        if chance.random() < 0.01:
            seconds += 400 * DAY_SECONDS  # a wrong clock
        usual = chance.random() < 0.9
        latitude, longitude = PLACES[0 if usual else chance.randrange(len(PLACES))]
        login = chance.choice((0, 0, 1, 1, 1, 2))
        acts.append(
            Act(
                user=users[0] if burst else chance.choice(users),
                seconds=seconds,
                read_day=now // DAY_SECONDS,
                country=1 if usual else chance.randrange(5),
                network=1 if usual else chance.randrange(9),
                device=1 if usual else chance.randrange(4),
                action=chance.choice((0, 1, 1, 1, 2, 3, 4 + chance.randrange(400))),
                address=chance.randrange(3),
                login=login,
                succeeded=login != 1,
                latitude=latitude,
                longitude=longitude,
            )
        )
    return acts


def batch(acts: Sequence[Act]) -> Acts:
    def column(name: str, kind: str) -> np.ndarray:
        return np.array([getattr(act, name) for act in acts], kind)

    def keys(name: str) -> Keyed:
        return Keyed.of(column(name, "u8"))

    return Acts(
        users=keys("user"),
        seconds=column("seconds", "i8"),
        read_days=column("read_day", "i8"),
        countries=keys("country"),
        networks=keys("network"),
        devices=keys("device"),
        actions=keys("action"),
        addresses=keys("address"),
        logins=column("login", "i1"),
        succeeded=column("succeeded", "?"),
        latitude=column("latitude", "f8"),
        longitude=column("longitude", "f8"),
    )


def folded(habits: Habits, acts: Sequence[Act]) -> list[set[str]]:
    unusual = habits.fold(batch(acts))
    return [{name for name, flags in unusual.flags.items() if flags[row]} for row in range(len(acts))]


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 400),
    days=st.sampled_from([0.01, 2, 30, 400]),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    forgetting=st.booleans(),
)
def test_each_event_is_judged_as_by_the_plain_fold(seed, size, days, cuts, forgetting):
    """Users who come and go, late events, wrong clocks; also when what is forgotten is let go between batches."""
    acts = stream(seed, size, days=days)
    plain = PlainHabits()
    expected = [plain.see(act) for act in acts]
    habits = Habits()
    found: list[set[str]] = []
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    for begin, end in pairwise(edges):
        found += folded(habits, acts[begin:end])
        if forgetting:
            habits.forget()
    assert found == expected


def test_the_streams_of_the_test_show_every_reason():
    """What the comparison above compares is not always nothing."""
    seen: set[str] = set()
    for seed in range(40):
        plain = PlainHabits()
        for act in stream(seed, 1500, days=30):
            seen |= plain.see(act)
    assert seen == set(BEHAVIOUR)


def test_an_unusual_hour_needs_a_habit():
    """Two hundred events by day make an event at night unusual; the first ones are not."""
    by_day = [
        Act(7, START + n * 3 * 3600 % (4 * 3600) + n // 8 * DAY_SECONDS, 20_600, action=1) for n in range(240)
    ]
    night = Act(7, START + 40 * DAY_SECONDS + 20 * 3600, 20_600, action=1)
    plain = PlainHabits()
    expected = [plain.see(act) for act in (*by_day, night)]
    assert folded(Habits(), [*by_day, night]) == expected
    assert expected[-1] == {"off_hours"}
    assert not set().union(*expected[:-1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), counted=st.integers(MOST_COUNTED - 60, MOST_COUNTED))
def test_an_hour_that_is_counted_to_the_end_stays_there(seed, counted):
    """Sixty-five thousand events in each hour of the day, and then more: the same in one batch and one by one."""
    acts = stream(seed, 300, days=0.01)
    whole, single = Habits(), Habits()
    for habits in (whole, single):
        folded(habits, acts)  # everybody is known
        habits.users["hours"][:] = counted
        habits.users["first_day"][:] -= LEARNING_DAYS
    again = stream(seed, 300, days=0.5)
    assert folded(whole, again) == [folded(single, [act])[0] for act in again]
    assert whole.users["hours"].tolist() == single.users["hours"].tolist()
    assert whole.users["hours"].max() <= MOST_COUNTED


@given(seed=st.integers(0, 2**32), cut=st.integers(1, 199))
@settings(max_examples=20, deadline=None)
def test_what_was_written_down_goes_on_as_if_nothing_had_happened(seed, cut):
    """State that is stored and loaded says the same of the rest of the stream."""
    acts = stream(seed, 200, days=30)
    whole = Habits()
    expected = folded(whole, acts)
    first, second = Habits(), Habits()
    head = folded(first, acts[:cut])
    second.load({name: array.copy() for name, array in first.arrays()})
    assert head + folded(second, acts[cut:]) == expected


def test_a_state_that_does_not_fit_is_refused():
    """Another release's, or a damaged one."""
    arrays = dict(Habits().arrays())
    with pytest.raises((ValueError, KeyError)):
        Habits().load({**arrays, "users.usual": np.zeros(3, "i2")})


def test_memory_is_bounded_by_what_is_not_forgotten():
    """Users who never come back go."""
    habits = Habits()
    for number in range(20):
        acts = [
            Act(number * 1000 + n + 1, START + number * 30 * DAY_SECONDS, 30_000, country=n % 3)
            for n in range(500)
        ]
        habits.fold(batch(acts))
        habits.forget()
    assert len(habits.users) <= 7 * 500
    assert len(habits.values) <= 4 * 500 + 3
