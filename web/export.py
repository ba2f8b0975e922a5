"""`GET /events/export`: everything a filter finds, streamed at the reader's pace, never whole unless it is whole."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from aiohttp import web

from storage.engine import Piece
from storage.query import ExportQuery
from web.answers import JSON
from web.asking import filter_of, route_of, scope_of
from web.keys import AUDIT, CLOCK, OBSERVER, QUERIES, REQUEST_ID
from web.params import ExportParams
from web.status import HTTP_ABORTED
from web.times import day_of

_log = logging.getLogger(__name__)

TYPES = {"json": JSON, "ndjson": "application/x-ndjson", "csv": "text/csv"}


async def export(request: web.Request, params: ExportParams) -> web.StreamResponse:
    """Stream every event that the filter finds, newest first.

    Whatever can be refused is refused before the first byte. A failure after it cuts the connection, so that no
    reader takes half an export for the whole. A reader that leaves stops the query.
    """
    now_us = request.app[CLOCK]()
    queries = request.app[QUERIES]
    query = ExportQuery(
        filter=filter_of(params, now_us),
        scope=scope_of(request, params.internal),
        limit=params.limit,
        snapshot=queries.snapshot().seq,
    )
    rows = await queries.count(query)
    response = web.StreamResponse(headers=_headers(params.format, rows, day_of(now_us)))
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    await request.app[AUDIT].exported(request, params.format, rows)
    async with aclosing(queries.export(query, params.format)) as pieces:  # closing it stops the query
        first = await anext(pieces, b"")
        await response.prepare(request)
        await _send(request, response, first, pieces)
    return response


def _headers(fmt: str, rows: int, day: str) -> dict[str, str]:
    kind = TYPES[fmt] if fmt != "csv" else f"{TYPES[fmt]}; charset=utf-8; header=present"
    return {
        "Content-Type": kind,
        "Content-Disposition": f'attachment; filename="events-{day.replace("-", "")}.{fmt}"',
        "X-Total-Count": str(rows),
    }


async def _send(
    request: web.Request, response: web.StreamResponse, first: Piece, pieces: AsyncIterator[Piece]
) -> None:
    """Write every piece; ``write`` waits while the reader is slow. On a failure the connection is cut."""
    try:
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        raise  # the reader is gone
    except Exception:  # noqa: BLE001 - whatever it is, the reader must see that this is not the whole
        # The head has left, so no problem+json can follow: the missing end of the chunked body is the message.
        _log.exception("the export of request %s was cut off", request[REQUEST_ID])
        request.app[OBSERVER].count(HTTP_ABORTED, route=route_of(request))
        if request.transport is not None:
            request.transport.abort()
        with suppress(ConnectionError):
            await response.write_eof()
