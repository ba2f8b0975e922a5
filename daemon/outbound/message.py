"""What one channel is told at one time: alerts as they were then, under a key that stays the same when it is repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parsers.sigma.alert import Alert
from parsers.sigma.rule import LEVELS

Kind = Literal["firing", "acknowledged", "resolved", "test", "heartbeat"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one channel. Times are microseconds since 1970, UTC.

    ``key`` is the idempotency key: who gets two messages with one key got one of them again. Messages of one ``group``
    are delivered in their order. ``more`` counts alerts that it does not name; ``until_us`` is when the
    alerts in it would be told again, for receivers that forget what is not repeated.
    """

    key: str
    channel: str
    group: str
    kind: Kind
    alerts: tuple[Alert, ...]
    at_us: int
    until_us: int = 0
    more: int = 0
    repeat: bool = False

    @property
    def level(self) -> str:
        """The highest level of the alerts."""
        return max((alert.level for alert in self.alerts), key=rank, default="informational")

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Message:
        """Return what `to_json` wrote. Raises KeyError or TypeError for something else."""
        values: dict[str, Any] = dict(given)
        values["alerts"] = tuple(alert_from_json(alert) for alert in given["alerts"])
        return cls(**values)


def rank(level: str) -> int:
    """Return how grave a level is: 0 is the least."""
    return next((place for place, name in enumerate(LEVELS) if name == level), 0)


def alert_from_json(given: Mapping[str, Any]) -> Alert:
    """Return an alert from its JSON object; keys that this version does not know are left out."""
    known = {field.name for field in dataclasses.fields(Alert)}
    values = {name: value for name, value in given.items() if name in known}
    for name in ("evidence", "references", "techniques", "false_positives"):
        values[name] = tuple(values.get(name, ()))
    values["group"] = tuple((str(field), str(value)) for field, value in given["group"])
    return Alert(**values)
