"""aiohttp: one event a request, an id for it, and the trace it belongs to. Bodies are never looked at."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Collection
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from watchkeep_client.context import bind, bound, user_object
from watchkeep_client.logger import EnhancedLogger, enhanced_logger, level_of_status, outcome_of_status
from watchkeep_client.requests import REQUEST_ID_HEADER, request_id
from watchkeep_client.vocabulary import ActivityAction, ActivityLevel, EventCategory

CLIENT_WENT_AWAY = 499  # no HTTP status of its own; the number nginx made common
_TRACEPARENT = re.compile(
    r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
_ZERO_TRACE = "0" * 32


def instrument(
    app: web.Application,
    *,
    user: Callable[[web.Request], object] | None = None,
    skip: Collection[str] = (),
    logger: EnhancedLogger = enhanced_logger,
) -> None:
    """Log every request of ``app`` except those whose path is in ``skip``.

    ``user`` returns who made a request, in any shape `bind` takes; without it ``request["user"]`` is used when a
    handler or another middleware put it there. The answer carries ``X-Request-ID``: the caller's if it sent a
    sound one, else a new one. Call it before the application starts; its middleware then is the outermost.
    """
    app.middlewares.insert(0, event_middleware(user=user, skip=skip, logger=logger))
    app.on_response_prepare.append(_name_the_request)


def event_middleware(
    *,
    user: Callable[[web.Request], object] | None = None,
    skip: Collection[str] = (),
    logger: EnhancedLogger = enhanced_logger,
) -> Middleware:
    """Return the middleware alone; `instrument` also sets the header of streamed answers."""
    find_user = user or _user_of
    skipped = frozenset(skip)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in skipped:
            return await handler(request)
        trace, parent = _trace_of(request)
        span = secrets.token_hex(8)
        identity = request_id(request)
        began = time.perf_counter()
        status = 500
        details: dict[str, Any] = {} if parent is None else {"parent_span": parent}
        sent: int | None = None
        with bind(correlation_id=identity, trace_id=trace, span_id=span):
            try:
                response = await handler(request)
                status, sent = response.status, _length(response)
                if not response.prepared:
                    response.headers[REQUEST_ID_HEADER] = identity
                return response
            except web.HTTPException as answer:
                status, sent = answer.status, _length(answer)
                answer.headers[REQUEST_ID_HEADER] = identity
                raise
            except asyncio.CancelledError:
                status = CLIENT_WENT_AWAY
                raise
            except Exception as error:
                details["exception"] = {"type": type(error).__qualname__, "message": str(error)}
                raise
            finally:
                milliseconds = round((time.perf_counter() - began) * 1000, 3)
                _log(logger, request, find_user, status, milliseconds, sent, details)

    return middleware


def _log(
    logger: EnhancedLogger,
    request: web.Request,
    find_user: Callable[[web.Request], object],
    status: int,
    milliseconds: float,
    sent: int | None,
    details: dict[str, Any],
) -> None:
    try:
        found = find_user(request)
        person = None if found is None else user_object(found)
    except Exception as error:  # noqa: BLE001 - the application's callback; its fault must not become the user's
        person = None
        details["user_error"] = repr(error)
    who = person or {}
    resource = request.match_info.route.resource
    if resource is not None:
        details["route"] = resource.canonical
    logger.log_event(
        category=EventCategory.API,
        action=ActivityAction.API_CALL,
        entity_type="api",
        description=f"API call: {request.method} {request.path}",
        level=ActivityLevel.WARNING if status == CLIENT_WENT_AWAY else level_of_status(status),
        user_id=who.get("id"),
        username=who.get("username"),
        request=request,
        response_time_ms=milliseconds,
        status_code=status,
        outcome=outcome_of_status(status),
        response=None if sent is None else {"bytes": sent},
        metadata=details or None,
    )


def traceparent() -> str | None:
    """Return the `traceparent` header to send to other services from within a request; None outside of one."""
    values = bound()
    if "traceId" not in values or "spanId" not in values:
        return None
    return f"00-{values['traceId']}-{values['spanId']}-01"


async def _name_the_request(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[REQUEST_ID_HEADER] = request_id(request)


def _trace_of(request: web.Request) -> tuple[str, str | None]:
    """Return the trace a request belongs to and the caller's span, by W3C `traceparent`; a new trace without one."""
    match = _TRACEPARENT.match(request.headers.get("traceparent", ""))
    if match is None or match["trace"] == _ZERO_TRACE:
        return secrets.token_hex(16), None
    return match["trace"], match["span"]


def _user_of(request: web.Request) -> object:
    return request.get("user")


def _length(response: web.StreamResponse) -> int | None:
    if isinstance(response, web.Response):
        body = response.body
        return len(body) if isinstance(body, bytes | bytearray) else None
    return None
