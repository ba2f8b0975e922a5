"""Who is asking: one principal a request, put there by `web.access` before any handler runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from storage.roles import ADMIN, SCOPES, Role, allows
from web.errors import FORBIDDEN, UNAUTHORIZED, Problem

Via = Literal["nobody", "loopback", "proxy", "key", "session", "header"]

CHALLENGE = 'Bearer realm="watchkeep"'


@dataclass(frozen=True, slots=True)
class Caller:
    """One principal: a name for the audit trail, a role, the client's address, and how it is known (``via``).

    ``loopback`` is the daemon's own user: at the keyboard without keys, or a command that was lent one.
    ``user`` is whose events are "mine"; ``tenant`` limits what is seen to one tenant's events.
    """

    name: str
    role: Role
    address: str
    via: Via = "nobody"
    key_id: str | None = None
    user: str | None = None
    tenant: str | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """What names it in the audit trail for good: a key keeps its id when another gets its name.

        A user that a proxy names may be called like anything else, so the kind stands before it.
        """
        if self.key_id:
            return f"key:{self.key_id}"
        return f"user:{self.name}" if self.via == "header" else self.name


CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def anonymous(address: str) -> Caller:
    """Return a caller that nothing is known of but its address."""
    return Caller("anonymous", "none", address)


def at_the_keyboard(address: str) -> Caller:
    """Return the caller on this machine that needs no key: it may do everything."""
    return Caller("local", ADMIN, address, "loopback", scopes=frozenset(SCOPES))


def caller_of(request: web.Request) -> Caller:
    """Return who asks."""
    return request.get(CALLER) or anonymous(request.remote or "")


def authorize(caller: Caller, role: Role, *, scope: str | None = None, tenants: bool = True) -> None:
    """Return if the caller may; otherwise raise the 401 or 403 that says what it needs.

    ``tenants``: whether the answer keeps to one tenant's events; a caller of one tenant gets no other.
    """
    if role == "none":
        return
    if caller.role == "none":
        detail = "this needs an API key: send it as `Authorization: Bearer wk_…`, or log in on the dashboard"
        raise Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": CHALLENGE})
    if not allows(caller.role, role):
        detail = f"this needs the role {role}; {caller.name} has the role {caller.role}"
        raise Problem(FORBIDDEN, detail)
    if scope is not None and scope not in caller.scopes:
        raise Problem(FORBIDDEN, f"this needs a key with the scope {scope}; {caller.name} has none")
    if not tenants and caller.tenant is not None:
        raise Problem(FORBIDDEN, f"this shows all tenants, and {caller.name} may see one only")
