"""`GET /events/live`: new events as they come, as Server-Sent Events. Only framing; `storage.hub` does the rest.

Every event carries `id: <epoch>.<seq>`, which says how far the client is; an id without an event moves it on when
nothing matched. A client that comes back with it gets what it missed first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from storage.epochs import REASONS, Place, Reset
from storage.errors import QueryError
from storage.subscription import Batch, Dropped, Idle, Item
from web.asking import filter_of, route_of, scope_of
from web.callers import caller_of
from web.errors import INVALID, Fault, Problem
from web.eventparams import LiveParams
from web.keys import ACCESS, AUDIT, CLOCK, HUB, OBSERVER, OPTIONS, PEER, QUERIES, REQUEST_ID
from web.params import HINTS
from web.status import HTTP_ABORTED, LIVE_DELIVERED, LIVE_STUCK

_log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
CHECK_SECONDS = 5.0  # how soon a key that was revoked, or expired, ends a stream in which something comes
RETRY_MS = 2000  # how long a browser waits before it comes back
_HEADERS = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": "no-store, no-transform",  # a proxy that compresses would hold events back
    "X-Accel-Buffering": "no",
}

Items = AsyncGenerator[Item, None]


async def live(request: web.Request, params: LiveParams) -> web.StreamResponse:
    """Send what the client missed, if it says where it was, and then every new event that the filter finds."""
    response = web.StreamResponse(headers=_HEADERS)
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    wanted = filter_of(params, request.app[CLOCK]())
    wanted, scope = request.app[QUERIES].mask.resolved(wanted, scope_of(request, params.internal))
    following = request.app[HUB].follow(
        wanted,
        scope,
        after=_place(request, params),
        replay=params.replay,
        idle_seconds=request.app[OPTIONS].heartbeat_seconds,
    )
    async with following as items:
        await request.app[AUDIT].read(request, "live", without=("last_event_id",))
        try:
            await response.prepare(request)
            await _send(request, response, items, params)
            await response.write_eof()
        except TimeoutError:  # the client takes nothing: what was written will never arrive
            request.app[OBSERVER].count(LIVE_STUCK)
            await _cut(request, response)
        except ConnectionError:
            pass  # the client is gone
        except Exception:  # noqa: BLE001 - whatever it is, the client must come back and go on where it was
            _log.exception("the live stream of request %s was cut off", request[REQUEST_ID])
            request.app[OBSERVER].count(HTTP_ABORTED, route=route_of(request))
            await _cut(request, response)
    return response


async def _cut(request: web.Request, response: web.StreamResponse) -> None:
    """Cut the connection: its head has left, so there is no other answer."""
    if request.transport is not None:
        request.transport.abort()
    with suppress(ConnectionError):
        await response.write_eof()


def _place(request: web.Request, params: LiveParams) -> Place | None:
    """Return where the client was. The header is newer than a parameter: browsers keep the address they began with."""
    for loc, text in (
        (("header", LAST_EVENT_ID), request.headers.get(LAST_EVENT_ID)),
        (("query", "last_event_id"), params.last_event_id),
    ):
        if text:
            try:
                return Place.parse(text)
            except QueryError as error:
                fault = Fault(loc, error.what, HINTS["last_event_id"])
                raise Problem(INVALID, f"{loc[1]}: {error.what}", (fault,)) from None
    return None


async def _send(request: web.Request, response: web.StreamResponse, items: Items, params: LiveParams) -> None:
    """Write until there is nothing more to write. TimeoutError when the client takes nothing for too long."""
    stream = _Stream(request, response, params.limit)
    whole = asyncio.timeout(params.timeout)
    try:
        async with whole:
            await response.write(b"retry: %d\n\n" % RETRY_MS)
            async for item in items:
                if not await stream.send(item):
                    return
    except TimeoutError:
        if not whole.expired():
            raise


class _Stream:
    """What one client is sent: as many events as it asked for, as long as it may have them."""

    def __init__(self, request: web.Request, response: web.StreamResponse, limit: int | None) -> None:
        self._request = request
        self._response = response
        self._left = limit
        self._check_at = time.monotonic() + CHECK_SECONDS

    async def send(self, item: Item) -> bool:
        """Write an item; return whether more may follow."""
        if time.monotonic() >= self._check_at:
            if not self._still_allowed():
                return False
            self._check_at = time.monotonic() + CHECK_SECONDS
        if isinstance(item, Batch) and self._left is not None:
            item = item.head(self._left)
        async with asyncio.timeout(self._request.app[OPTIONS].stuck_seconds):
            await self._response.write(framed(item))
        if isinstance(item, Batch):
            self._request.app[OBSERVER].count(LIVE_DELIVERED, len(item))
            if self._left is not None:
                self._left -= len(item)
        return self._left != 0

    def _still_allowed(self) -> bool:
        """Say whether the caller would still be let in, as the same one."""
        request = self._request
        try:
            return request.app[ACCESS].identify(request, request[PEER]) == caller_of(request)
        except Problem:
            return False


def framed(item: Item) -> bytes:
    """Return an item as it goes over the wire."""
    match item:
        case Batch():
            return item.framed(_events)
        case Dropped():
            said: dict[str, Any] = {"count": item.count, "first": str(item.first), "last": str(item.last)}
            return _named("dropped", said | {"before": str(item.before)})
        case Reset():
            said = {"reason": item.reason, "detail": REASONS[item.reason]}
            said |= {"lastEventId": str(item.given), "from": str(item.start)}
            return b"id: %b\n" % str(item.start).encode() + _named("reset", said)
        case Idle():
            return b": idle\nid: %b\n\n" % str(item.place).encode()


def _events(batch: Batch) -> bytes:
    """Return events as messages of the default name. A line's own JSON may hold line ends between its tokens."""
    return "".join(
        f"id: {batch.epoch}.{seq}\ndata: {_one_line(text)}\n\n" for seq, text in batch.rows
    ).encode()


def _one_line(text: str) -> str:
    return text if "\r" not in text and "\n" not in text else text.replace("\r", " ").replace("\n", " ")


def _named(name: str, said: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(said))
