"""Times at which nobody is told, and silences that are usual."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random

import pytest

from daemon.outbound.dispatcher import Dispatcher, Route
from daemon.outbound.mutetimes import MuteTime
from daemon.outbound.ownalerts import Own
from daemon.outbound.rhythm import DAY_US, FACTOR, LEARNING_DAYS, LEAST_US, Rhythm
from daemon.outbound.watching import Quiet, Watch
from tests.daemon.alerting import SECOND, opened, resolved
from web.status import SourceStatus

MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("sat,sun", ["2026-11-28T00:00", "2026-11-29T23:59"], ["2026-11-27T23:59", "2026-11-30T00:00"]),
        ("fri-mon", ["2026-11-27T00:00", "2026-11-30T23:59"], ["2026-11-26T23:59", "2026-12-01T00:00"]),
        ("22:00-06:00", ["2026-11-26T22:00", "2026-11-26T05:59"], ["2026-11-26T06:00", "2026-11-26T21:59"]),
        # Hours past midnight belong to the day on which they began.
        ("mon-fri 18:00-08:00", ["2026-11-28T07:59", "2026-11-27T18:00"], ["2026-11-30T07:59", "2026-11-28T18:00"]),
        ("thu 09:00-10:00 Europe/Berlin", ["2026-11-26T08:30", "2026-07-23T07:30"], ["2026-11-26T09:30", "2026-07-23T08:30"]),
        ("00:00-24:00", ["2026-11-26T00:00", "2026-11-26T23:59"], []),
    ],
)  # fmt: skip
def test_a_time_holds_on_its_days_and_hours_as_clocks_there_show_them(text, inside, outside):
    time = MuteTime.parse(text)
    assert [moment for moment in inside if not time.holds(at(moment))] == []
    assert [moment for moment in outside if time.holds(at(moment))] == []


@pytest.mark.parametrize("text", ["", "never", "mon 9-17", "mon-xyz", "25:00-26:00", "08:00-08:00", "mon Mars/Base", "24:30-01:00"])  # fmt: skip
def test_what_is_no_time_says_what_it_should_be(text):
    with pytest.raises(ValueError, match="should"):
        MuteTime.parse(text)


def test_what_happens_while_a_route_is_mute_is_told_when_that_ends():
    """What is open, and what was over before; ends of what was told before come at once."""
    dispatcher = Dispatcher(
        [Route(("ops",), group_by=("...",), wait_us=0, mute=(MuteTime.parse("20:00-06:00"),))]
    )

    def told(moment):
        decisions = dispatcher.due(moment)
        for decision in decisions:
            dispatcher.settle(decision)
        return [(m.kind, one.id) for decision in decisions for m in decision.messages for one in m.alerts]

    evening, night, morning = (at(f"2026-11-{day}") for day in ("26T19:00", "26T23:00", "27T06:01"))
    before, over, lasting = (opened(name) for name in ("before", "over", "lasting"))
    dispatcher.change(before.alert, 1, evening)
    assert told(evening) == [("firing", "before")]
    for change in (over, lasting, resolved(over), resolved(before)):
        dispatcher.change(change.alert, change.number, night)
    heard = [each for minute in range(0, 420, 5) for each in told(night + minute * MINUTE)]
    assert heard == [("resolved", "before")]
    heard = [each for minute in range(0, 30, 5) for each in told(morning + minute * MINUTE)]
    assert sorted(heard) == [("firing", "lasting"), ("firing", "over"), ("resolved", "over")]


class Files:
    """A file that grows when a test says so, looked at every five minutes."""

    def __init__(self, watch: Watch, now_us: int) -> None:
        self.watch = watch
        self.now_us = now_us
        self.size = 1
        self.known: dict = {}
        self.heard: list[str] = []

    def pass_time(self, until_us: int, *, growing: bool) -> None:
        while self.now_us < until_us:
            self.now_us += 5 * MINUTE
            self.size += growing
            status = SourceStatus(
                "s1", "/logs/app.log", "app.log", self.size, self.size, self.size, 1, 1, 0, None, "live"
            )
            for change in self.watch.observe(self.now_us, [status], {}, self.known):
                self.heard.append(change.kind)
                self.known = (
                    {} if change.kind == "resolved" else {change.alert.id: Own(change.alert, change.number)}
                )


def watch_of(start_us: int) -> Files:
    return Files(Watch((Quiet("app*", None),), "main", start_us), start_us)


def live(files: Files, days: int) -> None:
    """Let an application write from eight to twenty, Monday to Friday."""
    for _ in range(days):
        midnight = files.now_us // DAY_US * DAY_US
        weekday = datetime.fromtimestamp(midnight / 1e6, UTC).weekday() < 5
        files.pass_time(midnight + 8 * HOUR, growing=False)
        files.pass_time(midnight + 20 * HOUR, growing=weekday)
        files.pass_time(midnight + DAY_US, growing=False)


def test_nights_and_weekends_are_usual_and_what_is_twice_as_long_is_not():
    """Learned from two weeks without a single alert; then the files stay silent from Friday evening on."""
    files = watch_of(at("2026-11-02T00:00"))
    live(files, 19)
    friday, weekend = at("2026-11-20T20:00"), 60 * HOUR
    files.pass_time(friday + FACTOR * weekend - HOUR, growing=False)
    assert files.heard == []
    files.pass_time(friday + FACTOR * weekend + HOUR, growing=False)
    assert files.heard == ["opened"]
    files.pass_time(files.now_us + HOUR, growing=True)
    assert files.heard == ["opened", "resolved"]


def test_what_is_usual_for_a_weekend_is_an_alarm_at_noon():
    """Each hour of the week has its own bound: an hour's silence on a Tuesday is told, five nights and two weekends are not."""
    files = watch_of(at("2026-11-02T00:00"))
    live(files, 22)
    assert files.heard == []
    files.pass_time(at("2026-11-24T11:00"), growing=False)
    assert files.heard == []
    files.pass_time(at("2026-11-24T12:00"), growing=True)
    files.pass_time(at("2026-11-24T13:00"), growing=False)
    assert files.heard == ["opened"]
    files.pass_time(at("2026-11-24T20:00"), growing=True)
    live(files, 5)
    assert files.heard == ["opened", "resolved"]
    kept = len(json.dumps(files.watch.rhythms["app*"].to_json()))
    assert kept < 20_000


def test_files_that_grow_by_chance_do_not_alarm():
    """Lines some two hours apart, day and night, for half a year: the few silences of one hour say little."""
    chance, rhythm, now, alarms = Random(5), Rhythm(), at("2026-01-05T00:00"), 0
    for _ in range(180 * 12):
        gap = int(chance.expovariate(1 / (2 * HOUR)))
        within = rhythm.within(now)
        alarms += within is not None and gap >= within
        now += gap
        rhythm.grew(now)
    assert alarms <= 2


def test_a_day_that_ends_earlier_from_now_on_is_usual_after_three_alarms():
    """Learned by the hour of the day, whichever the weekday."""
    rhythm, heard = Rhythm(), []
    for day in range(30):
        midnight = at("2026-11-02T00:00") + day * DAY_US
        for step in range(8 * 12, (22 if day < 21 else 12) * 12):
            now = midnight + step * 5 * MINUTE
            within = None if rhythm.last_us is None else rhythm.within(rhythm.last_us)
            if rhythm.last_us is not None and within is not None and now - rhythm.last_us >= within:
                heard.append(day)
            rhythm.grew(now)
    assert heard == [22, 23, 24]


def test_an_outage_is_not_taken_for_usual_before_it_came_back():
    """After one alarm the next silence of that length is one too; on the third day it is how the files are."""
    rhythm = Rhythm()
    now = at("2026-11-01T00:00")
    for _ in range(10 * 24):
        now += HOUR
        rhythm.grew(now)
    assert rhythm.within(now) == FACTOR * HOUR
    for _ in range(3):
        assert rhythm.within(now) == FACTOR * HOUR
        now += 9 * HOUR
        rhythm.grew(now)
        for _ in range(15):
            now += HOUR
            rhythm.grew(now)
    assert rhythm.within(now) == FACTOR * 9 * HOUR


def test_nothing_is_unusual_before_a_week_is_known_and_nobody_gets_up_for_seconds():
    rhythm = Rhythm()
    now = at("2026-11-01T00:00")
    for minute in range(LEARNING_DAYS * 24 * 60):
        assert rhythm.within(now) is None or minute >= (LEARNING_DAYS - 1) * 24 * 60
        rhythm.grew(now + minute * MINUTE)
    assert rhythm.within(now) == LEAST_US


def test_what_was_learned_survives_a_restart_and_the_time_away_is_no_silence():
    """The same bounds; a month in which nobody looked says nothing about the files."""
    chance = Random(3)
    rhythm = Rhythm()
    now = at("2026-11-01T00:00")
    for _ in range(2000):
        now += chance.randrange(10, 40) * MINUTE
        rhythm.grew(now)
    again = Rhythm.from_json(rhythm.to_json())
    hours = [now + hour * HOUR for hour in range(7 * 24)]
    assert [again.within(hour) for hour in hours] == [rhythm.within(hour) for hour in hours]
    again.grew(now + 3 * DAY_US)
    assert (again.within(now) or 0) <= (rhythm.within(now) or 0)
