"""A frozen view of the archive: which files and hot rows a query may see. Swapped whole, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Kind = Literal["events", "rejects", "rollup"]


@dataclass(frozen=True, slots=True)
class File:
    """One committed Parquet file. Times are microseconds since 1970, UTC; ``path`` is relative to the archive.

    ``day`` is set for sealed files only. ``internal`` and ``retention_class`` are None when the rows are mixed (live files).
    A roll-up covers exactly the rows of one events file and carries that file's ``path`` in ``covers``. All rows of a
    ``late`` file came when their day was over or not yet begun: see `storage.late`.
    """

    path: str
    kind: Kind
    node: str
    rows: int
    bytes: int
    sha256: str
    min_time_us: int
    max_time_us: int
    min_seq: int
    max_seq: int
    day: str | None = None
    retention_class: str | None = None
    internal: bool | None = None
    covers: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Hot:
    """Visible rows that are not committed yet: one table of EVENT_SCHEMA (or REJECT_SCHEMA), rising in seq."""

    table: pa.Table
    min_time_us: int
    max_time_us: int
    min_seq: int
    max_seq: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one query sees. Every row has ``seq <= self.seq``."""

    root: str  # absolute path of the archive
    node: str
    seq: int  # highest seq that is visible
    seq_internal: int  # highest visible seq of the daemon's own events (0: none)
    seq_external: int  # highest visible seq of everybody else's events
    view_seq: int  # highest seq in the published view
    sealed_seq: int  # the glob over events/ holds every row up to here
    commit: int  # number of the last ledger record folded in
    drops: int  # how many drop records there were
    events: tuple[File, ...]  # sealed and live, sorted by max_time descending
    rollups: tuple[File, ...]
    rejects: tuple[File, ...]
    hot: tuple[Hot, ...]
    hot_rejects: tuple[Hot, ...]
    lost: tuple[File, ...] = ()  # committed, and missing or damaged: their rows are in no answer
