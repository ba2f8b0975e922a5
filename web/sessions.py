"""Sessions of the dashboard: in memory, so that a restart ends them all; a session lives no longer than its key.

The cookie holds 256 random bits, the store their hash: what a dump of memory shows lets nobody in.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

TOKEN_BYTES = 32
MAX_SESSIONS = 1000  # the one that was used longest ago ends first
COOKIE = "watchkeep"  # plain http on this machine: browsers refuse the prefix without https
SECURE_COOKIE = "__Host-watchkeep"  # https: bound to this host and path by the browser itself


@dataclass(slots=True)
class Session:
    """One log-in. Times are microseconds since 1970."""

    key_id: str
    begun_us: int
    used_us: int


class Sessions:
    """Begins, finds and ends sessions. Belongs to the event loop."""

    def __init__(self, *, idle_us: int, longest_us: int) -> None:
        self._idle_us = idle_us
        self._longest_us = longest_us
        self._held: OrderedDict[str, Session] = OrderedDict()  # hash of the token → session

    def begin(self, key_id: str, now_us: int) -> str:
        """Begin a session and return its token for the cookie."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._held[_digest(token)] = Session(key_id, now_us, now_us)
        if len(self._held) > MAX_SESSIONS:
            self._held.popitem(last=False)
        return token

    def find(self, token: str, now_us: int) -> Session | None:
        """Return a session that still runs, and note that it is used."""
        digest = _digest(token)
        session = self._held.get(digest)
        if session is None:
            return None
        if now_us - session.used_us >= self._idle_us or now_us - session.begun_us >= self._longest_us:
            del self._held[digest]
            return None
        session.used_us = max(session.used_us, now_us)
        self._held.move_to_end(digest)
        return session

    def end(self, token: str) -> Session | None:
        """End a session and return it, if it was one."""
        return self._held.pop(_digest(token), None)

    def __len__(self) -> int:
        return len(self._held)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
