"""What telling leaves in the audit log: each as the event that the daemon writes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.alerting import ACTIONS
from daemon.outbound.matchers import Silence
from parsers.moments import rfc3339
from parsers.sigma.alert import AlertChange


def changed(change: AlertChange) -> dict[str, Any]:
    """Return the event of a change of one of the daemon's own alerts: its id is the same whenever it is made."""
    alert, kind = change.alert, change.kind
    opened = kind == "opened"
    event: dict[str, Any] = {
        "eventId": f"own-alert-{alert.id}-{change.number}",
        "level": "error" if opened else "info",
        "category": "security",
        # What a person does has the same name whoever made the alert.
        "action": ACTIONS[kind] if alert.by else "system_event",
        "outcome": "failure" if opened else "success",
        "description": f"Alert {kind}: {alert.title}. {alert.description}",
        "entity": {"type": "alert", "id": alert.id, "name": alert.title},
        "metadata": {
            "change": kind,
            "rule": alert.rule_id,
            "level": alert.level,
            "group": dict(alert.group),
            "alert": {"comment": alert.comment, "count": alert.count},
        },
    }
    if alert.by:
        event["user"] = {"id": alert.by, "username": alert.by}
    return event


def silenced(silence: Silence, action: str, author: str) -> dict[str, Any]:
    """Return the event of a silence that somebody made (``create``) or ended."""
    means = ", ".join(map(str, silence.matchers))
    text = (
        f"Alerts with {means} are silenced until {rfc3339(silence.ends_us)}: {silence.comment}"
        if action == "create"
        else f"The silence of alerts with {means} was ended"
    )
    return {
        "level": "warning",
        "category": "security",
        "action": action,
        "description": text,
        "user": {"username": author},
        "entity": {"type": "silence", "id": silence.id, "name": means},
        "metadata": silence.to_json(),
    }


def letters(doing: str, done: int, author: str) -> dict[str, Any]:
    """Return the event of dead letters that somebody sent again (``retry``) or threw away."""
    again = doing == "retry"
    return {
        "level": "warning",
        "category": "security",
        "action": "update" if again else "delete",
        "description": f"{done} messages about alerts that nobody took "
        + ("are sent again" if again else "were thrown away"),
        "entity": {"type": "outbox", "id": "dead-letters", "name": "dead letters"},
        "metadata": {"messages": done},
        **({"user": {"username": author}} if author else {}),
    }


def tested(answer: Mapping[str, Any], author: str) -> dict[str, Any]:
    """Return the event of a test message, by what came back of it."""
    return {
        "category": "security",
        "action": "system_event",
        "outcome": "success" if answer["ok"] else "failure",
        "description": f"A test message was sent over the channel {answer['channel']}",
        "entity": {"type": "channel", "id": answer["channel"], "name": answer["channel"]},
        "metadata": {"answer": answer["answer"]},
        **({"user": {"username": author}} if author else {}),
    }
