"""What is wrong with a value, in words for people: pydantic's findings name patterns and types of this program instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SHOWN_CHARS = 60  # of a value that is repeated to the person who sent it

Details = Mapping[str, Any]

_SAID: dict[str, Callable[[str, Details], str]] = {
    "extra_forbidden": lambda _value, _details: "it is unknown here",
    "finite_number": lambda value, _details: f"{value} is not a finite number",
    "float_parsing": lambda value, _details: f"{value} is not a number",
    "float_type": lambda value, _details: f"{value} is not a number",
    "greater_than": lambda value, details: f"{value} is not more than {details['gt']}",
    "greater_than_equal": lambda value, details: f"{value} is less than {details['ge']}",
    "int_parsing": lambda value, _details: f"{value} is not a whole number",
    "int_parsing_size": lambda value, _details: f"{value} is too large a number",
    "less_than_equal": lambda value, details: f"{value} is more than {details['le']}",
    "literal_error": lambda value, details: f"{value} is not {_expected(details['expected'])}",
    "missing": lambda _value, _details: "it is missing",
    "string_pattern_mismatch": lambda value, _details: f"{value} cannot be used here",
    "string_too_long": lambda _value, details: f"it is longer than {details['max_length']} characters",
    "string_too_short": lambda _value, details: (
        "it is empty"
        if details["min_length"] == 1
        else f"it is shorter than {details['min_length']} characters"
    ),
    "string_type": lambda _value, _details: "it is not a text",
    "too_long": lambda _value, details: f"it has more than {details['max_length']} values",
    "too_short": lambda _value, details: f"it has fewer than {details['min_length']} values",
}

# What to write instead, where no parameter knows better.
_TO_WRITE = {
    "string_pattern_mismatch": "a leading ! leaves out what stands behind it",
    "string_too_short": "give it a value, or leave it out",
}


def said(item: Details) -> str:
    """Return what is wrong, from one of the errors of a `pydantic.ValidationError` with its context and input."""
    words = _SAID.get(item["type"])
    if words is None:
        return str(item["msg"]).removeprefix("Value error, ")
    return words(_shown(item.get("input")), item.get("ctx", {}))


def to_write(item: Details) -> str:
    """Return what to write instead, as far as the kind of error says it; empty where it does not."""
    return _TO_WRITE.get(item["type"], "")


def _expected(choices: str) -> str:
    """Return pydantic's list of quoted words as a person writes it."""
    words = choices.replace("'", "")
    return f"one of {words}" if " or " in words else words


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
