"""Rows that came when their day was over, or not yet begun: how long they wait for a sealed file of their own.

A day's files are written while the day lasts. Rows that come afterwards would each hour add a small file to it, for
ever, because a sealed file is never replaced. So they wait in `live`: visible to every query, but not to the glob,
and `sealed_seq` stays below the first of them. A day's first late file waits ``wait_us``, the second twice as long,
the third four times, so that even a stream of late rows that never ends makes a logarithmic number of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MICROSECONDS_PER_DAY = 86_400_000_000

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What all rows of one sealed file share: UTC day (``YYYY-MM-DD``), retention class, internal or not."""

    day: str
    retention_class: str
    internal: bool


@dataclass(frozen=True, slots=True)
class LateRules:
    """When late rows need wait no longer. Times in microseconds."""

    slack_us: int  # a row read so long after its day ended, or before it begins, is late
    wait_us: int  # how long the first late rows of a day wait
    files: int  # most late files that a key gets for having waited
    bytes: int  # so many rows of one key, by their share of Parquet, are a file worth having at once
    total_bytes: int  # most that waits in all; then the heaviest keys wait no longer


@dataclass(frozen=True, slots=True)
class Waiting:
    """The late rows of one key: how many, about how many bytes of Parquet, and when the first was read."""

    rows: int
    bytes: int
    since_us: int

    def __add__(self, other: Waiting) -> Waiting:
        return Waiting(self.rows + other.rows, self.bytes + other.bytes, min(self.since_us, other.since_us))


def late(times: _Ints, arrived: _Ints, slack_us: int) -> npt.NDArray[np.bool_]:
    """Say which rows are late: a property of the row alone, so that every process decides the same."""
    begins = times // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY
    return (arrived >= begins + MICROSECONDS_PER_DAY + slack_us) | (arrived < begins - slack_us)


def ripe(waiting: Mapping[Key, Waiting], made: Mapping[Key, int], rules: LateRules, now_us: int) -> set[Key]:
    """Return the keys whose late rows get a sealed file now; ``made`` says how many late files each has already."""
    chosen = {
        key
        for key, rows in waiting.items()
        if rows.bytes >= rules.bytes or _waited(rows, made.get(key, 0), rules, now_us)
    }
    left = sorted((key for key in waiting if key not in chosen), key=lambda key: waiting[key].bytes)
    total = sum(waiting[key].bytes for key in left)
    while total > rules.total_bytes:
        heaviest = left.pop()
        chosen.add(heaviest)
        total -= waiting[heaviest].bytes
    return chosen


def _waited(rows: Waiting, made: int, rules: LateRules, now_us: int) -> bool:
    waited = now_us - rows.since_us
    # Read in the future: the clock was ahead then and is set back now. They must not wait until it is there again.
    ahead = waited < -rules.slack_us
    return made < rules.files and (ahead or waited >= rules.wait_us << made)


def most_late_files(rules: LateRules, life_us: int) -> int:
    """Return how many late files a key can get at most within ``life_us``, those for their size not counted."""
    doublings = 0
    while doublings < rules.files and rules.wait_us * ((2 << doublings) - 1) <= life_us:
        doublings += 1
    return doublings
