"""Alerts as frozen values: one episode of a rule for one group, and what changed of it.

An episode begins with an anchor (where the rule fired) and goes on as long as the group's anchors are not further apart
than the rule's quiet time. Whoever is told of alerts is told of each change once, with the alert as it is then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parsers.sigma.rule import Level

AlertState = Literal["open", "acknowledged", "resolved"]
ALERT_STATES: tuple[AlertState, ...] = ("open", "acknowledged", "resolved")
ChangeKind = Literal["opened", "updated", "acknowledged", "resolved"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode. Times are microseconds since 1970, UTC.

    ``group`` holds (field, value) pairs as the rule names its fields. ``opened_us`` and ``last_us`` are the times of its
    first and last anchor; ``count`` is how many anchors it has, ``evidence`` some of their event ids, oldest first.
    ``changed_us`` is when it was last changed, ``by`` who did that (empty: the daemon itself).
    """

    id: str
    rule_id: str
    title: str
    level: Level
    group: tuple[tuple[str, str], ...]
    state: AlertState
    opened_us: int
    last_us: int
    count: int
    evidence: tuple[str, ...] = ()
    author: str = ""
    references: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    runbook: str = ""
    description: str = ""
    changed_us: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A change of an alert: ``alert`` is as it is after the change.

    ``number`` counts the changes of this alert, from 1: (alert id, number) tells a change apart from all others, so a
    listener that is told the same change again, after a crash, can know it.
    """

    alert: Alert
    kind: ChangeKind
    number: int = 1
