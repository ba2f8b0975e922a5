"""The client behind a proxy of ours: only what our proxies say is believed."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.addresses import address_column
from parsers.forwarded import Proxies, clients
from parsers.geography import address_text

OURS = Proxies(["10.0.0.0/8", "fd00::/8"])


def client(header: object, proxies: Proxies = OURS, name: str = "X-Forwarded-For") -> str | None:
    packed = proxies.client(json.dumps({name: header}))
    return None if packed is None else address_text(packed)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),  # the first was written by the client itself
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),  # a header that came twice
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.7, unknown", None),  # who asked our proxy is not known: nothing further left counts
        ("10.1.1.1, 10.2.2.2", None),
        ("", None),
        (7, None),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy_is_the_client(header, expected):
    """A list as proxies write it."""
    assert client(header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.7;proto=https", "203.0.113.7"),
        ('For="[2001:db8::7]:4711", for=10.1.1.1', "2001:db8::7"),
        ("for=198.51.100.1, for=203.0.113.7;by=10.0.0.1", "203.0.113.7"),
        ("for=_hidden", None),
    ],
)
def test_the_standard_header_says_the_same(header, expected):
    """RFC 7239."""
    assert client(header, Proxies(["10.0.0.0/8"], "Forwarded"), "forwarded") == expected


def test_another_header_is_not_believed():
    """A client can send whatever our proxy does not overwrite."""
    forged = json.dumps({"Forwarded": "for=198.51.100.1", "X-Forwarded-For": "203.0.113.7"})
    packed = OURS.client(forged)
    assert packed is not None
    assert address_text(packed) == "203.0.113.7"


@given(st.text(max_size=60) | st.lists(st.ip_addresses().map(str), max_size=5).map(", ".join))
def test_no_header_is_read_as_one_of_our_proxies(text):
    """Whatever it says, the answer is an address outside of our networks, or none."""
    found = OURS.client(json.dumps({"x-forwarded-for": text}))
    assert found is None or not OURS.hold(found)


def test_only_rows_whose_address_is_a_proxy_are_changed():
    """A client that sends the header itself stays who it is."""
    ip = pa.array(["10.0.0.1", "198.51.100.9", None, "10.0.0.1"])
    headers = pa.array([json.dumps({"X-Forwarded-For": "203.0.113.7"})] * 3 + [None])
    found = clients(address_column(ip), headers, OURS)
    assert {row: text for row, (text, _) in found.items()} == {0: "203.0.113.7"}
    assert clients(address_column(ip), headers, Proxies()) == {}
