"""`GET /logs/files`: every source, how far it is read and committed, and what its lines became."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from web.answers import body_of, envelope, raw_answer
from web.keys import CLOCK, DAEMON
from web.params import NoParams
from web.status import Daemon, SourceStatus
from web.times import rfc3339


async def files(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with one row a source, the one that lags most first. Of fifty thousand it takes seconds: a thread does it."""
    daemon, now = request.app[DAEMON], rfc3339(request.app[CLOCK]())
    return raw_answer([await asyncio.to_thread(_listed, daemon, now)])


def _listed(daemon: Daemon, now: str) -> bytes:
    sources = sorted(daemon.sources(), key=lambda source: (-source.lag_bytes, source.file))
    rows = [source_row(source) for source in sources]
    return body_of(envelope(rows, f"{len(sources)} sources", now))


def source_row(source: SourceStatus) -> dict[str, Any]:
    """Return a source as `/logs/files` and `/status` show it. The path is below its log directory."""
    return {
        "source": source.sid,
        "path": source.file,
        "size": source.size,
        "base": source.base,
        "continues": source.continues or None,
        "offset_read": source.read,
        "offset_committed": source.committed,
        "lag_bytes": source.lag_bytes,
        "lines": source.lines,
        "events": source.events,
        "rejects": source.rejects,
        "last_event": None if source.last_event_us is None else rfc3339(source.last_event_us),
        "state": source.state,
        "note": source.note,
        "gaps": source.gaps,
        "gap_bytes": source.gap_bytes,
        "gap_reason": source.gap_reason or None,
        "profile": source.profile,
        "internal": source.internal,
    }
