"""`GET /status`: one page of facts about the daemon, its sources and its archive."""

from __future__ import annotations

from aiohttp import web

from web.answers import json_answer
from web.files import source_row
from web.keys import CLOCK, DAEMON, OPTIONS, QUERIES
from web.params import NoParams
from web.times import rfc3339


async def status(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with what the archive holds and what the live daemon adds to it."""
    daemon = request.app[DAEMON]
    queries = request.app[QUERIES]
    snapshot = queries.snapshot()
    totals = await queries.totals()
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
            "sources": [source_row(source) for source in daemon.sources()],
            "timestamp": rfc3339(request.app[CLOCK]()),
        }
    )
