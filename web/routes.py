"""Every endpoint, as one table. Routing, checks, OpenAPI, the audit of reads and the docs test all follow it.

The order counts: a static path stands before `/events/{event_id}`, or that would swallow it.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from storage.roles import NONE
from web import login
from web.activityroutes import ACTIVITY_ROUTES
from web.alertroutes import ALERT_ROUTES
from web.answers import JSON
from web.callers import authorize, caller_of
from web.dashboard import ASSETS, asset_answer
from web.eventroutes import EVENT_ROUTES
from web.keys import AUDIT, PREFIX, SITE
from web.params import read
from web.route import Route
from web.serviceroutes import SERVICE_ROUTES

_VARIABLE = re.compile(r"\{(\w+)\}")

ROUTES: tuple[Route, ...] = (*EVENT_ROUTES, *ALERT_ROUTES, *SERVICE_ROUTES, *ACTIVITY_ROUTES)


def add_routes(app: web.Application, openapi: Callable[[], dict[str, Any]]) -> None:
    """Add every route under both prefixes, the OpenAPI document, and the dashboard.

    ``openapi`` makes the document when somebody asks for it first, in a thread: it takes a fifth of a second.
    """

    @functools.cache
    def spec() -> bytes:
        return orjson.dumps(openapi())

    async def serve_openapi(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=await asyncio.to_thread(spec), content_type=JSON)

    # GET brings HEAD along.
    adding = {
        "GET": app.router.add_get,
        "DELETE": app.router.add_delete,
        "POST": app.router.add_post,
    }
    for prefix in (PREFIX, ""):
        app.router.add_get(f"{prefix}/openapi.json", serve_openapi)
        for route in ROUTES:
            add = adding[route.method]
            add(prefix + _pattern(route), _handled(route))
    app.router.add_get("/", login.page)
    app.router.add_get("/login", login.form)
    app.router.add_post("/login", login.log_in)
    app.router.add_post("/logout", login.log_out)
    app.router.add_get(f"{ASSETS}/{{digest}}/{{name:.+}}", _asset)


def _pattern(route: Route) -> str:
    """Return the path for aiohttp: a last variable does not stand for a word that only other methods have.

    Without that, GET on `/events/cleanup` would look for an event of that id, and 405 would promise a GET there.
    """
    stem, brace, variable = route.path.rpartition("{")
    if not brace or "}" in stem:
        return route.path
    if not variable.endswith("}"):
        return _VARIABLE.sub(r"{\1:[^/]+}", route.path)
    taken = [other.path.removeprefix(stem) for other in ROUTES if other.method != route.method]
    words = "|".join(re.escape(word) for word in taken if word and "/" not in word)
    name = variable.removesuffix("}")
    # aiohttp's own pattern of a variable refuses braces, which an application's id may well hold.
    return f"{stem}{{{name}:(?!(?:{words})$)[^/]+}}" if words else f"{stem}{{{name}:[^/]+}}"


def _handled(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        authorize(caller_of(request), route.role, scope=route.scope, tenants=route.tenants or route.role == NONE)
        params = read(route.params, request)
        response = await route.handler(request, params)
        if route.view is not None:
            await request.app[AUDIT].read(request, route.view)
        return response

    return handle


async def _asset(request: web.Request) -> web.StreamResponse:
    return asset_answer(request, request.app[SITE])

