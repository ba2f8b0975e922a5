"""The table of points: what each reason adds to the risk of an event. It has a version, which every event names.

Points are chances in percent that something is wrong, so that reasons combine as independent chances do:
100 · (1 - Π(1 - points/100)). The order of reasons does not matter, and no sum goes beyond 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

MODEL: Final = "1"  # version of the table below; a changed table gets a name of its own, see `Points.version`

BASE, LEVEL, SCALE, APPLICATION = "base", "level", "scale", "application"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A reason that comes from what the event's own user did before: its name, its points and what it means."""

    reason: str
    points: float
    meaning: str


# In the order in which they are told.
BEHAVIOURS = (
    Behaviour("new_country", 30.0, "from a country where this user was not within 90 days"),
    Behaviour("new_country_for_all", 15.0, "and nobody else was either"),
    Behaviour("new_network", 8.0, "from a network (autonomous system, else /24 or /48) that is new for the user"),
    Behaviour("new_device", 20.0, "with a device, or a user agent less its version numbers, that is new for the user"),
    Behaviour("impossible_travel", 45.0, "more than 500 km from the user's last successful event, faster than 900 km/h, within a day, from another address"),
    Behaviour("off_hours", 12.0, "at an hour of the day (UTC) in which, with the hours beside it, less than 0.5 % of the user's events fall; from 200 events on"),
    Behaviour("velocity", 15.0, "more events of the user in this minute than 60, and than 8 times the usual"),
    Behaviour("failed_streak_3", 8.0, "3 or 4 failed logins in a row, each within an hour of the one before"),
    Behaviour("failed_streak_5", 18.0, "5 to 9"),
    Behaviour("failed_streak_10", 30.0, "10 or more"),
    Behaviour("success_after_failures", 35.0, "a login that succeeds within an hour of at least 5 failures in a row"),
    Behaviour("rare_action", 10.0, "an action new for the user, which at most one user in 20 ever did"),
    Behaviour("dormant_account", 20.0, "the user's first event after 60 days"),
)  # fmt: skip
BEHAVIOUR: Mapping[str, float] = MappingProxyType({item.reason: item.points for item in BEHAVIOURS})
LEVELS: Mapping[str, float] = MappingProxyType(
    {"debug": 0.0, "info": 0.0, "warning": 10.0, "error": 20.0, "critical": 50.0}
)
SCALES: tuple[tuple[int, float], ...] = ((1_000, 30.0), (100, 15.0))  # users affected at least, points


@dataclass(frozen=True, slots=True)
class Base:
    """A row of the base table: what holds of an event (None: anything), and the points. The most exact row counts."""

    points: float
    category: str | None = None
    action: str | None = None
    outcome: str | None = None
    level: str | None = None

    @property
    def exactness(self) -> int:
        """How many of the four it names."""
        return sum(word is not None for word in (self.category, self.action, self.outcome, self.level))

    def holds(self, category: str | None, action: str | None, outcome: str | None, level: str | None) -> bool:
        """Return whether it holds of an event."""
        mine = (self.category, self.action, self.outcome, self.level)
        given = (category, action, outcome, level)
        return all(word is None or word == have for word, have in zip(mine, given, strict=True))


BASES: tuple[Base, ...] = (
    Base(5, outcome="failure"),
    Base(15, outcome="denied"),
    Base(15, action="login", outcome="failure"),
    Base(20, action="login", outcome="denied"),
    Base(5, action="update"),
    Base(15, action="delete"),
    Base(25, action="export"),
    Base(15, action="import"),
    Base(10, action="share"),
    Base(10, action="file_download"),
    Base(5, action="file_upload"),
    Base(25, action="permission_change"),
    Base(40, action="security_event"),
    Base(20, category="configuration"),
    Base(20, category="security"),
    Base(20, category="user_management", action="create"),
    Base(20, category="user_management", action="update"),
    Base(30, category="user_management", action="delete"),
    Base(0, category="user_management", action="read"),
    Base(0, category="configuration", action="read"),
    Base(40, category="security", action="security_event"),
    Base(35, action="permission_change", outcome="denied"),
    Base(35, action="permission_change", outcome="failure"),
    Base(25, action="delete", outcome="denied"),
    Base(30, action="export", outcome="denied"),
)


@dataclass(frozen=True, slots=True)
class Points:
    """All points in force. ``behaviour`` and ``levels`` hold only what differs from the table; ``bases`` come first.

    Of two equally exact rows the configured one counts, and the earlier of two configured ones.
    """

    version: str = MODEL
    behaviour: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    bases: tuple[Base, ...] = ()

    def of(self, reason: str) -> float:
        """Return the points of a behaviour."""
        return self.behaviour.get(reason, BEHAVIOUR[reason])

    def of_level(self, level: str) -> float:
        """Return the points of a level."""
        return self.levels.get(level, LEVELS.get(level, 0.0))

    def base(self, category: str | None, action: str | None, outcome: str | None, level: str | None) -> float:
        """Return the base points of an event; 0 when no row holds."""
        rows = (*self.bases, *BASES)
        holding = [row for row in rows if row.holds(category, action, outcome, level)]
        return max(holding, key=lambda row: row.exactness).points if holding else 0.0
