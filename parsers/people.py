"""The users of one batch: each one's events in their order, and what was remembered of each before it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parsers.arrow import Int64s, Mask
from parsers.grouped import Groups
from parsers.memory import Keys, Memory, Shape

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
LEARNING_DAYS: Final = 7  # of history before a user's behaviour counts for anything
DORMANT_DAYS: Final = 60  # without an event, after which the next one is noticed
FORGET_USERS_DAYS: Final = 180  # and so is a user
HABIT_EVENTS: Final = 200  # of a user before hours of the day say anything
RARE_HOUR_SHARE: Final = (
    0.005  # of a user's events: in an hour of the day and those beside it, less is unusual
)
MOST_COUNTED: Final = 65_535  # events of one hour of the day, after which counting stops

USER: Final = {
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


class People:
    """The users of one batch: their events in groups, and what was remembered of each before it.

    A user who is so long unseen that they are forgotten begins anew in the middle of a batch, as a group of their own.
    """

    def __init__(
        self, memory: Memory, met: int, owners: Keys, seconds: Int64s, days: Int64s, marks: Int64s
    ) -> None:
        self._memory = memory
        self.owners = owners
        self.seconds = seconds
        by_user = Groups(owners)
        keys = by_user.ids[by_user.starts]
        rows = memory.find(keys)
        absent = rows < 0
        long_ago = -FORGET_USERS_DAYS - 1
        last = np.full(len(keys), long_ago, np.int64)
        last[~absent] = memory["last_day"][rows[~absent]]
        sorted_days = days[by_user.order]
        before = by_user.before(by_user.highest(sorted_days, last), last)
        anew = marks[by_user.order] - before > FORGET_USERS_DAYS
        lives = np.cumsum(anew | by_user.first)  # a number for each life of each user, rising by user
        self.groups = Groups(by_user.back(lives))
        self._blank = anew[self.groups.starts]  # begins with nothing remembered
        number_of_user = by_user.number[self.groups.starts]
        self._keys = keys[number_of_user]
        self._final = np.append(number_of_user[1:] != number_of_user[:-1], True)  # the last life of its user
        begins = by_user.back(anew)
        self.met_before: Int64s = met + np.cumsum(begins) - begins  # users met before each event
        self.met = met + int(begins.sum())
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
        fresh = Memory(USER)
        fresh.add(np.ones(1, np.uint64))
        blank = self._blank | (rows < 0)
        state = {}
        for name in USER:
            column = self._memory[name]
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
        users = self._memory
        if len(self._absent):
            users.add(self._absent[self._met_order])
        rows = users.find(self._keys[self._final])
        for name, state in self.state.items():
            users[name][rows] = self._updates.get(name, state)[self._final]
