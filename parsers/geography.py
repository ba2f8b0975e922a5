"""Where an address lies: records of GeoIP databases in their three shapes, and whole batches of events given a place.

A place that the application wrote into its line stays as it is; only events without one are looked up, each distinct
address of a batch once. What does the looking up is handed in: nothing here opens a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from parsers.addresses import MAPPED
from parsers.arrow import Array, from_numpy, nulls, numbers, pc, valid, whole
from parsers.columns import ADDRESS_BYTES

COUNTRY_LETTERS = 2  # of an ISO 3166 code
MOST_LATITUDE, MOST_LONGITUDE = 90.0, 180.0  # degrees
PLACE_COLUMNS: Final = ("country_code", "city", "latitude", "longitude")
_OCTETS: Final = pa.array([str(octet) for octet in range(256)])
_LANGUAGE: Final = "en"  # of a city's name, where a database has several


@dataclass(frozen=True, slots=True)
class Location:
    """What databases say about one address; anything may be missing. Degrees are WGS 84."""

    country_code: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    asn: int | None = None


NOWHERE: Final = Location()

Record = Mapping[str, Any]
Lookup = Callable[[str], Location | None]
"""Takes an address as text and returns what is known of it."""


def location_of(record: Record) -> Location:
    """Return what a database's record says, whichever of the usual shapes it has.

    MaxMind's and DB-IP's own files nest (``country.iso_code``, ``city.names.en``, ``location.latitude``), the flat
    editions of DB-IP and GeoLite have ``country_code``, ``city``, ``latitude`` as texts or numbers, IPinfo's have
    ``country`` as text, ``lat``/``lng`` or ``loc`` and ``asn`` as ``AS64500``. A value that cannot be one is left out.
    """
    position = record.get("location")
    position = position if isinstance(position, Mapping) else record
    latitude = _degrees(position.get("latitude", position.get("lat")), MOST_LATITUDE)
    longitude = _degrees(position.get("longitude", position.get("lng")), MOST_LONGITUDE)
    both = record.get("loc")
    if latitude is None and isinstance(both, str) and "," in both:
        north, east = both.split(",", 1)
        latitude, longitude = _degrees(north, MOST_LATITUDE), _degrees(east, MOST_LONGITUDE)
    if latitude is None or longitude is None:
        latitude = longitude = None  # half a position is none
    return Location(_country(record), _city(record), latitude, longitude, _number(record))


def _country(record: Record) -> str | None:
    for name in ("country", "registered_country", "country_code"):
        given = record.get(name)
        code = given.get("iso_code") if isinstance(given, Mapping) else given
        if isinstance(code, str) and len(code) == COUNTRY_LETTERS and code.isascii() and code.isalpha():
            return code.upper()
    return None


def _city(record: Record) -> str | None:
    given = record.get("city")
    if isinstance(given, Mapping):
        names = given.get("names")
        given = names.get(_LANGUAGE) if isinstance(names, Mapping) else None
    return given if isinstance(given, str) and given else None


def _degrees(given: object, most: float) -> float | None:
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        return None
    try:
        value = float(given)
    except ValueError:
        return None
    return value if math.isfinite(value) and -most <= value <= most else None


def _number(record: Record) -> int | None:
    for name in ("autonomous_system_number", "as_number", "asn"):
        given = record.get(name)
        digits = given.upper().removeprefix("AS") if isinstance(given, str) else given
        if isinstance(digits, str) and digits.isascii() and digits.isdigit():
            return int(digits)
        if isinstance(digits, int) and not isinstance(digits, bool) and digits >= 0:
            return digits
    return None


def located(events: pa.Table, lookup: Lookup) -> pa.Table:
    """Return rows of PARSED_SCHEMA with the place of their address, where they have an address and no place yet.

    A place is taken whole: an event whose line names a country is not given a city. ``asn`` is filled on its own.
    """
    address = whole(events.column("ip_bytes")) if events.num_rows else None
    if address is None or address.null_count == len(address):
        return events
    columns = {name: whole(events.column(name)) for name in (*PLACE_COLUMNS, "asn")}
    without = ~valid(columns["country_code"])
    for name in PLACE_COLUMNS[1:]:
        without &= ~valid(columns[name])
    unnumbered = ~valid(columns["asn"])
    wanted = valid(address) & (without | unnumbered)
    if not wanted.any():
        return events
    encoded: Any = address.dictionary_encode()
    codes = numbers(encoded.indices, 0).astype(np.int64)
    asked = np.zeros(len(encoded.dictionary), bool)
    asked[codes[wanted]] = True
    chosen = np.flatnonzero(asked)
    found = list(map(lookup, address_texts(encoded.dictionary.take(from_numpy(chosen, pa.int64())))))
    if not any(found):
        return events
    places = [place or NOWHERE for place in found]
    known = np.zeros(len(asked), np.int64)
    known[chosen] = np.arange(len(chosen))
    codes = known[codes]
    for name, allowed in (*((name, without) for name in PLACE_COLUMNS), ("asn", unnumbered)):
        values = list(map(attrgetter(name), places))
        if values.count(None) == len(values):
            continue
        taken = _where(pa.array(values, columns[name].type), codes, wanted & allowed)
        before = columns[name]
        filled = taken if before.null_count == len(before) else pc.coalesce(before, taken)
        events = events.set_column(events.schema.get_field_index(name), events.schema.field(name), filled)
    return events


def _where(values: Array, codes: Any, chosen: Any) -> Array:
    """Return ``values[codes]`` where ``chosen``, else null."""
    if not chosen.any():
        return nulls(len(codes), values.type)
    return values.take(from_numpy(codes, pa.int64(), chosen))


def address_text(packed: bytes) -> str:
    """Return 16 bytes as the address is written; a mapped IPv4 address as IPv4."""
    if packed.startswith(MAPPED):
        return inet_ntop(AF_INET, packed[len(MAPPED) :])
    return inet_ntop(AF_INET6, packed)


def address_texts(packed: Array) -> list[str]:
    """Return addresses of 16 bytes each as they are written. Many IPv4 addresses are put together at once."""
    if not len(packed):
        return []
    block = np.frombuffer(cast("bytes", packed.buffers()[1]), np.uint8)
    octets = block[packed.offset * ADDRESS_BYTES :][: len(packed) * ADDRESS_BYTES].reshape(-1, ADDRESS_BYTES)
    mapped = (octets[:, : len(MAPPED)] == np.frombuffer(MAPPED, np.uint8)).all(axis=1)
    quads = [
        _OCTETS.take(from_numpy(octets[:, place].astype(np.int64), pa.int64())) for place in range(12, 16)
    ]
    texts: list[str] = pc.binary_join_element_wise(*quads, ".").to_pylist()
    for row in np.flatnonzero(~mapped).tolist():
        texts[row] = address_text(packed[row].as_py())
    return texts
