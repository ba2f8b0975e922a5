"""What the parser had to decide for a line, as flags of its event. One table; docs/lines.md prints it."""

from __future__ import annotations

from typing import Final

FLAGS: Final[dict[str, str]] = {
    "event_id_missing": "the line names no event id; one was derived from its source and offset",
    "timestamp_missing": "the line has no time; the date in the file's name, or the first sight of the file, stands in",
    "timestamp_unparsable": "the time cannot be read; replaced as above, the original is in extra.timestamp",
    "timestamp_absurd": "the time is before 1990 or more than a day after the file's own day; replaced, original in extra",
    "level_missing": "the line has no level; info stands in",
    "level_unknown": "nobody knows this level; info stands in, the original is in extra.level",
    "user_id_text": "the user's id is written as text that looks like a number, and is given back as text",
    "wrong_type": "a known field holds a value of another type; the value is in extra, the field is empty",
    "duplicate_key": "a key repeats; the last value counts, the earlier ones are in extra.duplicate_keys",
    "not_finite": "NaN or Infinity, which JSON does not have, was kept as text",
    "lone_surrogate": "half of a surrogate pair was kept as its escape, spelled out",
    "torn": "the last line of a finished file has no newline",
    "message_only": "a line of a text profile whose fields could not be told apart; all of it is the description",
}
BIT: Final[dict[str, int]] = {flag: 1 << at for at, flag in enumerate(FLAGS)}


def names(bits: int) -> list[str] | None:
    """Return the flags of a bit set in the table's order, None for the empty set."""
    return [flag for flag, bit in BIT.items() if bits & bit] or None
