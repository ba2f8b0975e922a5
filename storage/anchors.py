"""Where rules fired: as rows while rules are run, and as anchors, known by the events at which they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from parsers.arrow import numbers, pc
from parsers.sigma.rule import Rule
from storage import sql
from storage.filters import Bind
from storage.matches import Matches
from storage.scope import overlaps
from storage.snapshot import Snapshot
from storage.unseen import events_between, parts_of, view_of

Row = tuple[int, int, tuple[str, ...], float | None]
"""An anchor: time in microseconds, seq, group, value."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a rule fired. (rule, source, offset, groups) is what it is known by: a seq may change in a crash."""

    rule: str
    at_us: int
    seq: int
    groups: tuple[str, ...]
    value: float | None
    source: str
    offset: int
    event_id: str


@dataclass(slots=True)
class Found:
    """Anchors of one rule as rows."""

    rule: Rule
    rows: list[Row] = field(default_factory=list)


def rows_of(matches: Matches, fields: Sequence[int]) -> list[Row]:
    """Return the matches of a plain rule as anchors; a field without a value is empty."""
    texts = [pc.fill_null(matches.table.column(f"k{at}"), "").to_pylist() for at in fields]
    seqs: list[int] = numbers(matches.table.column("seq"), 0).tolist()
    groups: list[tuple[str, ...]] = list(zip(*texts, strict=True)) if texts else [()] * len(seqs)
    return [(at, seq, group, None) for at, seq, group in zip(matches.times.tolist(), seqs, groups, strict=True)]  # fmt: skip


def identified(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, batch: pa.Table, found: Iterable[Found]
) -> tuple[Anchor, ...]:
    """Return anchors with their events, in the order of time. Most of these are in the batch, the others in the archive."""
    rows = [(each.rule.id, row) for each in found for row in each.rows]
    if not rows:
        return ()
    wanted = pa.array({row[1] for _, row in rows}, pa.int64())
    known = _events(batch.filter(pc.is_in(batch.column("seq"), value_set=wanted)))
    missing = [row for _, row in rows if row[1] not in known]
    if missing:
        known.update(_older(connection, snapshot, missing))
    made = [Anchor(rule, *row, *known[row[1]]) for rule, row in rows if row[1] in known]
    made.sort(key=lambda anchor: (anchor.at_us, anchor.source, anchor.offset, anchor.rule))
    return tuple(made)


def _older(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, found: Sequence[Row]
) -> dict[int, tuple[str, int, str]]:
    low, high = min(row[0] for row in found), max(row[0] for row in found)
    parts = [part for part in parts_of(snapshot) if overlaps(part, low, high)]
    if not parts:
        return {}
    bind = Bind()
    events = events_between(connection, view_of(snapshot, parts, snapshot.seq, low, high), bind)
    text = (
        f"SELECT seq, source, source_offset, event_id FROM {events} "
        f"WHERE seq IN (SELECT unnest({bind([row[1] for row in found])}))"
    )
    return _events(sql.Statement(text, bind.values).table(connection))


def _events(table: pa.Table) -> dict[int, tuple[str, int, str]]:
    """Return the place and the id of events by seq."""
    columns = (table.column(name).to_pylist() for name in ("seq", "source", "source_offset", "event_id"))
    return {seq: (source, offset, event_id) for seq, source, offset, event_id in zip(*columns, strict=True)}
