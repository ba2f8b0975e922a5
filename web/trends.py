"""Figures over time."""

from __future__ import annotations

from aiohttp import web

from storage.buckets import STEPS
from storage.trends import TrendQuery
from web.answers import body_of
from web.errors import invalid
from web.eventparams import TrendsParams
from web.keys import QUERIES
from web.statistics import ranged, reused

NOT_SPLIT = "none"
DEFAULT_SPLIT = "level"  # as the dashboard's chart is


async def trends(request: web.Request, params: TrendsParams) -> web.StreamResponse:
    """Answer with the buckets of the last hours, or of the range given."""
    if params.of == "users" and params.by not in {None, NOT_SPLIT}:
        raise invalid("by", "distinct users are not split", "leave it out, or ask for of=events")
    by = None if params.of == "users" else params.by or DEFAULT_SPLIT
    wanted, scope = ranged(request, params)
    query = TrendQuery(
        filter=wanted,
        scope=scope,
        step_us=STEPS.get(params.interval),
        by=None if by == NOT_SPLIT else by,
        of=params.of,
        timezone=params.tz,
        previous=params.previous == "true",
        heatmap=params.heatmap is not None,
    )

    async def make() -> bytes:
        return body_of({"success": True, **await request.app[QUERIES].trends(query)})

    return await reused(request, params, query.scope, make)
