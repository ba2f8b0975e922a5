"""Who is asking, as far as that is known: without keys, loopback is the administrator and nobody else may ask."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from web.errors import FORBIDDEN, Problem

Role = Literal["admin", "auditor", "none"]

# A proxy on this machine speaks for somebody else: that caller may read, but is not the person at the keyboard.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@dataclass(frozen=True, slots=True)
class Caller:
    """One principal: a name for the audit trail, a role, and the address of the peer."""

    name: str
    role: Role
    address: str


def caller_of(request: web.Request) -> Caller:
    """Return who asks. The peer's address is the socket's; headers cannot change it."""
    address = request.remote or ""
    if not _is_loopback(address):
        return Caller("anonymous", "none", address)
    if any(name in request.headers for name in _FORWARDED):
        return Caller("proxy", "auditor", address)
    return Caller("local", "admin", address)


def require_admin(request: web.Request) -> Caller:
    """Return the caller if it may change something; otherwise raise the 403 that says who could."""
    caller = caller_of(request)
    if caller.role != "admin":
        raise Problem(FORBIDDEN, "only an administrator may do that: call from this machine, without a proxy")
    return caller


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback
