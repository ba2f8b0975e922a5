"""What is unlike a user's habits: an exact fold over the stream, whole batches at a time, in numpy.

For each event the fold says what was unusual about it, judged by the events before it and by nothing else, and then
remembers the event. What it says does not depend on how the stream is cut into batches, so a stream that is read again
after a crash gets the same answers. All of it is per user; what everybody does is remembered under user 0.

Times are the events' own, but never more than a day after the event was read: one wrong clock must not make everything
else look forgotten. The *watermark* is the greatest day seen so far; what was not seen for a while before it is
forgotten, as if it had never been.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parsers.acts import Acts
from parsers.arrow import Int64s, Mask
from parsers.grouped import Groups, stable_order
from parsers.keyed import Keyed
from parsers.memory import Keys, Memory, Shape
from parsers.people import DAY_SECONDS, FORGET_USERS_DAYS, HOUR_SECONDS, USER, People

MINUTE_SECONDS: Final = 60
FORGET_VALUES_DAYS: Final = 90  # a country, network, device or action not seen for so long is new again
BUSY_MINUTE: Final = 60  # events a minute that are never too many
BUSY_FACTOR: Final = 8.0  # times the user's usual minute that are too many
EWMA_SHARE: Final = 0.1  # of the newest minute in the usual one
STREAK_SECONDS: Final = 3_600  # between two failures of one streak at most, and to the success that ends it
SUCCESS_AFTER: Final = 5  # failures in a row, after which a success is suspicious
STREAKS: Final = ((10, "failed_streak_10"), (5, "failed_streak_5"), (3, "failed_streak_3"))
TRAVEL_KM: Final = 500.0  # a distance that no inaccurate position makes up
TRAVEL_KMH: Final = 900.0  # faster than an airliner
EARTH_KM: Final = 6371.0  # mean radius
RARE_ACTION_USERS: Final = 20  # one user in so many ever did it, at most
EVERYBODY: Final = np.zeros(1, np.uint64)  # the owner of what all users have had
FEW_RUNS: Final = 24  # so few numbers are sooner counted one by one than as an array

_VALUE: Final = {"last_day": Shape("i4")}
_ACTION: Final = {"users": Shape("u4")}

COUNTRY, NETWORK, DEVICE, ACTION, COUNTRY_OF_ALL = (np.uint64(n) for n in range(1, 6))


@dataclass(slots=True)
class Unusual:
    """What was unusual: by reason, which events; and figures that explain it."""

    flags: dict[str, Mask]
    travel_kmh: npt.NDArray[np.float64]  # NaN where there was no place before
    travel_km: npt.NDArray[np.float64]
    in_minute: Int64s  # events of this user in this minute, this one included
    streak: Int64s  # failures in a row before or with this event


@dataclass(slots=True)
class Habits:
    """What is remembered of everybody. `fold` changes it."""

    users: Memory = field(default_factory=lambda: Memory(USER))
    values: Memory = field(default_factory=lambda: Memory(_VALUE))
    actions: Memory = field(default_factory=lambda: Memory(_ACTION))
    watermark: int = 0  # greatest day seen
    met: int = 0  # users met, those forgotten and met again counted again

    @property
    def bytes(self) -> int:
        """Bytes of memory that it takes."""
        return self.users.bytes + self.values.bytes + self.actions.bytes

    def fold(self, acts: Acts) -> Unusual:
        """Say what is unusual about each event, and remember them all."""
        size = len(acts.users)
        seconds = np.minimum(acts.seconds, (acts.read_days + 2) * DAY_SECONDS - 1)
        days = seconds // DAY_SECONDS
        marks = np.maximum.accumulate(np.maximum(days, self.watermark)) if size else days
        found = Unusual(
            {},
            np.full(size, np.nan),
            np.full(size, np.nan),
            np.zeros(size, np.int64),
            np.zeros(size, np.int64),
        )
        if not size:
            return found
        people = People(self.users, self.met, acts.users, seconds, days, marks)
        known = people.known
        found.flags["dormant_account"] = people.dormant
        found.flags["off_hours"] = people.off_hours() & known
        self._busy(people, known, found)
        self._streaks(people, acts, known, found)
        self._travel(people, acts, known, found)
        self._novelties(people, acts, known, days, marks, found)
        people.write()
        self.met = people.met
        self.watermark = int(marks[-1])
        return found

    def forget(self) -> None:
        """Let go of what has no influence any more. Saves memory and changes no answer."""
        for memory, days in ((self.users, FORGET_USERS_DAYS), (self.values, FORGET_VALUES_DAYS)):
            kept = self.watermark - memory["last_day"].astype(np.int64) <= days
            if not kept.all():
                memory.keep(kept)

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Yield everything by name, to be written down."""
        yield "watermark", np.array([self.watermark, self.met])
        for name, memory in (("users", self.users), ("values", self.values), ("actions", self.actions)):
            for column, array in memory.arrays().items():
                yield f"{name}.{column}", array

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `arrays` gave. Raises ValueError or KeyError when it does not fit."""
        for name, memory in (("users", self.users), ("values", self.values), ("actions", self.actions)):
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            memory.load(own)
        self.watermark, self.met = (int(value) for value in arrays["watermark"])

    def _busy(self, people: People, known: Mask, found: Unusual) -> None:
        """Count events of a minute against what the user's minutes usually hold; late events are left out."""
        groups, state = people.groups, people.state
        at = people.sorted(people.seconds) // MINUTE_SECONDS
        counted = np.flatnonzero(at == groups.highest(at, state["minute"].astype(np.int64)))
        if not len(counted):
            return
        number, counted_minutes = groups.number[counted], at[counted]
        begins = np.ones(len(counted), bool)
        begins[1:] = (number[1:] != number[:-1]) | (counted_minutes[1:] != counted_minutes[:-1])
        runs = np.flatnonzero(begins)
        run = np.cumsum(begins) - 1
        inside = np.arange(len(counted)) - runs[run] + 1  # place in its own run, from 1
        owner = number[runs]
        size = np.diff(np.append(runs, len(counted)))
        minutes = _Minutes.of(state)
        before, level = minutes.spent(owner, counted_minutes[runs], size)
        total = inside + before[run]
        busy = np.zeros(len(people), bool)
        busy[counted] = total > np.maximum(BUSY_MINUTE, BUSY_FACTOR * level[run])
        counts = np.zeros(len(people), np.int64)
        counts[counted] = total
        found.flags["velocity"] = groups.back(busy) & known
        found.in_minute = groups.back(counts)
        people.update("usual", minutes.usual)
        people.update("in_minute", np.minimum(minutes.events, np.iinfo(np.uint32).max))
        people.update("minute", minutes.minute)

    def _streaks(self, people: People, acts: Acts, known: Mask, found: Unusual) -> None:
        """Count failed logins in a row, and notice the success after them."""
        chosen = np.flatnonzero(people.sorted(acts.logins))
        streaks = np.zeros(len(people), np.int64)
        after = np.zeros(len(people), bool)
        if len(chosen):
            number = people.groups.number[chosen]
            inner = Groups(number, ordered=True)
            who = number[inner.starts]
            failed = people.sorted(acts.logins)[chosen] == 1
            at = people.sorted(people.seconds)[chosen]
            stored = people.state["streak"].astype(np.int64)[who]
            failed_before = inner.before(failed, stored > 0)
            since = at - inner.before(at, people.state["failed_at"][who])
            goes_on = failed_before & (since <= STREAK_SECONDS)
            begins = inner.last_where(failed & ~goes_on)  # where the present streak began, in this batch
            position = np.arange(len(chosen))
            carried = np.where(begins < 0, stored[inner.number] - inner.starts[inner.number], -begins)
            streak = np.where(failed, position + 1 + carried, 0)
            previous = inner.before(streak, stored)
            shown = np.where(failed, streak, np.where(goes_on, previous, 0))
            streaks[chosen] = shown
            after[chosen] = ~failed & (shown >= SUCCESS_AFTER)
            last = inner.ends
            people.update("streak", streak[last], who)
            people.update("failed_at", at[last], who)
        found.streak = people.groups.back(streaks)
        failing = found.streak * (acts.logins == 1)
        above = np.zeros(len(people), bool)
        for least, reason in STREAKS:
            reached = failing >= least
            found.flags[reason] = reached & ~above & known
            above |= reached
        found.flags["success_after_failures"] = people.groups.back(after) & known

    def _travel(self, people: People, acts: Acts, known: Mask, found: Unusual) -> None:
        """Find the speed from the place of the user's event before; late events and failures have no place."""
        located = acts.succeeded & np.isfinite(acts.latitude) & np.isfinite(acts.longitude)
        chosen = np.flatnonzero(people.sorted(located))
        impossible = np.zeros(len(people), bool)
        if len(chosen):
            inner = Groups(people.groups.number[chosen], ordered=True)
            at = people.sorted(people.seconds)[chosen]
            stored = people.state["place_at"][people.groups.number[chosen][inner.starts]]
            chosen = chosen[at == inner.highest(at, stored)]
        if len(chosen):
            inner = Groups(people.groups.number[chosen], ordered=True)
            who = people.groups.number[chosen][inner.starts]
            at = people.sorted(people.seconds)[chosen]
            latitude = people.sorted(acts.latitude)[chosen]
            longitude = people.sorted(acts.longitude)[chosen]
            address = acts.addresses.keys[people.sorted(acts.addresses.codes)[chosen]]
            state = people.state
            since = at - inner.before(at, state["place_at"][who])
            from_latitude = inner.before(latitude, state["latitude"][who])
            from_longitude = inner.before(longitude, state["longitude"][who])
            distance = _kilometres(from_latitude, from_longitude, latitude, longitude)
            moved = (address != inner.before(address, state["place_ip"][who])) | (address == 0)
            distance = np.where(moved & (since <= DAY_SECONDS), distance, np.nan)
            speed = distance / np.maximum(since, 1) * HOUR_SECONDS
            impossible[chosen] = (distance > TRAVEL_KM) & (speed > TRAVEL_KMH)
            for target, values in ((found.travel_km, distance), (found.travel_kmh, speed)):
                whole = np.full(len(people), np.nan)
                whole[chosen] = values
                target[:] = people.groups.back(whole)
            last = inner.ends
            for name, values in (
                ("place_at", at),
                ("latitude", latitude),
                ("longitude", longitude),
                ("place_ip", address),
            ):
                people.update(name, values[last], who)
        found.flags["impossible_travel"] = people.groups.back(impossible) & known

    def _novelties(
        self, people: People, acts: Acts, known: Mask, days: Int64s, marks: Int64s, found: Unusual
    ) -> None:
        """Find values that a user never had, or not for long."""
        owners = people.owners
        found.flags["new_country"] = self._new(COUNTRY, owners, acts.countries, days, marks) & known
        found.flags["new_network"] = self._new(NETWORK, owners, acts.networks, days, marks) & known
        found.flags["new_device"] = self._new(DEVICE, owners, acts.devices, days, marks) & known
        everybody = Keyed(np.zeros(len(owners), np.int64), EVERYBODY)
        found.flags["new_country_for_all"] = (
            self._new(COUNTRY_OF_ALL, everybody, acts.countries, days, marks) & found.flags["new_country"]
        )
        new = self._new(ACTION, owners, acts.actions, days, marks)
        found.flags["rare_action"] = self._rare(people, acts.actions, new) & known

    def _new(self, kind: np.uint64, owners: Keyed, values: Keyed, days: Int64s, marks: Int64s) -> Mask:
        """Return which events have a value that is new for its owner."""
        new = np.zeros(len(values), bool)
        chosen = np.flatnonzero(values.there)
        if not len(chosen):
            return new
        groups = Groups(owners.codes[chosen] * len(values.keys) + values.codes[chosen])
        owner, value = np.divmod(groups.ids[groups.starts], len(values.keys))
        keys = mixed(owners.keys[owner], values.keys[value], kind)
        rows = self.values.find(keys)
        absent = rows < 0
        if absent.any():
            # Added in the order of the stream, so that what is remembered does not depend on batches either.
            ordered = np.flatnonzero(absent)[np.argsort(groups.order[groups.starts][absent])]
            rows[ordered] = self.values.add(keys[ordered])
        last = self.values["last_day"][rows].astype(np.int64)
        last[absent] = -FORGET_VALUES_DAYS - 1
        sorted_days = days[chosen[groups.order]]
        at, some = groups.only(marks[-1] - last > FORGET_VALUES_DAYS)  # no other can be new
        if len(at):
            theirs, events = last[groups.number[at[some.starts]]], chosen[groups.order[at]]
            before = some.before(some.highest(sorted_days[at], theirs), theirs)
            new[events] = marks[events] - before > FORGET_VALUES_DAYS
        self.values["last_day"][rows] = np.maximum(last, groups.greatest(sorted_days))
        return new

    def _rare(self, people: People, actions: Keyed, new: Mask) -> Mask:
        """Return which actions, new for their user, hardly anybody did; and count who does them."""
        rare = np.zeros(len(actions), bool)
        chosen = np.flatnonzero(new)
        if not len(chosen):
            return rare
        groups = Groups(actions.codes[chosen])
        rows = self.actions.find_or_add(actions.keys[actions.codes[chosen]])
        before = self.actions["users"][rows].astype(np.int64) + groups.back(groups.rank())
        rare[chosen] = (before + 1) * RARE_ACTION_USERS <= people.met_before[chosen]
        self.actions["users"][rows[groups.order][groups.starts]] += groups.sizes.astype(np.uint32)
        return rare


@dataclass(slots=True)
class _Minutes:
    """The newest minute of each user, its events, and how many the minutes before it usually had."""

    minute: Int64s
    events: Int64s
    usual: npt.NDArray[np.float64]

    @classmethod
    def of(cls, state: Mapping[str, npt.NDArray[Any]]) -> _Minutes:
        """Take over what is remembered."""
        return cls(
            state["minute"].astype(np.int64), state["in_minute"].astype(np.int64), state["usual"].copy()
        )

    def spent(self, owners: Int64s, minutes: Int64s, sizes: Int64s) -> tuple[Int64s, npt.NDArray[np.float64]]:
        """Count runs of events in one minute of one user, user by user, rising in time.

        Return for each the events of its minute before it, and the usual minute as it was then. What is usual changes
        from run to run and cannot be summed up: runs are counted side by side, the first of each user, then the second
        of each …, and, when only busy users have some left, one by one.
        """
        before = np.zeros(len(owners), np.int64)
        level = np.zeros(len(owners))
        groups = Groups(owners, ordered=True)
        place, sizes_of = groups.rank(), groups.sizes
        together = len(sizes_of) - FEW_RUNS  # so many users have no more runs than those counted side by side
        depth = int(np.partition(sizes_of, together)[together]) if together >= 0 else 0
        by_place = stable_order(place)
        by_place = by_place[: int(np.count_nonzero(place < depth))]
        for chosen in np.split(by_place, np.flatnonzero(np.diff(place[by_place])) + 1):
            who = owners[chosen]
            same = self.minute[who] == minutes[chosen]
            ended = ~same & (self.minute[who] >= 0)
            usual, events = self.usual[who], self.events[who]
            self.usual[who] = usual = np.where(ended, usual + EWMA_SHARE * (events - usual), usual)
            before[chosen] = np.where(same, events, 0)
            level[chosen] = usual
            self.events[who] = before[chosen] + sizes[chosen]
            self.minute[who] = minutes[chosen]
        for group in np.flatnonzero(sizes_of > depth).tolist():
            at = slice(int(groups.starts[group]) + depth, int(groups.ends[group]) + 1)
            before[at], level[at] = self._one_by_one(int(owners[at.start]), minutes[at], sizes[at])
        return before, level

    def _one_by_one(self, who: int, minutes: Int64s, sizes: Int64s) -> tuple[list[int], list[float]]:
        """Do the same for runs of one user."""
        minute, events, usual = int(self.minute[who]), int(self.events[who]), float(self.usual[who])
        before: list[int] = []
        level: list[float] = []
        for now, size in zip(minutes.tolist(), sizes.tolist(), strict=True):
            if now != minute:
                usual = usual + EWMA_SHARE * (events - usual) if minute >= 0 else usual
                minute, events = now, 0
            before.append(events)
            level.append(usual)
            events += size
        self.minute[who], self.events[who], self.usual[who] = minute, events, usual
        return before, level


def mixed(owners: Keys, values: Keys, kind: np.uint64) -> Keys:
    """Return one key for an owner, a value and a kind of value: splitmix64's finish over both."""
    with np.errstate(over="ignore"):
        key: Keys = owners * np.uint64(0x9E3779B97F4A7C15) ^ (values + kind * np.uint64(0xD1342543DE82EF95))
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key


def _kilometres(
    from_latitude: npt.NDArray[np.float64],
    from_longitude: npt.NDArray[np.float64],
    latitude: npt.NDArray[np.float64],
    longitude: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return great-circle distances by the haversine formula; degrees in, kilometres out."""
    a, b = np.radians(from_latitude), np.radians(latitude)
    half = (
        np.sin((b - a) / 2) ** 2
        + np.cos(a) * np.cos(b) * np.sin(np.radians(longitude - from_longitude) / 2) ** 2
    )
    distance: npt.NDArray[np.float64] = 2 * EARTH_KM * np.arcsin(np.minimum(1.0, np.sqrt(half)))
    return distance
