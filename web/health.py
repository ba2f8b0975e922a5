"""Whether the daemon lives, whether it is ready, and its metrics."""

from __future__ import annotations

import asyncio

from aiohttp import web

from storage.roles import VIEWER, allows
from web.answers import json_answer
from web.callers import caller_of
from web.errors import NOT_READY, RETRY_SECONDS, Problem
from web.keys import DAEMON
from web.params import NoParams

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def live(_request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer at all: the event loop turns."""
    return json_answer({"status": "live"})


async def ready(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer 200 when lines are archived and queries answered, else 503 with the reason.

    `degraded` tells what is wrong all the same: it is for people and alerts, and no reason to take the daemon away. It
    names files, so who may not even be a viewer gets an empty list.
    """
    is_ready, reason = request.app[DAEMON].ready()
    if not is_ready:
        raise Problem(NOT_READY, reason, headers={"Retry-After": str(RETRY_SECONDS)})
    known = allows(caller_of(request).role, VIEWER)
    degraded = list(request.app[DAEMON].degraded()) if known else []
    return json_answer({"status": "ready", "degraded": degraded})


async def metrics(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the Prometheus text exposition."""
    text = await asyncio.to_thread(request.app[DAEMON].metrics)
    return web.Response(body=text, headers={"Content-Type": METRICS_TYPE})
