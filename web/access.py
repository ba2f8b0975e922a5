"""Finds out who asks: by key, by session, by a trusted proxy's word, or because nobody but this machine can ask.

In this order, and the first that applies decides: a key that is wrong is an error, whatever else came along.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from storage.keyring import Key, Keyring
from storage.roles import AUDITOR, DEFAULT_SCOPES, Role, allows, strongest
from web.callers import CHALLENGE, Caller, Via, anonymous, at_the_keyboard
from web.errors import CROSS_SITE, TOO_MANY, UNAUTHORIZED, Fault, Problem
from web.guard import SAFE_METHODS
from web.limits import Limiter
from web.peers import Network, Peer
from web.sessions import COOKIE, SECURE_COOKIE, Sessions

_log = logging.getLogger(__name__)

KEY_HEADER = "X-API-Key"
DEFAULT_REQUESTS_PER_SECOND = 50.0  # a dashboard asks for eight things at once, every few seconds
DEFAULT_BURST = 200
DEFAULT_FAILURES_PER_MINUTE = 10.0
DEFAULT_IDLE_MINUTES = 60.0
DEFAULT_SESSION_HOURS = 12.0
EVERYBODY = "*"  # in the table of a trusted header: everybody that the proxy lets through
GROUP = "@"  # there, before the name of a group
MAX_NAME_CHARS = 128  # of a user that a proxy names

MINUTE_US = 60_000_000
SECONDS_A_MINUTE = 60


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who may ask, and how often. ``daemon.reach`` says what each means."""

    loopback_admin: bool = False
    proxies: tuple[Network, ...] = ()
    user_header: str | None = None
    groups_header: str | None = None
    roles: Mapping[str, Role] = field(default_factory=dict[str, Role])  # user or @group → role
    requests_per_second: float = DEFAULT_REQUESTS_PER_SECOND
    requests_burst: int = DEFAULT_BURST
    failures_per_minute: float = DEFAULT_FAILURES_PER_MINUTE
    session_idle_minutes: float = DEFAULT_IDLE_MINUTES
    session_hours: float = DEFAULT_SESSION_HOURS


class Access:
    """Knows the keys, the sessions and how often each caller asked. Belongs to the event loop."""

    def __init__(self, options: AccessOptions, keyring: Keyring, clock: Callable[[], int]) -> None:
        self.options = options
        self.keyring = keyring
        self.sessions = Sessions(
            idle_us=round(options.session_idle_minutes * MINUTE_US),
            longest_us=round(options.session_hours * 60 * MINUTE_US),
        )
        self._clock = clock
        self._requests = Limiter(options.requests_per_second, options.requests_burst)
        self._failures = Limiter(options.failures_per_minute / SECONDS_A_MINUTE, options.failures_per_minute)

    def identify(self, request: web.Request, peer: Peer) -> Caller:
        """Return who asks. Raises the 401 for a key that is wrong, the 429 for too many of those."""
        token = token_of(request)
        if token is not None:
            return self.by_key(token, peer.address)
        return (
            self._by_session(request, peer)
            or self._by_header(request, peer)
            or self._by_place(peer)
            or anonymous(peer.address)
        )

    def by_key(self, token: str, address: str) -> Caller:
        """Return the caller of a key. Raises the 401 for a wrong one, 429 when there were too many from an address.

        A right key is never held up by other people's wrong ones: 256 bits cannot be guessed, so the limit is there
        to keep the noise down, and many clients may share an address.
        """
        key = self.keyring.find(token, self._clock())
        if key is None:
            missing = self._failures.wait(address)
            if missing:
                raise too_many("too many wrong keys from this address", missing)
            detail = "this key is not valid: unknown, expired or revoked"
            raise Problem(
                UNAUTHORIZED, detail, headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
            )
        return caller_with(key, address, "loopback" if self.keyring.lent(key.id) else "key")

    def take(self, caller: Caller) -> None:
        """Count a request. Raises the 429 when the caller asks too often; the one at the keyboard never does."""
        if caller.via == "loopback":
            return
        missing = self._requests.wait(f"{caller.id} {'' if caller.key_id else caller.address}")
        if missing:
            raise too_many("this caller asks too often", missing)

    def noteworthy(self, key_id: str) -> bool:
        """Say whether this use of a key begins an hour that its record does not have yet."""
        key = self.keyring.active(key_id, self._clock())
        return key is not None and self.keyring.stale(key, self._clock())

    def note_use(self, key_id: str) -> None:
        """Keep the hour of a key's use. Blocks; a disk that refuses keeps nobody out."""
        try:
            self.keyring.note_use(key_id, self._clock())
        except OSError:
            _log.exception("the use of key %s could not be noted", key_id)

    def _by_session(self, request: web.Request, peer: Peer) -> Caller | None:
        token = cookie_of(request)
        session = self.sessions.find(token, self._clock()) if token else None
        key = self.keyring.active(session.key_id, self._clock()) if session else None
        if key is None:
            return None
        if request.method not in SAFE_METHODS and not _same_site(request):
            # The guard lets a program without these headers pass; what carries a cookie is a browser.
            hint = "a browser sends Sec-Fetch-Site or Origin; a program sends its key instead of a cookie"
            fault = Fault(("header", "Sec-Fetch-Site"), "missing", hint)
            raise Problem(CROSS_SITE, "a session changes something only from its own page", (fault,))
        return caller_with(key, peer.address, "session")

    def _by_header(self, request: web.Request, peer: Peer) -> Caller | None:
        """Believe a proxy that is trusted. From anybody else the header is as if it were not there."""
        options = self.options
        if options.user_header is None or not peer.trusted:
            return None
        names = request.headers.getall(options.user_header, [])
        if len(names) != 1 or not names[0].strip():
            return None
        name = names[0].strip()[:MAX_NAME_CHARS]
        groups = ",".join(request.headers.getall(options.groups_header, [])) if options.groups_header else ""
        wanted = [EVERYBODY, *(f"{GROUP}{group.strip()}" for group in groups.split(","))]
        if not name.startswith(GROUP):  # nobody gets a group's role by being called like it
            wanted.append(name)
        role = strongest(options.roles[word] for word in wanted if word in options.roles)
        scopes = frozenset(DEFAULT_SCOPES if allows(role, AUDITOR) else ())
        return Caller(name, role, peer.address, "header", user=name, scopes=scopes)

    def _by_place(self, peer: Peer) -> Caller | None:
        """Know the person at the keyboard, as long as there are no keys or the settings say so.

        A proxy on this machine speaks for somebody else. Before there are keys what it forwards may read.
        """
        if not peer.loopback and not (peer.proxied and peer.trusted):
            return None
        keyless = not self.keyring.in_use and self.options.user_header is None
        if peer.proxied:
            scopes = frozenset(DEFAULT_SCOPES)
            return Caller("proxy", AUDITOR, peer.address, "proxy", scopes=scopes) if keyless else None
        if self.options.user_header is not None and peer.trusted:
            return None  # the proxy itself, which names nobody
        if not self.keyring.in_use or self.options.loopback_admin:
            return at_the_keyboard(peer.address)
        return None


def caller_with(key: Key, address: str, via: Via) -> Caller:
    """Return the caller that a key makes."""
    return Caller(
        key.name,
        key.role,
        address,
        via,
        key_id=key.id,
        user=key.user,
        tenant=key.tenant,
        scopes=frozenset(key.scopes),
    )


def token_of(request: web.Request) -> str | None:
    """Return the key that a request carries. Another scheme than Bearer belongs to a proxy and is not looked at."""
    for value in request.headers.getall("Authorization", []):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    given = request.headers.get(KEY_HEADER)
    return given.strip() if given is not None else None


def cookie_of(request: web.Request) -> str | None:
    """Return the session's token."""
    return request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE)


def too_many(detail: str, seconds: float) -> Problem:
    """Return the 429 that says how long to wait."""
    return Problem(TOO_MANY, detail, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def _same_site(request: web.Request) -> bool:
    return "Sec-Fetch-Site" in request.headers or "Origin" in request.headers
