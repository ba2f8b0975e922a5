"""How many distinct keys occur, of rankings whose roll-ups keep every key: in a range, or in each of its buckets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage import rolled
from storage.buckets import bins, grain_of
from storage.coded import Ints
from storage.combinations import Places
from storage.keyed import keyed
from storage.material import Material
from storage.plan import HOURLY, RANKINGS, family_for
from storage.query import Filter, Scope
from storage.rollups import DAY_US, HOUR_US, QUARTER_US, Family
from storage.sheet import Sheet
from storage.sheets import filter_key
from storage.snapshot import File


def distinct(material: Material, ranking: str, wanted: Filter, scope: Scope, *, part: str) -> int:
    """Return how many keys of a complete ranking (users, countries) occur."""
    family = family_for(RANKINGS[ranking], wanted.names)
    parts = material.plan(wanted, scope, family, family, part)
    found, _ = keyed(material, RANKINGS[ranking][0], parts, wanted, scope)
    return len(found.by_key()[0])


def distinct_in(
    material: Material, ranking: str, wanted: Filter, scope: Scope, starts: Sequence[int], *, part: str
) -> list[int]:
    """Return how many keys of a complete ranking occur from each start (rising, microseconds) to the next."""
    grain = grain_of(starts)
    family = family_for(RANKINGS[ranking], wanted.names)
    if grain % DAY_US:
        family = family_for(HOURLY.get(ranking, ()), wanted.names) if not grain % HOUR_US else None
    parts = material.plan(wanted, scope, family, family, part)
    sets = _Sets(starts)
    for sheet, _, places, keys in _hot_keys(material, parts, wanted, scope):
        sets.add(sheet.keys.take(pa.array(keys)), places.astype(np.int64) * QUARTER_US)
    if parts.rows:
        by = [rolled.bucket(grain), rolled.key_and_name(RANKINGS[ranking][0])[0]]
        found = material.table(
            rolled.cells(rolled.Parts((), parts.rows), wanted, scope, by, keyed=RANKINGS[ranking][0])
        )
        sets.add(found["key"].combine_chunks(), found["bucket"].to_numpy())
    counts: list[int] = []
    for place, (low, high) in enumerate(sets.ranges):
        pieces = [
            (
                sums.family,
                sums.root,
                file,
                *_narrower(file, _max_of(low, sums.low_us), _min_of(high, sums.high_us)),
            )
            for sums in parts.sums
            for file in sums.files
            if file.max_time_us >= low and (high is None or file.min_time_us < high)
        ]
        more = sets.keys[place]
        if more or not pieces:
            counts.append(_distinct(material, pieces, more, wanted, scope))
            continue
        key = (
            filter_key(wanted, scope),
            *((p[0].name, p[1], p[2].path, p[2].sha256, *p[3:]) for p in pieces),
        )
        counts.append(material.sheets.number(key, partial(_distinct, material, pieces, (), wanted, scope)))
    return counts


def _hot_keys(
    material: Material, parts: rolled.Parts, wanted: Filter, scope: Scope
) -> Iterator[tuple[Sheet, Family, Places, Places]]:
    """Yield the sheets of hot batches with the bucket and subject of each row that counts."""
    for batch in parts.hot:
        assert parts.hot_family is not None
        sheet = material.sheets.of_hot(material.snapshot.root, batch, parts.hot_family)
        mask = sheet.mask(material.chosen(parts.hot_family, wanted, scope))
        assert sheet.places is not None
        assert sheet.subjects is not None
        yield sheet, parts.hot_family, sheet.places[mask], sheet.subjects[mask]


def _distinct(
    material: Material,
    pieces: Sequence[tuple[Family, str, File, int | None, int | None]],
    more: Sequence[Any],
    wanted: Filter,
    scope: Scope,
) -> int:
    """Count the distinct keys of some buckets of some roll-ups, and those of some arrays of keys."""
    found = list(more)
    for family, root, file, low, high in pieces:
        sheet = material.sheets.of_file(root, file, family)
        events = sheet.by_subject(sheet.mask(material.chosen(family, wanted, scope), low, high))
        found.append(sheet.keys.take(pa.array(np.flatnonzero(events))))
    return int(pc.count_distinct(pa.chunked_array(found, pa.string())).as_py())


class _Sets:
    """Keys by bucket, from arrays of keys and times."""

    def __init__(self, starts: Sequence[int]) -> None:
        self._starts = np.array(starts, np.int64)
        self.keys: list[list[Any]] = [[] for _ in starts]
        self.ranges: list[tuple[int, int | None]] = list(zip(starts, [*starts[1:], None], strict=True))

    def add(self, keys: Any, times: Ints) -> None:
        """Add keys, each at a time."""
        places = bins(self._starts, times)
        order = np.argsort(places, kind="stable")
        found = np.flatnonzero(np.diff(places[order], prepend=-1))
        ordered = keys.take(pa.array(order))
        for low, high in pairwise([*found.tolist(), len(order)]):
            self.keys[int(places[order[low]])].append(ordered.slice(low, high - low))


def _narrower(file: File, low: int | None, high: int | None) -> tuple[int | None, int | None]:
    """Return the bounds on buckets that a file needs: none on a side where all of it lies inside."""
    return (
        None if low is None or file.min_time_us >= low else low,
        None if high is None or file.max_time_us < high else high,
    )


def _max_of(first: int, second: int | None) -> int:
    """Return the greater of two bounds, where the second may be open."""
    return first if second is None else max(first, second)


def _min_of(first: int | None, second: int | None) -> int | None:
    """Return the lesser of two bounds, where each may be open."""
    return second if first is None else first if second is None else min(first, second)
