"""Names that no field has: how an error shows them, and what somebody who wrote one may have meant."""

from __future__ import annotations

import difflib

from parsers.fields import NAMES

SUGGESTED_CHARS = 40  # a longer name resembles none of ours, and comparing it would cost


def shown(name: str) -> str:
    """Return a name as an error shows it: never much of it."""
    return f"{name[:SUGGESTED_CHARS]}…" if len(name) > SUGGESTED_CHARS else name or "without a name"


def suggestion(segments: list[str]) -> str:
    """Return what somebody who wrote an unknown name may have meant."""
    name = ".".join(segments)
    if name.lower() == "internal":
        return "the parameter internal=true or internal=only says whether the daemon's own events count"
    if len(name) <= SUGGESTED_CHARS:
        folded = name.lower().replace("_", "")
        close = difflib.get_close_matches(folded, NAMES, n=1, cutoff=0.7)
        if close:
            return f"did you mean {NAMES[close[0]].name}? An application's own field is metadata.{name}"
        if name.isidentifier() or "." in name:
            return f"an application's own field is metadata.{name}; to search for the text, quote it"
    return "to search for a text with a colon in it, quote it"
