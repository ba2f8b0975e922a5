"""`GET /status`: one page of facts about the daemon, its sources and its archive."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from web.answers import json_answer
from web.files import source_row
from web.keys import CLOCK, DAEMON, DETECTION, OPTIONS, QUERIES
from web.params import NoParams
from web.status import Daemon, SourceStatus
from web.times import rfc3339

SHOWN_SOURCES = 500  # rows of a page that is asked for every few seconds
_CALM = frozenset({"live", "idle"})


def shown(sources: Sequence[SourceStatus]) -> Sequence[SourceStatus]:
    """Return the sources that a page of facts has: all, or if they are many those that need attention most."""
    if len(sources) <= SHOWN_SOURCES:
        return sources
    return heapq.nsmallest(
        SHOWN_SOURCES, sources, key=lambda s: (s.state in _CALM, not s.gaps, -s.lag_bytes, s.file)
    )


async def status(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with what the archive holds and what the live daemon adds to it."""
    daemon = request.app[DAEMON]
    queries = request.app[QUERIES]
    snapshot = queries.snapshot()
    detection = request.app.get(DETECTION)
    totals = await queries.totals()
    about_sources = await asyncio.to_thread(_about_sources, daemon)
    return json_answer(
        {
            "success": True,
            "version": request.app[OPTIONS].version,
            "node": snapshot.node,
            "seq": snapshot.seq,
            "view_seq": snapshot.view_seq,
            "sealed_seq": snapshot.sealed_seq,
            "commit": snapshot.commit,
            "drops": snapshot.drops,
            **totals,
            **daemon.status(),
            **about_sources,
            "detection": None if detection is None else detection.status(),
            "timestamp": rfc3339(request.app[CLOCK]()),
        }
    )


def _about_sources(daemon: Daemon) -> dict[str, Any]:
    """Return what is said of sources. Blocks: there may be fifty thousand."""
    sources = daemon.sources()
    return {
        "sources": [source_row(source) for source in shown(sources)],
        "sources_total": len(sources),
        "lag_bytes": sum(source.lag_bytes for source in sources),
    }
