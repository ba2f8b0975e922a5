"""`POST /sql`: a statement written by a person, answered by a confined process that is thrown away afterwards.

The answer is complete, within its caps, before its first byte leaves: a mistake is then a problem of its own, never
half an answer, and the audit trail has the rows and the time. Every statement that runs leaves a trace, also one that fails.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from aiohttp import web

from storage.adhoc import Ask
from storage.errors import (
    ArchiveError,
    BusyError,
    DeadlineError,
    MemoryCapError,
    StatementError,
    UnconfinedError,
)
from storage.job import Form
from storage.spares import Reply
from web.answers import JSON
from web.asking import route_of
from web.bodies import SqlBody, read_body
from web.errors import (
    BUSY,
    DEADLINE,
    SQL_FAILED,
    SQL_MEMORY,
    SQL_OFF,
    SQL_REFUSED,
    SQL_SYNTAX,
    SQL_UNCONFINED,
    TOO_LARGE,
    UNAVAILABLE,
    Fault,
    Kind,
    Problem,
)
from web.eventparams import SqlParams
from web.keys import AUDIT, OBSERVER, QUERIES, REDACTOR, REQUEST_ID, SQL
from web.negotiation import accepted
from web.status import HTTP_ABORTED, SQL_SECONDS, SQL_STATEMENTS

_log = logging.getLogger(__name__)

ROWS, TRUNCATED = "X-Row-Count", "X-Truncated"
MEDIA: dict[Form, str] = {
    "json": JSON,
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_MISTAKES: dict[str, Kind] = {
    "syntax": SQL_SYNTAX,
    "query": SQL_FAILED,
    "refused": SQL_REFUSED,
    "long": TOO_LARGE,
}


async def sql(request: web.Request, params: SqlParams) -> web.StreamResponse:
    """Run one statement and stream its answer. A client that leaves stops it."""
    spares = request.app.get(SQL)
    if spares is None:
        hint = "set `enabled = true` in [sql] and start the daemon again; `watchkeep sql` works without"
        raise Problem(SQL_OFF, "statements in SQL are not answered here", (Fault(("body",), "off", hint),))
    body = await read_body(SqlBody, request)
    form = _form(request, params, body)
    ask = Ask(
        sql=body.sql,
        params=body.params,
        form=form,
        max_rows=spares.options.max_rows,
        max_bytes=spares.options.max_bytes,
        whole=True,
        facts={"seq": _committed(request)},
    )
    trace = _Trace(request, body.sql, form)
    try:
        async with spares.answer(ask) as reply:
            await trace.answered(reply)
            return await _send(request, form, reply)
    except BusyError:
        trace.refused()
        raise
    except ArchiveError as error:
        problem = _problem(error)
        await trace.failed(UNAVAILABLE.code if problem is None else problem.kind.code)
        if problem is None:
            raise
        raise problem from error
    except asyncio.CancelledError:
        await trace.failed("left")
        raise


def _form(request: web.Request, params: SqlParams, body: SqlBody) -> Form:
    """Return the form asked for: by parameter, by the body, or by the media type that `Accept` likes best of those there are."""
    named: Form | None = params.format or body.format
    if named is not None:
        return named
    for wanted in accepted(request.headers.get("Accept", "")):
        for form, media in MEDIA.items():
            if media == wanted:
                return form
    return "json"


def _committed(request: web.Request) -> int:
    """Return a seq up to which the answer has every row: what is committed by now."""
    snapshot = request.app[QUERIES].snapshot()
    return max((file.max_seq for file in (*snapshot.events, *snapshot.rejects)), default=0)


async def _send(request: web.Request, form: Form, reply: Reply) -> web.StreamResponse:
    """Write the answer; ``write`` waits while the reader is slow. On a failure the connection is cut."""
    kind = f"{MEDIA[form]}; charset=utf-8" if form == "csv" else MEDIA[form]
    response = web.StreamResponse(
        headers={
            "Content-Type": kind,
            ROWS: str(reply.heading.rows),
            TRUNCATED: str(bool(reply.heading.truncated)).lower(),
        }
    )
    await response.prepare(request)
    try:
        async for piece in reply.pieces:
            await response.write(piece)
        await response.write_eof()
    except ArchiveError:
        # The head has left, so no problem+json can follow: the missing end of the chunked body is the message.
        _log.exception("the answer of request %s was cut off", request[REQUEST_ID])
        request.app[OBSERVER].count(HTTP_ABORTED, route=route_of(request))
        if request.transport is not None:
            request.transport.abort()
        with suppress(ConnectionError):
            await response.write_eof()
    return response


class _Trace:
    """What becomes of one statement, for the audit trail and the metrics. It ends once."""

    def __init__(self, request: web.Request, statement: str, form: Form) -> None:
        self._request = request
        self._statement = request.app[REDACTOR].text(statement)
        self._form = form
        self._began = time.perf_counter()
        self._ended = False

    async def answered(self, reply: Reply) -> None:
        """Record an answer before its first byte leaves. Raises what the daemon raises: no trace, no answer."""
        heading = reply.heading
        await self._record("truncated" if heading.truncated else "answered", heading.rows)

    async def failed(self, outcome: str) -> None:
        """Record that there is no answer, or that whoever asked left before it."""
        if not self._ended:
            await self._record(outcome, None)

    def refused(self) -> None:
        """Count one that was never run: those who ask too often fill no trail."""
        self._request.app[OBSERVER].count(SQL_STATEMENTS, result=BUSY.code)

    async def _record(self, outcome: str, rows: int | None) -> None:
        self._ended = True
        seconds = time.perf_counter() - self._began
        observer = self._request.app[OBSERVER]
        observer.count(SQL_STATEMENTS, result=outcome)
        observer.seconds(SQL_SECONDS, seconds)
        facts = {"outcome": outcome, "rows": rows, "ms": round(seconds * 1000, 1), "format": self._form}
        await self._request.app[AUDIT].stated(self._request, self._statement, facts, failed=rows is None)


def _problem(error: ArchiveError) -> Problem | None:
    """Return the problem that a statement's error is; None for those that every query can have."""
    at = ("body", "sql")
    if isinstance(error, StatementError):
        return Problem(_MISTAKES[error.kind], error.what, (Fault(at, error.what, error.hint),))
    if isinstance(error, UnconfinedError):
        detail = "this system offers nothing that a statement could be confined with"
        return Problem(SQL_UNCONFINED, detail, (Fault(at, error.what, "Linux with Landlock has it"),))
    if isinstance(error, DeadlineError):
        kind = SQL_MEMORY if isinstance(error, MemoryCapError) else DEADLINE
        return Problem(kind, error.what, (Fault(at, error.what, error.hint),))
    return None
