"""From a checked query string to a question the archive understands, and the key under which its answer is known."""

from __future__ import annotations

import re
from dataclasses import replace

from aiohttp import web

from storage.filters import FIELDS, Term
from storage.query import Filter, Internal, ListQuery, Scope, searched
from storage.roles import masked
from web.callers import caller_of
from web.errors import invalid
from web.eventparams import ListParams
from web.keys import OPTIONS, PREFIX, QUERIES
from web.params import HINTS, Filters, Params
from web.times import RELATIVE_GRAIN_US, is_relative, parse_time

MAX_DEPTH_ROWS = 1_000_000  # by page number; a cursor goes on for ever at the same cost
_NAMES = tuple(name for name in (*FIELDS, "risk") if name in Filters.model_fields)
_PIN = "~"  # between a cursor and the range it belongs to; neither holds one
_ANY_MOMENT_US = 0  # whether a search moves does not depend on the present moment
_WHOLE = re.compile(r"-?[0-9]{1,17}")
_INTERNAL: dict[str, Internal] = {"false": "exclude", "true": "include", "only": "only"}


def scope_of(request: web.Request, internal: str = "false") -> Scope:
    """Return who asks, and whether the daemon's own events count."""
    caller = caller_of(request)
    return Scope(
        tenant=caller.tenant,
        role=caller.role,
        internal=_INTERNAL[internal],
        granted=(Term("user_id", caller.user or caller.name),) if masked(caller.role) else (),
        masked=tuple(request.app[QUERIES].mask.columns) if masked(caller.role) else (),
    )


def filter_of(
    params: Filters, now_us: int, *, start_us: int | None = None, end_us: int | None = None
) -> Filter:
    """Return the filter; ``start_us`` and ``end_us`` hold where neither a parameter nor the search gives a time.

    Raises `storage.filters.FilterError`, which names the field, when a value does not fit it.
    """
    searched_for = searched(params.q, now_us=now_us).expression if params.q is not None else None
    own = Filter().narrowed(searched_for)
    if params.start_date is not None:
        start_us = time_of("start_date", params.start_date, now_us)
    elif own.start_us is not None:
        start_us = None
    if params.end_date is not None:
        end_us = time_of("end_date", params.end_date, now_us, end=True)
    elif own.end_us is not None:
        end_us = None
    if start_us is not None and end_us is not None and start_us > end_us:
        if params.end_date is None:
            raise invalid("start_date", "it is later than now", "give an end_date behind it")
        raise invalid("start_date", "it is later than end_date", "exchange the two")
    wanted = Filter.of(
        {name: list(getattr(params, name)) for name in _NAMES},
        min_risk=params.min_risk,
        max_risk=params.max_risk,
        start_us=start_us,
        end_us=end_us,
        search=params.search_query,
        subject=params.subject,
    )
    if searched_for is not None:
        wanted = wanted.narrowed(searched_for)
    if wanted.start_us is not None and wanted.end_us is not None and wanted.start_us > wanted.end_us:
        if own.start_us is not None and own.end_us is not None and own.start_us > own.end_us:
            raise invalid(
                "q", "it leaves no time between its start and its end", "exchange the two, or leave one out"
            )
        raise invalid(
            "q", "its time lies outside the range that is chosen", "choose a range around it, or none"
        )
    return wanted


def time_of(name: str, text: str, now_us: int, *, end: bool = False) -> int:
    """Return a time parameter in microseconds; raises the 422 that names it."""
    try:
        return parse_time(text, now_us=now_us, end=end)
    except ValueError as error:
        raise invalid(name, str(error), HINTS[name]) from None


def list_query(
    request: web.Request, params: ListParams, now_us: int, *, start_us: int | None = None
) -> ListQuery:
    """Return the page asked for: by cursor, or by number with the greatest ``limit`` this installation allows.

    ``start_us`` holds where the query string gives no start of its own.
    """
    limit = page_limit(request, params.limit)
    if params.cursor is not None and "page" in params.model_fields_set:
        raise invalid("page", "it cannot be given beside cursor", "leave one of the two out")
    check_depth(params.page, limit)
    cursor, ends = params.cursor, None
    if cursor is not None:
        cursor, ends, now_us = _unpinned(cursor, now_us)
    wanted = filter_of(params, now_us, start_us=start_us)
    if ends is not None:
        wanted = replace(wanted, start_us=ends[0], end_us=ends[1])
    wanted, scope = request.app[QUERIES].mask.resolved(wanted, scope_of(request, params.internal))
    return ListQuery(
        filter=wanted,
        scope=scope,
        limit=limit,
        cursor=cursor,
        page=params.page if cursor is None else None,
        snapshot=params.snapshot,
    )


def pinned(cursor: str | None, query: ListQuery, params: ListParams, now_us: int) -> str | None:
    """Return the cursor as the client gets it: with the range of its first page, which a relative time would move.

    A search with relative times pins the moment as well: they may stand where no range can hold them still.
    """
    if cursor is None:
        return None
    if params.cursor is not None:
        now_us = _unpinned(params.cursor, now_us)[2]
    ends = [query.filter.start_us, query.filter.end_us, *([now_us] if _search_moves(params, now_us) else [])]
    return _PIN.join([cursor, *("" if end is None else str(end) for end in ends)])


def _unpinned(cursor: str, now_us: int) -> tuple[str, tuple[int | None, int | None], int]:
    """Return the archive's cursor, the range that it was made for, and the moment (``now_us`` if it has none)."""
    inner, *pins = cursor.split(_PIN)
    if len(pins) not in {2, 3} or not all(pin == "" or _WHOLE.fullmatch(pin) for pin in pins):
        raise invalid("cursor", "the cursor cannot be read", "take it from `next` of a page, unchanged")
    start_us, end_us, *moment = (int(pin) if pin else None for pin in pins)
    return inner, (start_us, end_us), next((at for at in moment if at is not None), now_us)


def check_depth(page: int, limit: int) -> None:
    """Raise the 422 for a page that lies too deep to be counted to."""
    if (page - 1) * limit > MAX_DEPTH_ROWS:
        raise invalid("page", "too deep for a page number", "follow `next` by cursor, or narrow the range")


def page_limit(request: web.Request, limit: int) -> int:
    """Return ``limit`` if this installation allows it."""
    greatest = request.app[OPTIONS].page_limit
    if limit > greatest:
        raise invalid("limit", f"at most {greatest} rows", "follow `next` for more, or use /events/export")
    return limit


def route_of(request: web.Request) -> str:
    """Return the route as a label: its pattern without prefix, so that ids never become labels."""
    resource = request.match_info.route.resource
    if resource is None:
        return "unmatched"
    return resource.canonical.removeprefix(PREFIX) or "/"


def version_of(request: web.Request, scope: Scope) -> str:
    """Return what changes when there is anything new for this scope: new rows or a drop, never a seal.

    The question itself is not part of it: `question_of` names that, without the moment it was asked at.
    """
    return request.app[QUERIES].version(ListQuery(scope=scope))


def question_of(request: web.Request, params: Params, now_us: int) -> str:
    """Return what names the question: the route's variables, every parameter, and who asks.

    A relative time is part of it as the minute it is asked in, because its window moves on by itself.
    """
    parts = [
        route_of(request),
        repr(sorted(request.match_info.items())),
        params.model_dump_json(),
        repr(scope_of(request)),
    ]
    if _moves(params):
        parts.append(str(now_us // RELATIVE_GRAIN_US))
    return "\n".join(parts)


def _moves(params: Params) -> bool:
    """Return whether the question means something else a moment later, though nothing new has come in."""
    if _search_moves(params, _ANY_MOMENT_US):
        return True
    given = (getattr(params, "start_date", None), getattr(params, "end_date", None))
    if any(text is not None and is_relative(text) for text in given):
        return True
    return given[0] is None and any(hasattr(params, name) for name in ("hours", "days"))


def _search_moves(params: Params, now_us: int) -> bool:
    q = getattr(params, "q", None)
    return q is not None and searched(q, now_us=now_us).moving
