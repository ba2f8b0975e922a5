"""The users of one batch: each one's events in their order, and what was remembered of each before it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parsers.arrow import Int64s, Mask
from parsers.grouped import Groups
from parsers.keyed import Keyed
from parsers.memory import Memory, Shape

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
HOURS: Final = 24
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
    "hours": Shape("u2", HOURS),
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
        self, memory: Memory, met: int, owners: Keyed, seconds: Int64s, days: Int64s, marks: Int64s
    ) -> None:
        self._memory = memory
        self.owners = owners
        self.seconds = seconds
        by_user = Groups(owners.codes)
        keys = owners.keys[by_user.ids[by_user.starts]]
        self._rows = memory.find(keys)
        absent = self._rows < 0
        anew = self._anew(by_user, absent, days, marks)
        # Mostly a user has one life in a batch, and its groups are those of users.
        several = (anew & ~by_user.first).any()
        self.groups = Groups(by_user.back(np.cumsum(anew | by_user.first))) if several else by_user
        self._blank = anew[self.groups.starts]  # begins with nothing remembered
        self._user = by_user.number[self.groups.starts]
        self._final = np.append(self._user[1:] != self._user[:-1], True)  # the last life of its user
        begins = by_user.back(anew)
        self.met_before: Int64s = met + np.cumsum(begins) - begins  # users met before each event
        self.met = met + int(begins.sum())
        # Users are added in the order of the stream, so that what is remembered does not depend on batches.
        self._new = np.flatnonzero(absent)[np.argsort(by_user.order[by_user.starts][absent])]
        self._new_keys = keys[self._new]
        self.state = self._remembered(self._rows[self._user])
        self._updates: dict[str, npt.NDArray[Any]] = {}
        self._days(days)

    def __len__(self) -> int:
        return len(self.seconds)

    def sorted(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return values of events in the order of groups."""
        result: npt.NDArray[Any] = values[self.groups.order]
        return result

    def _anew(self, by_user: Groups, absent: Mask, days: Int64s, marks: Int64s) -> Mask:
        """Say (sorted) with which events a user begins who is not known, or was forgotten."""
        last = np.full(len(absent), -FORGET_USERS_DAYS - 1, np.int64)
        last[~absent] = self._memory["last_day"][self._rows[~absent]]
        anew = np.zeros(len(days), bool)
        at, some = by_user.only(marks[-1] - last > FORGET_USERS_DAYS)  # nobody else can have been forgotten
        if len(at):
            last, places = last[by_user.number[at[some.starts]]], by_user.order[at]
            before = some.before(some.highest(days[places], last), last)
            anew[at] = marks[places] - before > FORGET_USERS_DAYS
        return anew

    def _remembered(self, rows: Int64s) -> dict[str, npt.NDArray[Any]]:
        fresh = Memory(USER)
        fresh.add(np.ones(1, np.uint64))
        blank = self._blank | (rows < 0)
        state = {}
        for name in USER:
            column = self._memory[name]
            values = column[np.maximum(rows, 0)] if len(column) else np.repeat(fresh[name], len(rows), axis=0)
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
        newest, oldest = groups.greatest(sorted_days), groups.least(sorted_days)
        if (newest == oldest).all():
            # Events of one day have the same history, and only the first of them can end an absence.
            known = newest - first >= LEARNING_DAYS
            self.known: Mask = groups.back(known[groups.number])
            dormant = np.zeros(len(self), bool)
            dormant[groups.order[groups.starts]] = known & (newest - last >= DORMANT_DAYS)
            self.dormant: Mask = dormant
        else:
            earliest = -groups.highest(-sorted_days, -first)
            latest = groups.highest(sorted_days, last)
            first_before, last_before = groups.before(earliest, first), groups.before(latest, last)
            history = last_before >= 0
            self.known = groups.back(history & (sorted_days - first_before >= LEARNING_DAYS))
            self.dormant = groups.back(history & (sorted_days - last_before >= DORMANT_DAYS)) & self.known
        self.update("first_day", np.minimum(oldest, first))
        self.update("last_day", np.maximum(newest, last))

    def off_hours(self) -> Mask:
        """Return which events fall into hours of the day in which their user hardly ever does anything; and count.

        An hour counts as often as it was before the event: what was remembered, and what was before it in the batch.
        """
        groups, counted = self.groups, self.state["hours"].astype(np.int64)
        hours = self.sorted(self.seconds) // HOUR_SECONDS % HOURS
        near = np.zeros(len(self), np.int64)
        for step in (-1, 0, 1):
            near += counted[groups.number, (hours + step) % HOURS]
        total = counted.sum(axis=1)[groups.number] + groups.rank()
        after = counted.copy()
        for hour in np.flatnonzero(np.bincount(hours, minlength=HOURS)).tolist():
            now = hours == hour
            before = groups.flagged_before(now)
            after[:, hour] += np.add.reduceat(now, groups.starts, dtype=np.int64)
            if (after[:, hour] > MOST_COUNTED).any():
                over = np.maximum(counted[groups.number, hour] + before - MOST_COUNTED, 0)
                before -= over
                total -= over
            beside = now | (hours == (hour + 1) % HOURS) | (hours == (hour - 1) % HOURS)
            near[beside] += before[beside]
        unusual = (total >= HABIT_EVENTS) & (near < RARE_HOUR_SHARE * total)
        self.update("hours", np.minimum(after, MOST_COUNTED))
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
        rows = self._rows
        rows[self._new] = self._memory.add(self._new_keys)
        rows = rows[self._user[self._final]]
        for name, state in self.state.items():
            self._memory[name][rows] = self._updates.get(name, state)[self._final]
