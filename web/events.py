"""Lists of events, one event, and the words events use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import orjson
from aiohttp import web

from parsers.vocabulary import ACTIONS, CATEGORIES, LEVELS
from storage.queries import Page
from storage.query import ListQuery
from web.answers import envelope, etag, json_answer, raw_answer, rows_json, unchanged, validators
from web.asking import list_query, pinned, question_of, scope_of, version_of
from web.callers import caller_of
from web.errors import NOT_FOUND, Problem
from web.eventparams import ListParams, MineParams
from web.keys import CLOCK, QUERIES
from web.params import NoParams
from web.times import DAY_US, rfc3339


async def page(request: web.Request, params: ListParams) -> web.StreamResponse:
    """Answer with a page of events, newest first."""
    now_us = request.app[CLOCK]()
    query = list_query(request, params, now_us)
    tag = list_tag(request, params, query, now_us)
    known = unchanged(request, tag)
    if known is not None:
        return known
    found = await request.app[QUERIES].page(query)
    cursor = pinned(found.next, query, params, now_us)
    tail = {
        "total": found.total,
        "total_is_estimate": found.total_is_estimate,
        "page": query.page,
        "pages": pages_of(found, query.limit),
        "message": f"{len(found.rows)} events",
        "next": cursor,
        "snapshot": found.snapshot,
        "plan": found.plan,
    }
    return with_rows(
        '{"success":true,"data":', found.rows, tail, {**validators(tag), **next_link(request, cursor)}
    )


async def mine(request: web.Request, params: MineParams) -> web.StreamResponse:
    """Answer with one user's events, in the original's second shape.

    A key may belong to a user. Where it does not, or without keys, ``user_id`` says whose events are meant.
    """
    now_us = request.app[CLOCK]()
    if not params.user_id and not params.username:
        caller = caller_of(request)
        params = params.model_copy(update={"user_id": [caller.user or caller.name]})
    start_us = now_us - params.days * DAY_US if params.days else None
    query = list_query(request, params, now_us, start_us=start_us)
    tag = list_tag(request, params, query, now_us)
    known = unchanged(request, tag)
    if known is not None:
        return known
    found = await request.app[QUERIES].page(query)
    cursor = pinned(found.next, query, params, now_us)
    tail = {
        "total": found.total,
        "page": query.page or 1,
        "per_page": query.limit,
        "pages": pages_of(found, query.limit),
        "next": cursor,
        "snapshot": found.snapshot,
    }
    return with_rows('{"items":', found.rows, tail, {**validators(tag), **next_link(request, cursor)})


async def one(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the first event that has this id, and how many lines more carry it."""
    text, duplicates = await find(request)
    head = f'{{"success":true,"message":"Event found","data":{text},'
    tail = {"duplicates": duplicates, "timestamp": rfc3339(request.app[CLOCK]())}
    return raw_answer([head.encode(), orjson.dumps(tail)[1:]])


async def find(request: web.Request) -> tuple[str, int]:
    """Return the JSON text of the event in the address and its number of duplicates; raises the 404."""
    event_id = request.match_info["event_id"]
    found = await request.app[QUERIES].event(event_id, scope_of(request, "true"))
    if found is None:
        raise Problem(NOT_FOUND, "no event has this id")
    return found.json, found.duplicates


async def levels(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the five levels; no event has another."""
    return json_answer(envelope(list(LEVELS), "Event levels", rfc3339(request.app[CLOCK]())))


async def categories(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the known categories, then those that events have."""
    return await _words(request, "category", CATEGORIES)


async def actions(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the known actions, then those that events have."""
    return await _words(request, "action", ACTIONS)


async def _words(request: web.Request, field: str, known: Sequence[str]) -> web.StreamResponse:
    queries = request.app[QUERIES]
    scope = scope_of(request)
    tag = etag("words", field, version_of(request, scope))
    held = unchanged(request, tag)
    if held is not None:
        return held
    observed = await queries.observed(field, scope)
    words = list(dict.fromkeys([*known, *sorted(observed)]))
    answer = envelope(words, f"Event {field} values", rfc3339(request.app[CLOCK]()))
    return json_answer(answer, headers=validators(tag))


def list_tag(request: web.Request, params: ListParams, query: ListQuery, now_us: int) -> str:
    """Return the validator of a page: what the query can return has not changed, and it is the same question."""
    return etag("page", version_of(request, query.scope), question_of(request, params, now_us))


def pages_of(found: Page, limit: int) -> int | None:
    """Return how many pages there are; None where the total is an estimate."""
    return None if found.total_is_estimate else -(-found.total // limit)


def next_link(request: web.Request, cursor: str | None) -> dict[str, str]:
    """Return the Link header to the next page: the same question, going on behind the cursor."""
    if cursor is None:
        return {}
    kept = [
        (name, value) for name, value in request.query.items() if name not in {"cursor", "page", "snapshot"}
    ]
    return {"Link": f'<{request.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'}


def with_rows(
    head: str, rows: Sequence[str], tail: Mapping[str, object], headers: dict[str, str]
) -> web.Response:
    """Return an answer whose rows are JSON text already: ``head``, the rows as an array, the other members."""
    return raw_answer([head.encode(), rows_json(rows), b",", orjson.dumps(tail)[1:]], headers)
