"""Figures: of a range for the dashboard, of one user in the original's shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from storage.filters import Term
from storage.query import DEFAULT_PARTS, Filter, Scope, StatisticsQuery, searched
from web.answers import etag, raw_answer, unchanged, validators
from web.asking import filter_of, question_of, scope_of, version_of
from web.callers import caller_of
from web.errors import invalid
from web.eventparams import RangeParams, RiskParams, StatisticsParams, StatsParams
from web.keys import CLOCK, QUERIES, STATISTICS_CACHE
from web.params import Params, words_of
from web.times import DAY_US, SECOND_US

HOUR_US = 3600 * SECOND_US
LAST_END_US = (
    7_258_118_400_000_000  # 2200: a grid of figures to the end of all years would be one of centuries
)


async def statistics(request: web.Request, params: StatisticsParams) -> web.StreamResponse:
    """Answer with the figures of the last hours, or of the range given."""
    wanted, scope = ranged(request, params)
    query = StatisticsQuery(
        filter=wanted,
        scope=scope,
        parts=frozenset(words_of(params.parts) if params.parts else DEFAULT_PARTS),
        timezone=params.tz,
    )

    async def make() -> bytes:
        return orjson.dumps({"success": True, **await request.app[QUERIES].statistics(query)})

    return await reused(request, params, query.scope, make)


async def risk(request: web.Request, params: RiskParams) -> web.StreamResponse:
    """Answer with the riskiest users and addresses of the last hours, or of the range given."""
    wanted, scope = ranged(request, params)
    query = StatisticsQuery(filter=wanted, scope=scope, parts=frozenset({"risk"}), top=params.top)

    async def make() -> bytes:
        return orjson.dumps({"success": True, **await request.app[QUERIES].statistics(query)})

    return await reused(request, params, query.scope, make)


def ranged(request: web.Request, params: RangeParams) -> tuple[Filter, Scope]:
    """Return the filter of the last hours, or of the range given, and who asks. Raises the 422 that names what is wrong."""
    now_us = request.app[CLOCK]()
    wanted = filter_of(params, now_us, end_us=now_us)
    if wanted.start_us is None:
        assert wanted.end_us is not None
        wanted = filter_of(params, now_us, start_us=wanted.end_us - params.hours * HOUR_US, end_us=now_us)
    if wanted.start_us is not None and wanted.start_us < 0:
        raise invalid("start_date", "before 1970", "no event is older")
    if wanted.end_us is not None and wanted.end_us > LAST_END_US:
        raise invalid("end_date", "after 2199", "no event is younger")
    return request.app[QUERIES].mask.resolved(wanted, scope_of(request, params.internal))


async def stats(request: web.Request, params: StatsParams) -> web.StreamResponse:
    """Answer with one user's figures of the last days."""
    now_us = request.app[CLOCK]()
    user = params.user_id if params.user_id is not None else caller_of(request).user
    terms = (Term("user_id", user),) if user is not None else ()
    wanted = Filter(terms=terms, start_us=now_us - params.days * DAY_US, end_us=now_us)
    if params.q is not None:
        wanted = wanted.narrowed(searched(params.q, now_us=now_us).expression)
    wanted, scope = request.app[QUERIES].mask.resolved(wanted, scope_of(request))

    async def make() -> bytes:
        return orjson.dumps(await request.app[QUERIES].user_stats(wanted, scope))

    return await reused(request, params, scope, make)


async def reused(
    request: web.Request, params: Params, scope: Scope, make: Callable[[], Awaitable[bytes]]
) -> web.Response:
    """Answer, for a while and an unchanged archive, with what was computed for the same question."""
    cache = request.app[STATISTICS_CACHE]
    clock = request.app[CLOCK]
    version = version_of(request, scope)
    question = question_of(request, params, 0)
    held = cache.get(question, version, clock())
    if held is not None:
        known = unchanged(request, etag("figures", question, version, held.made_us))
        if known is not None:
            return known
    answer = await cache.get_or_make(question, version, clock, make)
    return raw_answer([answer.body], validators(etag("figures", question, answer.version, answer.made_us)))
