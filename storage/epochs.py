"""Which line a seq means to whom: the run of a daemon that showed it, and where somebody who saw it goes on.

Every start writes an ``open`` record with an epoch of its own and a reservation of numbers; the next start begins above
that reservation. So a number is never used twice, and "everything above it" is right for every number ever shown. But
rows that were shown and not committed when their process died lost their numbers: their lines are read again and get
higher ones. Whoever saw such rows gets them a second time, and has to be told.

The ledger says of an earlier run what it committed, not what it showed. A number that it committed is the number of a
row (of events or of rejects) in a file; one that it only showed is in none. That is how the two are told apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.errors import QueryError

_PLACE = re.compile(r"([0-9]{1,16})\.([0-9]{1,16})")
_MOST = 2**53 - 1  # a seq stays below it, so that every client can hold one as a number

UNCOMMITTED = "uncommitted"
UNKNOWN = "unknown"
REASONS = {
    UNCOMMITTED: "events that an earlier run of the daemon had shown were not committed when it ended; "
    "their lines come again with new numbers",
    UNKNOWN: "this archive never gave that id; it may have been restored or replaced",
}


@dataclass(frozen=True, slots=True)
class Run:
    """This process: its epoch in the ledger (0: it could not write there yet), and the last seq committed before it."""

    epoch: int = 0
    base: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has seen the archive: everything up to ``seq``, as the run ``epoch`` showed it."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read what `str` gave. Raises QueryError for anything else."""
        match = _PLACE.fullmatch(text)
        if match is None or int(match[2]) > _MOST:
            raise QueryError("the id cannot be read", hint="take it from `id:` of an event, unchanged")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Reset:
    """Said to whoever goes on behind ``given``: from ``start`` on it may see events a second time.

    The same line has the same source and offset both times.
    """

    reason: str
    given: Place
    start: Place


def resumption(given: Place, run: Run, seq: int, *, committed: bool) -> tuple[int, Reset | None]:
    """Return the seq behind which somebody goes on who has seen ``given``, and what has to be said about it.

    ``seq`` is the highest that is visible; ``committed`` says whether some row in a file has the number ``given.seq``.
    """
    known = given.epoch <= run.epoch
    if given.epoch == run.epoch:
        start, exact = min(given.seq, seq), given.seq <= seq
        known = exact
    else:
        start = min(given.seq, run.base)
        exact = known and start == given.seq and committed
    if exact:
        return start, None
    return start, Reset(UNCOMMITTED if known else UNKNOWN, given, Place(run.epoch, start))


def needs_check(given: Place, run: Run) -> bool:
    """Say whether `resumption` depends on ``committed``; seq 0 is before every row."""
    return given.epoch < run.epoch and 0 < given.seq <= run.base
