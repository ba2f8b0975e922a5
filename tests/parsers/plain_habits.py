"""The same fold as `parsers.habits`, one event after the other, as plainly as it can be said: what the fast one must equal."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from parsers.habits import (
    BUSY_FACTOR,
    BUSY_MINUTE,
    EARTH_KM,
    EWMA_SHARE,
    FORGET_VALUES_DAYS,
    MINUTE_SECONDS,
    RARE_ACTION_USERS,
    STREAK_SECONDS,
    STREAKS,
    SUCCESS_AFTER,
    TRAVEL_KM,
    TRAVEL_KMH,
)
from parsers.people import (
    DAY_SECONDS,
    DORMANT_DAYS,
    FORGET_USERS_DAYS,
    HABIT_EVENTS,
    HOUR_SECONDS,
    LEARNING_DAYS,
    RARE_HOUR_SHARE,
)


@dataclass
class Act:
    """One event of a user; 0 means that there is no such value."""

    user: int
    seconds: int
    read_day: int
    country: int = 0
    network: int = 0
    device: int = 0
    action: int = 0
    address: int = 0
    login: int = 0
    succeeded: bool = True
    latitude: float = math.nan
    longitude: float = math.nan


@dataclass
class Person:
    """What is remembered of one user."""

    first_day: int
    last_day: int
    hours: Counter[int] = field(default_factory=Counter)
    minute: int = -1
    in_minute: int = 0
    usual: float = 0.0
    streak: int = 0
    failed_at: int = 0
    place: tuple[float, float, int, int] | None = None


class PlainHabits:
    """What is remembered of everybody."""

    def __init__(self) -> None:
        self.people: dict[int, Person] = {}
        self.values: dict[tuple[str, int, int], int] = {}
        self.doers: dict[int, int] = defaultdict(int)
        self.watermark = 0
        self.met = 0

    def see(self, act: Act) -> set[str]:
        """Return what is unusual about an event, and remember it."""
        seconds = min(act.seconds, (act.read_day + 2) * DAY_SECONDS - 1)
        day = seconds // DAY_SECONDS
        self.watermark = max(self.watermark, day)
        found: set[str] = set()
        met_before = self.met
        person = self.people.get(act.user)
        if person is not None and self.watermark - person.last_day > FORGET_USERS_DAYS:
            person = None
        known = person is not None and day - person.first_day >= LEARNING_DAYS
        if person is None:
            self.met += 1
            person = self.people[act.user] = Person(day, day)
        elif day - person.last_day >= DORMANT_DAYS:
            found.add("dormant_account")
        person.first_day, person.last_day = min(person.first_day, day), max(person.last_day, day)
        found |= self._off_hours(person, seconds)
        found |= self._busy(person, seconds)
        found |= self._streak(person, act, seconds)
        found |= self._travel(person, act, seconds)
        found |= self._novelties(act, day, met_before)
        return found if known else set()

    def _off_hours(self, person: Person, seconds: int) -> set[str]:
        hour = seconds // HOUR_SECONDS % 24
        near = sum(person.hours[(hour + step) % 24] for step in (-1, 0, 1))
        total = person.hours.total()
        person.hours[hour] += 1
        return {"off_hours"} if total >= HABIT_EVENTS and near < RARE_HOUR_SHARE * total else set()

    def _busy(self, person: Person, seconds: int) -> set[str]:
        minute = seconds // MINUTE_SECONDS
        if minute < person.minute:
            return set()
        if minute > person.minute:
            if person.minute >= 0:
                person.usual += EWMA_SHARE * (person.in_minute - person.usual)
            person.minute, person.in_minute = minute, 0
        person.in_minute += 1
        return {"velocity"} if person.in_minute > max(BUSY_MINUTE, BUSY_FACTOR * person.usual) else set()

    def _streak(self, person: Person, act: Act, seconds: int) -> set[str]:
        found: set[str] = set()
        if not act.login:
            return found
        recent = person.streak > 0 and seconds - person.failed_at <= STREAK_SECONDS
        if act.login == 1:
            person.streak = person.streak + 1 if recent else 1
            found |= {next((reason for least, reason in STREAKS if person.streak >= least), "")} - {""}
        else:
            if recent and person.streak >= SUCCESS_AFTER:
                found.add("success_after_failures")
            person.streak = 0
        person.failed_at = seconds
        return found

    def _travel(self, person: Person, act: Act, seconds: int) -> set[str]:
        if not act.succeeded or math.isnan(act.latitude) or math.isnan(act.longitude):
            return set()
        before = person.place
        if before is not None and seconds < before[2]:
            return set()
        person.place = (act.latitude, act.longitude, seconds, act.address)
        if before is None or seconds - before[2] > DAY_SECONDS or (act.address and act.address == before[3]):
            return set()
        a, b = math.radians(before[0]), math.radians(act.latitude)
        across = math.radians(act.longitude - before[1])
        half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(across / 2) ** 2
        far = 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
        fast = far / max(seconds - before[2], 1) * HOUR_SECONDS
        return {"impossible_travel"} if far > TRAVEL_KM and fast > TRAVEL_KMH else set()

    def _novelties(self, act: Act, day: int, met_before: int) -> set[str]:
        found: set[str] = set()
        kinds: tuple[tuple[str, Any], ...] = (
            ("new_country", act.country),
            ("new_network", act.network),
            ("new_device", act.device),
        )
        for reason, value in kinds:
            if value and self._new(reason, act.user, value, day):
                found.add(reason)
        if act.country and self._new("for all", 0, act.country, day) and "new_country" in found:
            found.add("new_country_for_all")
        if act.action and self._new("action", act.user, act.action, day):
            if (self.doers[act.action] + 1) * RARE_ACTION_USERS <= met_before:
                found.add("rare_action")
            self.doers[act.action] += 1
        return found

    def _new(self, kind: str, owner: int, value: int, day: int) -> bool:
        last = self.values.get((kind, owner, value))
        self.values[kind, owner, value] = day if last is None else max(last, day)
        return last is None or self.watermark - last > FORGET_VALUES_DAYS
