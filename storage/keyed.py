"""Events by key: how many each user, country, address … has, added up from sheets and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage import rolled
from storage.coded import Ints, encode
from storage.material import Material
from storage.query import Filter, Scope
from storage.rollups import Family
from storage.sheet import unite


@dataclass(frozen=True, slots=True)
class Keyed:
    """Events by distinct (key, name), and what is known of each: see `storage.sheet.Sheet`."""

    keys: Any
    names: Any
    events: Ints
    known: Ints

    def at(self, rows: npt.NDArray[Any]) -> Keyed:
        """Return some of the rows."""
        places = pa.array(rows)
        return Keyed(self.keys.take(places), self.names.take(places), self.events[rows], self.known[rows])

    def occurring(self) -> Keyed:
        """Leave out what has no events."""
        rows = np.flatnonzero(self.events)
        return self if len(rows) == len(self.events) else self.at(rows)

    def by_key(self) -> tuple[Any, Ints]:
        """Return the distinct keys that occur and the events of each, whatever their names."""
        column = encode(pa.chunked_array([self.keys], pa.string()))
        sums = np.bincount(column.codes, weights=self.events, minlength=column.size).astype(np.int64)
        rows = np.flatnonzero(sums)
        return column.words.take(pa.array(rows)), sums[rows]

    def name_of(self, key: str) -> str | None:
        """Return the greatest of a key's names: a user may have had several, and one stands for all of them."""
        rows = pc.and_(pc.equal(self.keys, pa.scalar(key)), pa.array(self.events > 0))
        name: str | None = pc.max(self.names.filter(rows)).as_py()
        return name


def keyed(
    material: Material,
    family: Family,
    parts: rolled.Parts,
    wanted: Filter,
    scope: Scope,
    *,
    single: bool = False,
) -> tuple[Keyed, int]:
    """Return the events of each (key, name), and how many events of any key are hidden at most.

    With ``single`` files count one by one, without sums of months.
    """
    found: list[Keyed] = []
    hidden = 0
    for rolling, sheet, low, high in material.pieces(parts, single=single):
        events = sheet.by_subject(sheet.mask(material.chosen(rolling, wanted, scope), low, high))
        hidden += sheet.bound
        known = np.zeros(len(events), np.int64) if sheet.known is None else sheet.known
        item = Keyed(sheet.keys, sheet.names, events, known)
        found.append(item if sheet.bound else item.occurring())
    if parts.rows:
        rows = rolled.cells(
            rolled.Parts((), parts.rows), wanted, scope, rolled.key_and_name(family), keyed=family
        )
        table = material.table(rows)
        keys, names = (table[name].combine_chunks() for name in ("key", "name"))
        found.append(Keyed(keys, names, table["events"].to_numpy(), np.zeros(len(keys), np.int64)))
    if len(found) == 1:
        return found[0], hidden
    if not found:
        nothing = np.zeros(0, np.int64)
        return Keyed(pa.array([], pa.string()), pa.array([], pa.string()), nothing, nothing), 0
    keys, names, numbers = unite([(item.keys, item.names) for item in found])
    events, known = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    for item, places in zip(found, numbers, strict=True):
        events[places] += item.events
        known[places] += item.known
    return Keyed(keys, names, events, known), hidden
