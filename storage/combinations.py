"""The words of counted rows as one number each, so that a filter is decided once for each combination of words."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.coded import Flags
from storage.filters import Bind
from storage.rollups import ROLLUP_SCHEMA
from storage.sql import Statement

DECIDED = 256  # filters whose combinations are known
ALWAYS = ("internal", "tenant")  # words of every combination: a scope asks for them

Places = npt.NDArray[np.int32]


class Combinations:
    """The combinations of words that occurred in families with the same dimensions, by number. For any thread."""

    def __init__(self, dimensions: Sequence[str]) -> None:
        self.names = (*dimensions, *ALWAYS)
        self._rows: list[tuple[Any, ...]] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._decided: OrderedDict[str, Flags] = OrderedDict()
        self._grouped: dict[tuple[str, ...], tuple[Places, list[tuple[Any, ...]]]] = {}
        self._lock = threading.Lock()

    def numbered(self, rows: Sequence[tuple[Any, ...]]) -> Places:
        """Return the numbers of some rows of words, giving new ones to those not seen yet."""
        with self._lock:
            for row in rows:
                if row not in self._numbers:
                    self._numbers[row] = len(self._rows)
                    self._rows.append(row)
            return np.array([self._numbers[row] for row in rows], np.int32)

    def chosen(self, cursor: duckdb.DuckDBPyConnection, condition: Callable[[Bind], str], key: str) -> Flags:
        """Return which numbers fulfil a condition over the columns of roll-ups; ``key`` names it.

        DuckDB decides, once for each combination: a filter then means the same as in a statement over rows.
        """
        with self._lock:
            flags = self._decided.get(key)
            rows = self._rows[:]
        if flags is not None and len(flags) == len(rows):
            return flags
        bind = Bind()
        columns = [pa.array([row[n] for row in rows], _type_of(name)) for n, name in enumerate(self.names)]
        number = pa.array(np.arange(len(rows)))
        cursor.register("combinations", pa.table([number, *columns], names=["number", *self.names]))
        try:
            text = f"SELECT number FROM combinations WHERE {condition(bind)}"
            found = Statement(text, bind.values).table(cursor)["number"].to_numpy()
        finally:
            cursor.unregister("combinations")
        flags = np.zeros(len(rows), np.bool_)
        flags[found] = True
        with self._lock:
            self._decided[key] = flags
            self._decided.move_to_end(key)
            if len(self._decided) > DECIDED:
                self._decided.popitem(last=False)
        return flags

    def grouped(self, names: Sequence[str]) -> tuple[Places, list[tuple[Any, ...]]]:
        """Return the group of each number when only some of the words count, and the words of each group."""
        wanted = tuple(names)
        with self._lock:
            held = self._grouped.get(wanted)
            if held is not None and len(held[0]) == len(self._rows):
                return held
            at = [self.names.index(name) for name in wanted]
            groups: dict[tuple[Any, ...], int] = {}
            numbers = [groups.setdefault(tuple(row[n] for n in at), len(groups)) for row in self._rows]
            self._grouped[wanted] = held = (np.array(numbers, np.int32), list(groups))
            return held


def _type_of(name: str) -> pa.DataType:
    kind: pa.DataType = ROLLUP_SCHEMA.field(name).type
    return kind
