"""Regular expressions in searches: RE2's, checked before they reach a query, and none that is dear to compile.

RE2 runs in linear time, but a short text can ask for a program of megabytes, which takes 50 ms to refuse. The weight
bounds that: it guesses the size of the program from the text alone.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

MAX_CHARS = 256  # of one expression
MAX_WEIGHT = 5_000  # of all expressions of a search; compiling as much takes some 10 ms
CLASS_WEIGHT = 200  # a Unicode class such as \pL is hundreds of ranges
_REPEATED = re.compile(r"\{(\d{1,4})(?:,(\d{0,4}))?\}")
_CLASS = re.compile(r"\\[pP]")
_NOTHING = pa.array([""])


def weight(pattern: str) -> int:
    """Return about how many instructions the program of an expression has."""
    size = len(pattern) + CLASS_WEIGHT * len(_CLASS.findall(pattern))
    # Repetitions may stand inside one another, so each may multiply all the rest.
    for found in _REPEATED.finditer(pattern):
        size *= max(1, int(found[1]), int(found[2] or 0))
    return size


def check_regex(pattern: str) -> None:
    """Raise ValueError, with a message for people, for what RE2 does not take or what would cost too much."""
    if not pattern:
        raise ValueError("the expression is empty")
    if len(pattern) > MAX_CHARS:
        raise ValueError(f"the expression has more than {MAX_CHARS} characters")
    if weight(pattern) > MAX_WEIGHT:
        raise ValueError("the expression is too large once its repetitions and classes are written out")
    try:
        pc.match_substring_regex(_NOTHING, pattern)
    except pa.ArrowInvalid as error:
        said = str(error).removeprefix("Invalid regular expression: ")
        raise ValueError(f"the expression cannot be used: {said}") from None
