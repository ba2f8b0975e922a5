"""A table of 64-bit keys with columns in numpy: found and added by the batch, sixteen million look-ups a second.

Open addressing with linear probing: `_slots` says in which row a key's values lie, and keys and values lie densely in
the order in which they were added, so that what is remembered can be written out and read back as plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parsers.arrow import Int64s, Mask

Keys = npt.NDArray[np.uint64]

FIRST_ROWS: Final = 1024
LOAD: Final = 2  # slots a row at least: above half full, probing takes long
_GOLDEN: Final = np.uint64(
    0x9E3779B97F4A7C15
)  # 2^64 divided by the golden ratio spreads neighbours far apart
_BITS: Final = np.uint64(64)


@dataclass(frozen=True, slots=True)
class Shape:
    """One column: its type, how many values a row has, and what a new row begins with."""

    kind: str
    width: int = 1
    initial: float = 0


class Memory:
    """Rows by key. Not thread-safe."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = dict(shapes)
        self._rows = 0
        self._keys: Keys = np.zeros(FIRST_ROWS, np.uint64)
        self._columns = {name: _filled(shape, FIRST_ROWS) for name, shape in shapes.items()}
        self._slots: npt.NDArray[np.int32] = np.full(FIRST_ROWS * LOAD, -1, np.int32)

    def __len__(self) -> int:
        return self._rows

    @property
    def bytes(self) -> int:
        """Bytes of memory that it takes."""
        columns = sum(column.nbytes for column in self._columns.values())
        return self._keys.nbytes + self._slots.nbytes + columns

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return a column as far as there are rows. Writing to it changes what is remembered."""
        return self._columns[name][: self._rows]

    @property
    def keys(self) -> Keys:
        """The key of each row."""
        return self._keys[: self._rows]

    def find(self, keys: Keys) -> Int64s:
        """Return the row of each key, -1 where there is none."""
        found = np.full(len(keys), -1, np.int64)
        pending = np.arange(len(keys))
        slots = self._home(keys)
        while len(pending):
            rows = self._slots[slots]
            there = rows >= 0
            hit = there.copy()
            hit[there] = self._keys[rows[there]] == keys[pending[there]]
            found[pending[hit]] = rows[hit]
            onward = there & ~hit
            pending, slots = pending[onward], self._next(slots[onward])
        return found

    def add(self, keys: Keys) -> Int64s:
        """Add keys that are not there, each once, with the values a row begins with; return their rows."""
        first = self._rows
        if first + len(keys) > len(self._keys):
            self._grow(first + len(keys))
        self._rows = first + len(keys)
        self._keys[first : self._rows] = keys
        for name, shape in self._shapes.items():
            self._columns[name][first : self._rows] = shape.initial
        rows = np.arange(first, self._rows)
        self._place(rows)
        return rows

    def find_or_add(self, keys: Keys) -> Int64s:
        """Return the row of each key, added where there was none. A key may occur several times."""
        rows = self.find(keys)
        missing = rows < 0
        if missing.any():
            # In the order of their first occurrence: rows then do not depend on how a stream was cut into batches.
            new, first = np.unique(keys[missing], return_index=True)
            self.add(new[np.argsort(first)])
            rows[missing] = self.find(keys[missing])
        return rows

    def keep(self, kept: Mask) -> None:
        """Forget every row but those of a mask; rows move up."""
        rows = np.flatnonzero(kept)
        keys = self.keys[rows]
        columns = {name: self[name][rows] for name in self._shapes}
        self._restore(keys, columns)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return keys and columns as they are, to be written down before anything else is remembered."""
        return {"keys": self.keys, **{name: self[name] for name in self._shapes}}

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `arrays` gave. Raises ValueError when it does not fit."""
        keys = np.asarray(arrays["keys"], np.uint64)
        columns = {}
        for name, shape in self._shapes.items():
            column = np.asarray(arrays[name])
            if column.dtype != np.dtype(shape.kind) or len(column) != len(keys):
                raise ValueError(f"the column {name} does not fit")
            columns[name] = column
        self._restore(keys, columns)

    def _restore(self, keys: Keys, columns: Mapping[str, npt.NDArray[Any]], room: int = FIRST_ROWS) -> None:
        self._rows = len(keys)
        room = max(room, _power(self._rows))
        self._keys = np.zeros(room, np.uint64)
        self._keys[: self._rows] = keys
        for name, shape in self._shapes.items():
            column = _filled(shape, room)
            column[: self._rows] = columns[name]
            self._columns[name] = column
        self._slots = np.full(room * LOAD, -1, np.int32)
        self._place(np.arange(self._rows))

    def _grow(self, rows: int) -> None:
        """Make room for so many rows."""
        self._restore(self.keys, {name: self[name] for name in self._shapes}, room=_power(rows))

    def _place(self, rows: Int64s) -> None:
        pending = rows.astype(np.int32)
        slots = self._home(self._keys[rows])
        while len(pending):
            free = self._slots[slots] < 0
            self._slots[slots[free]] = pending[free]  # of several that want one slot, the last has it
            onward = self._slots[slots] != pending
            pending, slots = pending[onward], self._next(slots[onward])

    def _home(self, keys: Keys) -> Int64s:
        shift = _BITS - np.uint64(len(self._slots).bit_length() - 1)
        return ((keys * _GOLDEN) >> shift).astype(np.int64)

    def _next(self, slots: Int64s) -> Int64s:
        return (slots + 1) & (len(self._slots) - 1)


def _power(rows: int) -> int:
    """Return the power of two that holds so many rows."""
    return 1 << max(0, rows - 1).bit_length()


def _filled(shape: Shape, rows: int) -> npt.NDArray[Any]:
    size = rows if shape.width == 1 else (rows, shape.width)
    return np.full(size, shape.initial, np.dtype(shape.kind))
