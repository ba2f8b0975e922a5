"""`GET /events/{event_id}/context`: what lies around one event."""

from __future__ import annotations

import orjson
from aiohttp import web

from storage.context import GROUPS, ContextQuery, Group
from web.answers import envelope, raw_answer
from web.asking import scope_of
from web.errors import NOT_FOUND, Problem
from web.eventparams import ContextParams
from web.keys import CLOCK, QUERIES
from web.times import rfc3339


async def context(request: web.Request, params: ContextParams) -> web.StreamResponse:
    """Answer with its neighbours in time, and with what shares its correlation id, session and user."""
    query = ContextQuery(
        event_id=request.match_info["event_id"],
        scope=scope_of(request),
        before=params.before,
        after=params.after,
        by=tuple(dict.fromkeys(params.by)) or GROUPS,
    )
    found = await request.app[QUERIES].context(query)
    if found is None:
        raise Problem(NOT_FOUND, "no event has this id")
    data = {"event": orjson.Fragment(found.event), "groups": [_group(group) for group in found.groups]}
    return raw_answer([orjson.dumps(envelope(data, "Context found", rfc3339(request.app[CLOCK]())))])


def _group(group: Group) -> dict[str, object]:
    return {
        "by": group.by,
        "field": group.field,
        "value": group.value,
        "data": [orjson.Fragment(text) for text in group.rows],
        "at": group.at,
        "older": group.older,
        "newer": group.newer,
    }
