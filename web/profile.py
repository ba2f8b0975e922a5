"""`GET /users/{user_id}`, `/addresses/{ip}` and `/entities/{entity_type}/{entity_id}`: what is known of one of them."""

from __future__ import annotations

from urllib.parse import urlencode

import orjson
from aiohttp import web

from parsers.expression import Comparison, both
from parsers.fields import EQUALS
from parsers.values import ValueProblem, compare
from storage.lifting import NAMES
from storage.profile import ProfileQuery
from storage.query import Filter, ListQuery
from storage.rollups import NAME_PREFIX
from web.answers import body_of, envelope, raw_answer
from web.asking import page_limit, pinned
from web.errors import INVALID, NOT_FOUND, Fault, Problem
from web.eventparams import ListParams, ProfileParams
from web.keys import CLOCK, QUERIES
from web.params import Filters
from web.statistics import ranged
from web.times import rfc3339


async def user(request: web.Request, params: ProfileParams) -> web.StreamResponse:
    """Answer with what is known of the user with this id; ``name:`` before it means the username."""
    key = request.match_info["user_id"]
    named = {"username": key.removeprefix(NAME_PREFIX)} if key.startswith(NAME_PREFIX) else {"user_id": key}
    return await _profile(request, params, named)


async def address(request: web.Request, params: ProfileParams) -> web.StreamResponse:
    """Answer with what is known of one address."""
    return await _profile(request, params, dict(request.match_info))


async def entity(request: web.Request, params: ProfileParams) -> web.StreamResponse:
    """Answer with what is known of the thing with this type and id."""
    return await _profile(request, params, dict(request.match_info))


async def _profile(request: web.Request, params: ProfileParams, named: dict[str, str]) -> web.StreamResponse:
    now_us = request.app[CLOCK]()
    queries = request.app[QUERIES]
    given, scope = ranged(request, params)
    expression = both(_compared(name, value, now_us) for name, value in named.items())
    wanted, scope = queries.mask.resolved(given.narrowed(expression), scope)
    subject, scope = queries.mask.resolved(Filter().narrowed(expression), scope)
    found = await queries.profile(ProfileQuery(subject, wanted, scope, params.tz, params.top))
    if found is None:
        raise Problem(NOT_FOUND, "no event names it")
    plan = found.pop("plan")
    found["timeline"] = await _timeline(
        request, params, named, ListQuery(wanted, scope, page_limit(request, params.limit), count=False)
    )
    answer = {**envelope(found, "Profile found", rfc3339(now_us)), "plan": plan}
    return raw_answer([body_of(answer)])


def _compared(name: str, value: str, now_us: int) -> Comparison:
    """Return what an event must have because of one part of the path."""
    try:
        return compare(NAMES[name], (), EQUALS, (value,), now_us=now_us)
    except ValueProblem as error:
        fault = Fault(("path", name), error.what, error.hint)
        raise Problem(INVALID, f"{name}: {error.what}", (fault,)) from None


async def _timeline(
    request: web.Request, params: ProfileParams, named: dict[str, str], query: ListQuery
) -> dict[str, object]:
    """Return the newest events, and where the next ones are: in the list with the same filter."""
    page = await request.app[QUERIES].page(query)
    same = ListParams.model_validate(params.model_dump(include=set(Filters.model_fields)))
    cursor = pinned(page.next, query, same, request.app[CLOCK]())
    link = None
    if cursor is not None:
        kept = [(name, value) for name, value in request.query.items() if name in Filters.model_fields]
        asked = [*kept, *named.items(), ("limit", str(query.limit)), ("cursor", cursor)]
        link = f"{_prefix(request)}/events?{urlencode(asked)}"
    return {"data": [orjson.Fragment(row) for row in page.rows], "next": cursor, "link": link}


_ROUTES = {"user_id": "/users/", "ip": "/addresses/", "entity_id": "/entities/"}


def _prefix(request: web.Request) -> str:
    """Return what stands before the route in the address that was asked."""
    name = next(name for name in _ROUTES if name in request.match_info)
    return request.path[: request.path.index(_ROUTES[name])]
