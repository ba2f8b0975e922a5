"""`/activity-logs`: the same events under the names of the later original."""

from __future__ import annotations

from aiohttp import web

from parsers.expression import both
from parsers.fields import EQUALS
from parsers.values import compare
from storage.lifting import NAMES
from storage.query import Filter, ListQuery
from web.answers import etag, raw_answer, unchanged, validators
from web.asking import check_depth, question_of, scope_of, version_of
from web.eventparams import ActivityParams
from web.events import find, with_rows
from web.keys import CLOCK, QUERIES
from web.params import NoParams

_FILTERS = ("entity_type", "entity_id", "user_id", "action", "category", "level")


async def page(request: web.Request, params: ActivityParams) -> web.StreamResponse:
    """Answer with a page of events; what the address names (an entity, a user) must hold as well."""
    now_us = request.app[CLOCK]()
    given = Filter.of({name: list(getattr(params, name)) for name in _FILTERS}, q=params.q, now_us=now_us)
    named = (
        compare(NAMES[name], (), EQUALS, (value,), now_us=now_us)
        for name, value in request.match_info.items()
    )
    check_depth(params.page, params.page_size)
    queries = request.app[QUERIES]
    wanted, scope = queries.mask.resolved(given.narrowed(both(named)), scope_of(request))
    query = ListQuery(
        filter=wanted,
        scope=scope,
        limit=params.page_size,
        page=params.page,
    )
    tag = etag("activity", version_of(request, query.scope), question_of(request, params, now_us))
    known = unchanged(request, tag)
    if known is not None:
        return known
    found = await queries.page(query)
    tail = {"total": found.total, "page": params.page, "page_size": params.page_size}
    return with_rows('{"items":', found.rows, tail, validators(tag))


async def one(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with one event, without an envelope."""
    text, _duplicates = await find(request)
    return raw_answer([text.encode()])
