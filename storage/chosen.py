"""Which columns an export shows: chosen by the API's dotted names, by an object of the Event, or by the archive's names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from parsers.columns import BY_NAME, COLUMNS
from parsers.fields import resolve
from storage.filters import FilterError

PARAMETER = "fields"


def columns_of_fields(texts: Iterable[str], *, event: bool) -> tuple[str, ...]:
    """Return the columns that some lists of names separated by commas mean, in their order, each once.

    ``event``: only what the API's Event has; the other columns exist in Parquet and Arrow alone. Raises
    `storage.filters.FilterError` for a name that means nothing.
    """
    chosen: dict[str, None] = {}
    for name in (part.strip() for text in texts for part in text.split(",")):
        if not name:
            continue
        found = [column.name for column in COLUMNS if name in _names(column.api)] or (
            [name] if name in BY_NAME else []
        )
        if not found:
            near = _near(name)
            hint = f"did you mean {near}?" if near else "names of the Event, such as level or user.id"
            raise FilterError(PARAMETER, f"there is no field {name!r}", hint)
        if event and not all(BY_NAME[column].api for column in found):
            raise FilterError(
                PARAMETER, f"{name!r} is no part of the Event", "the formats parquet and arrow have it"
            )
        chosen.update(dict.fromkeys(found))
    return tuple(chosen)


def _near(name: str) -> str:
    """Return what a name stands for that means nothing here: in a search, or spelled almost so."""
    segments = name.split(".")
    searched = resolve(segments, len(segments))
    if searched is not None and searched[0].column in BY_NAME:
        return BY_NAME[searched[0].column].api
    known = {part for column in COLUMNS for part in (*_names(column.api), column.name)}
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), "")


def _names(api: str) -> tuple[str, ...]:
    """Return the dotted name of a column and those of the objects around it."""
    parts = api.split(".") if api else []
    return tuple(".".join(parts[:length]) for length in range(1, len(parts) + 1))
