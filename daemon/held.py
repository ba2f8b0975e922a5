"""Changes of what must be kept (holds, minimum ages), as both the daemon and a command without one make them.

Each is a record in the ledger first, and an event after it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from daemon.wanted import Values, wanted
from storage.archive import Archive
from storage.holds import Hold

Told = tuple[dict[str, Any], dict[str, Any]]
"""What is answered, and the event that tells of it."""

Confirmed = Literal["clock", "holds"]


def listed(archive: Archive) -> list[dict[str, Any]]:
    """Return the holds in force."""
    return [shown(hold) for hold in archive.keeping.holds]


def shown(hold: Hold) -> dict[str, Any]:
    """Return a hold as it is answered."""
    at = datetime.fromtimestamp(hold.added_us / 1e6, UTC).isoformat(timespec="seconds")
    return {
        "name": hold.name,
        "reason": hold.reason,
        "author": hold.author,
        "added": at.replace("+00:00", "Z"),
        "filter": dict(hold.filter),
    }


def add(archive: Archive, name: str, values: Values, *, reason: str, author: str) -> Told:
    """Put a hold in force. Raises HoldError, or FilterError for a filter that cannot be used."""
    found, _ = wanted(values, now_us=time.time_ns() // 1000)
    hold = shown(archive.keeping.add_hold(name, found, reason=reason, author=author))
    return hold, _event(f"Hold {name} was added: {reason}", "create", author, name, hold)


def release(archive: Archive, name: str, *, reason: str, author: str) -> Told:
    """Lift a hold. Raises HoldError."""
    hold = shown(archive.keeping.release_hold(name, reason=reason, author=author))
    told = {**hold, "released_by": author, "released_because": reason}
    return told, _event(
        f"Hold {name} was released: {reason or 'no reason given'}", "delete", author, name, told
    )


def lower(archive: Archive, name: str, days: int, *, reason: str, author: str) -> Told:
    """Lower a class's minimum age. Raises MinimumError."""
    before = archive.keeping.lower_minimum(name, days, reason=reason, author=author)
    told = {"class": name, "before": before, "minimum_days": days, "author": author, "reason": reason}
    text = f"The minimum age of class {name} was lowered from {before} to {days} days: {reason}"
    return told, _event(text, "update", author, name, told)


def confirm(archive: Archive, what: Confirmed, now_us: int, *, reason: str, author: str) -> Told:
    """Let retention go on that waits for a person: the clock, which shows ``now_us``, is right, or no hold is missing."""
    if what == "clock":
        archive.keeping.believe(now_us, reason=reason, author=author)
        text = f"The clock was confirmed to be right: {reason}"
    else:
        archive.keeping.confirm_holds(reason=reason, author=author)
        text = f"It was confirmed that no hold is missing: {reason}"
    told = {"confirmed": what, "author": author, "reason": reason}
    return told, _event(text, "update", author, what, told)


def _event(text: str, action: str, author: str, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "level": "warning",
        "category": "configuration",
        "action": action,
        "outcome": "success",
        "user": {"id": author, "username": author},
        "entity": {"type": "retention", "id": name, "name": name},
        "description": text,
        "metadata": dict(metadata),
    }
