"""The settings that say who may ask over HTTP, and how often: keys, sessions, proxies, masking. Part of `[web]`."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from daemon.marks import Names, Section
from storage.roles import ROLES

LOOPBACK_NAMES = ("localhost", "ip6-localhost")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
# Headers that a proxy sets for other reasons, or that a client may set: no name of a person stands in them.
_TAKEN = frozenset({"authorization", "cookie", "host", "forwarded", "x-forwarded-for", "x-api-key"})

# Spelled here as well as in `storage.treatments`, which would bring pyarrow with it; a test holds them equal.
MASKED = (
    *("user_id", "username", "on_behalf_of", "session_id", "ip", "user_agent", "request_headers"),
    *("latitude", "longitude", "entity_id", "entity_name", "path", "description", "tags"),
    *("metadata", "changes", "response", "extra", "risk_reasons"),
)
MASKED_KEYS = (
    *("first_name", "last_name", "full_name", "display_name", "given_name", "family_name", "surname"),
    *("phone", "mobile", "fax", "street", "postal_address", "home_address", "zip", "postcode", "birthday"),
    *("birth_date", "date_of_birth", "dob", "iban", "ssn", "passport", "tax_id", "avatar", "avatar_url"),
)


def loopback(host: str) -> bool:
    """Say whether only this machine reaches an address of `[web] host`."""
    return host in LOOPBACK_NAMES or ipaddress.ip_address(host).is_loopback


def _address(value: str) -> str:
    try:
        if value not in LOOPBACK_NAMES:
            ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is no address: give one of this machine's, such as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is neither an address nor a network such as 10.0.0.0/8") from None
        if network.prefixlen == 0:
            raise ValueError(f"{text!r} is everybody: then anybody could say to be anybody")
    return value


def _header(value: str | None) -> str | None:
    if value is not None and (_HEADER.fullmatch(value) is None or value.lower() in _TAKEN):
        raise ValueError(
            f"{value!r} cannot be that header: give one that only the proxy sets, such as X-Remote-User"
        )
    return value


def _roles(value: dict[str, str]) -> dict[str, str]:
    wrong = next((role for role in value.values() if role not in ROLES), None)
    if wrong is not None:
        raise ValueError(f"there is no role {wrong!r}: there are {', '.join(ROLES)}")
    return value


def _columns(value: tuple[str, ...]) -> tuple[str, ...]:
    wrong = next((name for name in value if name not in MASKED), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} cannot be masked: there are {', '.join(MASKED)}")
    return value


Host = Annotated[str, AfterValidator(_address)]
Header = Annotated[str | None, AfterValidator(_header)]
RoleWord = Literal["viewer", "auditor", "admin"]


class Reach(Section):
    """Who may ask over HTTP, and how often."""

    loopback_admin: bool = Field(
        default=False,
        description="Whether a caller on this machine needs no key although there are some, and may do everything. Other users of the machine, and whatever they run, would be administrators.",
    )
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        default=(),
        examples=[["127.0.0.1", "10.0.0.0/8"]],
        description="Addresses of proxies that are believed: from them alone `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` and `trusted_header` count.",
    )
    trusted_header: Header = Field(
        default=None,
        examples=["X-Remote-User"],
        description="Header in which a trusted proxy names the user that it has checked (single sign-on). The proxy must remove it from what clients send.",
    )
    trusted_groups_header: Header = Field(
        default=None,
        examples=["X-Remote-Groups"],
        description="Header in which a trusted proxy names the user's groups, separated by commas.",
    )
    trusted_roles: Annotated[dict[str, RoleWord], AfterValidator(_roles)] = Field(
        default={},
        description='Roles of the users that a trusted proxy names, and of their groups, written `"@group"`; of several the strongest counts, `"*"` is everybody it lets through. Who has none may not ask.',
    )
    session_idle_minutes: float = Field(
        default=60.0,
        gt=0,
        le=1440,
        description="A session of the dashboard ends after so many minutes without a request.",
    )
    session_hours: float = Field(
        default=12.0,
        gt=0,
        le=168,
        description="A session of the dashboard ends after so many hours at the latest.",
    )
    requests_per_second: float = Field(
        default=50.0,
        ge=0,
        le=100_000,
        description="Requests a second that one key, session or address may make in the long run; 0 sets no limit. A caller on this machine that needs no key has none.",
    )
    requests_burst: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Requests that a caller may make at once before that limit holds.",
    )
    failures_per_minute: float = Field(
        default=10.0,
        ge=1,
        le=10_000,
        description="Wrong keys a minute that one address may send; more are answered 429 and no longer looked at one by one.",
    )
    masked: Annotated[Names, AfterValidator(_columns)] = Field(
        default=MASKED,
        description="Columns that viewers see masked, and may not filter by. An empty list masks nothing.",
    )
    masked_keys: Names = Field(
        default=MASKED_KEYS,
        description="Keys in metadata, changes, extra and other JSON whose value viewers do not see, in any case, also as the end of a longer key; besides those that mean a person.",
    )
    masked_text: Literal["replace", "hide"] = Field(
        default="replace",
        description="What viewers see of free text and of the application's own fields among the masked columns: `replace` shows them with what is recognised replaced, `hide` does not show them.",
    )
