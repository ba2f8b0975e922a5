"""How many matches a window can hold at most, group by group: where a correlation cannot fire, nobody need look closer.

Counting in stretches of time as long as a window reaches bounds every window from above: it lies in two neighbouring
stretches. Where a rule counts different values, what is counted is how often the value changes from one match to the
next, which is never less often than there are different ones, and for a session that stays at one address is once.

A bound never says that a rule fires. It says where it may, so what is found never depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parsers.arrow import Int64s, Mask
from parsers.grouped import stable_order
from parsers.keyed import NOTHING, Keyed
from parsers.memory import Keys, Memory, Shape
from storage.coded import DENSE_SHARE, group, starts_of
from storage.matches import EVER_US
from storage.preconditions import Need, Source

STRETCHES = (
    3  # counted of each group, the newest ones; two make a bound, the third is for events that come late
)
FORGET_FACTOR = 2  # so many times as many groups as were left the last time: then those that are over go
FORGET_GROUPS = 32_768  # never fewer: 1 to 3 MB
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_COUNTS = {"stretch": Shape("i8"), "counts": Shape("i8", STRETCHES)}
_CHANGES = {**_COUNTS, "firsts": Shape("u8", STRETCHES), "lasts": Shape("u8", STRETCHES)}


@dataclass(frozen=True, slots=True)
class Fresh:
    """New matches of one source: when (microseconds), of which group, and the keys of their values if these count."""

    at_us: Int64s
    groups: Keyed
    values: Keys | None


class Bounds:
    """The needs of one correlation, and what was counted for them. Not thread-safe."""

    def __init__(self, needs: Sequence[Need], reach_us: int) -> None:
        self.needs = tuple(needs)
        self._reach = max(reach_us, 1)
        self._tallies = [_Tally(need) for need in self.needs]
        self.from_us = EVER_US  # all matches from here on are counted

    def feed(self, fresh: Mapping[Source, Fresh], concerned: Sequence[tuple[Int64s, Keyed]]) -> list[Mask]:
        """Count new matches. Returns for ``concerned``, times and groups of new matches, which can change anchors."""
        keys = np.unique(np.concatenate([groups.keys for _, groups in concerned]))
        keys = keys[keys != NOTHING]
        if not len(keys):
            return [np.zeros(len(groups), bool) for _, groups in concerned]
        spans = [times // self._reach for times, _ in concerned]
        room = _Room(
            len(keys), min(int(span.min()) for span in spans), max(int(span.max()) for span in spans)
        )
        counted = [tally.add(keys, fresh, self._reach, room) for tally in self._tallies]
        found: list[Mask] = []
        for (times, groups), span in zip(concerned, spans, strict=True):
            places = _places(keys, groups)
            may = room.spread(room.pack(places, span), lambda packed: _reached(counted, packed))
            early = times < self.from_us + self._reach
            for each in counted:
                early |= each.forgotten(places, span)
            found.append(groups.there & (early | may))
        return found

    def begin(self, from_us: int) -> None:
        """Note from which time on everything is counted."""
        self.from_us = from_us

    def forget(self, before_us: int) -> None:
        """Let go of groups that were last met before a time, when there are many."""
        limit = before_us // self._reach
        gone = [tally.forget(limit) for tally in self._tallies]
        if any(gone):
            self.from_us = max(self.from_us, limit * self._reach)

    @property
    def bytes(self) -> int:
        """Bytes of memory that it takes."""
        return sum(tally.memory.bytes for tally in self._tallies)


@dataclass(frozen=True, slots=True)
class _Room:
    """How a group's place and a stretch become one number that sorts by both."""

    groups: int
    low: int
    high: int

    def pack(self, places: Int64s, stretches: Int64s) -> Int64s:
        return places * self.width + (stretches - self.low + STRETCHES)

    @property
    def width(self) -> int:
        return self.high - self.low + 2 * STRETCHES + 2

    def unpack(self, packed: Int64s) -> tuple[Int64s, Int64s]:
        places, rest = np.divmod(packed, self.width)
        return places, rest + self.low - STRETCHES

    def spread(self, packed: Int64s, ask: Callable[[Int64s], Mask]) -> Mask:
        """Return what is answered for each number, asked once for those that are the same."""
        size = self.groups * self.width
        if size > DENSE_SHARE * len(packed):
            distinct, inverse = np.unique(packed, return_inverse=True)
            return ask(distinct)[inverse]
        distinct = np.flatnonzero(np.bincount(packed, minlength=size))
        answers = np.zeros(size, bool)
        answers[distinct] = ask(distinct)
        return answers[packed]


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is counted of some groups, stretch by stretch, rising; and the newest stretch each had before."""

    packed: Int64s
    counts: Int64s
    firsts: Keys | None
    lasts: Keys | None
    least: int
    newest: Int64s

    def reaches(self, packed: Int64s) -> Mask:
        """Return in which stretches a window may end that holds enough."""
        if not len(self.packed):
            return np.full(len(packed), self.least <= 0)
        at, here = self.find(packed)
        before, there = self.find(packed - 1)
        total = np.where(here, self.counts[at], 0) + np.where(there, self.counts[before], 0)
        if self.firsts is not None and self.lasts is not None:
            total -= here & there & (self.lasts[before] == self.firsts[at])
        return total >= self.least

    def forgotten(self, places: Int64s, stretches: Int64s) -> Mask:
        """Return which stretches are so old that what was counted for them is not known any more."""
        return stretches <= self.newest[places] - (STRETCHES - 1)

    def find(self, packed: Int64s) -> tuple[Int64s, Mask]:
        """Return where groups and stretches lie, and whether anything was counted of them."""
        if not len(self.packed):
            return np.zeros(len(packed), np.int64), np.zeros(len(packed), bool)
        at = np.minimum(np.searchsorted(self.packed, packed), len(self.packed) - 1)
        return at, self.packed[at] == packed


_NEVER = -(1 << 62)


class _Tally:
    """One need, counted by group in its newest stretches."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self.memory = Memory(_CHANGES if need.distinct else _COUNTS)
        self._left = 0

    def add(self, keys: Keys, fresh: Mapping[Source, Fresh], reach: int, room: _Room) -> _Counted:
        """Count new matches, and return what is known of some groups with them."""
        found = self.memory.find(keys)
        held = found >= 0
        newest = np.full(len(keys), _NEVER, np.int64)
        newest[held] = self.memory["stretch"][found[held]]
        packed, counts, firsts, lasts = self._held(found, room)
        for source in self.need.sources:
            new = fresh.get(source)
            if new is None:
                continue
            there = new.groups.there
            if new.values is not None:
                there = there & (new.values != NOTHING)
            kept = slice(None) if there.all() else there
            places = room.pack(_places(keys, new.groups)[kept], new.at_us[kept] // reach)
            if new.values is not None:
                packed.append(places)
                counts.append(np.ones(len(places), np.int64))
                firsts.append(new.values[kept])
                lasts.append(new.values[kept])
            else:
                distinct, sums = group(places, None, room.groups * room.width)
                packed.append(distinct)
                counts.append(sums)
                firsts.append(np.zeros(len(distinct), np.uint64))
                lasts.append(firsts[-1])
        counted = self._joined(np.concatenate(packed), np.concatenate(counts), np.concatenate(firsts), np.concatenate(lasts), newest)  # fmt: skip
        self._keep(keys, counted, room)
        return counted

    def forget(self, limit: int) -> bool:
        """Let go of groups not met since a stretch, if there are many; says whether any went."""
        if len(self.memory) <= max(FORGET_GROUPS, FORGET_FACTOR * self._left):
            return False
        kept = self.memory["stretch"] >= limit
        before = len(self.memory)
        if not kept.all():
            self.memory.keep(kept)
        self._left = len(self.memory)
        return self._left < before

    def _held(self, found: Int64s, room: _Room) -> tuple[list[Int64s], list[Int64s], list[Keys], list[Keys]]:
        """Return what was counted before, as far as it touches the stretches at hand."""
        places = np.flatnonzero(found >= 0)
        rows = found[places]
        packed: list[Int64s] = []
        counts: list[Int64s] = []
        firsts: list[Keys] = []
        lasts: list[Keys] = []
        for back in range(STRETCHES - 1, -1, -1):
            stretches = self.memory["stretch"][rows] - back
            count = self.memory["counts"][rows, back]
            near = (count > 0) & (stretches >= room.low - 1) & (stretches < room.high + STRETCHES)
            packed.append(room.pack(places[near], stretches[near]))
            counts.append(count[near])
            blank = np.zeros(int(near.sum()), np.uint64)
            distinct = self.need.distinct
            firsts.append(self.memory["firsts"][rows, back][near] if distinct else blank)
            lasts.append(self.memory["lasts"][rows, back][near] if distinct else blank)
        return packed, counts, firsts, lasts

    def _joined(self, packed: Int64s, counts: Int64s, firsts: Keys, lasts: Keys, newest: Int64s) -> _Counted:
        order = stable_order(packed)  # what was counted before comes first
        packed, counts = packed[order], counts[order]
        starts = starts_of(packed) if len(packed) else np.zeros(0, np.int64)
        sums = np.add.reduceat(counts, starts) if len(starts) else np.zeros(0, np.int64)
        if not self.need.distinct:
            return _Counted(packed[starts], sums, None, None, self.need.least, newest)
        firsts, lasts = firsts[order], lasts[order]
        same = np.zeros(len(packed), np.int64)
        same[1:] = lasts[:-1] == firsts[1:]
        same[starts] = 0
        if len(starts):
            sums = sums - np.add.reduceat(same, starts)
        ends = np.append(starts[1:], len(packed)) - 1 if len(starts) else starts
        return _Counted(packed[starts], sums, firsts[starts], lasts[ends], self.need.least, newest)

    def _keep(self, keys: Keys, counted: _Counted, room: _Room) -> None:
        """Write down the newest stretches of the groups met."""
        if not len(counted.packed):
            return
        places, stretches = room.unpack(counted.packed)
        last = np.append(np.flatnonzero(places[1:] != places[:-1]), len(places) - 1)
        places, newest = places[last], stretches[last]
        older = newest < counted.newest[places]  # nothing but what came too late to be counted
        places, newest = places[~older], newest[~older]
        rows = self.memory.find_or_add(keys[places])
        before = self.memory["stretch"][rows].copy()
        was = counted.newest[places] != _NEVER
        columns = [("counts", counted.counts)]
        if counted.firsts is not None and counted.lasts is not None:
            columns += [("firsts", counted.firsts), ("lasts", counted.lasts)]  # type: ignore[list-item]
        kept = {name: self.memory[name][rows].copy() for name, _ in columns}
        self.memory["stretch"][rows] = newest
        for back in range(STRETCHES):
            wanted = newest - back
            at, there = counted.find(room.pack(places, wanted))
            # A stretch that was not near those at hand is as it was.
            shift = np.clip(before - wanted, 0, STRETCHES - 1)
            was_there = was & (before - wanted >= 0) & (before - wanted < STRETCHES)
            for name, values in columns:
                old = np.where(was_there, kept[name][np.arange(len(rows)), shift], 0)
                self.memory[name][rows, back] = np.where(there, values[at], old) if len(values) else old


def _places(keys: Keys, groups: Keyed) -> Int64s:
    """Return the place of each event's group among keys; that of any where it has none."""
    places: Int64s = np.minimum(np.searchsorted(keys, groups.keys), len(keys) - 1)[groups.codes]
    return places


def _reached(counted: Sequence[_Counted], packed: Int64s) -> Mask:
    """Return for stretches of groups whether a window may hold enough that ends there, or in the next."""
    now, later = np.ones(len(packed), bool), np.ones(len(packed), bool)
    for each in counted:
        now &= each.reaches(packed)
        later &= each.reaches(packed + 1)
    return now | later


def mixed(parts: Sequence[Keys], size: int) -> Keys:
    """Return one hash of several values each, 0 where any of them is missing; of none, the same for all."""
    found: npt.NDArray[np.uint64] = np.full(size, _ONE, np.uint64)
    there = np.ones(size, bool)
    for part in parts:
        there &= part != 0
        found = (found ^ part) * _GOLDEN
        found ^= found >> np.uint64(29)
    found[found == 0] = _ONE
    return np.where(there, found, np.uint64(0))
