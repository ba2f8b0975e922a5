"""A bulk import on its way into sealed files: rows gathered to whole row groups, split by day, class and origin."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.late import MICROSECONDS_PER_DAY
from storage.parquet import ROW_GROUP_ROWS
from storage.records import SourceState
from storage.seal import SealedWriter
from storage.snapshot import Hot


class Bulk:
    """Takes parsed rows in any order of days; `flush` writes what has gathered."""

    def __init__(self, writer: SealedWriter) -> None:
        self.writer = writer
        self.met: dict[str, SourceState] = {}  # sources that the commit's record will make known
        self.rejects: list[Hot] = []
        self._waiting: list[pa.Table] = []

    def add(self, events: pa.Table) -> None:
        """Take rows of EVENT_SCHEMA; whole row groups are written at once."""
        if events.num_rows:
            self._waiting.append(events)
        if sum(table.num_rows for table in self._waiting) >= ROW_GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._waiting.clear()
            self.writer.write(by_key(table))


def by_key(table: pa.Table) -> Iterator[tuple[tuple[str, str, bool], pa.Table]]:
    """Yield (UTC day, retention class, internal) with its rows by (timestamp, seq). Rows already in order are not copied."""
    times = table.column("timestamp").cast(pa.int64()).to_numpy()
    days = times // MICROSECONDS_PER_DAY
    classes = table.column("retention_class")
    internal = table.column("internal")
    if bool((times[1:] >= times[:-1]).all()) and len(classes.unique()) == 1 and len(internal.unique()) == 1:
        # Fast path: daily files read in order. Slices share the table's memory.
        bounds = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
        for start, end in pairwise(bounds):
            yield (
                (_day(int(days[start])), classes[0].as_py(), internal[0].as_py()),
                table.slice(start, end - start),
            )
        return
    # Slow path: several days or kinds mixed.
    codes = cast("pa.DictionaryArray[Any, Any]", pc.dictionary_encode(classes.combine_chunks()))
    class_codes = codes.indices.to_numpy()
    own = pc.cast(internal, pa.int8()).to_numpy()
    order = np.lexsort((table.column("seq").to_numpy(), times, own, class_codes, days))
    key = np.stack([days[order], class_codes[order], own[order]])
    change = np.flatnonzero((key[:, 1:] != key[:, :-1]).any(axis=0)) + 1
    for positions in np.split(order, change):
        first = positions[0]
        yield (
            (_day(int(days[first])), str(codes.dictionary[int(class_codes[first])]), bool(own[first])),
            table.take(positions),
        )


def _day(number: int) -> str:
    return str(np.datetime64(number, "D"))
