"""The headers every answer carries, streams and errors included."""

from __future__ import annotations

from aiohttp import web

from web.keys import REQUEST_ID

# An answer of the API is data: whatever it holds, a browser must neither run, frame nor load anything for it.
API_CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

SERVER = "watchkeep"  # and no versions of anything

SECURITY: tuple[tuple[str, str], ...] = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


def security_headers(request_id: str) -> dict[str, str]:
    """Return everything that an answer of the API carries unless its handler says otherwise."""
    return {
        **dict(SECURITY),
        "Content-Security-Policy": API_CSP,
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
        "Server": SERVER,
    }


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what is missing just before an answer's head is sent; a handler's own value stands."""
    for name, value in security_headers(request.get(REQUEST_ID, "")).items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER
