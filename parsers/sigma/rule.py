"""Rules as frozen values: what they look for, how matches correlate, and everything that an alert must tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from parsers.sigma.matching import Match, Target

Level = Literal["informational", "low", "medium", "high", "critical"]
LEVELS: tuple[Level, ...] = ("informational", "low", "medium", "high", "critical")
# Elastic's scores of severities, as the field uses them.
SCORES: Mapping[str, int] = MappingProxyType(
    {"informational": 0, "low": 21, "medium": 47, "high": 73, "critical": 99}
)

OWN_PRODUCT, OWN_SERVICE = "watchkeep", "daemon"

CorrelationType = Literal[
    "event_count", "value_count", "value_sum", "value_avg", "value_percentile", "value_median", "temporal",
    "temporal_ordered",
]  # fmt: skip
Sign = Literal["<", "<=", ">", ">=", "=", "<>"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A comparison with the counted, summed or averaged value; ``percentile`` from 0 to 100 where it is one."""

    sign: Sign
    value: float
    percentile: int | None = None


@dataclass(frozen=True, slots=True)
class Occurs:
    """A rule that a temporal condition wants to have matched, by its place among the correlated rules."""

    rule: int


@dataclass(frozen=True, slots=True)
class Both:
    """Both, or all, hold."""

    parts: tuple[Occurrence, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of them holds."""

    parts: tuple[Occurrence, ...]


@dataclass(frozen=True, slots=True)
class Never:
    """It does not hold."""

    part: Occurrence


Occurrence: TypeAlias = Occurs | Both | Either | Never


@dataclass(frozen=True, slots=True)
class Correlation:
    """How the matches of other rules make one of this rule.

    ``rules`` are ids of the rules correlated. ``group_by`` names the group's fields, ``groups`` where each lies for
    each rule, ``values`` where the counted value lies for each rule. ``span_us`` is the window, both ends inclusive.
    """

    type: CorrelationType
    rules: tuple[str, ...]
    span_us: int
    group_by: tuple[str, ...]
    groups: tuple[tuple[Target, ...], ...]
    values: tuple[tuple[Target, ...], ...] = ()
    threshold: Threshold | None = None
    occurrence: Occurrence | None = None


@dataclass(frozen=True, slots=True)
class LogSource:
    """What kind of events a rule is about; None: any."""

    product: str | None = None
    category: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Either ``match`` (events) or ``correlation`` (matches of other rules) is set.

    ``emits``: it makes findings of its own; a rule that is only correlated by others does not, unless it says so.
    ``group`` says which matches of a plain rule make one alert: those with the same values of these fields (the
    attribute `group`). ``custom`` holds attributes that Sigma does not know, as written. ``problem`` says why the rule cannot be used.
    """

    id: str
    title: str
    level: Level
    name: str = ""
    description: str = ""
    status: str = ""
    author: str = ""
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    falsepositives: tuple[str, ...] = ()
    license: str = ""
    source: LogSource = LogSource()
    match: Match | None = None
    correlation: Correlation | None = None
    emits: bool = True
    group: tuple[Target, ...] = ()
    custom: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    problem: str = ""

    @property
    def internal(self) -> bool:
        """Whether it is about the daemon's own events; all others never see those."""
        return self.source.product == OWN_PRODUCT and self.source.service == OWN_SERVICE

    @property
    def techniques(self) -> tuple[str, ...]:
        """The ATT&CK techniques that its tags name, as `T1110.001`."""
        found = (tag.removeprefix("attack.") for tag in self.tags if tag.startswith("attack.t"))
        return tuple(name.upper() for name in found)

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """The names of the fields whose values tell its alerts apart."""
        return self.correlation.group_by if self.correlation else tuple(target.name for target in self.group)

    @property
    def score(self) -> int:
        """Its level as a number from 0 to 99."""
        return SCORES[self.level]
