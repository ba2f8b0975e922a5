"""What a request must look like before any handler sees it: its Host, its origin if it changes something, its size."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from web.errors import CROSS_SITE, HOST, TOO_LARGE, TOO_LONG, Fault, Problem
from web.peers import Peer

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MAX_BODY_BYTES = 256 * 1024  # room for the longest statement in SQL, escaped, and its values
MAX_QUERY_CHARS = 8000  # the longest form of a filter a person or the dashboard writes is far below


class Guard:
    """Refuses what a browser was tricked into sending, and what is too large to be meant."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = LOOPBACK_HOSTS | {host.lower() for host in hosts}

    def check(self, request: web.Request, peer: Peer) -> None:
        """Return if the request may go on; otherwise raise the Problem that says what to change."""
        self._check_host(request, peer)
        if request.method not in SAFE_METHODS:
            _check_site(request, peer.host)
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise Problem(TOO_LARGE, f"no request here needs more than {MAX_BODY_BYTES} bytes of body")
        if len(request.query_string) > MAX_QUERY_CHARS:
            raise Problem(TOO_LONG, f"the query string may have at most {MAX_QUERY_CHARS} characters")

    def _check_host(self, request: web.Request, peer: Peer) -> None:
        """Answer only for our own names: a page that rebinds its DNS name to this machine has another one."""
        given = request.headers.getall("Host", [])
        if len(given) == 1 and host_name(peer.host) in self._hosts:
            return
        hint = "use http://127.0.0.1 or http://localhost, or add the name to [web] allowed_hosts"
        raise Problem(
            HOST, "the Host header names another server", (Fault(("header", "Host"), "refused", hint),)
        )


def host_name(host: str) -> str:
    """Return a Host header without its port, in lower case; an IPv6 address keeps its brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _check_site(request: web.Request, host: str) -> None:
    """Refuse a change that a browser sends for another site.

    Fetch Metadata says so in every browser of today; an older one still sends Origin. A client that is no browser
    sends neither and can forge both, so nothing is lost by letting it pass: it is not somebody's confused browser.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site.strip().lower() in {"same-origin", "none"}:
            return
        raise _cross_site("Sec-Fetch-Site", site)
    origin = request.headers.get("Origin")
    if origin is not None and not _same_origin(origin, host):
        raise _cross_site("Origin", origin)


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc == host.strip().lower()


def _cross_site(header: str, value: str) -> Problem:
    hint = "send it from this server's own page or from a program, not from another site"
    return Problem(
        CROSS_SITE,
        f"{header} says that another site sent this",
        (Fault(("header", header), value[:100], hint),),
    )
