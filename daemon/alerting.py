"""Alerts as events of the daemon's own log: what one says, and which alerts those in log and archive tell of."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from daemon.selflog import SelfLog
from parsers.sigma.alert import AlertChange, ChangeKind
from parsers.sigma.episodes import Episode
from storage import sql
from storage.alerted import ALERT_ID, newest
from storage.correlating import ALERT_ENTITY
from storage.duck import connect
from storage.snapshot import Snapshot

DETECTION = "detection"  # the action of an event that tells of anchors
ACTIONS: Mapping[ChangeKind, str] = {
    "opened": DETECTION,
    "updated": DETECTION,
    "acknowledged": "alert_acknowledged",
    "resolved": "alert_resolved",
    "reopened": "alert_reopened",
}
LEVELS = {
    "informational": "info", "low": "info", "medium": "warning", "high": "error", "critical": "critical",
}  # fmt: skip
MEMORY_LIMIT_MB = 256
_MARK = b'"type":"%s"' % ALERT_ENTITY.encode()

_log = logging.getLogger(__name__)


def event_id(alert_id: str, number: int) -> str:
    """Return the id of the event of an alert's change: the same whenever it is made."""
    return f"{ALERT_ID}{alert_id}-{number}"


def event_of(episode: Episode, kind: ChangeKind) -> dict[str, Any]:
    """Return the event that tells of an episode's newest change."""
    alert = episode.alert
    found = kind in {"opened", "updated"}
    group = ", ".join(f"{name} {value}" for name, value in alert.group)
    times = "once" if alert.count == 1 else f"{alert.count} times"
    event: dict[str, Any] = {
        "eventId": event_id(alert.id, episode.number),
        "level": LEVELS[alert.level] if found else "info",
        "category": "security",
        "action": ACTIONS[kind],
        "outcome": "success",
        "entity": {"type": ALERT_ENTITY, "id": alert.id, "name": alert.title},
        "ruleId": alert.rule_id,
        "description": f"{alert.title}{f' ({group})' if group else ''}: {times}"
        if found
        else f"The alert {alert.title}{f' ({group})' if group else ''} was {kind}",
        "tags": ["alert", kind, alert.level],
        "metadata": {"change": kind, "alert": episode.to_json()},
    }
    if episode.by:
        event["user"] = {"id": episode.by, "username": episode.by}
    return event


def change_of(episode: Episode, kind: ChangeKind) -> AlertChange:
    """Return the change as listeners get it."""
    return AlertChange(episode.alert, kind, episode.number)


def told(snapshot: Snapshot, selflog: SelfLog, most: int) -> dict[str, Episode]:
    """Return the alerts that events tell of, as of the newest one of each. Blocking."""
    found: dict[str, Episode] = {}
    for metadata in (*_archived(snapshot, most), *_logged(selflog)):
        try:
            episode = Episode.from_json(metadata["alert"])
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("an event of an alert cannot be understood", extra={"reason": repr(error)})
            continue
        before = found.get(episode.id)
        if before is None or before.number <= episode.number:
            found[episode.id] = episode
    return found


def _archived(snapshot: Snapshot, most: int) -> Iterator[Mapping[str, Any]]:
    with connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
        sql.register(connection, snapshot.hot)
        yield from newest(connection, snapshot, most)


def _logged(selflog: SelfLog) -> Iterator[Mapping[str, Any]]:
    for line in selflog.lines_with(_MARK):
        try:
            metadata = orjson.loads(line).get("metadata")
        except (orjson.JSONDecodeError, AttributeError):
            continue
        if isinstance(metadata, dict) and "alert" in metadata:
            yield metadata
