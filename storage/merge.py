"""Several Parquet files into sorted streams of rows, in bounded memory: the core of folding and sealing.

The order is decided first, from a few narrow columns, 27 bytes a row; the wide rows are then fetched in slices of one
row group. Files are read piece by piece, and decoded row groups are kept only up to `CACHE_BYTES`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.fs import Fs
from storage.late import MICROSECONDS_PER_DAY, Key
from storage.layout import Layout
from storage.parquet import ROW_GROUP_ROWS, STANDARD
from storage.provenance import Coverage
from storage.snapshot import File, Kind
from storage.words import without_idle_words

# Decoded row groups kept while slices are cut. Files follow each other in time, so that the group in which one slice
# ends is the one with which the next begins: one full group, or the many small ones of short commits.
CACHE_BYTES = 24 << 20
OPEN_FILES = 64  # inputs kept open; a descriptor and a parsed footer each

Positions = npt.NDArray[np.int64]

TIME: dict[Kind, str] = {"events": "timestamp", "rejects": "ingested_at"}
_SCHEMA = {"events": EVENT_SCHEMA, "rejects": REJECT_SCHEMA}


@dataclass(frozen=True, slots=True)
class _Narrow:
    """The narrow columns of one row group."""

    times: npt.NDArray[np.int64]
    seqs: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int16]
    internal: npt.NDArray[np.bool_]


class Inputs:
    """The row groups of some files of one kind, read on demand, ordered by time.

    A row's position is its number in the files one after the other. Rows come in ``schema``: what repeats stays coded
    as it is in the file, which takes a third less memory and is several times faster to copy. ``coverage`` is told what
    each file says of its sources. Use a with statement.
    """

    def __init__(
        self, fs: Fs, layout: Layout, files: Sequence[File], kind: Kind, coverage: Coverage | None = None
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._coverage = coverage
        self._time = TIME[kind]
        self._coded = STANDARD.coded(_SCHEMA[kind])
        self.schema = STANDARD.coded_schema(_SCHEMA[kind])
        self._files: list[File] = []
        self._places: list[tuple[int, int]] = []  # (file, row group) in order of position
        self._classes: list[str] = []
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._cached = 0
        self._open: OrderedDict[int, tuple[BinaryIO, pq.ParquetFile]] = OrderedDict()
        self._starts = np.zeros(0, np.int64)
        self.times = self.seqs = self.arrived = np.zeros(0, np.int64)
        self.internal = np.zeros(0, np.bool_)
        self._codes = np.zeros(0, np.int16)
        self.add(files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and let the decoded rows go."""
        for handle, _ in self._open.values():
            handle.close()
        self._open.clear()
        self._groups.clear()

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return len(self.times)

    def add(self, files: Sequence[File]) -> None:
        """Take more files; their rows come behind those that are there."""
        parts: list[_Narrow] = []
        for file in files:
            self._files.append(file)
            index = len(self._files) - 1
            if self._coverage is not None:
                self._coverage.add(self._file(index).metadata.metadata)
            for group in range(self._file(index).num_row_groups):
                parts.append(self._narrow(index, group))
                self._places.append((index, group))
        if not parts:
            return
        self.times = np.concatenate([self.times, *(part.times for part in parts)])
        self.seqs = np.concatenate([self.seqs, *(part.seqs for part in parts)])
        self.arrived = np.concatenate([self.arrived, *(part.arrived for part in parts)])
        self.internal = np.concatenate([self.internal, *(part.internal for part in parts)])
        self._codes = np.concatenate([self._codes, *(part.classes for part in parts)])
        lengths = np.array([len(part.times) for part in parts], np.int64)
        before = self.rows - int(lengths.sum())
        self._starts = np.concatenate([self._starts, before + np.cumsum(lengths) - lengths])
        pa.default_memory_pool().release_unused()

    def by_key(self) -> Iterator[tuple[Key, Positions]]:
        """Yield each (day, class, internal) with the positions of its rows by (time, seq)."""
        if not self.rows:
            return
        days = (self.times // MICROSECONDS_PER_DAY).astype(np.int32)
        order = np.lexsort((self.seqs, self.times, self.internal, self._codes, days))
        days, classes, internal = days[order], self._codes[order], self.internal[order]
        change = (days[1:] != days[:-1]) | (classes[1:] != classes[:-1]) | (internal[1:] != internal[:-1])
        bounds = [0, *(np.flatnonzero(change) + 1).tolist(), len(order)]
        for start, end in pairwise(bounds):
            day = str(np.datetime64(int(days[start]), "D"))
            key = Key(day, self._classes[int(classes[start])], bool(internal[start]))
            yield key, order[start:end]

    def in_order(self, positions: Positions | None = None) -> Positions:
        """Return the positions (all of them without an argument) by (time, seq)."""
        if positions is None:
            return np.lexsort((self.seqs, self.times))
        return positions[np.lexsort((self.seqs[positions], self.times[positions]))]

    def slices(self, positions: Positions) -> Iterator[pa.Table]:
        """Yield the rows at ``positions`` as tables of one row group each."""
        for start in range(0, len(positions), ROW_GROUP_ROWS):
            yield self.take(positions[start : start + ROW_GROUP_ROWS])

    def take(self, positions: Positions) -> pa.Table:
        """Return the rows at ``positions``, in that order."""
        places = np.searchsorted(self._starts, positions, side="right") - 1
        rows = positions - self._starts[places]
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        bounds = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(ordered)]
        parts: list[dict[str, Any]] = []
        for start, end in pairwise(bounds):
            part = self._group(int(ordered[start])).take(rows[order[start:end]])
            parts.append(dict(zip(part.column_names, part.columns, strict=True)))
        in_place = bool((order[1:] > order[:-1]).all())
        back = None if in_place else pa.array(np.argsort(order, kind="stable"))
        lengths = [end - start for start, end in pairwise(bounds)]
        # Column by column, so that only one is held twice.
        return pa.table([_column(field, parts, lengths, back) for field in self.schema], schema=self.schema)

    def _narrow(self, index: int, group: int) -> _Narrow:
        file = self._file(index)
        names = set(file.schema_arrow.names)
        wanted = [
            name
            for name in dict.fromkeys((self._time, "seq", "internal", "ingested_at", "retention_class"))
            if name in names
        ]
        table = file.read_row_group(group, columns=wanted, use_threads=False)
        times = table.column(self._time).cast(pa.int64()).to_numpy()
        return _Narrow(
            times,
            table.column("seq").to_numpy(),
            table.column("ingested_at").cast(pa.int64()).to_numpy() if "ingested_at" in names else times,
            self._class_codes(table),
            pc.cast(table.column("internal"), pa.int8()).to_numpy().astype(np.bool_),
        )

    def _class_codes(self, table: pa.Table) -> npt.NDArray[np.int16]:
        if "retention_class" not in table.column_names:
            return np.full(table.num_rows, self._code("default"), np.int16)
        coded = cast("pa.DictionaryArray[Any, Any]", table.column("retention_class").combine_chunks())
        codes = np.array([self._code(str(name)) for name in coded.dictionary.to_pylist()], np.int16)
        mine: npt.NDArray[np.int16] = codes[coded.indices.to_numpy()]
        return mine

    def _code(self, name: str) -> int:
        if name not in self._classes:
            self._classes.append(name)
        return self._classes.index(name)

    def _group(self, place: int) -> pa.Table:
        if place in self._groups:
            self._groups.move_to_end(place)
            return self._groups[place]
        file, group = self._places[place]
        # One thread: the pool keeps what other threads let go, and a merge has time.
        table = self._file(file).read_row_group(group, use_threads=False)
        self._cached += table.nbytes
        while self._groups and self._cached > CACHE_BYTES:
            self._cached -= self._groups.popitem(last=False)[1].nbytes
        self._groups[place] = table
        return table

    def _file(self, index: int) -> pq.ParquetFile:
        if index not in self._open:
            while len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)[1][0].close()
            handle = self._fs.reader(self._layout.absolute(self._files[index].path))
            footer = pq.read_metadata(handle)
            names = set(footer.schema.to_arrow_schema().names)  # a file of an earlier schema may lack some
            coded = [name for name in self._coded if name in names]
            self._open[index] = (
                handle,
                pq.ParquetFile(
                    handle, metadata=footer, read_dictionary=coded, page_checksum_verification=True
                ),
            )
        self._open.move_to_end(index)
        return self._open[index][1]


def _column(
    field: pa.Field[Any], parts: Sequence[dict[str, Any]], lengths: Sequence[int], back: pa.Array[Any] | None
) -> Any:
    """Return a column of the parts one below the other, in the order of ``back``, and take it out of them."""
    chunks: list[Any] = []
    for part, length in zip(parts, lengths, strict=True):
        column = part.pop(field.name, None)  # a file of an earlier schema may lack it
        chunks += [pa.nulls(length, field.type)] if column is None else column.chunks
    whole: Any = pa.chunked_array(chunks, field.type)
    coded = pa.types.is_dictionary(field.type)
    if coded:
        whole = whole.unify_dictionaries()
    if back is not None:
        whole = whole.take(back)
    whole = whole.combine_chunks()
    return without_idle_words(whole) if coded else whole
