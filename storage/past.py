"""What is archived of a stretch of one source, to be compared with what a file says there now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from parsers.batch import Parsed
from parsers.columns import COLUMNS, EVENT_SCHEMA, REJECT_SCHEMA
from parsers.finish import PROXY
from storage import sql
from storage.duck import connect
from storage.filters import Bind, quote
from storage.scope import path_of
from storage.snapshot import File, Snapshot

MEMORY_LIMIT_MB = 256
DIFFERENCES_MOST = 9  # one more than an edit may have changed, see `daemon.ladder`
# What may be added to a line, or decided, at the moment of reading: it says nothing about the line.
_OF_THE_MOMENT = {
    "ip",  # of the client behind a proxy, by the networks that are configured now
    "country_code",
    "city",
    "latitude",
    "longitude",
    "asn",
    "device",
    "travel_kmh",
    "risk_score",
    "risk_model",
    "risk_reasons",
}
_OF_THE_LINE = tuple(
    c.name for c in COLUMNS if (c.from_line or c.name == "extra") and c.name not in _OF_THE_MOMENT
)
_OF_A_REJECT = ("length", "sha256")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The committed rows of a source in some bytes, all read with the profile ``parser``; they end before ``end``."""

    end: int
    parser: str | None
    events: pa.Table
    rejects: pa.Table


class Past:
    """Reads the archive's committed rows for one comparison. Blocking; close it when done."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._connection = connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB)

    def close(self) -> None:
        """Free what the instance holds."""
        self._connection.close()

    def stretch(self, sid: str, start: int, end: int, seqs: tuple[int, int | None]) -> Stretch:
        """Return the rows of a source that begin in ``[start, end)``, at most as far as one profile read them.

        ``seqs``: their numbers are above the first and not above the second (None: unknown).
        """
        snapshot = self._snapshot()
        columns = ("source_offset", "parser", *_OF_THE_LINE)
        events = self._rows(snapshot, snapshot.events, EVENT_SCHEMA, columns, sid, (start, end), seqs)
        parsers = events.column("parser").to_pylist()
        parser = parsers[0] if parsers else None
        other = next((at for at, name in enumerate(parsers) if name != parser), None)
        if other is not None:
            end = events.column("source_offset")[other].as_py()
            events = events.slice(0, other)
        columns = ("source_offset", *_OF_A_REJECT)
        rejects = self._rows(snapshot, snapshot.rejects, REJECT_SCHEMA, columns, sid, (start, end), seqs)
        return Stretch(end, parser, events, rejects)

    def differences(self, stretch: Stretch, parsed: Parsed) -> list[int]:
        """Return the first few offsets at which the two have different rows, in order; none if they say the same."""
        found = {
            *self._differ(stretch.events, parsed.events, _OF_THE_LINE),
            *self._differ(stretch.rejects, parsed.rejects, _OF_A_REJECT),
        }
        return sorted(found)[:DIFFERENCES_MOST]

    def _rows(
        self,
        snapshot: Snapshot,
        files: Sequence[File],
        schema: pa.Schema,
        columns: Sequence[str],
        sid: str,
        extent: tuple[int, int],
        seqs: tuple[int, int | None],
    ) -> pa.Table:
        low, high = seqs
        chosen = [
            path_of(snapshot.root, file)
            for file in files
            if file.max_seq > low and (high is None or file.min_seq <= high)
        ]
        bind = Bind()
        sql.register(
            self._connection, (), schema
        )  # united with the files, it gives columns that older ones lack
        offset = quote("source_offset")
        text = (
            f"SELECT {', '.join(map(quote, columns))} FROM {sql.rows_of(chosen, bind)} "
            f"WHERE source = {bind(sid)} AND {offset} >= {bind(extent[0])} AND {offset} < {bind(extent[1])} "
            f"ORDER BY {offset}"
        )
        return sql.Statement(text, bind.values).table(self._connection)

    def _differ(self, archived: pa.Table, present: pa.Table, columns: Sequence[str]) -> list[int]:
        """Compare two sets of rows by offset; DuckDB knows when two values of any type are the same."""
        names = ["source_offset", *columns]
        self._connection.register("archived", archived.select(names))
        self._connection.register("present", present.select(names))
        try:
            different = " OR ".join(
                f"{_said('a', name)} IS DISTINCT FROM {_said('p', name)}" for name in names
            )
            found = self._connection.execute(
                "SELECT coalesce(a.source_offset, p.source_offset) AS place FROM archived a "
                f"FULL JOIN present p ON a.source_offset = p.source_offset WHERE {different} "
                f"ORDER BY place LIMIT {DIFFERENCES_MOST}"
            ).fetchall()
        finally:
            self._connection.unregister("archived")
            self._connection.unregister("present")
        return [offset for (offset,) in found]


def _said(table: str, name: str) -> str:
    """Return what a line said in a column: of `extra` without the proxy that was left out at that moment."""
    column = f"{table}.{quote(name)}"
    if name != "extra":
        return column
    without = f"nullif(CAST(json_merge_patch({column}, '{{\"{PROXY}\": null}}') AS VARCHAR), '{{}}')"
    return f"CASE WHEN contains({column}, '\"{PROXY}\"') THEN {without} ELSE {column} END"
