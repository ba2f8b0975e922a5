"""The headers every answer carries, streams and errors included."""

from __future__ import annotations

from aiohttp import web

from web.keys import REQUEST_ID

# An answer of the API is data: whatever it holds, a browser must neither run, frame nor load anything for it.
API_CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

SECURITY: tuple[tuple[str, str], ...] = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what is missing just before an answer's head is sent; a handler's own value stands."""
    headers = response.headers
    for name, value in SECURITY:
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", API_CSP)
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("X-Request-Id", request.get(REQUEST_ID, ""))
    headers["Server"] = "watchkeep"
