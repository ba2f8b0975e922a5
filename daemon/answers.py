"""What the command line asks, and who may answer it: the daemon (`daemon.overhttp`) or the files (`daemon.fromfiles`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from daemon.command import CommandError, Exit
from daemon.lost import Lost
from daemon.wanted import Values, wanted

if TYPE_CHECKING:
    from storage.query import Filter, Scope


PAGE_ROWS = 500  # rows at once; at most [web] page_limit of a running daemon
COMPRESS = "compress"  # names no filter, but how the file is compressed
HOUR_US = 3_600_000_000
MESSAGE = "message"  # the kind of a live event that names none


@dataclass(frozen=True, slots=True)
class Block:
    """What a live stream sends at once: the kind of event, the id behind which to go on, and the data (both may lack)."""

    event: str
    last: str | None
    data: str


class Answers(Protocol):
    """Who answers: the daemon or the files. Events and rejects come newest first; events as JSON text."""

    live: bool  # whether new events can appear while it is open
    lost: Sequence[Lost]  # whose rows are in no answer

    def events(self, values: Values, limit: int) -> Iterator[str]:
        """Yield at most ``limit`` events."""
        ...

    def follow(self, values: Values, after: str | None) -> Iterator[Block]:
        """Yield what a live stream sends, behind an id or from now on, until the daemon ends it."""
        ...

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return the first event with this id."""
        ...

    def rejects(self, limit: int, source: str | None) -> Iterator[dict[str, Any]]:
        """Yield at most ``limit`` lines that could not be parsed."""
        ...

    def statistics(self, values: Values, hours: int) -> dict[str, Any]:
        """Return the figures of the last hours, or of the range among ``values``."""
        ...

    def risk(self, values: Values, hours: int) -> dict[str, Any]:
        """Return the riskiest users and addresses of the last hours, or of the range among ``values``."""
        ...

    def count(self, values: Values) -> int:
        """Return how many events match."""
        ...

    def export(self, values: Values, form: str, limit: int | None = None) -> Iterator[bytes]:
        """Yield an export piece by piece. ``values`` may have `fields` and `compress` as well."""
        ...


def question(values: Values, *, hours: int | None = None) -> tuple[Filter, Scope]:
    """Return what the API would make of these parameters; CommandError names the one that cannot be used."""
    from storage.filters import FilterError

    now_us = time.time_ns() // 1000
    try:
        found, scope = wanted(values, now_us=now_us)
    except FilterError as error:
        raise CommandError(
            f"--{error.field.replace('_', '-')}: {error.what}", Exit.USAGE, hint=error.hint
        ) from None
    if hours is not None:
        end_us = now_us if found.end_us is None else found.end_us
        start_us = end_us - hours * HOUR_US if found.start_us is None else found.start_us
        found = replace(found, start_us=start_us, end_us=end_us)
    return found, scope
