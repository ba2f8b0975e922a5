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

# Reasons that come from the behaviour of the event's own user, in the order in which they are told.
BEHAVIOUR: Mapping[str, float] = MappingProxyType(
    {
        "new_country": 30.0,
        "new_country_for_all": 15.0,
        "new_network": 8.0,
        "new_device": 20.0,
        "impossible_travel": 45.0,
        "off_hours": 12.0,
        "velocity": 15.0,
        "failed_streak_3": 8.0,
        "failed_streak_5": 18.0,
        "failed_streak_10": 30.0,
        "success_after_failures": 35.0,
        "rare_action": 10.0,
        "dormant_account": 20.0,
    }
)
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
