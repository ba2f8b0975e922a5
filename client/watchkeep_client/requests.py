"""What an event says of an HTTP request, whichever framework made it: Starlette and FastAPI, aiohttp, Flask."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ref

from watchkeep_client.ids import new_id

REQUEST_ID_HEADER = "X-Request-ID"
# Headers that help to understand a request and carry no secret; all others stay out of the log.
SAFE_HEADERS = (
    "accept",
    "accept-language",
    "content-length",
    "content-type",
    "host",
    "origin",
    "referer",
    "traceparent",
    "x-forwarded-for",
    "x-request-id",
)
SESSION_COOKIE = "session_id"
PATH_CHARACTERS = 2048
HEADER_CHARACTERS = 512
# A request id from outside is used only if it cannot be mistaken for anything else in a log or a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_NOTE = "watchkeep_correlation_id"
# Ids made here, by the id() of their request, for as long as it lives.
_made: dict[int, tuple[ref[Any], str]] = {}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request as events describe it. The query string is left out: it may hold secrets."""

    method: str | None
    path: str | None
    ip: str | None
    user_agent: str | None
    headers: dict[str, str]
    session_id: str | None
    correlation_id: str | None


def describe(request: Any, trusted_hops: int = 0) -> RequestInfo:
    """Describe a request of FastAPI, Starlette, aiohttp or Flask. ``trusted_hops``: see `client_address`."""
    headers: Mapping[str, str] = getattr(request, "headers", None) or {}
    agent = _header(headers, "User-Agent")
    return RequestInfo(
        method=getattr(request, "method", None),
        path=_path(request),
        ip=client_address(request, trusted_hops),
        user_agent=agent and agent[:HEADER_CHARACTERS],
        headers=_safe(headers),
        session_id=_session(request),
        correlation_id=request_id(request),
    )


def client_address(request: Any, trusted_hops: int = 0) -> str | None:
    """Return the client's address.

    ``X-Forwarded-For`` can be sent by anybody, so it counts only for as many steps as there are proxies of ours in
    front (``trusted_hops``): with one, the last address of the list; with none, the connection's own.
    """
    if trusted_hops > 0:
        forwarded = _header(getattr(request, "headers", None) or {}, "X-Forwarded-For") or ""
        chain = [part.strip() for part in forwarded.split(",") if part.strip()]
        if len(chain) >= trusted_hops:
            return chain[-trusted_hops]
    client = getattr(request, "client", None)
    for found in (
        getattr(client, "host", None),
        getattr(request, "remote", None),
        getattr(request, "remote_addr", None),
    ):
        if isinstance(found, str):
            return found
    return None


def request_id(request: Any) -> str:
    """Return the id that ties a request's events together: the caller's, or one made at first use and kept."""
    given = _header(getattr(request, "headers", None) or {}, REQUEST_ID_HEADER)
    if given is not None and is_request_id(given):
        return given
    try:
        state = getattr(request, "state", None)
        return _kept_by(request) if state is None else _kept_in(state)
    except (AttributeError, TypeError):
        return new_id()  # an object that cannot be remembered: its events then have an id each


def is_request_id(text: str) -> bool:
    """True when ``text`` is short and plain enough to be used as an id."""
    return _REQUEST_ID.fullmatch(text) is not None


def _kept_in(state: Any) -> str:
    """Starlette makes several request objects for one request; what they share is the state."""
    kept = getattr(state, _NOTE, None)
    if not isinstance(kept, str):
        kept = new_id()
        setattr(state, _NOTE, kept)
    return kept


def _kept_by(request: Any) -> str:
    """Other frameworks have one object a request, and mind notes on it: the table forgets it when it is gone."""
    key = id(request)
    kept = _made.get(key)
    if kept is None:
        kept = _made[key] = ref(request, lambda _: _made.pop(key, None)), new_id()
    return kept[1]


def _path(request: Any) -> str | None:
    found = getattr(request, "path", None)  # aiohttp, Flask
    if not isinstance(found, str):
        found = getattr(getattr(request, "url", None), "path", None)  # Starlette
    return found[:PATH_CHARACTERS] if isinstance(found, str) else None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return headers.get(name) or headers.get(name.lower())


def _safe(headers: Mapping[str, str]) -> dict[str, str]:
    found = ((name, _header(headers, name)) for name in SAFE_HEADERS)
    return {name: value[:HEADER_CHARACTERS] for name, value in found if value}


def _session(request: Any) -> str | None:
    cookies = getattr(request, "cookies", None) or {}
    cookie = cookies.get(SESSION_COOKIE)
    # The cookie is a key to the account. Its hash tells sessions apart and opens nothing.
    return hashlib.sha256(cookie.encode()).hexdigest()[:16] if cookie else None
