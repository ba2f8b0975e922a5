"""The client behind a proxy: the address that a proxy of ours was asked from, when the application logged the proxy's.

Only an address inside the configured networks is believed to be a proxy, and only the configured header, which the
proxy must write itself: any other one may be the client's own invention. The header is read from its right end, and
the first address there that is no proxy of ours is the client; what stands further left proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from parsers.addresses import MAPPED, address_bytes
from parsers.arrow import Array, pc, valid
from parsers.geography import address_text

DEFAULT_HEADER = "X-Forwarded-For"
STANDARD_HEADER: Final = "forwarded"
MOST_HOPS = 32  # addresses of one header that are looked at: more proxies in a row are a loop
MOST_HEADERS_BYTES = 64 * 1024  # of logged headers, above which nobody looks for a hop in them
_FOR: Final = re.compile(r"""for\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]+)""", re.IGNORECASE)
_PORT: Final = re.compile(r"^(\[[^\]]*\]|[^:]*)(?::\d+)?$")

Span = tuple[bytes, bytes]


class Proxies:
    """The networks whose members are proxies of ours, and the header in which these say who asked them."""

    def __init__(self, networks: Sequence[str] = (), header: str = DEFAULT_HEADER) -> None:
        self._spans = tuple(_span(ip_network(network, strict=False)) for network in networks)
        self._header = header.lower()

    def __bool__(self) -> bool:
        return bool(self._spans)

    def hold(self, packed: bytes) -> bool:
        """Return whether an address (16 bytes) is one of them."""
        return any(low <= packed <= high for low, high in self._spans)

    def client(self, headers: str) -> bytes | None:
        """Return the client that logged request headers (JSON text of an object) name, as 16 bytes; None if none."""
        for hop in reversed(_hops(headers, self._header)):
            packed = address_bytes(hop)
            if packed is None:
                return None  # `unknown`, or an obfuscated name: what is further left was not seen by a proxy of ours
            if not self.hold(packed):
                return packed
        return None


def clients(packed: Array, headers: Array, proxies: Proxies) -> dict[int, tuple[str, bytes]]:
    """Return the client's address, as text and as 16 bytes, for each row whose address is a proxy that named one."""
    if not proxies or packed.null_count == len(packed) or headers.null_count == len(headers):
        return {}
    encoded: Any = packed.dictionary_encode()
    ours = pa.array([proxies.hold(item) for item in encoded.dictionary.to_pylist()])
    if not pc.any(ours).as_py():
        return {}
    through = np.asarray(pc.fill_null(ours.take(encoded.indices), False).to_numpy(zero_copy_only=False), bool)
    found: dict[int, tuple[str, bytes]] = {}
    known: dict[str, bytes | None] = {}
    for row in np.flatnonzero(through & valid(headers)).tolist():
        text = headers[row].as_py()
        if text not in known:
            known[text] = proxies.client(text)
        client = known[text]
        if client is not None:
            found[row] = address_text(client), client
    return found


def _span(network: IPv4Network | IPv6Network) -> Span:
    low, high = network.network_address.packed, network.broadcast_address.packed
    return (MAPPED + low, MAPPED + high) if network.version == 4 else (low, high)


def _hops(headers: str, name: str) -> list[str]:
    """Return the addresses of one header, left to right: `Forwarded` (RFC 7239) or a list such as `X-Forwarded-For`."""
    if len(headers) > MOST_HEADERS_BYTES:
        return []
    try:
        given = orjson.loads(headers)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(given, dict):
        return []
    value = _joined(next((value for key, value in given.items() if str(key).lower() == name), None))
    if name == STANDARD_HEADER:
        hops = [match[1].strip('"') for match in _FOR.finditer(value)]
    else:
        hops = value.split(",")
    return [_bare(hop) for hop in hops[-MOST_HOPS:] if hop.strip()]


def _joined(value: object) -> str:
    """Return a header that may have been given several times as one text."""
    if isinstance(value, list):
        return ",".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _bare(hop: str) -> str:
    """Return an address without brackets and port."""
    hop = hop.strip()
    if hop.count(":") > 1 and not hop.startswith("["):
        return hop  # IPv6 as it stands
    match = _PORT.match(hop)
    return (match[1] if match else hop).strip("[]")
