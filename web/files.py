"""`GET /logs/files`: sources, how far they are read and committed, and what their lines became; a page of them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import heapq
from collections import Counter
from typing import Any

import orjson
from aiohttp import web

from storage.cursors import CursorError
from web.answers import body_of, envelope, raw_answer
from web.events import next_link
from web.keys import CLOCK, DAEMON
from web.serviceparams import LogFilesParams
from web.status import Daemon, SourceStatus
from web.times import rfc3339

Place = tuple[int, str, str]
"""Where a source stands in the list: by lag, most first (0 when sorted by path), file, and what tells equal ones apart."""


async def files(request: web.Request, params: LogFilesParams) -> web.StreamResponse:
    """Answer with a page of sources. Fifty thousand are looked through for it: a thread does that."""
    daemon, now = request.app[DAEMON], rfc3339(request.app[CLOCK]())
    body, cursor = await asyncio.to_thread(_page, daemon, params, now)
    return raw_answer([body], next_link(request, cursor))


def _page(daemon: Daemon, params: LogFilesParams, now: str) -> tuple[bytes, str | None]:
    alike = [source for source in daemon.sources() if _wanted(source, params)]
    states = Counter(source.state for source in alike)
    stated = [source for source in alike if not params.state or source.state in params.state]
    after = _decode(params.cursor) if params.cursor else None
    placed = [(_place(source, params.sort), source) for source in stated]
    rest = [item for item in placed if after is None or item[0] > after]
    # Not all of them are sorted for a page of fifty.
    rows = heapq.nsmallest(params.limit, rest, key=lambda item: item[0])
    cursor = _encode(rows[-1][0]) if len(rest) > len(rows) else None
    answer = {
        **envelope([source_row(source) for _, source in rows], f"{len(stated)} sources", now),
        "total": len(stated),
        "states": dict(sorted(states.items())),
        "lag_bytes": sum(source.lag_bytes for source in stated),
        "with_gaps": sum(source.gaps > 0 for source in stated),
        "gap_bytes": sum(source.gap_bytes for source in stated),
        "next": cursor,
    }
    return body_of(answer), cursor


def _wanted(source: SourceStatus, params: LogFilesParams) -> bool:
    """Return whether a source is asked for, its state apart."""
    folder = params.directory.rstrip("/") + "/" if params.directory else ""
    return (
        source.file.startswith(folder)
        and (params.name is None or params.name.lower() in source.file.lower())
        and (params.gaps is None or (source.gaps > 0) == (params.gaps == "true"))
        and (params.lagging is None or (source.lag_bytes > 0) == (params.lagging == "true"))
    )


def _place(source: SourceStatus, sort: str) -> Place:
    lag = -source.lag_bytes if sort == "lag" else 0
    return (
        lag,
        source.file,
        hashlib.blake2b(f"{source.path}\0{source.sid}".encode(), digest_size=8).hexdigest(),
    )


def _encode(place: Place) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def _decode(cursor: str) -> Place:
    """Read a cursor back; raises CursorError if it is none of ours."""
    try:
        lag, file, rest = orjson.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
        if type(lag) is int and isinstance(file, str) and isinstance(rest, str):
            return lag, file, rest
    except (ValueError, TypeError, binascii.Error):
        pass
    raise CursorError("this is no cursor of /logs/files", hint="take it from `next` of a page, unchanged")


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
