"""The section `[places]`: where events come from."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from daemon.marks import FilePath, Names, Section
from parsers.forwarded import DEFAULT_HEADER


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is no network: write 10.0.0.0/8 or 192.0.2.7") from None
    return value


class Places(Section):
    """Where events come from: GeoIP databases, and proxies in front of the applications."""

    database: Annotated[str | None, FilePath()] = Field(
        default=None,
        examples=["GeoLite2-City.mmdb"],
        description="GeoIP database (`.mmdb`) with countries, and cities if it has them: of MaxMind, DB-IP or IPinfo. It is copied before it is used, and a new edition is taken over while the daemon runs.",
    )
    asn_database: Annotated[str | None, FilePath()] = Field(
        default=None,
        examples=["GeoLite2-ASN.mmdb"],
        description="GeoIP database with the numbers of autonomous systems, if `database` has none.",
    )
    embedded: bool = Field(
        default=True,
        description="Without `database`, take the country where an address block is registered from the package `iptocc`, if that is installed (the extra `places`).",
    )
    check_seconds: float = Field(
        default=60.0, ge=1, le=86_400, description="How often is looked whether a database file changed."
    )
    stale_days: int = Field(
        default=45, ge=1, le=36_500, description="Age in days above which a database is complained about."
    )
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        default=(),
        examples=[["10.0.0.0/8"]],
        description="Networks of your own proxies. An event whose address is in one of them gets the client's address from `proxy_header` of its logged request headers.",
    )
    proxy_header: str = Field(
        default=DEFAULT_HEADER,
        min_length=1,
        description="The header that these proxies write themselves: `X-Forwarded-For`, `Forwarded`, `X-Real-IP` …. No other one is believed.",
    )
