"""API keys as commands see them: made, listed and revoked, each an event; the running daemon's, or without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from daemon.command import CommandError, Exit
from daemon.reach import loopback

if TYPE_CHECKING:  # commands import this module and must start fast
    from daemon.settings import Settings
    from storage.keyring import Key, Keyring

LENT_SECONDS = 900.0  # how long the key of a command on this machine lives; a long export goes on past it

Audit = Callable[..., Awaitable[None]]


def refuse_open_doors(settings: Settings, keyring: Keyring) -> None:
    """Raise CommandError if others than this machine's could ask and nothing would ask them who they are."""
    web = settings.web
    if loopback(web.host) or web.trusted_header is not None:
        return
    if any(key.state(_now_us()) == "active" for key in keyring.records()):
        return
    raise CommandError(
        f"[web] host = {web.host!r} is reached by others, and there is no valid key",
        Exit.CONFIG,
        hint="make one with 'watchkeep keys create --name NAME --role admin', or listen on 127.0.0.1",
    )


def create(keyring: Keyring, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the key that was asked for; return the answer, which alone has the token, and the event. Blocks."""
    days = asked.get("expires_seconds")
    now_us = _now_us()
    key, token = keyring.create(
        str(asked["name"]),
        str(asked["role"]),
        now_us=now_us,
        by=str(asked.get("author", "")),
        scopes=asked.get("scopes"),
        user=asked.get("user"),
        tenant=asked.get("tenant"),
        expires_us=None if days is None else now_us + round(float(days) * 1_000_000),
    )
    said = f"The key {key.name} was made, with the role {key.role}"
    return {"key": key.shown(now_us), "token": token}, _event(key, "create", said, asked.get("author"))


def revoke(keyring: Keyring, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """End a key; return the answer and the event. Blocks."""
    now_us = _now_us()
    key = keyring.revoke(str(asked["name"]), now_us=now_us)
    said = f"The key {key.name} was revoked"
    return {"key": key.shown(now_us)}, _event(key, "delete", said, asked.get("author"))


def listed(keyring: Keyring) -> dict[str, Any]:
    """Return every key, without what could open anything."""
    now_us = _now_us()
    return {"keys": [key.shown(now_us) for key in keyring.records()]}


class KeyKeeper:
    """The running daemon's side."""

    def __init__(self, keyring: Keyring, audit: Audit) -> None:
        self._keyring = keyring
        self._audit = audit

    async def create(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key. The event is durable before the token is told: no key without a trace."""
        answer, event = await asyncio.to_thread(create, self._keyring, asked)
        try:
            await self._audit(event, durable=True)
        except OSError:
            await asyncio.to_thread(self._keyring.revoke, answer["key"]["id"], now_us=_now_us())
            raise
        return answer

    async def revoke(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """End a key at once, sessions that it began included."""
        answer, event = await asyncio.to_thread(revoke, self._keyring, asked)
        await self._audit(event, durable=True)
        return answer

    def listed(self) -> dict[str, Any]:
        """Return every key."""
        return listed(self._keyring)

    def lend(self, author: str) -> dict[str, Any]:
        """Return a token for a command of the daemon's own user, who may read the archive's files anyway."""
        now_us = _now_us()
        expires_us = now_us + round(LENT_SECONDS * 1_000_000)
        return {"token": self._keyring.lend(author or "local", now_us=now_us, expires_us=expires_us)}


def _event(key: Key, action: str, description: str, author: Any) -> dict[str, Any]:
    facts = {"key": key.id, "name": key.name, "role": key.role, "scopes": list(key.scopes)}
    limits = {"user": key.user, "tenant": key.tenant}
    by = str(author or "unknown")
    return {
        "level": "warning",
        "category": "authorization",
        "action": action,
        "outcome": "success",
        "user": {"id": by, "username": by},
        "entity": {"type": "api_key", "id": key.id, "name": key.name},
        "description": description,
        "metadata": {**facts, **{name: value for name, value in limits.items() if value is not None}},
    }


def _now_us() -> int:
    return time.time_ns() // 1000
