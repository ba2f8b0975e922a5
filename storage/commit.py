"""A commit's files: hot rows become at most three Parquet files in `staging` (events, rejects, roll-up)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.fs import Fs
from storage.gaps import Hole, joined
from storage.hot import concatenated, extent_us, max_seq_of
from storage.layout import Layout
from storage.parquet import ROLLUP, STANDARD, Written, write_parquet
from storage.provenance import Origin
from storage.records import Range, SourceState, file_to_json
from storage.snapshot import File, Hot, Kind
from storage.words import coded

# Rows of events with what repeats as numbers of words, as they wait for a file.
CODED_EVENTS = STANDARD.coded_schema(EVENT_SCHEMA)

# Makes the roll-up rows that cover exactly some event rows.
Delta = Callable[[pa.Table], pa.Table]


@dataclass(slots=True)
class Cut:
    """What one commit takes: every hot row up to ``max_seq``, and the ranges these rows came from."""

    events: tuple[Hot, ...]
    rejects: tuple[Hot, ...]
    ranges: dict[str, Range]
    max_seq: int
    files: list[File] = field(default_factory=list)
    max_seq_internal: int = 0
    max_seq_external: int = 0
    holes: list[Hole] = field(default_factory=list)  # what the ranges hold and the rows do not


def stage(fs: Fs, layout: Layout, cut: Cut, delta: Delta, origin: Origin) -> None:
    """Write the cut's files into `staging`, durably, and note them in ``cut.files``. OSError leaves none behind.

    ``origin`` is what their footers say of the record that will name them.
    """
    try:
        # Numbers of words are sorted, counted and encoded sooner than words, and take less memory meanwhile.
        events = in_time_order(coded(concatenated(cut.events, EVENT_SCHEMA), CODED_EVENTS))
        if events.num_rows:
            cut.max_seq_internal = max_seq_of(events, internal=True)
            cut.max_seq_external = max_seq_of(events, internal=False)
            first = cut.events[0].min_seq
            path = layout.live_file("events", first)
            cut.files.append(stage_table(fs, layout, path, "events", events, origin))
            rollup = delta(events)
            cut.files.append(
                stage_table(
                    fs,
                    layout,
                    layout.live_file("rollup", first),
                    "rollup",
                    rollup,
                    origin,
                    like=cut.files[-1],
                )
            )
        rejects = concatenated(cut.rejects, REJECT_SCHEMA)
        if rejects.num_rows:
            path = layout.live_file("rejects", cut.rejects[0].min_seq)
            cut.files.append(stage_table(fs, layout, path, "rejects", rejects, origin))
        if cut.files:
            fs.sync_dir(layout.staging)
    except BaseException:
        unstage(fs, layout, cut.files)
        cut.files.clear()
        raise


def stage_table(
    fs: Fs,
    layout: Layout,
    path: str,
    kind: Kind,
    table: pa.Table,
    origin: Origin,
    *,
    like: File | None = None,
) -> File:
    """Write one table into `staging` under ``path``'s name; ``like`` is the events file that a roll-up covers."""
    if like is not None:
        return stage_rollup(fs, layout, like, path, table, origin)
    low, high = extent_us(table.column("ingested_at" if kind == "rejects" else "timestamp"))
    entry = described(path, kind, layout.node, (low, high), seq_extent(table), table)
    written = write_parquet(
        fs,
        layout.staged(path),
        table,
        node=layout.node,
        # Whichever of the two comes first tells of all sources, so that nobody has to wait for the other.
        footer=lambda rows: origin.footer(entry, rows, last=True),
    )
    return finished(entry, written)


def stage_rollup(
    fs: Fs, layout: Layout, events: File, path: str, table: pa.Table, origin: Origin, *, sync: bool = True
) -> File:
    """Write the roll-up of ``events`` into `staging` under ``path``'s name and return its entry."""
    entry = covering(events, path, table.num_rows)
    written = write_parquet(
        fs,
        layout.staged(path),
        table,
        node=layout.node,
        encoding=ROLLUP,
        footer=lambda rows: origin.footer(entry, rows),
        sync=sync,
    )
    return finished(entry, written)


def described(
    path: str,
    kind: Kind,
    node: str,
    times: tuple[int, int],
    seqs: tuple[int, int],
    table: pa.Table | None = None,
) -> File:
    """Return the entry of a file that is still to be written (`finished` completes it).

    With ``table``, ``internal`` and ``retention_class`` are set where they are the same in all rows.
    """
    return File(
        path=path,
        kind=kind,
        node=node,
        rows=table.num_rows if table is not None else 0,
        bytes=0,
        sha256="",
        min_time_us=times[0],
        max_time_us=times[1],
        min_seq=seqs[0],
        max_seq=seqs[1],
        internal=_only(table, "internal"),
        retention_class=_only(table, "retention_class"),
    )


def finished(entry: File, written: Written) -> File:
    """Return the entry of a file with what is known once it is written."""
    return replace(entry, rows=written.rows, bytes=written.bytes, sha256=written.sha256)


def covering(events: File, path: str, rows: int) -> File:
    """Return the entry of the roll-up of ``events``: the same extent; its bytes are still to be written."""
    return replace(events, path=path, kind="rollup", rows=rows, bytes=0, sha256="", covers=events.path)


def seq_extent(table: pa.Table) -> tuple[int, int]:
    """Return the least and greatest seq of some rows."""
    seqs = table.column("seq").to_numpy()
    return int(seqs.min()), int(seqs.max())


def in_time_order(table: pa.Table) -> pa.Table:
    """Return the rows by (timestamp, seq). Rows mostly arrive in order, and then nothing is copied."""
    times = table.column("timestamp").cast(pa.int64()).to_numpy()
    if len(times) < 2 or bool((times[1:] >= times[:-1]).all()):
        return table
    return table.take(np.lexsort((table.column("seq").to_numpy(), times)))


def unstage(fs: Fs, layout: Layout, files: list[File]) -> None:
    """Remove what a failed attempt left in `staging`, as far as the disk lets us."""
    for file in files:
        try:
            fs.unlink(layout.staged(file.path))
        except OSError:
            return  # recovery clears `staging` before the next attempt


def body(
    cut: Cut,
    *,
    seq_reserved_to: int,
    sealed_seq: int = 0,
    gaps_told: int = 0,
    sources: Iterable[SourceState] = (),
) -> dict[str, Any]:
    """Return the commit record's body. ``sources`` are met for the first time in this commit."""
    met = [source.to_json() for source in sources]
    return {
        **({"sources": met} if met else {}),
        "files": [file_to_json(file) for file in cut.files],
        "ranges": [extent.to_json() for extent in cut.ranges.values()],
        "seq_reserved_to": seq_reserved_to,
        "max_seq": cut.max_seq,
        "max_seq_internal": cut.max_seq_internal,
        "max_seq_external": cut.max_seq_external,
        "sealed_seq": sealed_seq,
        "gaps": [hole.entry() for hole in joined(cut.holes)],
        "gaps_told": gaps_told,
    }


def _only(table: pa.Table | None, column: str) -> Any:
    if table is None or column not in table.column_names:
        return None
    values = table.column(column).unique()
    return values[0].as_py() if len(values) == 1 else None
