"""Who is at the other end of a connection: the client itself, or one that a trusted proxy speaks for.

Only a proxy whose address lies in `[web] trusted_proxies` is believed. Of the hops that it names, the right-most one
that is no trusted proxy is the client: everything further left may be made up.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A proxy that is not trusted still gives itself away: whoever it speaks for is not the person at the keyboard.
FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
MAX_HOPS = 32  # more than any chain of proxies has; the rest is not looked at
_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s"]+)\s*(?:;|$)')
_PORT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's address, the scheme and host that it used, and how that is known.

    ``proxied``: a proxy stands between; ``trusted``: one that is believed, so its other headers may be as well.
    """

    address: str
    scheme: str
    host: str
    proxied: bool = False
    trusted: bool = False

    @property
    def loopback(self) -> bool:
        """Whether the client is on this machine."""
        address = parse(self.address)
        return address is not None and address.is_loopback


def parse(text: str) -> Address | None:
    """Return an address, IPv4 mapped into IPv6 as IPv4, or None for anything else."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks that texts name. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def peer_of(request: web.Request, proxies: Sequence[Network]) -> Peer:
    """Return who asks. Without a trusted proxy the socket's address counts and headers change nothing."""
    remote = request.remote or ""
    host = _one(request, "Host") or ""
    proxied = any(name in request.headers for name in FORWARDING)
    if not _within(remote, proxies):
        return Peer(remote, "http", host, proxied=proxied)
    hops, scheme, said = _forwarded(request)
    client = remote
    for hop in reversed(hops):
        if parse(hop) is None:  # `unknown`, a made-up name: nothing behind it can be believed
            break
        client = hop
        if not _within(hop, proxies):
            break
    return Peer(client, scheme or "http", said or host, proxied=proxied, trusted=True)


def _forwarded(request: web.Request) -> tuple[list[str], str, str]:
    """Return the hops (client first), and the scheme and host that the nearest proxy names.

    `X-Forwarded-*` counts where a proxy sets it, because proxies that set it often pass a client's `Forwarded` on.
    """
    if "X-Forwarded-For" in request.headers:
        hops = [_bare(hop) for hop in _list(request, "X-Forwarded-For")]
        scheme = [word.lower() for word in _list(request, "X-Forwarded-Proto")[-1:]]
        host = _list(request, "X-Forwarded-Host")[-1:]
        return hops, _scheme("".join(scheme)), "".join(host)
    elements = [dict(_pairs(element)) for element in _list(request, "Forwarded")]
    last = elements[-1] if elements else {}
    hops = [_bare(element["for"]) for element in elements if "for" in element]
    return hops, _scheme(last.get("proto", "").lower()), last.get("host", "")


def _pairs(element: str) -> list[tuple[str, str]]:
    found = _PAIR.findall(element)
    return [(name.lower(), value.strip('"').replace("\\", "")) for name, value in found]


def _list(request: web.Request, name: str) -> list[str]:
    """Return the last elements of a header that may be given several times, separated by commas."""
    whole = ",".join(request.headers.getall(name, []))
    return [part.strip() for part in whole.split(",") if part.strip()][-MAX_HOPS:]


def _one(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, [])
    return values[0] if len(values) == 1 else None


def _bare(hop: str) -> str:
    """Return a hop without its port and brackets."""
    hop = hop.strip().strip('"')
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return _PORT.sub("", hop) if hop.count(":") == 1 else hop


def _scheme(word: str) -> str:
    return word if word in {"http", "https"} else ""


def _within(text: str, proxies: Sequence[Network]) -> bool:
    address = parse(text)
    return address is not None and any(address in network for network in proxies)
