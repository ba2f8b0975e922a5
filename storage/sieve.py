"""Skipping files that cannot hold what a filter needs, before any of them is opened by a query.

An id is looked for in the bloom filters of the Parquet files themselves: their places are remembered with the rest of
a footer, and a lookup reads one block of 32 bytes for each row group, not the filter. Words and values are looked for
in the sketches of sealed files (`storage.sketch`) in the same way; as many as fit are kept in memory, which is five
times faster. What is left of a file is narrowed to the times of the row groups that may match.

Nothing here decides what matches: a file that is left out holds no matching row, and files of which nothing is known
stay in.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from storage.bloom import BLOCK_BYTES, bitset_bytes
from storage.needs import Id, Needs, needs_of
from storage.query import Filter, Scope
from storage.scope import View, path_of
from storage.shapes import REMEMBERED, RowGroup, Stored, shape
from storage.sketch import COLUMN, Sketch
from storage.snapshot import File, Snapshot

_log = logging.getLogger(__name__)

KEPT_BYTES = 32 << 20  # of sketches in memory, a byte an event: of some thirty million events
_HEADER_BYTES = 8  # of a Parquet filter that are read to learn how long its header is

Sketches = tuple[Sketch, ...]
_Extent = tuple[int, int, int]  # rows, least and greatest time


class Sieve:
    """Narrows views. Keeps sketches up to ``kept_bytes``, and of the others where they lie. For any thread."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._limit = kept_bytes
        self._bytes = 0
        self._sketches: OrderedDict[str, Sketches] = OrderedDict()
        self._lock = threading.Lock()
        self._rollups: tuple[tuple[File, ...], Mapping[str | None, str]] = ((), {})

    def over(self, snapshot: Snapshot, wanted: Filter, scope: Scope) -> Narrow:
        """Return what narrows views of a snapshot to what a filter needs."""
        known, rollups = self._rollups
        if known is not snapshot.rollups:
            rollups = {file.covers: path_of(snapshot.root, file) for file in snapshot.rollups}
            self._rollups = (snapshot.rollups, rollups)
        return Narrow(self, rollups, needs_of(wanted, scope))

    def sketches(self, path: str) -> Sketches:
        """Return the sketches in a roll-up, in order of row groups; none if it has none."""
        with self._lock:
            found = self._sketches.get(path)
            if found is not None:
                self._sketches.move_to_end(path)
                return found
        found = _read(path)
        size = sum(len(sketch.data or b"") for sketch in found)
        with self._lock:
            if path not in self._sketches:
                if self._bytes + size > self._limit and all(sketch.at is not None for sketch in found):
                    found = tuple(replace(sketch, data=None) for sketch in found)
                else:
                    self._bytes += size
                self._sketches[path] = found
                while len(self._sketches) > REMEMBERED:
                    _, old = self._sketches.popitem(last=False)
                    self._bytes -= sum(len(sketch.data or b"") for sketch in old)
        return found


class Narrow:
    """Narrows views of one snapshot to what one filter needs."""

    def __init__(self, sieve: Sieve, rollups: Mapping[str | None, str], needs: Needs) -> None:
        self._sieve = sieve
        self._rollups = rollups
        self._needs = needs

    @property
    def ids(self) -> tuple[tuple[str, tuple[Id, ...]], ...]:
        """The columns with Bloom filters of which a matching row has one of these values each; none if it need not."""
        return self._needs.ids

    def view(self, seen: View) -> View:
        """Return the view without the files that cannot hold a match, the others narrowed to where they can."""
        if not self._needs:
            return seen
        left = [narrow for file in seen.files if (narrow := self._file(seen.root, file)) is not None]
        return seen.only(left, hot=bool(seen.hot))

    def _file(self, root: str, file: File) -> File | None:
        extents: list[_Extent] = []
        whole = 0
        if self._needs.clauses and (path := self._rollups.get(file.path)) is not None:
            sketches = self._sieve.sketches(path)
            whole = len(sketches)
            with _opened(path, needed=any(sketch.data is None for sketch in sketches)) as handle:
                extents = [
                    (sketch.rows, sketch.min_time_us, sketch.max_time_us)
                    for sketch in sketches
                    if sketch.may_hold(self._needs.clauses, handle)
                ]
            if sketches and not extents:
                return None
        if self._needs.ids:
            found = _holding(path_of(root, file), self._needs.ids)
            if not found:
                return None
            # Sketches and footers tell of the same row groups: the narrower of the two will do.
            if not extents or len(found) < len(extents):
                bounds = [
                    (group.rows, group.min_time_us, group.max_time_us)
                    for group in found
                    if group.min_time_us is not None and group.max_time_us is not None
                ]
                whole = len(shape(path_of(root, file)).groups)
                extents = bounds if len(bounds) == len(found) else []
        if not extents or len(extents) == whole:
            return file
        return replace(
            file,
            rows=sum(extent[0] for extent in extents),
            min_time_us=max(file.min_time_us, min(extent[1] for extent in extents)),
            max_time_us=min(file.max_time_us, max(extent[2] for extent in extents)),
        )


def _holding(path: str, ids: Sequence[tuple[str, tuple[Id, ...]]]) -> list[RowGroup]:
    """Return the row groups of a file that may hold one of the values of every column."""
    groups = shape(path).groups
    handle = -1
    found: list[RowGroup] = []
    try:
        for group in groups:
            for column, values in ids:
                if column not in group.ids:
                    break  # a column that this file does not have is null: nothing equals it
                stored = group.ids[column]
                if stored is None:
                    break
                left = [value for value in values if _within(stored, value)]
                if left and stored.filter_at is not None:
                    if handle < 0:
                        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    left = [value for value in left if _in_filter(handle, stored, value)]
                if not left:
                    break
            else:
                found.append(group)
    finally:
        if handle >= 0:
            os.close(handle)
    return found


def _within(stored: Stored, value: Id) -> bool:
    """Say whether a value lies between a column's least and greatest; ids that begin with a time rarely do."""
    if stored.least is None or stored.greatest is None:
        return True
    return stored.least <= value.text <= stored.greatest


def _in_filter(handle: int, stored: Stored, value: Id) -> bool:
    assert stored.filter_at is not None
    # Nearly always the bits are the greatest power of two that fits; the header says so, and is read if they are not.
    size = 1 << (stored.filter_bytes.bit_length() - 1)
    if size < BLOCK_BYTES or stored.filter_bytes - size > BLOCK_BYTES:
        size = bitset_bytes(stored.filter_bytes, os.pread(handle, _HEADER_BYTES, stored.filter_at))
        if not size:
            return True
    bits_at = stored.filter_at + stored.filter_bytes - size
    block = os.pread(handle, BLOCK_BYTES, bits_at + BLOCK_BYTES * value.probe.block(size // BLOCK_BYTES))
    return len(block) < BLOCK_BYTES or value.probe.in_block(block)


@contextmanager
def _opened(path: str, *, needed: bool) -> Generator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if needed else -1
    try:
        yield handle
    finally:
        if handle >= 0:
            os.close(handle)


def _read(path: str) -> Sketches:
    """Return the sketches of a roll-up; none of one that is damaged or gone, for the events are what counts."""
    try:
        return _sketches_in(path)
    except (OSError, pa.ArrowException, struct.error, ValueError) as error:
        _log.warning("no sketches can be read", extra={"file": path, "reason": str(error)})
        return ()


def _sketches_in(path: str) -> Sketches:
    with pq.ParquetFile(path) as file:
        if COLUMN not in file.schema_arrow.names:
            return ()
        rows = file.read(columns=["key", COLUMN])
    rows = rows.filter(rows[COLUMN].is_valid())
    keys: list[str] = rows["key"].to_pylist()  # type: ignore[assignment]  # none is null
    written: list[bytes] = rows[COLUMN].to_pylist()  # type: ignore[assignment]
    found = [Sketch.read(data) for _, data in sorted(zip(map(int, keys), written, strict=True))]
    whole = [sketch for sketch in found if sketch is not None]
    return _placed(path, whole) if len(whole) == len(found) else ()


def _placed(path: str, sketches: Sequence[Sketch]) -> Sketches:
    """Return sketches with the places of their bytes in a file, where they lie there as they are."""
    with open(path, "rb") as file:
        content = file.read()
    found: list[Sketch] = []
    for sketch in sketches:
        at = content.find(sketch.data or b"")
        found.append(replace(sketch, at=at if at >= 0 else None))
    return tuple(found)
