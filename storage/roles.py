"""Roles and scopes: what a caller may do. Plain values that keys, routes, queries and documents share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Role = Literal["none", "viewer", "auditor", "admin"]

NONE: Role = "none"
VIEWER: Role = "viewer"
AUDITOR: Role = "auditor"
ADMIN: Role = "admin"

ROLES: dict[Role, str] = {
    VIEWER: "lists, figures and live events, with personal values masked",
    AUDITOR: "everything that can be read, unmasked, and exports",
    ADMIN: "what an auditor may, and what changes something: cleanup, keys, holds",
}
"""Each role with what it may do, weakest first."""

SCOPES: dict[str, str] = {
    "export": "whole exports (auditors and administrators have it unless `--scope` leaves it out)",
    "sql": "SQL statements over the archive (only when `--scope` names it; needs the role auditor)",
}
"""What a role allows only to keys that carry it."""

DEFAULT_SCOPES = ("export",)
_ORDER: tuple[Role, ...] = (NONE, *ROLES)


def allows(role: str, needed: Role) -> bool:
    """Say whether a role is at least the one needed; a word that is no role allows nothing."""
    return role in _ORDER and _ORDER.index(role) >= _ORDER.index(needed)


def strongest(roles: Iterable[Role]) -> Role:
    """Return the strongest of some roles; ``none`` for none."""
    found: Role = NONE
    for role in roles:
        if allows(role, found):
            found = role
    return found


def masked(role: str) -> bool:
    """Say whether a role sees personal values masked: every role below auditor, and every word that is no role."""
    return not allows(role, AUDITOR)
