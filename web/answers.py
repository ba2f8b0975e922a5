"""How answers are written: JSON bodies, the original's envelopes, validators for polls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

JSON = "application/json"
_ETAG_BYTES = 12  # of a hash; 96 bits are far beyond chance for one server's answers


def json_answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON answer. ``value`` must be JSON-able: orjson refuses anything else, loudly."""
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON, headers=headers)


def body_of(value: Any) -> bytes:
    """Return a value as JSON text."""
    return orjson.dumps(value)


def raw_answer(parts: list[bytes], headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON answer from pieces that are JSON text already."""
    return web.Response(body=b"".join(parts), content_type=JSON, headers=headers)


def envelope(data: Any, message: str, now: str) -> dict[str, Any]:
    """Return the original's envelope for one thing or a short list."""
    return {"success": True, "message": message, "data": data, "timestamp": now}


def rows_json(rows: Sequence[str]) -> bytes:
    """Return JSON texts as one JSON array."""
    return b"[" + ",".join(rows).encode() + b"]"


def etag(*parts: object) -> str:
    """Return a weak validator over everything that decides an answer."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=_ETAG_BYTES)
    return f'W/"{digest.hexdigest()}"'


def unchanged(request: web.Request, tag: str) -> web.Response | None:
    """Return the 304 if the client already has the answer with this validator, else None."""
    given = request.headers.get("If-None-Match")
    if given is None:
        return None
    wanted = tag.removeprefix("W/")
    candidates = (part.strip().removeprefix("W/") for part in given.split(","))
    if not any(part in {wanted, "*"} for part in candidates):
        return None
    return web.Response(status=304, headers=validators(tag))


def validators(tag: str) -> dict[str, str]:
    """Return the headers that make a browser ask again with the validator instead of keeping the answer.

    ``private``: what one caller may see is not for another behind the same proxy.
    """
    return {"ETag": tag, "Cache-Control": "private, no-cache"}
