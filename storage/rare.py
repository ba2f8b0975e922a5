"""What filters by id find: the few rows that match, by one statement, and remembered for as long as their files are there.

An id is shared by few events, so all of them are found at once, rows included: a page needs no walk, no total, and no
second statement for its rows. Sealed and live files never change. What a filter finds in them is therefore known until
they are replaced, and the next time only files that have come since are looked at, and the hot rows. How the two ways
of answering agree is tested with random filters.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from storage import sql
from storage.pages import Position, located
from storage.pruning import note_snapshot
from storage.query import Filter, Scope, fingerprint
from storage.render import event_texts
from storage.rows import RowCache
from storage.scope import view
from storage.sieve import Narrow, Sieve
from storage.snapshot import File, Hot, Snapshot
from storage.treatments import check

MOST = 50  # rows that are found at once: requests have a dozen events, and a program that numbers nothing has one id
REMEMBERED = 512  # filters; some positions each, and the list of files that they hold for, which most share
_KNOWN_LISTS = 4  # of files, as sets of paths: the newest, and those that answers of a moment ago hold for
_ANY_SEQ = (
    sys.maxsize
)  # remembered rows are those of all snapshots; each answer leaves out what is above its own

Files = tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Finds:
    """What a filter finds in some files: where its rows lie. None: more than are found at once."""

    files: Files
    positions: tuple[Position, ...] | None


class Rare:
    """Finds the rows of filters by id, up to ``most`` of one filter. For any thread."""

    def __init__(self, sieve: Sieve, cache: RowCache, most: int = MOST) -> None:
        self._most = most
        self._sieve = sieve
        self._cache = cache
        self._found: OrderedDict[str, Finds] = OrderedDict()
        self._paths: OrderedDict[int, tuple[Files, frozenset[str]]] = OrderedDict()
        self._lock = threading.Lock()

    def find(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        wanted: Filter,
        scope: Scope,
        *,
        seq: int | None = None,
    ) -> list[Position] | None:
        """Return where all matching rows of a snapshot lie, newest first; None when this is not the way to find them.

        That is so for filters that name no id with a Bloom filter, and where more than ``most`` rows match. ``seq`` limits
        what is seen to an earlier snapshot. Raises MaskedError as `storage.scope.view` does.
        """
        check(wanted, scope)
        note_snapshot(snapshot)
        if not wanted.selective:
            return None
        narrow = self._sieve.over(snapshot, wanted, scope)
        if not narrow.ids:
            return None
        in_files = self._in_files(cursor, snapshot, wanted, scope, narrow)
        if in_files is None:
            return None
        found = [*in_files, *_in_hot(cursor, snapshot, wanted, scope, narrow, self._most + 1)]
        if len(found) > self._most:
            return None
        limit = snapshot.seq if seq is None else min(seq, snapshot.seq)
        return sorted(
            (position for position in found if position.seq <= limit),
            key=lambda position: (position.time_us, position.seq),
            reverse=True,
        )

    def _in_files(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        wanted: Filter,
        scope: Scope,
        narrow: Narrow,
    ) -> tuple[Position, ...] | None:
        key = fingerprint(snapshot.root, wanted, scope.tenant, scope.internal)
        with self._lock:
            held = self._found.get(key)
            if held is not None:
                self._found.move_to_end(key)
        if held is None:
            found = self._look(cursor, snapshot, snapshot.events, wanted, scope, narrow)
        elif held.files is snapshot.events:
            return held.positions
        else:
            found = self._go_on(cursor, snapshot, held, wanted, scope, narrow)
        with self._lock:
            self._found[key] = Finds(snapshot.events, found)
            self._found.move_to_end(key)
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)
        return found

    def _go_on(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        held: Finds,
        wanted: Filter,
        scope: Scope,
        narrow: Narrow,
    ) -> tuple[Position, ...] | None:
        """Return what is found now, when something else is known of other files, most of them the same."""
        before, now = self._paths_of(held.files), self._paths_of(snapshot.events)
        if held.positions is None:
            return (
                None
                if now >= before
                else self._look(cursor, snapshot, snapshot.events, wanted, scope, narrow)
            )
        kept = tuple(
            position
            for position in held.positions
            if position.file is not None and position.file.removeprefix(f"{snapshot.root}/") in now
        )
        new = tuple(file for file in snapshot.events if file.path not in before)
        found = self._look(cursor, snapshot, new, wanted, scope, narrow) if new else ()
        return None if found is None or len(found) + len(kept) > self._most else (*kept, *found)

    def _paths_of(self, files: Files) -> frozenset[str]:
        with self._lock:
            held = self._paths.get(id(files))
            if held is not None:
                return held[1]
        paths = frozenset(file.path for file in files)
        with self._lock:
            # With the list itself: its id is nobody else's while it is held.
            self._paths[id(files)] = (files, paths)
            if len(self._paths) > _KNOWN_LISTS:
                self._paths.popitem(last=False)
        return paths

    def _look(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        files: Files,
        wanted: Filter,
        scope: Scope,
        narrow: Narrow,
    ) -> tuple[Position, ...] | None:
        """Find the rows in some files by one statement that reads them whole, and keep their texts."""
        seen = view(replace(snapshot, events=files, hot=()), wanted, scope)
        part = narrow.view(replace(seen, seq=_ANY_SEQ))
        if part.empty:
            return ()
        part = part.between(*part.span())
        table = sql.whole(part, wanted, scope, limit=self._most + 1).table(cursor)
        if table.num_rows > self._most:
            return None
        columns = ("time_us", "seq", sql.FILE, sql.ROW)
        found = tuple(located(part, list(zip(*(table[name].to_pylist() for name in columns), strict=True))))
        for position, text in zip(found, event_texts(table), strict=True):
            self._cache.put((position.file, position.number), text)
        return found


def _in_hot(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    wanted: Filter,
    scope: Scope,
    narrow: Narrow,
    limit: int,
) -> Sequence[Position]:
    """Find the rows that are in no file yet. Those with the ids are picked first: mostly none, and no statement is run."""
    left: list[Hot] = []
    for batch in view(replace(snapshot, events=()), wanted, scope).hot:
        rows = batch.table
        for column, values in narrow.ids:
            rows = rows.filter(
                pc.is_in(rows[column], pa.array([value.text for value in values], pa.string()))
            )
        if rows.num_rows:
            left.append(replace(batch, table=rows))
    if not left:
        return ()
    few = view(replace(snapshot, events=(), hot=tuple(left)), wanted, scope)
    sql.register(cursor, left)
    try:
        return list(located(few, sql.positions(few, wanted, scope, limit=limit).rows(cursor)))
    finally:
        sql.register(cursor, snapshot.hot)  # what other statements on this cursor expect there
