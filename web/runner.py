"""How the application is served: a client that leaves cancels its query, and bytes that are no request get a problem.

aiohttp answers what it cannot parse below the application, in plain text; one method of its connection is replaced so
that this answer has the shape and the headers of every other.
"""

from __future__ import annotations

import logging
import sys
import uuid
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import InvalidURLError, LineTooLong

from web.errors import CONTENT_TYPE, MALFORMED, Problem, render
from web.headers import security_headers

_log = logging.getLogger(__name__)

# Longer than the guard's own limit, so that a long query string gets a 414 that says so.
MAX_LINE_BYTES = 64 * 1024
MAX_HEADER_BYTES = 16 * 1024
_UNREADABLE: dict[type[object], str] = {
    LineTooLong: f"the request's first line or a header is longer than {MAX_LINE_BYTES} or {MAX_HEADER_BYTES} bytes",
    InvalidURLError: "the address has characters that must be percent-encoded, such as those that are not ASCII",
}
KEEP_ALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 2.0  # for answers under way when the daemon stops; a long export is cut visibly


def create_runner(app: web.Application) -> web.AppRunner:
    """Return the runner that the application needs."""
    return _Runner(
        app,
        handler_cancellation=True,
        access_log=None,  # `/metrics` and the audit events say more
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


class _Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = MALFORMED.status,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed, or what failed outside every handler, and close the connection."""
        if status != MALFORMED.status:
            return super().handle_error(request, status, exc, message)
        request_id = uuid.uuid4().hex
        _log.info("request %s could not be read: %s", request_id, type(exc).__name__)
        problem = Problem(MALFORMED, _UNREADABLE.get(type(exc), "these bytes are no HTTP request"))
        response = web.Response(
            status=status,
            body=render(problem, request_id=request_id, instance=""),
            content_type=CONTENT_TYPE,
            headers=security_headers(request_id),
        )
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Write down what failed outside every handler, but not that a body nobody wanted cannot be decoded."""
        if not isinstance(sys.exception(), web.RequestPayloadError):
            super().log_exception(*args, **kw)


class _Server(web.Server):
    """Makes our kind of connection."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    """Sets our kind of server up."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no public way to another kind of connection
            **made._kwargs,  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        )
