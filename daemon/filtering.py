"""The filters of the API as options: from the same table, with `-` for `_` in their names."""

from __future__ import annotations

import argparse

from daemon.command import CommandError, Exit, Option
from storage.filters import FIELDS

_BY_ID = "event_id"  # `query --id` looks one event up

FILTERS: tuple[Option, ...] = (
    *(
        Option(
            (f"--{field.name.replace('_', '-')}",),
            f"{field.meaning}; {field.kind.meaning}",
            "VALUE",
            many=True,
        )
        for field in FIELDS.values()
        if field.name != _BY_ID
    ),
    Option(("--min-risk",), "lowest risk score", "SCORE"),
    Option(("--max-risk",), "highest risk score", "SCORE"),
    Option(
        ("--start-date", "--since"),
        "from here on: 2024-05-31, 2024-05-31T14:00:00Z, -15m, -24h or -7d",
        "TIME",
    ),
    Option(("--end-date", "--until"), "up to here, inclusive; a date is its last moment", "TIME"),
    Option(("--search-query", "--search"), "words in description, entity name or username", "TEXT"),
    Option(
        ("--subject",),
        "one person's events: by them, for them, or about them (an id, a name, an address)",
        "USER",
    ),
    Option(
        ("--q",),
        "a search, which must hold as well: 'level:error -path:/health* status:>=500' (docs/search.md)",
        "SEARCH",
    ),
    Option(
        ("--internal",),
        "the daemon's own events: left out (false), among the others (true), or alone (only)",
        choices=("false", "true", "only"),
    ),
)
REPEATED = "Filters may be repeated; a leading ! excludes: --level error --level critical --path '!/health'."

_NAMES = tuple(option.names[0].removeprefix("--").replace("-", "_") for option in FILTERS)


def values_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the filters that were given, by the API's parameter names.

    An empty one is refused: of ``--subject "$UNSET"`` everybody's events must not come.
    """
    values: dict[str, list[str]] = {}
    for name in _NAMES:
        given = getattr(arguments, name)
        if given is None:
            continue
        texts = given if isinstance(given, list) else [given]
        if "" in texts:
            option = name.replace("_", "-")
            raise CommandError(f"--{option}: the value is empty", Exit.USAGE, hint="leave the option out")
        if texts:
            values[name] = texts
    return values
