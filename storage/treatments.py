"""Which columns hold something about a person, what becomes of each, and who may not ask by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from parsers import fields
from storage.errors import MaskedError
from storage.query import Filter, Scope
from storage.roles import masked

Treatment = Literal["person", "session", "network", "hidden", "text", "json"]

MEANING: dict[Treatment, str] = {
    "person": "a pseudonym such as `person-k3j9x2ab4c`, the same wherever the value occurs",
    "session": "a pseudonym such as `session-k3j9x2ab4c`",
    "network": "its network: /24 for IPv4, /48 for IPv6",
    "hidden": "nothing, or `[masked]`",
    "text": "the event's own personal values, names that other events gave, mail and network addresses are replaced inside it",
    "json": "as text; members whose key means a person or is listed in `[web] masked_keys` are replaced",
}

TREATMENTS: dict[str, Treatment] = {
    "user_id": "person",
    "username": "person",
    "on_behalf_of": "person",
    "session_id": "session",
    "ip": "network",
    "user_agent": "hidden",
    "request_headers": "hidden",
    "latitude": "hidden",
    "longitude": "hidden",
    "entity_id": "text",  # a pseudonym where the entity is a person
    "entity_name": "text",
    "path": "text",
    "description": "text",
    "tags": "text",
    "metadata": "json",
    "changes": "json",
    "response": "json",
    "extra": "json",
    "risk_reasons": "json",
}
"""The columns that hold, or may hold, something about a person."""

DEFAULT_KEYS = (
    *("first_name", "last_name", "full_name", "display_name", "given_name", "family_name", "surname"),
    *("phone", "mobile", "fax", "street", "postal_address", "home_address", "zip", "postcode", "birthday"),
    *("birth_date", "date_of_birth", "dob", "iban", "ssn", "passport", "tax_id", "avatar", "avatar_url"),
)
"""Keys in JSON whose value is hidden, in any case, also as the end of a longer key; besides those that mean a person."""

HIDDEN = "[masked]"


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Which columns are masked (names of `TREATMENTS`), and the further keys of JSON whose values are hidden.

    ``hide_text``: free text and the application's own JSON are not shown at all, instead of with replacements.
    """

    columns: tuple[str, ...] = tuple(TREATMENTS)
    keys: tuple[str, ...] = DEFAULT_KEYS
    hide_text: bool = False


def hidden_from(scope: Scope) -> tuple[str, ...]:
    """Return the columns that a scope sees masked."""
    if not masked(scope.role):
        return ()
    return tuple(TREATMENTS) if scope.masked is None else scope.masked


def check(wanted: Filter, scope: Scope) -> None:
    """Raise MaskedError if a filter looks at what its scope sees masked, but for the terms that the scope grants."""
    hidden = hidden_from(scope)
    if not hidden:
        return
    asked = {term.field for term in wanted.terms if term not in scope.granted}
    asked |= replace(wanted, terms=()).names
    refused = sorted(name for name in asked if name not in _ALWAYS_OPEN and not _is_open(name, hidden))
    if refused:
        raise MaskedError(
            f"the role {scope.role} may not ask by {', '.join(refused)}: their values are masked",
            where=", ".join(refused),
            hint="ask by a pseudonym that an answer shows, or a network of /24 or /48; the role auditor may ask by any value",
        )


def _is_open(name: str, hidden: tuple[str, ...]) -> bool:
    """Say whether a filter looks at nothing masked. One that is not in the table may look at anything."""
    return name in _COLUMNS and _COLUMNS[name] not in hidden


# The column that each filter looks at, by the name that `storage.query.Filter.names` gives it.
_COLUMNS = {field.key: field.column.removesuffix("_bytes") for field in fields.FIELDS if field.column}
_ALWAYS_OPEN = frozenset({"risk_score"})
