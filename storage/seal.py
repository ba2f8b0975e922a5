"""Folding and sealing: live files become fewer, then final. Each is one ledger record over files already durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from storage.commit import CODED_EVENTS, Delta, described, finished, stage_rollup, unstage
from storage.fs import Fs
from storage.hot import extent_us
from storage.late import Key
from storage.layout import Layout
from storage.merge import Inputs, Positions
from storage.parquet import ROW_GROUP_ROWS, ParquetFile
from storage.provenance import Origin
from storage.rollups import narrowed
from storage.sketch import with_sketches
from storage.snapshot import File, Kind
from storage.words import coded

# Files of an import that are open at once, each with some 600 KiB of buffers: the days on both sides of a midnight.
MOST_OPEN = 4
# Rows that wait in open files, at about 400 bytes of memory each: two whole row groups, so that the days beside a
# midnight stay open, whatever their size.
MOST_WAITING = 2 * ROW_GROUP_ROWS
ENDING_THREADS = 2
MOST_ENDING = 4  # files that end at once, or wait for it


class Stager:
    """Writes merged files into `staging` and keeps their entries; on failure everything it wrote is removed.

    ``origin`` is what the footers of all its files say of the record that will name them.
    """

    def __init__(self, fs: Fs, layout: Layout, delta: Delta) -> None:
        self._fs = fs
        self._layout = layout
        self._delta = delta
        self.files: list[File] = []

    def live(
        self,
        kind: Kind,
        inputs: Inputs,
        positions: Positions,
        origin: Origin,
        *,
        generation: int,
        late: bool = False,
        last: bool = True,
    ) -> None:
        """Write some rows as one live file. ``generation`` is the last record's number: it makes the name new."""
        first = int(inputs.seqs[positions].min())
        path = self._layout.live_file(kind, first, generation)
        entry = replace(self._described(kind, path, inputs, positions), late=late)
        rollup_path = self._layout.live_file("rollup", first, generation)
        self._write(entry, rollup_path, inputs, positions, origin, last=last)

    def sealed(
        self,
        kind: Kind,
        inputs: Inputs,
        key: Key,
        positions: Positions,
        origin: Origin,
        *,
        late: bool = False,
        last: bool = False,
    ) -> None:
        """Write the rows of one key as a sealed file."""
        first = int(inputs.seqs[positions].min())
        path = self._layout.sealed_file(kind, key.day, first, key.retention_class)
        entry = placed(
            replace(self._described(kind, path, inputs, positions), late=late),
            rows=len(positions),
            day=key.day,
            retention_class=key.retention_class,
            internal=key.internal,
        )
        rollup_path = self._layout.sealed_file("rollup", key.day, first, key.retention_class)
        self._write(entry, rollup_path, inputs, positions, origin, last=last)

    def done(self) -> list[File]:
        """Make the names durable and return the entries."""
        if self.files:
            self._fs.sync_dir(self._layout.staging)
        return self.files

    def abandon(self) -> None:
        """Remove what was staged."""
        unstage(self._fs, self._layout, self.files)

    def _described(self, kind: Kind, path: str, inputs: Inputs, positions: Positions) -> File:
        times, seqs = inputs.times[positions], inputs.seqs[positions]
        extents = (int(times.min()), int(times.max())), (int(seqs.min()), int(seqs.max()))
        return replace(described(path, kind, self._layout.node, *extents), rows=len(positions))

    def _write(
        self,
        entry: File,
        rollup_path: str,
        inputs: Inputs,
        positions: Positions,
        origin: Origin,
        *,
        last: bool,
    ) -> None:
        file = ParquetFile(
            self._fs,
            self._layout.staged(entry.path),
            inputs.schema,
            node=self._layout.node,
            bloom_rows=min(len(positions), ROW_GROUP_ROWS),
            sketching=entry.kind == "events" and entry.day is not None,
        )
        counted: list[pa.Table] = []
        try:
            for table in inputs.slices(positions):
                pa.default_memory_pool().release_unused()
                file.write(table)
                if entry.kind == "events":
                    counted.append(narrowed(table))
            written = file.finish(origin.footer(entry, file.rows_of, last=last))
        except BaseException:
            file.abandon()
            raise
        self.files.append(finished(entry, written))
        if counted:
            rollup = with_sketches(self._delta(pa.concat_tables(counted)), file.sketches)
            self.files.append(stage_rollup(self._fs, self._layout, entry, rollup_path, rollup, origin))


class SealedWriter:
    """Writes parsed rows straight into sealed files (bulk import): one open file per (day, class, internal).

    Rows of one key must come in rising time to stay in one file; when they fall back, the file is closed and another
    begun, so that each file is sorted. Only the files written last are kept open, so that ten years of days need no
    more memory than one week. Files become durable all together, in `finish`.
    """

    def __init__(self, fs: Fs, layout: Layout, delta: Delta, origin_now: Callable[[], Origin]) -> None:
        self._fs = fs
        self._layout = layout
        self._delta = delta
        self._origin_now = origin_now
        self._open: dict[tuple[str, str, bool], _Sealing] = {}
        self._ending: deque[tuple[_Sealing, Future[list[File]]]] = deque()
        self._threads = ThreadPoolExecutor(ENDING_THREADS, thread_name_prefix="seal")
        self.files: list[File] = []

    @property
    def bytes(self) -> int:
        """Bytes written so far."""
        return sum(sealing.bytes for sealing in self._open.values()) + sum(f.bytes for f in self.files)

    def write(self, parts: Iterable[tuple[tuple[str, str, bool], pa.Table]]) -> None:
        """Append rows by key; each table is sorted by time."""
        origin: Origin | None = None
        for key, plain in parts:
            table = coded(plain, CODED_EVENTS)
            low, high = extent_us(table.column("timestamp"))
            sealing = self._open.pop(key, None)
            if sealing is not None:
                self._open[key] = sealing  # the order is that of the last write
            behind = sealing is not None and low < sealing.max_time_us
            if behind or (sealing is None and len(self._open) >= MOST_OPEN):
                origin = origin or self._origin_now()
                self._close(key if behind else next(iter(self._open)), origin)
                sealing = None
            if sealing is None:
                self._write_waiting()
                sealing = self._begin(key, table, low)
            sealing.waiting.append(table)
            sealing.rows += table.num_rows
            self._write(sealing, least=ROW_GROUP_ROWS)
            while len(self._open) > 1 and sum(each.waits for each in self._open.values()) > MOST_WAITING:
                origin = origin or self._origin_now()
                self._close(next(other for other, each in self._open.items() if each.waits), origin)
            sealing.counted.append(narrowed(table))
            seqs = table.column("seq").to_numpy()
            sealing.max_time_us = high
            sealing.min_seq = min(sealing.min_seq, int(seqs.min()))
            sealing.max_seq = max(sealing.max_seq, int(seqs.max()))

    def finish(self, origin: Origin) -> list[File]:
        """Close every file, durably, and return their entries; ``origin`` covers the whole import by now."""
        days = sorted(self._open)
        for key in days:
            if key is days[-1]:
                self._collect(most=0)  # the last one tells of every source that no other file did
            self._close(key, origin, last=key is days[-1])
        self._collect(most=0)
        self._threads.shutdown()
        self._fs.together(
            [partial(self._fs.sync_file, self._layout.staged(file.path)) for file in self.files]
        )
        if self.files:
            self._fs.sync_dir(self._layout.staging)
        return self.files

    def abandon(self) -> None:
        """Remove what was staged."""
        self._threads.shutdown(cancel_futures=True)
        for sealing, future in self._ending:
            if future.cancelled() or future.exception() is not None:
                sealing.abandon()
            else:
                self.files += future.result()
        for sealing in self._open.values():
            sealing.abandon()
        unstage(self._fs, self._layout, self.files)

    def _begin(self, key: tuple[str, str, bool], table: pa.Table, low: int) -> _Sealing:
        day, retention_class, _ = key
        first = int(table.column("seq").to_numpy().min())
        path = self._layout.sealed_file("events", day, first, retention_class)
        self._open[key] = sealing = _Sealing(path, low, first)
        return sealing

    def _write_waiting(self) -> None:
        """Write what waits of days that were large: mostly they are over, and their rows would hold memory for nothing."""
        for sealing in self._open.values():
            if sealing.file is not None:
                self._write(sealing, least=1)

    def _write(self, sealing: _Sealing, *, least: int) -> None:
        """Write what waits for a file if there are ``least`` rows of it: whole row groups, or with its end the rest."""
        rows = sealing.waits
        if rows < least:
            return
        if sealing.file is None:
            sealing.file = ParquetFile(
                self._fs,
                self._layout.staged(sealing.path),
                CODED_EVENTS,
                node=self._layout.node,
                bloom_rows=min(rows, ROW_GROUP_ROWS),
                sketching=True,
            )
        table = pa.concat_tables(sealing.waiting)
        whole = rows // least * least
        sealing.file.write(table.slice(0, whole))
        sealing.waiting = [table.slice(whole)] if whole < rows else []

    def _close(self, key: tuple[str, str, bool], origin: Origin, *, last: bool = False) -> None:
        """Let a file end. With many small ones encoding takes longest, and other threads do that.

        Of a large one most is encoded already, and its roll-up takes memory: it ends here, while nothing else grows.
        """
        sealing = self._open.pop(key)
        if sealing.rows >= ROW_GROUP_ROWS:
            self._collect(most=0)
            try:
                self.files += self._end(sealing, key, origin, last=last)
            except BaseException:
                sealing.abandon()
                raise
            return
        self._ending.append((sealing, self._threads.submit(self._end, sealing, key, origin, last=last)))
        self._collect(most=MOST_ENDING, rows=ROW_GROUP_ROWS)

    def _collect(self, *, most: int, rows: int = 0) -> None:
        """Wait until at most ``most`` files of together ``rows`` rows are about to end, and take the entries of the others."""
        while len(self._ending) > most or sum(sealing.rows for sealing, _ in self._ending) > rows:
            self.files += self._ending[0][1].result()
            self._ending.popleft()

    def _end(
        self, sealing: _Sealing, key: tuple[str, str, bool], origin: Origin, *, last: bool
    ) -> list[File]:
        day, retention_class, internal = key
        entry = described(
            sealing.path,
            "events",
            self._layout.node,
            (sealing.min_time_us, sealing.max_time_us),
            (sealing.min_seq, sealing.max_seq),
        )
        entry = placed(
            entry,
            rows=sealing.rows,
            day=day,
            retention_class=retention_class,
            internal=internal,
        )
        self._write(sealing, least=1)
        assert sealing.file is not None  # it has rows
        written = sealing.file.finish(origin.footer(entry, sealing.file.rows_of, last=last), sync=False)
        path = self._layout.sealed_file("rollup", day, sealing.first_seq, retention_class)
        rollup = with_sketches(self._delta(pa.concat_tables(sealing.counted)), sealing.file.sketches)
        return [
            finished(entry, written),
            stage_rollup(self._fs, self._layout, entry, path, rollup, origin, sync=False),
        ]


@dataclass(slots=True)
class _Sealing:
    """A sealed file being written. Rows wait until they are whole row groups, or the file ends."""

    path: str
    min_time_us: int
    first_seq: int
    file: ParquetFile | None = None
    waiting: list[pa.Table] = field(default_factory=list)
    counted: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    max_time_us: int = 0
    min_seq: int = 0
    max_seq: int = 0

    def __post_init__(self) -> None:
        self.max_time_us = self.min_time_us
        self.min_seq = self.max_seq = self.first_seq

    @property
    def bytes(self) -> int:
        """Bytes written so far."""
        return self.file.bytes if self.file is not None else 0

    @property
    def waits(self) -> int:
        """Rows that are not encoded yet."""
        return sum(table.num_rows for table in self.waiting)

    def abandon(self) -> None:
        """Give up what was written."""
        if self.file is not None:
            self.file.abandon()


def placed(
    file: File, *, rows: int, day: str | None, retention_class: str | None, internal: bool | None
) -> File:
    """Return the entry with what all its rows share."""
    return replace(file, rows=rows, day=day, retention_class=retention_class, internal=internal)
