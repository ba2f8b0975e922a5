"""Several Parquet files into sorted streams of rows, in bounded memory: the core of folding and sealing.

The order is decided first, from a few narrow columns; the wide rows are then fetched in slices of one row group.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.fs import Fs
from storage.layout import Layout
from storage.parquet import ROW_GROUP_ROWS
from storage.provenance import Footer, parse_footer
from storage.snapshot import File

# Row groups kept decoded while slices are cut: inputs overlap little in time, so two are nearly always enough.
CACHED_ROW_GROUPS = 3
MICROSECONDS_PER_DAY = 86_400_000_000

_Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Key:
    """What all rows of one sealed file share: UTC day (``YYYY-MM-DD``), retention class, internal or not."""

    day: str
    retention_class: str
    internal: bool


class Inputs:
    """The row groups of some files, read on demand. ``time`` is the column that orders the rows."""

    def __init__(self, fs: Fs, layout: Layout, files: Sequence[File], *, time: str) -> None:
        self._fs = fs
        self._layout = layout
        self._files = files
        self._time = time
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._open: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self.footers: list[Footer | None] = []
        narrow = [self._narrow(index) for index in range(len(files))]
        self.times = np.concatenate([part.times for part in narrow])
        self.seqs = np.concatenate([part.seqs for part in narrow])
        self.classes = np.concatenate([part.classes for part in narrow])
        self.internal = np.concatenate([part.internal for part in narrow])
        self._home = np.concatenate([part.home for part in narrow])  # (file, group, row) of each row

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return len(self.times)

    def take(self, positions: _Positions) -> pa.Table:
        """Return the rows at ``positions``, in that order."""
        home = self._home[positions]
        groups, which = np.unique(home[:, :2], axis=0, return_inverse=True)
        which = which.reshape(-1)
        parts: list[pa.Table] = []
        origin: list[_Positions] = []
        for number, (file, group) in enumerate(groups.tolist()):
            mine = np.flatnonzero(which == number)
            parts.append(self._group(file, group).take(home[mine, 2]))
            origin.append(mine)
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate(origin), kind="stable")
        return pa.concat_tables(parts, promote_options="default").take(back)

    def by_key(self) -> Iterator[tuple[Key, _Positions]]:
        """Yield each (day, class, internal) with the positions of its rows by (time, seq)."""
        days = self.times // MICROSECONDS_PER_DAY
        order = np.lexsort((self.seqs, self.times, self.internal, self.classes, days))
        days, classes, internal = days[order], self.classes[order], self.internal[order]
        change = (days[1:] != days[:-1]) | (classes[1:] != classes[:-1]) | (internal[1:] != internal[:-1])
        for positions in np.split(order, np.flatnonzero(change) + 1):
            first = positions[0]
            day = str(np.datetime64(int(self.times[first] // MICROSECONDS_PER_DAY), "D"))
            yield Key(day, str(self.classes[first]), bool(self.internal[first])), positions

    def in_order(self) -> _Positions:
        """Return all positions by (time, seq)."""
        return np.lexsort((self.seqs, self.times))

    def slices(self, positions: _Positions) -> Iterator[pa.Table]:
        """Yield the rows at ``positions`` as tables of one row group each."""
        for start in range(0, len(positions), ROW_GROUP_ROWS):
            yield self.take(positions[start : start + ROW_GROUP_ROWS])

    def _narrow(self, index: int) -> _Narrow:
        file = self._file(index)
        self.footers.append(parse_footer(file.metadata.metadata))
        has_class = "retention_class" in file.schema_arrow.names
        wanted = [self._time, "seq", "internal", *(["retention_class"] if has_class else [])]
        parts = []
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=wanted)
            rows = table.num_rows
            home = np.empty((rows, 3), dtype=np.int64)
            home[:, 0], home[:, 1], home[:, 2] = index, group, np.arange(rows)
            classes = table.column("retention_class").to_numpy() if has_class else np.full(rows, "default")
            parts.append(
                _Narrow(
                    table.column(self._time).cast(pa.int64()).to_numpy(),
                    table.column("seq").to_numpy(),
                    classes.astype(str),
                    pc.cast(table.column("internal"), pa.int8()).to_numpy().astype(bool),
                    home,
                )
            )
        return _Narrow(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _Narrow.__slots__)
        )

    def _group(self, index: int, group: int) -> pa.Table:
        key = (index, group)
        if key not in self._groups:
            self._groups[key] = self._file(index).read_row_group(group)
            while len(self._groups) > CACHED_ROW_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _file(self, index: int) -> pq.ParquetFile:
        if index not in self._open:
            data = self._fs.read(self._layout.absolute(self._files[index].path))
            self._open[index] = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            while len(self._open) > CACHED_ROW_GROUPS:
                self._open.popitem(last=False)
        self._open.move_to_end(index)
        return self._open[index]


@dataclass(frozen=True, slots=True)
class _Narrow:
    """The narrow columns of some rows."""

    times: npt.NDArray[np.int64]
    seqs: npt.NDArray[np.int64]
    classes: npt.NDArray[np.str_]
    internal: npt.NDArray[np.bool_]
    home: npt.NDArray[np.int64]
