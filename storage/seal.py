"""Folding and sealing: live files become fewer, then final. Each is one ledger record over files already durable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.commit import Delta, covering, described, unstage
from storage.fs import Fs
from storage.hot import extent_us
from storage.layout import Layout
from storage.merge import Inputs
from storage.parquet import ROLLUP, ROW_GROUP_ROWS, ParquetFile, write_parquet
from storage.snapshot import File, Kind

_TIME = {"events": "timestamp", "rejects": "ingested_at"}
_SCHEMA = {"events": EVENT_SCHEMA, "rejects": REJECT_SCHEMA}

# What `storage.rollups.delta` reads of a row. A roll-up must be made of all rows of its file at once (which keys are
# heavy depends on all of them), so these columns are kept until the file is finished.
COUNTED = (
    "timestamp",
    "level",
    "category",
    "action",
    "outcome",
    "risk_score",
    "internal",
    "tenant",
    "user_id",
    "username",
    "country_code",
    "ip",
    "entity_id",
    "entity_type",
)


class Stager:
    """Writes merged files into `staging` and keeps their entries; on failure everything it wrote is removed."""

    def __init__(self, fs: Fs, layout: Layout, delta: Delta) -> None:
        self._fs = fs
        self._layout = layout
        self._delta = delta
        self.files: list[File] = []

    def fold(self, live: Sequence[File], generation: int) -> list[File]:
        """Merge live events files (and their roll-ups) into one of each; return the new entries."""
        inputs = Inputs(self._fs, self._layout, live, time="timestamp")
        first = min(file.min_seq for file in live)
        self._write(
            "events",
            self._layout.live_file("events", first, generation),
            self._layout.live_file("rollup", first, generation),
            inputs,
            inputs.in_order(),
        )
        return self._done()

    def seal(self, events: Sequence[File], rejects: Sequence[File]) -> list[File]:
        """Merge live files into sealed ones, one per (UTC day, retention class, internal); return the new entries."""
        kinds: tuple[tuple[Kind, Sequence[File]], ...] = (("events", events), ("rejects", rejects))
        for kind, live in kinds:
            if not live:
                continue
            inputs = Inputs(self._fs, self._layout, live, time=_TIME[kind])
            for key, positions in inputs.by_key():
                first = int(inputs.seqs[positions].min())
                self._write(
                    kind,
                    self._layout.sealed_file(kind, key.day, first, key.retention_class),
                    self._layout.sealed_file("rollup", key.day, first, key.retention_class),
                    inputs,
                    positions,
                    day=key.day,
                    retention_class=key.retention_class,
                    internal=key.internal,
                )
        return self._done()

    def abandon(self) -> None:
        """Remove what was staged."""
        unstage(self._fs, self._layout, self.files)

    def _done(self) -> list[File]:
        self._fs.sync_dir(self._layout.staging)
        return self.files

    def _write(
        self,
        kind: Kind,
        path: str,
        rollup_path: str,
        inputs: Inputs,
        positions: np.ndarray[tuple[int], np.dtype[np.int64]],
        *,
        day: str | None = None,
        retention_class: str | None = None,
        internal: bool | None = None,
    ) -> None:
        rows = min(len(positions), ROW_GROUP_ROWS)
        file = ParquetFile(
            self._fs, self._layout.staged(path), _SCHEMA[kind], node=self._layout.node, bloom_rows=rows
        )
        counted: list[pa.Table] = []
        try:
            for table in inputs.slices(positions):
                file.write(table)
                if kind == "events":
                    counted.append(table.select(COUNTED))
            written = file.finish()
        except BaseException:
            file.abandon()
            raise
        times, seqs = inputs.times[positions], inputs.seqs[positions]
        entry = described(
            path,
            kind,
            self._layout.node,
            written,
            (int(times.min()), int(times.max())),
            (int(seqs.min()), int(seqs.max())),
        )
        entry = placed(entry, day=day, retention_class=retention_class, internal=internal)
        self.files.append(entry)
        if counted:
            rows_of_rollup = self._delta(pa.concat_tables(counted))
            rollup = write_parquet(
                self._fs,
                self._layout.staged(rollup_path),
                rows_of_rollup,
                node=self._layout.node,
                encoding=ROLLUP,
            )
            self.files.append(covering(entry, rollup_path, rollup))


class SealedWriter:
    """Writes parsed rows straight into sealed files (bulk import): one open file per (day, class, internal).

    Rows of one key must come in rising time to stay in one file; when they fall back, the file is closed and another
    begun, so that each file is sorted.
    """

    def __init__(self, fs: Fs, layout: Layout, delta: Delta) -> None:
        self._fs = fs
        self._layout = layout
        self._delta = delta
        self._open: dict[tuple[str, str, bool], _Sealing] = {}
        self.files: list[File] = []

    @property
    def bytes(self) -> int:
        """Bytes written so far."""
        return sum(sealing.file.bytes for sealing in self._open.values()) + sum(f.bytes for f in self.files)

    def write(self, parts: Iterable[tuple[tuple[str, str, bool], pa.Table]]) -> None:
        """Append rows by key; each table is sorted by time."""
        for key, table in parts:
            low, high = extent_us(table.column("timestamp"))
            sealing = self._open.get(key)
            if sealing is not None and low < sealing.max_time_us:
                self._close(key)
                sealing = None
            if sealing is None:
                sealing = self._begin(key, table, low)
            sealing.file.write(table)
            sealing.counted.append(table.select(COUNTED))
            seqs = table.column("seq").to_numpy()
            sealing.max_time_us = high
            sealing.min_seq = min(sealing.min_seq, int(seqs.min()))
            sealing.max_seq = max(sealing.max_seq, int(seqs.max()))

    def finish(self) -> list[File]:
        """Close every file, durably, and return their entries."""
        for key in list(self._open):
            self._close(key)
        if self.files:
            self._fs.sync_dir(self._layout.staging)
        return self.files

    def abandon(self) -> None:
        """Remove what was staged."""
        for sealing in self._open.values():
            sealing.file.abandon()
        unstage(self._fs, self._layout, self.files)

    def _begin(self, key: tuple[str, str, bool], table: pa.Table, low: int) -> _Sealing:
        day, retention_class, _ = key
        first = int(table.column("seq").to_numpy().min())
        path = self._layout.sealed_file("events", day, first, retention_class)
        file = ParquetFile(
            self._fs,
            self._layout.staged(path),
            EVENT_SCHEMA,
            node=self._layout.node,
            bloom_rows=ROW_GROUP_ROWS,
        )
        sealing = _Sealing(path, file, low, first)
        self._open[key] = sealing
        return sealing

    def _close(self, key: tuple[str, str, bool]) -> None:
        sealing = self._open.pop(key)
        try:
            written = sealing.file.finish()
        except BaseException:
            sealing.file.abandon()
            raise
        day, retention_class, internal = key
        entry = described(
            sealing.path,
            "events",
            self._layout.node,
            written,
            (sealing.min_time_us, sealing.max_time_us),
            (sealing.min_seq, sealing.max_seq),
        )
        entry = placed(entry, day=day, retention_class=retention_class, internal=internal)
        self.files.append(entry)
        rollup_path = self._layout.sealed_file("rollup", day, sealing.first_seq, retention_class)
        rows_of_rollup = self._delta(pa.concat_tables(sealing.counted))
        rollup = write_parquet(
            self._fs,
            self._layout.staged(rollup_path),
            rows_of_rollup,
            node=self._layout.node,
            encoding=ROLLUP,
        )
        self.files.append(covering(entry, rollup_path, rollup))


class _Sealing:
    """A sealed file being written."""

    __slots__ = ("counted", "file", "first_seq", "max_seq", "max_time_us", "min_seq", "min_time_us", "path")

    def __init__(self, path: str, file: ParquetFile, low: int, first_seq: int) -> None:
        self.path = path
        self.file = file
        self.first_seq = first_seq
        self.min_time_us = low
        self.max_time_us = low
        self.min_seq = first_seq
        self.max_seq = first_seq
        self.counted: list[pa.Table] = []


def placed(file: File, *, day: str | None, retention_class: str | None, internal: bool | None) -> File:
    """Return the entry with what all its rows share."""
    return replace(file, day=day, retention_class=retention_class, internal=internal)
