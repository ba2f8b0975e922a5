"""Watchkeep audits itself: who read, exported, was refused or removed something becomes an event in the archive.

Reads and refusals are coalesced: one event per caller, view and query in `COALESCE_US`, however often a page polls.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from storage.rollups import NAME_PREFIX
from storage.subjects import PERSON_TYPES
from web.callers import caller_of
from web.peers import parse
from web.status import Daemon
from web.times import rfc3339

_log = logging.getLogger(__name__)

COALESCE_US = 600 * 1_000_000  # ten minutes: a dashboard left open for a day leaves 144 events, not 17,280
REMEMBERED_VIEWS = 1024  # the oldest is forgotten first; forgetting only means one more event
REFUSED_PREFIXES = {4: 24, 6: 48}  # bits of an address; refusals from one network are one event
_KEY = re.compile(r"(?i)(wk_[a-z2-7]{8}_)[a-z2-7]+")
SHOWN_QUERY = 2000  # characters of a query string that an event keeps


class Audit:
    """Writes the daemon's own events about HTTP requests."""

    def __init__(self, daemon: Daemon, clock: Callable[[], int]) -> None:
        self._daemon = daemon
        self._clock = clock
        self._seen: OrderedDict[tuple[str, ...], list[int]] = OrderedDict()  # key → [first µs, repeats]

    async def read(self, request: web.Request, view: str, *, without: tuple[str, ...] = ()) -> None:
        """Record that events were read; a repetition within the time of coalescing is only counted.

        ``without`` names parameters that say where to go on, so that going on is a repetition.
        """
        query = _query(request, without)
        repeats = self._due((*_who(request), "read", view, query, _person(request)))
        if repeats is None:
            return
        event = self._event(request, "data_management", "read", f"Events were read: {view}")
        event["metadata"] = {"view": view, "query": query, "repeats_before": repeats}
        await self._try(event)

    async def refused(self, request: web.Request, reason: str, detail: str, status: int) -> None:
        """Record that a request was refused, coalesced like reads."""
        who = (caller_of(request).id, network_of(caller_of(request).address))
        repeats = self._due((*who, "refused", reason))
        if repeats is None:
            return
        event = self._event(request, "authorization", "security_event", f"A request was refused: {detail}")
        event |= {"level": "warning", "outcome": "denied"}
        event["request"]["statusCode"] = status
        event["metadata"] = {"reason": reason, "repeats_before": repeats}
        await self._try(event)

    async def exported(self, request: web.Request, fmt: str, rows: int) -> None:
        """Record an export before its first byte leaves. Raises what the daemon raises: no trace, no export."""
        event = self._event(request, "data_management", "export", f"{rows} events are exported as {fmt}")
        event["metadata"] = {"format": fmt, "rows": rows, "query": _query(request)}
        await self._daemon.audit(event, durable=True)

    async def logged(self, request: web.Request, *, inward: bool) -> None:
        """Record that a session began (``inward``) or was ended."""
        action = "login" if inward else "logout"
        event = self._event(
            request, "authentication", action, f"A session {'began' if inward else 'was ended'}"
        )
        await self._try(event)

    async def stated(
        self, request: web.Request, statement: str, facts: Mapping[str, Any], *, failed: bool
    ) -> None:
        """Record a statement in SQL, redacted, before its answer leaves. Raises what the daemon raises when there is one."""
        what = f"no answer ({facts['outcome']})" if failed else f"{facts['rows']} rows"
        event = self._event(request, "data_management", "read", f"A statement in SQL was run: {what}")
        event["outcome"] = "failure" if failed else "success"
        event["metadata"] = {"statement": statement[:SHOWN_QUERY], **facts}
        if failed:
            await self._try(event)
        else:
            await self._daemon.audit(event, durable=True)

    async def cleaned(self, request: web.Request, facts: Mapping[str, Any]) -> None:
        """Record a removal that is about to happen. Raises what the daemon raises: no trace, no removal."""
        cutoff = facts["cutoff_date"]
        event = self._event(request, "system_management", "delete", f"Events before {cutoff} are removed")
        event["level"] = "warning"
        event["metadata"] = dict(facts)
        await self._daemon.audit(event, durable=True)

    def _due(self, key: tuple[str, ...]) -> int | None:
        """Return how many repetitions went unrecorded before, or None if this one goes unrecorded too."""
        now = self._clock()
        seen = self._seen.get(key)
        if seen is not None and 0 <= now - seen[0] < COALESCE_US:
            seen[1] += 1
            return None
        self._seen[key] = [now, 0]
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED_VIEWS:
            self._seen.popitem(last=False)
        return seen[1] if seen is not None else 0

    def _event(self, request: web.Request, category: str, action: str, description: str) -> dict[str, Any]:
        caller = caller_of(request)
        path, person = without_keys(request.path), _person(request)
        return {
            "timestamp": rfc3339(self._clock()),
            "level": "info",
            "category": category,
            "action": action,
            "outcome": "success",
            "user": {"id": caller.id, "username": caller.name},
            # Where the path names a person, that is who was looked at; and the mask knows then what to replace in the path.
            "entity": {"type": "user", "id": person, "name": person}
            if person
            else {"type": "http", "id": path, "name": path},
            "request": {
                "method": request.method,
                "path": path,
                "ip": caller.address,
                "userAgent": without_keys(request.headers.get("User-Agent", "")) or None,
            },
            "description": description,
            "extra": {"role": caller.role, "via": caller.via},
        }

    async def _try(self, event: Mapping[str, Any]) -> None:
        try:
            await self._daemon.audit(event)
        except Exception:  # noqa: BLE001 - see below
            # Reading goes on: that the trail has a hole is said in the daemon's own log.
            _log.exception("an audit event could not be written: %s", event["description"])


def _who(request: web.Request) -> tuple[str, str]:
    caller = caller_of(request)
    return caller.id, caller.address


def _person(request: web.Request) -> str:
    """Return the person that the path of a request names; empty if it names none."""
    named = request.match_info
    if named.get("entity_type", "").lower() in PERSON_TYPES:
        return named.get("entity_id", "")
    return named.get("user_id", "").removeprefix(NAME_PREFIX)


def _query(request: web.Request, without: tuple[str, ...] = ()) -> str:
    text = request.query_string
    if any(name in request.query for name in without):
        text = urlencode([(name, value) for name, value in request.query.items() if name not in without])
    return without_keys(text[:SHOWN_QUERY])


def without_keys(text: str) -> str:
    """Return a text without the secret of a key that somebody put in the wrong place."""
    return _KEY.sub(r"\1[redacted]", text)


def network_of(address: str) -> str:
    """Return the network whose refusals count as one: whoever has an address often has a whole network of them."""
    parsed = parse(address)
    if parsed is None:
        return address
    return str(ip_network((parsed, REFUSED_PREFIXES[parsed.version]), strict=False))
