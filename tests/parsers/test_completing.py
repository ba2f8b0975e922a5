"""Completion: whatever stands before the cursor, what is offered fits there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from parsers.completing import place, suggestions, values
from parsers.grammar import parse

PIECES = [
    "level:",
    "user:",
    "metadata.",
    '"',
    "(",
    ")",
    " ",
    "-",
    ":",
    "OR",
    "er",
    "a",
    ">=",
    "..",
    "*",
    "\\",
    "~",
    "ä",
    "status:",
    ".",
]
half_written = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=12).map("".join)


@given(half_written, st.integers(-1, 60))
@hypothesis_settings(max_examples=300)
def test_any_text_has_a_place_at_any_cursor(text: str, at: int) -> None:
    """Nothing half-written is an error, and what a suggestion replaces lies inside the text, around the cursor."""
    here = place(text, at)
    for item in suggestions(here):
        assert 0 <= item.start <= item.end <= len(text)


@pytest.mark.parametrize(
    ("text", "field", "prefix"),
    [
        ("level:er", "level", "er"),
        ("a (b OR level:(error OR crit", "level", "crit"),
        ('-user.name:"ann b', "user.name", "ann b"),
        ("status:>=40", "request.statusCode", "40"),
        ('metadata."odd key".x:v', "metadata", "v"),
        ("nobody:x", None, "x"),
    ],
)
def test_the_value_at_the_end_is_known_with_its_field(text: str, field: str | None, prefix: str) -> None:
    """Behind a sign, in a list, in an open quote."""
    here = place(text, len(text))
    assert (here.naming, here.field and here.field.name, here.prefix) == (False, field, prefix)


@pytest.mark.parametrize(
    ("text", "label", "result"),
    [
        ("lev", "level", "level:"),
        ("a OR stat", "request.statusCode", "a OR request.statusCode:"),
        ("level:cr", "critical", "level:critical"),
        ("level:(error OR w", "warning", "level:(error OR warning"),
        ("time:", "-1h", "time:>-1h"),
        ("risk:", "high", "risk:high"),
    ],
)  # fmt: skip
def test_a_suggestion_put_in_place_goes_on_with_the_search(text: str, label: str, result: str) -> None:
    """The text from `start` to `end` gives way to `insert`."""
    item = next(item for item in suggestions(place(text, len(text))) if item.label == label)
    assert text[: item.start] + item.insert + text[item.end :] == result


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_value_is_offered_so_that_it_is_read_as_itself(text: str) -> None:
    """Quotes are put around it where it needs them."""
    (item,) = values(place("user:", 5), [(text, 1)])
    found = parse("user:" + item.insert).expression
    assert found is not None
    assert getattr(found, "values", None) == (text,)
    assert getattr(found, "operator", None) == "equals"


def test_the_most_used_fields_come_first() -> None:
    """Before anything is written."""
    assert [item.label for item in suggestions(place("", 0))][:4] == [
        "level",
        "category",
        "action",
        "outcome",
    ]
