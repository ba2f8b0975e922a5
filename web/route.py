"""One endpoint: what it is called, who may ask it, what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from storage.roles import AUDITOR, VIEWER, Role
from web.answers import JSON
from web.bodies import Body
from web.errors import Kind
from web.params import Params

RouteHandler = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]
TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    ``role`` is the least one that may ask (``none``: everybody), ``scope`` what a key must carry besides; ``tenants``:
    the answer keeps to one tenant's events, so a key of one tenant may ask. A route that says nothing is for those
    who may see everything: masking and tenants are promises that a handler has to keep.

    ``name`` is OpenAPI's operationId; ``answers`` maps media types to schemas (a model's or component's name, None
    for plain text); ``view`` names it in the audit trail (None: not a read of events); ``polled``: it has an ETag.
    """

    name: str
    method: str
    path: str
    handler: RouteHandler
    params: type[Params]
    summary: str
    answers: tuple[tuple[str, str | None], ...]
    tag: str
    errors: tuple[Kind, ...] = ()
    view: str | None = None
    polled: bool = False
    headers: tuple[str, ...] = ()  # of a success, besides those that every answer has
    role: Role = AUDITOR
    scope: str | None = None
    tenants: bool = False
    body: type[Body] | None = None  # what a request carries


# What a viewer may ask too, masked and kept to the tenant of the key; what is polled as well, which has an ETag.
for_viewers = partial(Route, role=VIEWER, tenants=True)
polled_by_viewers = partial(for_viewers, polled=True)


def in_json(schema: str) -> tuple[tuple[str, str | None], ...]:
    """Return the answers of a route that answers JSON of one schema only."""
    return ((JSON, schema),)
