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

from parsers.arrow import Int64s, Mask
from parsers.grouped import Groups
from parsers.memory import Keys, Memory, Shape

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
MINUTE_SECONDS: Final = 60
LEARNING_DAYS: Final = 7  # of history before a user's behaviour counts for anything
DORMANT_DAYS: Final = 60  # without an event, after which the next one is noticed
FORGET_VALUES_DAYS: Final = 90  # a country, network, device or action not seen for so long is new again
FORGET_USERS_DAYS: Final = 180  # and so is a user
HABIT_EVENTS: Final = 200  # of a user before hours of the day say anything
RARE_HOUR_SHARE: Final = 0.005  # of a user's events in an hour of the day and those beside it: below, it is unusual
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
EVERYBODY: Final = np.uint64(0)
MOST_COUNTED: Final = 65_535  # events of one hour of the day, after which counting stops

_USER: Final = {
    "first_day": Shape("i4"),
    "last_day": Shape("i4"),
    "hours": Shape("u2", 24),
    "minute": Shape("i4", initial=-1),
    "in_minute": Shape("u4"),
    "usual": Shape("f8"),
    "streak": Shape("u4"),
    "failed_at": Shape("i8"),
    "latitude": Shape("f8", initial=np.nan),
    "longitude": Shape("f8", initial=np.nan),
    "place_at": Shape("i8", initial=-1),
    "place_ip": Shape("u8"),
}
_VALUE: Final = {"last_day": Shape("i4")}
_ACTION: Final = {"users": Shape("u4")}

COUNTRY, NETWORK, DEVICE, ACTION, COUNTRY_OF_ALL = (np.uint64(n) for n in range(1, 6))


@dataclass(frozen=True, slots=True)
class Acts:
    """The events of users in a batch, in the order of the stream: one entry an event in every array.

    Keys are hashes; 0 says that there is none. ``logins`` is 1 for a failed authentication, 2 for one that succeeded,
    else 0. ``seconds`` are since 1970, ``read_days`` the days on which events were read. Positions may be NaN.
    """

    users: Keys
    seconds: Int64s
    read_days: Int64s
    countries: Keys
    networks: Keys
    devices: Keys
    actions: Keys
    addresses: Keys
    logins: npt.NDArray[np.int8]
    succeeded: Mask
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]


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

    users: Memory = field(default_factory=lambda: Memory(_USER))
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
            {}, np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, np.int64), np.zeros(size, np.int64)
        )
        if not size:
            return found
        people = _People(self, acts, seconds, days, marks)
        known = people.known
        found.flags["dormant_account"] = people.dormant
        found.flags["off_hours"] = people.off_hours() & known
        self._busy(people, known, found)
        self._streaks(people, acts, known, found)
        self._travel(people, acts, known, found)
        self._novelties(people, acts, known, days, marks, found)
        people.write()
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

    def _busy(self, people: _People, known: Mask, found: Unusual) -> None:
        """Count events of a minute against what the user's minutes usually hold; late events are left out."""
        groups, state = people.groups, people.state
        minutes = people.sorted(people.seconds) // MINUTE_SECONDS
        highest = groups.highest(minutes, state["minute"].astype(np.int64))
        counted = np.flatnonzero(minutes == highest)
        if not len(counted):
            return
        number, minutes = groups.number[counted], minutes[counted]
        begins = np.ones(len(counted), bool)
        begins[1:] = (number[1:] != number[:-1]) | (minutes[1:] != minutes[:-1])
        runs = np.flatnonzero(begins)
        run = np.cumsum(begins) - 1
        inside = np.arange(len(counted)) - runs[run] + 1  # place in its own run, from 1
        owner = number[runs]
        size = np.diff(np.append(runs, len(counted)))
        usual, in_minute = state["usual"].copy(), state["in_minute"].astype(np.int64)
        minute = state["minute"].astype(np.int64)
        before = np.zeros(len(runs), np.int64)  # events of the run's minute before this batch
        level = np.zeros(len(runs))  # the usual minute as it was during the run
        place = np.arange(len(runs)) - np.searchsorted(owner, owner)  # the user's how manieth run
        by_place = np.argsort(place, kind="stable")
        for chosen in np.split(by_place, np.flatnonzero(np.diff(place[by_place])) + 1):
            who = owner[chosen]
            same = minute[who] == minutes[runs[chosen]]
            ended = ~same & (minute[who] >= 0)
            usual[who] = np.where(ended, usual[who] + EWMA_SHARE * (in_minute[who] - usual[who]), usual[who])
            before[chosen] = np.where(same, in_minute[who], 0)
            level[chosen] = usual[who]
            in_minute[who] = before[chosen] + size[chosen]
            minute[who] = minutes[runs[chosen]]
        total = inside + before[run]
        busy = np.zeros(len(people), bool)
        busy[counted] = total > np.maximum(BUSY_MINUTE, BUSY_FACTOR * level[run])
        counts = np.zeros(len(people), np.int64)
        counts[counted] = total
        found.flags["velocity"] = groups.back(busy) & known
        found.in_minute = groups.back(counts)
        people.update("usual", usual)
        people.update("in_minute", np.minimum(in_minute, np.iinfo(np.uint32).max))
        people.update("minute", minute)

    def _streaks(self, people: _People, acts: Acts, known: Mask, found: Unusual) -> None:
        """Count failed logins in a row, and notice the success after them."""
        chosen = np.flatnonzero(people.sorted(acts.logins))
        streaks = np.zeros(len(people), np.int64)
        after = np.zeros(len(people), bool)
        if len(chosen):
            number = people.groups.number[chosen]
            inner = Groups(number)  # in order already: its order is the identity
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

    def _travel(self, people: _People, acts: Acts, known: Mask, found: Unusual) -> None:
        """Find the speed from the place of the user's event before; late events and failures have no place."""
        located = acts.succeeded & np.isfinite(acts.latitude) & np.isfinite(acts.longitude)
        chosen = np.flatnonzero(people.sorted(located))
        impossible = np.zeros(len(people), bool)
        if len(chosen):
            inner = Groups(people.groups.number[chosen])
            at = people.sorted(people.seconds)[chosen]
            stored = people.state["place_at"][people.groups.number[chosen][inner.starts]]
            chosen = chosen[at == inner.highest(at, stored)]
        if len(chosen):
            inner = Groups(people.groups.number[chosen])
            who = people.groups.number[chosen][inner.starts]
            at = people.sorted(people.seconds)[chosen]
            latitude = people.sorted(acts.latitude)[chosen]
            longitude = people.sorted(acts.longitude)[chosen]
            address = people.sorted(acts.addresses)[chosen]
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
        self, people: _People, acts: Acts, known: Mask, days: Int64s, marks: Int64s, found: Unusual
    ) -> None:
        """Find values that a user never had, or not for long."""
        found.flags["new_country"] = self._new(COUNTRY, people.owners, acts.countries, days, marks) & known
        found.flags["new_network"] = self._new(NETWORK, people.owners, acts.networks, days, marks) & known
        found.flags["new_device"] = self._new(DEVICE, people.owners, acts.devices, days, marks) & known
        nobody = np.full(len(acts.users), EVERYBODY)
        found.flags["new_country_for_all"] = (
            self._new(COUNTRY_OF_ALL, nobody, acts.countries, days, marks) & found.flags["new_country"]
        )
        new = self._new(ACTION, people.owners, acts.actions, days, marks)
        found.flags["rare_action"] = self._rare(people, acts.actions, new) & known

    def _new(self, kind: np.uint64, owners: Keys, values: Keys, days: Int64s, marks: Int64s) -> Mask:
        new = np.zeros(len(values), bool)
        chosen = np.flatnonzero(values)
        if not len(chosen):
            return new
        keys = mixed(owners[chosen], values[chosen], kind)
        groups = Groups(keys)
        distinct = keys[groups.order][groups.starts]
        rows = self.values.find(distinct)
        absent = rows < 0
        if absent.any():
            # Added in the order of the stream, so that what is remembered does not depend on batches either.
            first = groups.order[groups.starts]
            ordered = np.flatnonzero(absent)[np.argsort(first[absent])]
            rows[ordered] = self.values.add(distinct[ordered])
        long_ago = -FORGET_VALUES_DAYS - 1
        last = np.where(absent, long_ago, self.values["last_day"][rows].astype(np.int64))
        sorted_days = days[chosen][groups.order]
        highest = groups.highest(sorted_days, last)
        before = groups.before(highest, last)
        gone = marks[chosen][groups.order] - before > FORGET_VALUES_DAYS
        new[chosen] = groups.back(gone)
        self.values["last_day"][rows] = highest[groups.ends]
        return new

    def _rare(self, people: _People, actions: Keys, new: Mask) -> Mask:
        """Return which actions, new for their user, hardly anybody did; and count who does them."""
        rare = np.zeros(len(actions), bool)
        chosen = np.flatnonzero(new)
        if not len(chosen):
            return rare
        groups = Groups(actions[chosen])
        rows = self.actions.find_or_add(actions[chosen])
        before = self.actions["users"][rows].astype(np.int64) + groups.back(groups.rank())
        rare[chosen] = (before + 1) * RARE_ACTION_USERS <= people.met_before[chosen]
        sizes = groups.ends - groups.starts + 1
        self.actions["users"][rows[groups.order][groups.starts]] += sizes.astype(np.uint32)
        return rare


class _People:
    """The users of one batch: their events in groups, and what was remembered of each before it.

    A user who is so long unseen that they are forgotten begins anew in the middle of a batch, as a group of their own.
    """

    def __init__(self, habits: Habits, acts: Acts, seconds: Int64s, days: Int64s, marks: Int64s) -> None:
        self._habits = habits
        self.seconds = seconds
        by_user = Groups(acts.users)
        keys = by_user.ids[by_user.starts]
        rows = habits.users.find(keys)
        absent = rows < 0
        long_ago = -FORGET_USERS_DAYS - 1
        last = np.full(len(keys), long_ago, np.int64)
        last[~absent] = habits.users["last_day"][rows[~absent]]
        sorted_days = days[by_user.order]
        before = by_user.before(by_user.highest(sorted_days, last), last)
        anew = marks[by_user.order] - before > FORGET_USERS_DAYS
        lives = np.cumsum(anew | by_user.first)  # a number for each life of each user, rising by user
        self.groups = Groups(by_user.back(lives))
        self._blank = anew[self.groups.starts]  # begins with nothing remembered
        number_of_user = by_user.number[self.groups.starts]
        self._keys = keys[number_of_user]
        self._final = np.append(number_of_user[1:] != number_of_user[:-1], True)  # the last life of its user
        self.owners = acts.users
        met = by_user.back(anew)
        self.met_before: Int64s = habits.met + np.cumsum(met) - met
        habits.met += int(met.sum())
        first = by_user.order[by_user.starts]
        self._met_order = np.argsort(first[absent])
        self._absent = keys[absent]
        self.state = self._remembered(rows[number_of_user])
        self._updates: dict[str, npt.NDArray[Any]] = {}
        self._days(days)

    def __len__(self) -> int:
        return len(self.seconds)

    def sorted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return values of events in the order of groups."""
        result: npt.NDArray[Any] = values[self.groups.order]
        return result

    def _remembered(self, rows: Int64s) -> dict[str, npt.NDArray[Any]]:
        users, fresh = self._habits.users, Memory(_USER)
        fresh.add(np.ones(1, np.uint64))
        blank = self._blank | (rows < 0)
        state = {}
        for name in _USER:
            column = users[name]
            values = column[np.maximum(rows, 0)] if len(column) else np.repeat(fresh[name], len(rows), axis=0)
            values = values.copy()
            values[blank] = fresh[name][0]
            state[name] = values
        return state

    def _days(self, days: Int64s) -> None:
        """Find who has history enough, and who was away."""
        groups, state = self.groups, self.state
        sorted_days = self.sorted(days)
        never = self._blank
        first = np.where(never, np.iinfo(np.int32).max, state["first_day"].astype(np.int64))
        last = np.where(never, -1, state["last_day"].astype(np.int64))
        earliest = -groups.highest(-sorted_days, -first)
        latest = groups.highest(sorted_days, last)
        first_before, last_before = groups.before(earliest, first), groups.before(latest, last)
        history = last_before >= 0
        self.known: Mask = groups.back(history & (sorted_days - first_before >= LEARNING_DAYS))
        self.dormant: Mask = groups.back(history & (sorted_days - last_before >= DORMANT_DAYS)) & self.known
        self.update("first_day", earliest[groups.ends])
        self.update("last_day", latest[groups.ends])

    def off_hours(self) -> Mask:
        """Return which events fall into hours of the day in which their user hardly ever does anything; and count."""
        groups, state = self.groups, self.state
        hours = self.sorted(self.seconds) // HOUR_SECONDS % 24
        marks = np.zeros((len(self), 24), np.int32)
        marks[np.arange(len(self)), hours] = 1
        before = groups.sums(marks) + state["hours"].astype(np.int64)[groups.number]
        before = np.minimum(before, MOST_COUNTED)
        rows = np.arange(len(self))
        near = before[rows, hours] + before[rows, (hours + 1) % 24] + before[rows, (hours - 1) % 24]
        total = before.sum(axis=1)
        unusual = (total >= HABIT_EVENTS) & (near < RARE_HOUR_SHARE * total)
        after = np.minimum(before[groups.ends] + marks[groups.ends], MOST_COUNTED)
        self.update("hours", after)
        result: Mask = groups.back(unusual)
        return result

    def update(self, name: str, values: npt.NDArray[Any], who: Int64s | None = None) -> None:
        """Note what is to be remembered of each group, or of some of them."""
        if who is None:
            self._updates[name] = values
            return
        changed = self._updates.setdefault(name, self.state[name].copy())
        changed[who] = values

    def write(self) -> None:
        """Remember it: of a user with several lives, the last one."""
        users = self._habits.users
        if len(self._absent):
            users.add(self._absent[self._met_order])
        rows = users.find(self._keys[self._final])
        for name, state in self.state.items():
            users[name][rows] = self._updates.get(name, state)[self._final]


def mixed(owners: Keys, values: Keys, kind: np.uint64) -> Keys:
    """Return one key for an owner, a value and a kind of value: splitmix64's finish over both."""
    with np.errstate(over="ignore"):
        key = owners * np.uint64(0x9E3779B97F4A7C15) ^ (values + kind * np.uint64(0xD1342543DE82EF95))
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))


def _kilometres(
    from_latitude: npt.NDArray[np.float64],
    from_longitude: npt.NDArray[np.float64],
    latitude: npt.NDArray[np.float64],
    longitude: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return great-circle distances by the haversine formula; degrees in, kilometres out."""
    a, b = np.radians(from_latitude), np.radians(latitude)
    half = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(longitude - from_longitude) / 2) ** 2
    return 2 * EARTH_KM * np.arcsin(np.minimum(1.0, np.sqrt(half)))
