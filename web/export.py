"""`GET /events/export`: everything a filter finds, streamed at the reader's pace, never whole unless it is whole.

A Parquet file can be fetched in parts. It is not kept for that: the same question about the same snapshot gives the
same bytes, so a part is cut out of a file that is made again, and its tag says what it was made of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from aiohttp import hdrs, web

from storage.chosen import columns_of_fields
from storage.columnar import WRITER
from storage.engine import Piece
from storage.export import COLUMNAR
from storage.packing import PACKINGS
from storage.query import ExportQuery, fingerprint
from web.answers import JSON
from web.asking import filter_of, route_of, scope_of
from web.errors import RANGE, Fault, Problem, invalid
from web.eventparams import ExportParams
from web.keys import AUDIT, CLOCK, LENGTHS, OBSERVER, OPTIONS, QUERIES, REQUEST_ID
from web.negotiation import accepted
from web.ranges import Range, Tag
from web.status import HTTP_ABORTED, HTTP_STALLED
from web.times import day_of

_log = logging.getLogger(__name__)

TYPES = {
    "json": JSON,
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
ENCODINGS = ("zstd", "gzip")  # of the connection, the best first
IN_PARTS = frozenset({"parquet"})  # formats that have a tag and can be fetched in parts


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is exported: the question, its format, how the file and how the connection is compressed, its tag."""

    query: ExportQuery
    params: ExportParams
    encoding: str | None
    tag: Tag | None

    @property
    def packing(self) -> str | None:
        return self.params.compress or self.encoding


async def export(request: web.Request, params: ExportParams) -> web.StreamResponse:
    """Stream every event that the filter finds, newest first.

    Whatever can be refused is refused before the first byte. A failure after it cuts the connection, so that no
    reader takes half an export for the whole. A reader that leaves stops the query.
    """
    now_us = request.app[CLOCK]()
    queries = request.app[QUERIES]
    wanted = _wanted(request, params, now_us)
    found = _part(request, wanted)
    if found is not None:
        wanted = found[0]
    rows = await queries.count(wanted.query)
    headers = _headers(wanted, rows, day_of(now_us))
    if request.method == hdrs.METH_HEAD:
        response = web.StreamResponse(headers=headers)
        if wanted.tag is not None and (length := request.app[LENGTHS].get(wanted.tag)) is not None:
            response.content_length = length
        await response.prepare(request)
        return response
    await request.app[AUDIT].exported(request, params.format, rows)
    if found is not None:
        return await _send_part(request, *found, headers)
    response = web.StreamResponse(headers=headers)
    async with aclosing(queries.export(wanted.query, params.format, wanted.packing)) as pieces:
        first = await anext(pieces, b"")
        await response.prepare(request)
        sent = await _send(request, response, first, pieces)
    if sent is not None and wanted.tag is not None:
        request.app[LENGTHS].put(wanted.tag, sent)
    return response


def _wanted(request: web.Request, params: ExportParams, now_us: int) -> _Wanted:
    queries = request.app[QUERIES]
    if params.compress is not None and params.format in IN_PARTS:
        raise invalid("compress", f"{params.format} is compressed already", "leave it out")
    seen = queries.snapshot()
    query = ExportQuery(
        filter=filter_of(params, now_us),
        scope=scope_of(request, params.internal),
        limit=params.limit,
        snapshot=seen.seq if params.snapshot is None else min(params.snapshot, seen.seq),
        columns=columns_of_fields(params.fields, event=params.format not in COLUMNAR),
    )
    if params.format in IN_PARTS:
        return _Wanted(query, params, None, _tag(request, query, params.format))
    encoding = None if params.compress else _encoding(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
    return _Wanted(query, params, encoding, None)


def _tag(request: web.Request, query: ExportQuery, form: str) -> Tag:
    """Return what the bytes of a file depend on: rows, columns, and the program that writes them."""
    question = fingerprint(replace(query, snapshot=None), form, WRITER, request.app[OPTIONS].version)
    return Tag(query.snapshot or 0, request.app[QUERIES].snapshot().drops, question)


def _part(request: web.Request, wanted: _Wanted) -> tuple[_Wanted, Tag, Range] | None:
    """Return the part that is to be sent, and of what; None for the whole.

    A part is sent only of a body that the client can know: by the tag that it names, which may be of an earlier
    snapshot, or by the snapshot that it asks for.
    """
    part = Range.read(request.headers.get(hdrs.RANGE, ""))
    now = wanted.tag
    if part is None or now is None or request.method != hdrs.METH_GET:
        return None
    given = request.headers.get(hdrs.IF_RANGE)
    if given is None:
        return (wanted, now, part) if wanted.params.snapshot is not None else None
    known = Tag.read(given)
    if known is None or known.seq > now.seq or replace(known, seq=now.seq) != now:
        return None
    if wanted.params.snapshot is not None and known != now:
        return None
    earlier = replace(wanted, query=replace(wanted.query, snapshot=known.seq), tag=known)
    return earlier, known, part


def _encoding(header: str) -> str | None:
    """Return how the connection is compressed: the best that the client names and does not refuse with a weight of 0."""
    named = accepted(header)
    return next((name for name in ENCODINGS if name in named), None)


def _headers(wanted: _Wanted, rows: int, day: str) -> dict[str, str]:
    form, compress = wanted.params.format, wanted.params.compress
    suffix = PACKINGS[compress].suffix if compress else ""
    headers = {
        "Content-Type": PACKINGS[compress].media_type if compress else TYPES[form],
        "Content-Disposition": f'attachment; filename="events-{day.replace("-", "")}.{form}{suffix}"',
        "X-Total-Count": str(rows),
    }
    if wanted.tag is not None:
        headers |= {"ETag": str(wanted.tag), "Accept-Ranges": "bytes"}
    else:
        headers |= {"Vary": "Accept-Encoding"}
        if wanted.encoding is not None:
            headers["Content-Encoding"] = wanted.encoding
    return headers


async def _send_part(
    request: web.Request, wanted: _Wanted, tag: Tag, part: Range, headers: dict[str, str]
) -> web.StreamResponse:
    """Send some bytes of a file. Its length has to be told first: if it is not known, the file is made once for that."""
    lengths, queries = request.app[LENGTHS], request.app[QUERIES]
    length = lengths.get(tag)
    if length is None:
        async with aclosing(queries.export(wanted.query, wanted.params.format)) as pieces:
            length = 0
            async for piece in pieces:
                length += len(piece)
        lengths.put(tag, length)
    ends = part.within(length)
    if ends is None:
        raise Problem(
            RANGE,
            f"the file has {length} bytes",
            (Fault(("header", hdrs.RANGE), "it begins behind the end", "leave Range out"),),
            {"Content-Range": f"bytes */{length}"},
        )
    first, last = ends
    response = web.StreamResponse(
        status=206, headers={**headers, "Content-Range": f"bytes {first}-{last}/{length}"}
    )
    response.content_length = last - first + 1
    async with aclosing(queries.export(wanted.query, wanted.params.format)) as pieces:
        cut = _cut(pieces, first, last + 1)
        begin = await anext(cut)
        await response.prepare(request)
        await _send(request, response, begin, cut)
    return response


async def _cut(pieces: AsyncIterator[Piece], start: int, end: int) -> AsyncGenerator[Piece, None]:
    """Yield the bytes from ``start`` to before ``end``."""
    at = 0
    async for piece in pieces:
        inside = memoryview(piece)[max(0, start - at) : end - at]
        at += len(piece)
        if inside:
            yield inside
        if at >= end:
            return
    raise EOFError(f"the file ended after {at} bytes and {end} were promised")


async def _send(
    request: web.Request, response: web.StreamResponse, first: Piece, pieces: AsyncIterator[Piece]
) -> int | None:
    """Write every piece and return how many bytes that were. On a failure the connection is cut; then it returns None.

    ``write`` waits while the reader is slow; one that reads nothing at all is cut off after some time.
    """
    patience = request.app[OPTIONS].export_stall_seconds
    sent = 0
    try:
        async with asyncio.timeout(patience) as stalled:
            await response.write(first)
            sent += len(first)
            stalled.reschedule(None)
            async for piece in pieces:
                stalled.reschedule(asyncio.get_running_loop().time() + patience)
                await response.write(piece)
                sent += len(piece)
                stalled.reschedule(None)
            await response.write_eof()
    except ConnectionError:
        raise  # the reader is gone
    except Exception as error:  # noqa: BLE001 - whatever it is, the reader must see that this is not the whole
        # The head has left, so no problem+json can follow: the missing end of the body is the message.
        if isinstance(error, TimeoutError):
            _log.warning("the reader of the export of request %s reads nothing", request[REQUEST_ID])
            request.app[OBSERVER].count(HTTP_STALLED)
        else:
            _log.exception("the export of request %s was cut off", request[REQUEST_ID])
        request.app[OBSERVER].count(HTTP_ABORTED, route=route_of(request))
        if request.transport is not None:
            request.transport.abort()
        with suppress(ConnectionError):
            await response.write_eof()
        return None
    return sent
