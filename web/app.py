"""The application: state, middlewares and routes put together. Serve it with `create_runner`.

A request passes `observe` (its id, its metrics), `problems` (every error becomes problem+json), the guard (Host,
origin, size) and `identified` (who asks, and how often) before its handler; its route says what the caller must be.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from parsers.redact import Redactor
from storage.errors import ArchiveError
from storage.hub import Hub
from storage.keyring import Keyring
from storage.observer import Observer, Silent
from storage.queries import Queries
from storage.spares import Spares
from web import dashboard
from web.access import Access
from web.asking import route_of
from web.audit import Audit
from web.cache import AnswerCache
from web.callers import CALLER, anonymous
from web.errors import (
    CONTENT_TYPE,
    CROSS_SITE,
    FORBIDDEN,
    HOST,
    INTERNAL,
    MALFORMED,
    TOO_MANY,
    UNAUTHORIZED,
    UNAVAILABLE,
    Problem,
    from_archive,
    from_http,
    render,
)
from web.guard import MAX_BODY_BYTES, Guard
from web.headers import add_headers
from web.keys import (
    ACCESS,
    AUDIT,
    CLOCK,
    DAEMON,
    DETECTION,
    HUB,
    LENGTHS,
    LOAD,
    OBSERVER,
    OPTIONS,
    PEER,
    QUERIES,
    REDACTOR,
    REQUEST_ID,
    SITE,
    SQL,
    STATISTICS_CACHE,
    TELLING,
    Load,
    WebOptions,
)
from web.openapi import document
from web.peers import Network, peer_of
from web.ranges import Lengths
from web.routes import add_routes
from web.runner import create_runner
from web.status import HTTP_IN_FLIGHT, HTTP_REFUSED, HTTP_SECONDS, Daemon, Detection, Telling

__all__ = ["create_app", "create_runner"]

_log = logging.getLogger(__name__)

REFUSALS = frozenset({HOST, CROSS_SITE, UNAUTHORIZED, FORBIDDEN, TOO_MANY})  # counted and audited
UNLIMITED = frozenset(
    {"/health/live", "/health/ready", "/metrics"}
)  # asked by machines, all the time, cheaply
CLIENT_GONE = "499"  # the status label of a request whose client left before its answer


def create_app(
    options: WebOptions,
    queries: Queries,
    daemon: Daemon,
    hub: Hub,
    *,
    observer: Observer | None = None,
    clock: Callable[[], int] | None = None,
    keyring: Keyring | None = None,
    spares: Spares | None = None,
    detection: Detection | None = None,
    telling: Telling | None = None,
) -> web.Application:
    """Return the application. ``clock`` gives microseconds since 1970; serve it with `create_runner`.

    ``keyring`` holds the API keys; without one there are none. ``spares`` answers statements in SQL; without it they
    are refused.
    """
    guard = Guard((options.host, *options.allowed_hosts))
    app = web.Application(
        middlewares=[observe, problems, _guarded(guard, options.access.proxies), identified],
        client_max_size=MAX_BODY_BYTES,
    )
    app[OPTIONS] = options
    app[QUERIES] = queries
    app[DAEMON] = daemon
    app[HUB] = hub
    if spares is not None:
        app[SQL] = spares
    if detection is not None:
        app[DETECTION] = detection
    if telling is not None:
        app[TELLING] = telling
    app[OBSERVER] = observer or Silent()
    app[CLOCK] = clock or _wall_clock
    app[AUDIT] = Audit(daemon, app[CLOCK])
    app[ACCESS] = Access(options.access, keyring or Keyring(), app[CLOCK])
    app[REDACTOR] = Redactor(options.redaction)
    app[LOAD] = Load()
    app[LENGTHS] = Lengths()
    app[STATISTICS_CACHE] = AnswerCache(round(options.statistics_cache_seconds * 1_000_000))
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_load_dashboard)
    app.on_shutdown.append(_end_streams)
    add_routes(app, functools.partial(document, page_limit=options.page_limit, version=options.version))
    return app


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, count it while it runs and record how long it took."""
    request[REQUEST_ID] = uuid.uuid4().hex
    observer = request.app[OBSERVER]
    load = request.app[LOAD]
    load.running += 1
    observer.gauge(HTTP_IN_FLIGHT, load.running)
    started = time.perf_counter()
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = str(response.status)
        return response
    finally:
        load.running -= 1
        observer.gauge(HTTP_IN_FLIGHT, load.running)
        seconds = time.perf_counter() - started
        observer.seconds(HTTP_SECONDS, seconds, method=request.method, route=route_of(request), status=status)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn everything that is not an answer into problem+json."""
    try:
        return await handler(request)
    except Problem as error:
        problem = error
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = from_http(error)
    except web.RequestPayloadError:
        problem = Problem(MALFORMED, "the body is not encoded as the request's headers say")
    except ArchiveError as error:
        problem = from_archive(error)
        if problem.kind is UNAVAILABLE:
            _log.exception("request %s could not be answered", request[REQUEST_ID])
    except Exception:  # noqa: BLE001 - see below
        # The last resort: whatever is wrong is told to the log, and to the client only where to find it.
        _log.exception("request %s failed: %s %s", request[REQUEST_ID], request.method, request.path)
        problem = Problem(INTERNAL, "the daemon's log says more under this request_id")
    if problem.kind in REFUSALS:
        code = problem.kind.code
        request.app[OBSERVER].count(HTTP_REFUSED, reason=code)
        await request.app[AUDIT].refused(request, code, problem.detail, problem.kind.status)
    body = render(problem, request_id=request[REQUEST_ID], instance=request.path)
    return web.Response(
        status=problem.kind.status, body=body, content_type=CONTENT_TYPE, headers=dict(problem.headers)
    )


def _guarded(guard: Guard, proxies: Sequence[Network]) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = peer_of(request, proxies)
        request[PEER] = peer
        request[CALLER] = anonymous(peer.address)  # until more is known: a refusal is audited as well
        guard.check(request, peer)
        return await handler(request)

    return check


@web.middleware
async def identified(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks, and refuse one that asks too often."""
    access = request.app[ACCESS]
    caller = access.identify(request, request[PEER])
    request[CALLER] = caller
    if route_of(request) not in UNLIMITED:
        access.take(caller)
    if caller.key_id is not None and access.noteworthy(caller.key_id):
        await asyncio.to_thread(access.note_use, caller.key_id)
    return await handler(request)


async def _load_dashboard(app: web.Application) -> AsyncIterator[None]:
    options = app[OPTIONS]
    values = {
        "refresh_seconds": str(options.refresh_seconds),
        "page_limit": str(options.page_limit),
        "version": options.version,
    }
    app[SITE] = await asyncio.to_thread(dashboard.load, options.static, values)
    yield


async def _end_streams(app: web.Application) -> None:
    """End every live stream: aiohttp waits for what is being answered only after this."""
    await app[HUB].close()


def _wall_clock() -> int:
    return time.time_ns() // 1000
