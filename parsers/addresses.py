"""Client addresses as bytes that sort: IPv4 by the batch, everything else once per distinct text."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET6, inet_pton
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.arrow import Array, Bytes, Mask, buffer, nulls, texts
from parsers.columns import ADDRESS_BYTES

ADDRESSES_KNOWN = 65_536  # addresses other than IPv4 whose bytes are remembered between batches
MAPPED = bytes(10) + b"\xff\xff"  # what stands before an IPv4 address inside IPv6
MANY = 2_048  # addresses among which so many repeat that each is read once
_LONGEST, _SHORTEST = 15, 7  # letters of an IPv4 address
_DOT, _ZERO = ord("."), ord("0")


def address_column(values: Array) -> Array:
    """Return each address as 16 bytes, IPv4 mapped into IPv6; null for what is no address."""
    if values.null_count == len(values):
        return nulls(len(values), pa.binary(ADDRESS_BYTES))
    if len(values) < MANY:
        return _packed(values)
    encoded: Any = values.dictionary_encode()
    column: Array = _packed(encoded.dictionary).take(encoded.indices)
    return column


def _packed(values: Array) -> Array:
    octets, known = _ipv4(values)
    out = np.zeros((len(values), ADDRESS_BYTES), np.uint8)
    out[:, :12] = np.frombuffer(MAPPED, np.uint8)
    out[:, 12:] = octets.T
    offsets, _ = texts(values)
    for row in np.flatnonzero(~known & (np.diff(offsets) > 0)).tolist():
        found = address_bytes(values[row].as_py())
        if found is not None:
            out[row] = np.frombuffer(found, np.uint8)
            known[row] = True
    bitmap = None if known.all() else buffer(np.packbits(known, bitorder="little"))
    buffers: list[Any] = [bitmap, buffer(out.reshape(-1))]
    column: Array = pa.Array.from_buffers(pa.binary(ADDRESS_BYTES), len(values), buffers)
    return column


@lru_cache(maxsize=ADDRESSES_KNOWN)
def address_bytes(text: str | None) -> bytes | None:
    """Return one address as 16 bytes, IPv4 mapped into IPv6; None for what is no address."""
    if text is None:
        return None
    address = text.strip().strip("[]")
    octets = address.split(".")
    if len(octets) == 4 and all(map(_is_octet, octets)):
        return MAPPED + bytes(map(int, octets))
    try:
        return inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return None


def _is_octet(text: str) -> bool:
    """True for 0 to 255 without leading zeros, which some programs take for octal."""
    return (
        text.isascii() and text.isdecimal() and len(text) <= 3 and str(int(text)) == text and int(text) <= 255
    )


def _ipv4(values: Array) -> tuple[Bytes, Mask]:
    """Four octets per row, and which rows are IPv4 addresses as they stand."""
    offsets, block = texts(values)
    rows = len(values)
    starts, sizes = offsets[:-1].astype(np.int64), np.diff(offsets)
    good = (sizes >= _SHORTEST) & (sizes <= _LONGEST)
    octets = np.zeros((4, rows), np.uint8)
    octet, digits, dots = np.zeros(rows, np.int16), np.zeros(rows, np.int8), np.zeros(rows, np.int8)
    last = len(block) - 1
    for place in range(_LONGEST + 1):  # one place more: the end closes the fourth octet like a dot
        inside = place < sizes
        letter = block[np.minimum(starts + place, last)]
        closes = (inside & (letter == _DOT)) | (place == sizes)
        digit = letter - _ZERO  # wraps round below "0"
        counts = inside & ~closes
        good &= ~counts | ((digit <= 9) & ~((digits == 1) & (octet == 0)) & (digits < 3))
        good &= ~closes | ((digits > 0) & (octet <= 255) & (dots < 4))
        at = np.flatnonzero(closes & good)
        octets[dots[at], at] = octet[at]
        octet = np.where(closes, 0, np.where(counts, octet * 10 + digit, octet)).astype(np.int16)
        digits = np.where(closes, 0, digits + counts).astype(np.int8)
        dots += closes
    return octets, good & (dots == 4)
