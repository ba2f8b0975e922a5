"""Alerts as frozen values: one episode of a rule for one group, and what changed of it.

An episode begins with an anchor (where the rule fired) and goes on as long as the group's anchors are not further apart
than the rule's quiet time. Whoever is told of alerts is told of each change once, with the alert as it is then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parsers.moments import rfc3339
from parsers.sigma.rule import SCORES, Level

AlertState = Literal["open", "acknowledged", "resolved"]
ALERT_STATES: tuple[AlertState, ...] = ("open", "acknowledged", "resolved")
ChangeKind = Literal["opened", "updated", "acknowledged", "resolved", "reopened"]
# What a person may do with an alert, and the state that it has then.
STATES: Mapping[ChangeKind, AlertState] = {
    "acknowledged": "acknowledged", "resolved": "resolved", "reopened": "open",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode. Times are microseconds since 1970, UTC.

    ``group`` holds (field, value) pairs as the rule names its fields. ``opened_us`` and ``last_us`` are the times of its
    first and last anchor; ``count`` is how many anchors it has, ``evidence`` some of their event ids, oldest first.
    ``changed_us`` is when it was last changed, ``by`` who did that (empty: the daemon itself), ``comment`` what they said.
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
    comment: str = ""
    false_positives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A change of an alert: ``alert`` is as it is after the change.

    ``number`` counts the changes of this alert, from 1: (alert id, number) tells a change apart from all others, so a
    listener that is told the same change again, after a crash, can know it.
    """

    alert: Alert
    kind: ChangeKind
    number: int = 1


def alert_json(alert: Alert) -> dict[str, Any]:
    """Return an alert as whoever asks for it, or is told of it, reads it."""
    return {
        "id": alert.id,
        "rule_id": alert.rule_id,
        "title": alert.title,
        "level": alert.level,
        "risk": SCORES[alert.level],
        "group": [{"field": name, "value": value} for name, value in alert.group],
        "state": alert.state,
        "opened": rfc3339(alert.opened_us),
        "last": rfc3339(alert.last_us),
        "count": alert.count,
        "evidence": list(alert.evidence),
        "author": alert.author,
        "references": list(alert.references),
        "techniques": list(alert.techniques),
        "runbook": alert.runbook,
        "description": alert.description,
        "false_positives": list(alert.false_positives),
        "changed": rfc3339(alert.changed_us),
        "by": alert.by or None,
        "comment": alert.comment,
    }
