"""What the first questions after a start would read of every file, read before they are asked.

Newest first: the footers of events files, which tell where Bloom filters lie, and the sketches of sealed files; then,
month by month, the sums that a dashboard's figures are made of. The work is done in small steps with rests between them,
and ends where the memory for roll-ups is nearly full: what it would go on with would only drive out what is newer. A
question that comes before its turn reads what it needs itself, and that is then kept as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import duckdb

from storage.engine import Engine
from storage.errors import QueryError, UnreadableError
from storage.rollups import ADDRESSES, COUNTRIES, ENTITIES, TOTALS, USERS, Family
from storage.scope import path_of
from storage.shapes import shape
from storage.sheets import Sheets
from storage.sieve import Sieve
from storage.snapshot import File, Snapshot

FILES_A_STEP = 32  # footers and sketches that are read at a time, some 50 ms
RESTS = 3.0  # times as long as a step took is waited after it: a quarter of a core, less on a busy machine
# Of a range of whole days, figures are made of these.
FAMILIES = (TOTALS, USERS, COUNTRIES, ADDRESSES, ENTITIES)

Step = Callable[[duckdb.DuckDBPyConnection], None]


async def warm(engine: Engine, snapshot: Snapshot, sieve: Sieve) -> None:
    """Do all steps for a snapshot. Cancel it at any time; what it read stays known."""
    for step in await engine.run(lambda _: list(steps(snapshot, sieve, engine.sheets)), place="warming"):
        began = time.monotonic()
        # What cannot be read is said to whoever asks for it, and a file that is gone needs no warming.
        with contextlib.suppress(QueryError):
            await engine.run(step, place="warming")
        await asyncio.sleep(RESTS * (time.monotonic() - began))


def steps(snapshot: Snapshot, sieve: Sieve, sheets: Sheets) -> Iterator[Step]:
    """Return the steps, in order."""
    rollups = {file.covers: file for file in snapshot.rollups}
    for begin in range(0, len(snapshot.events), FILES_A_STEP):
        yield partial(_look, snapshot.root, snapshot.events[begin : begin + FILES_A_STEP], rollups, sieve)
    # In the order and with the files that a question of a plain scope has them.
    months: dict[str, list[File]] = {}
    for file in snapshot.events:
        if file.day is not None and file.internal is not True and file.path in rollups:
            months.setdefault(file.day[:7], []).append(rollups[file.path])
    for files in months.values():
        for family in FAMILIES:
            days: dict[str | None, list[File]] = {}
            for file in files:
                days.setdefault(file.day, []).append(file)
            for those in days.values():
                yield partial(_sum, snapshot.root, those, files, family, sheets)
            yield partial(_sum, snapshot.root, files, files, family, sheets)


def _look(
    root: str,
    files: Sequence[File],
    rollups: dict[str | None, File],
    sieve: Sieve,
    _cursor: duckdb.DuckDBPyConnection,
) -> None:
    for file in files:
        with contextlib.suppress(OSError, UnreadableError):
            shape(path_of(root, file))
        if file.path in rollups:
            sieve.sketches(path_of(root, rollups[file.path]))


def _sum(
    root: str,
    files: Sequence[File],
    month: Sequence[File],
    family: Family,
    sheets: Sheets,
    cursor: duckdb.DuckDBPyConnection,
) -> None:
    """Add up a family of some roll-ups, unless that of their month is known or memory is short."""
    if not sheets.nearly_full and not sheets.holds(root, month, family):
        sheets.of_files(cursor, root, files, family)
