"""`GET /rejects`: lines that could not be parsed, newest first: where each stands, why, and what it says."""

from __future__ import annotations

from aiohttp import web

from storage.query import RejectQuery
from web.answers import etag, json_answer, unchanged, validators
from web.asking import page_limit, question_of, scope_of
from web.events import next_link
from web.keys import CLOCK, QUERIES
from web.serviceparams import RejectsParams


async def rejects(request: web.Request, params: RejectsParams) -> web.StreamResponse:
    """Answer with a page of rejects."""
    query = RejectQuery(
        scope=scope_of(request, "true"),
        limit=page_limit(request, params.limit),
        cursor=params.cursor,
        source=params.source,
    )
    queries = request.app[QUERIES]
    held = queries.snapshot()
    last = max(
        (*(file.max_seq for file in held.rejects), *(hot.max_seq for hot in held.hot_rejects)), default=0
    )
    tag = etag("rejects", last, held.drops, question_of(request, params, request.app[CLOCK]()))
    known = unchanged(request, tag)
    if known is not None:
        return known
    found = await queries.rejects(query)
    return json_answer(
        {
            "success": True,
            "data": found.rows,
            "total": found.total,
            "next": found.next,
            "snapshot": found.snapshot,
        },
        headers={**validators(tag), **next_link(request, found.next)},
    )
