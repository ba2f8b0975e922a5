"""Addresses become bytes that sort; the batch and one alone agree."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.addresses import address_bytes, address_column

TEXTS = st.one_of(
    st.none(),
    st.ip_addresses().map(str),
    st.ip_addresses(v=4).map(str),
    st.from_regex(r"\A[0-9]{0,4}(\.[0-9]{0,4}){2,4}\Z"),
    st.from_regex(r"\A[0-9a-f:.]{0,18}\Z"),
    st.text(max_size=16),
)


@given(st.lists(TEXTS, max_size=8))
def test_the_batch_reads_an_address_as_one_alone(texts):
    """Whatever stands there, also in a slice of a column."""
    expected = [address_bytes(text) for text in texts]
    assert address_column(pa.array(texts, pa.string())).to_pylist() == expected
    assert address_column(pa.array(["x", *texts], pa.string())[1:]).to_pylist() == expected


@given(st.ip_addresses())
def test_an_address_is_its_sixteen_bytes(address):
    """IPv4 addresses are mapped into IPv6, so that one order covers both."""
    whole = ipaddress.IPv6Address(f"::ffff:{address}") if address.version == 4 else address
    assert address_bytes(str(address)) == whole.packed


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4:80", "host", "٤.1.1.1", "fe80::1%eth0"],
)
def test_what_is_no_address_is_none(text):
    """The text itself is kept in its own column."""
    assert address_bytes(text) is None
    assert address_column(pa.array([text])).to_pylist() == [None]
