"""Places: what databases of three shapes say, given to the events of a batch that have none of their own."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.addresses import address_column
from parsers.columns import PARSED_SCHEMA
from parsers.geography import Location, address_text, address_texts, located, location_of

BERLIN = Location("DE", "Berlin", 52.52, 13.4)
SHAPES: dict[str, dict[str, Any]] = {
    "nested": {
        "country": {"iso_code": "DE", "names": {"en": "Germany"}},
        "city": {"names": {"de": "Berlin", "en": "Berlin"}},
        "location": {"latitude": 52.52, "longitude": 13.4, "accuracy_radius": 20},
    },
    "flat": {"country_code": "DE", "city": "Berlin", "latitude": "52.52", "longitude": "13.4"},
    "short": {"country": "de", "city": "Berlin", "lat": 52.52, "lng": 13.4},
    "pair": {"country": "DE", "city": "Berlin", "loc": "52.52,13.4"},
}


def rows(events: list[dict[str, Any]]) -> pa.Table:
    columns = [pa.array([event.get(f.name) for event in events], f.type) for f in PARSED_SCHEMA]
    table = pa.Table.from_arrays(columns, schema=PARSED_SCHEMA)
    at = PARSED_SCHEMA.get_field_index("ip_bytes")
    addresses = address_column(table["ip"].combine_chunks())
    return table.set_column(at, PARSED_SCHEMA.field(at), addresses)


def event(**given: Any) -> dict[str, Any]:
    needed = dict.fromkeys(("event_id", "level", "retention_class", "node", "parser", "source"), "x")
    return {**needed, "timestamp": 0, "internal": False, "source_file": "f", "source_offset": 0, **given}


@pytest.mark.parametrize("record", SHAPES.values(), ids=SHAPES)
def test_each_shape_of_record_says_the_same(record):
    """Nested, flat, short or with a pair of coordinates."""
    assert location_of(record) == BERLIN


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"country": 7, "city": ["x"], "location": {"latitude": None, "longitude": 3.0}},
        {"country": {"iso_code": "DEU"}, "loc": "north,east"},
        {"country_code": "", "latitude": "nan", "longitude": "0"},
        {"latitude": 91.0, "longitude": 0.0},
        {"latitude": 1.0},
        {"latitude": True, "longitude": True},
        {"asn": "64500x"},
    ],
)
def test_what_cannot_be_a_place_is_none(record):
    """A record of another kind, half a position, numbers that are none."""
    assert location_of(record) == Location()


@pytest.mark.parametrize("record", [{"autonomous_system_number": 64500}, {"asn": "AS64500"}, {"asn": 64500}])
def test_each_shape_says_the_number_of_the_network(record):
    """MaxMind's number, IPinfo's text."""
    assert location_of(record).asn == 64500


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.binary(max_size=4)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["country", "country_code", "city", "location", "loc", "lat", "lng", "latitude", "longitude", "asn"]


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_no_record_stops_the_batch(record):
    """A database may hold anything: what comes out fits the columns, or is nothing."""
    found = location_of(record)
    assert found.country_code is None or len(found.country_code) == 2
    assert found.latitude is None or -90 <= found.latitude <= 90


def test_an_event_without_a_place_gets_the_one_of_its_address():
    """Country, city, position and network of each address, IPv4 and IPv6."""
    places = {"192.0.2.1": Location("DE", "Berlin", 52.52, 13.4, 64500), "2001:db8::1": Location("JP")}
    found = located(rows([event(ip="192.0.2.1"), event(ip="2001:db8::1"), event(ip="10.0.0.1")]), places.get)
    assert found["country_code"].to_pylist() == ["DE", "JP", None]
    assert found["city"].to_pylist() == ["Berlin", None, None]
    assert found["latitude"].to_pylist() == [52.52, None, None]
    assert found["asn"].to_pylist() == [64500, None, None]
    assert found.schema == PARSED_SCHEMA


def test_a_place_in_the_line_is_not_mixed_with_another():
    """An event whose line names a country keeps just that; only its network's number is added."""
    given = rows([event(ip="192.0.2.1", country_code="FR")])
    found = located(given, lambda _: Location("DE", "Berlin", 52.52, 13.4, 64500))
    assert found["country_code"].to_pylist() == ["FR"]
    assert found["city"].to_pylist() == [None]
    assert found["latitude"].to_pylist() == [None]
    assert found["asn"].to_pylist() == [64500]


def test_an_address_of_a_batch_is_looked_up_once():
    """However many events have it."""
    asked: list[str] = []

    def lookup(address: str) -> Location | None:
        asked.append(address)
        return BERLIN

    located(rows([event(ip=f"192.0.2.{n % 3}") for n in range(300)]), lookup)
    assert sorted(asked) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]


def test_events_without_addresses_are_left_alone():
    """Nothing is asked, and nothing is copied."""
    table = rows([event(), event(ip="nowhere")])
    assert located(table, lambda _: pytest.fail("nobody may ask")) is table


@given(st.ip_addresses())
def test_an_address_is_written_as_it_is_known(address):
    """What a database is asked is the address; IPv4 mapped into IPv6 is IPv4."""
    packed = address_column(pa.array([str(address)]))[0].as_py()
    assert address_text(packed) == str(getattr(address, "ipv4_mapped", None) or address)


@given(st.lists(st.ip_addresses(), max_size=8), st.integers(0, 3))
def test_many_addresses_are_written_as_one_is(addresses, begin):
    """Also those of a part of a column."""
    packed = address_column(pa.array(list(map(str, addresses)), pa.string())).slice(begin)
    assert address_texts(packed) == [address_text(value.as_py()) for value in packed]
