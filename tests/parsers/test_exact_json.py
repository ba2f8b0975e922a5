"""JSON is read and written exactly, and the published schema says what a line may be."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.cases import EVENTS
from parsers.identifiers import derived_ids
from parsers.jsontext import JsonError, depth, number, read, write
from parsers.schema import line_schema

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_reading_and_writing_changes_no_value(value, ascii_only):
    """Whatever was written, its value comes back."""
    text = write(read(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")))
    assert json.loads(text) == json.loads(
        json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
    )


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=None)
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_a_number_keeps_its_value(value):
    """Short when a double holds it, digit by digit when not."""
    text = str(value).upper().replace("E+", "E")
    assert Decimal(number(text)) == Decimal(text)


def test_repeated_keys_survive_where_json_is_kept():
    """What a writer wrote twice stands there twice."""
    assert write(read(b'{"a":{"b":1,"b":2}}')) == '{"a":{"b":1,"b":2}}'


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded_and_strings_do_not_count(opening):
    """Deep nesting is refused before anything recurses; brackets in strings are text."""
    closing = b"]" if opening == b"[" else b"}"
    assert depth(opening * 64 + b"1" + closing * 64) == 64
    assert read(opening * 64 + b"1" + closing * 64)
    with pytest.raises(JsonError, match="nested deeper than 64"):
        read(opening * 65 + b"1" + closing * 65)
    with pytest.raises(JsonError, match="nested deeper than 64"):
        read(opening * 200_000)
    assert read(b'["' + b"[{" * 5_000 + b'"]')


def test_the_schema_is_a_schema_and_fits_regular_lines():
    """It can be checked with, and says where a type is wrong."""
    schema = line_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    regular = {
        "eventId": "e",
        "level": "info",
        "user": {"id": 1},
        "location": None,
        "tags": ["a"],
        "anything": {"else": 1},
    }
    assert not list(check.iter_errors(regular))
    wrong = {"level": "loud", "user": "bob", "riskScore": 101, "tags": [{}]}
    assert {"/".join(map(str, error.path)) for error in check.iter_errors(wrong)} == {
        "level",
        "user",
        "riskScore",
        "tags/0",
    }


def test_what_the_schema_forbids_is_what_needs_a_decision():
    """A line that fits the schema is never flagged for a wrong type."""
    check = jsonschema.Draft202012Validator(line_schema())
    for case in EVENTS:
        if "wrong_type" in (case.columns.get("flags") or ()):
            assert not check.is_valid(json.loads(case.line)), case.what


def test_derived_ids_never_collide_within_a_source():
    """The mix of an offset is a bijection: neighbours and far offsets give different ids, in the order of time."""
    import numpy as np

    offsets = np.concatenate([np.arange(50_000), np.arange(50_000) * 2**40 + 2**33]).astype(np.int64)
    zero = np.zeros(len(offsets), np.int64)
    ids = derived_ids(["ab" * 16], zero, offsets, zero).to_pylist()
    assert len(set(ids)) == len(set(offsets.tolist()))
    assert set(ids).isdisjoint(derived_ids(["cd" * 16], zero, offsets, zero).to_pylist())
    later: list[Any] = derived_ids(
        ["ab" * 16], zero[:2], offsets[:2], np.array([1_000_000, 2_000_000], np.int64)
    ).to_pylist()
    assert later == sorted(later)
