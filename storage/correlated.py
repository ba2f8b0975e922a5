"""A correlation over the stream: which of its anchors a batch makes, and which it takes away.

Matches are counted first (`storage.bounds`): where no window can hold enough of them, nothing more is done. Elsewhere
the plan of `storage.correlating` runs over the matches of those groups, around those of the batch, once with the batch
and, where older anchors may have changed, once without it. The difference is what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from parsers.arrow import Int64s, Mask, mask, pc, whole
from parsers.keyed import Keyed
from parsers.sigma.rule import Rule
from storage.anchors import Found, Row
from storage.bounds import Bounds, Fresh, mixed
from storage.correlating import Plan, Use, only_adds, reach_us
from storage.leaves import Leaves
from storage.matches import Matches, among
from storage.preconditions import Source, groups_of, needs_of
from storage.snapshot import Snapshot

MOST_SEGMENTS = 8  # of a batch whose events lie far apart in time; more are joined


class Correlated:
    """One correlation, ready to run over the matches that ``leaves`` keep."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        rule: Rule,
        uses: Sequence[Use],
        leaves: Leaves,
    ) -> None:
        """``plan`` is a new one; ``uses`` are what the rule's plan looks at."""
        self._connection = connection
        self._all = leaves
        self.rule = rule
        self.leaves = tuple(dict.fromkeys(use.rule for use in uses))
        self.reach_us = reach_us(rule, plan.rules)
        for name in ("low", "high", "upto", "first", "last"):
            plan.bind.values[name] = 0
        plan.kept = {use: leaves.from_item(use) for use in uses}
        self._text = f"SELECT * FROM ({plan.anchors(rule, 'batch')}) WHERE at_us BETWEEN $first AND $last"
        self._values = plan.bind.values
        self._rising = only_adds(rule, plan.rules)
        groups = groups_of(rule, plan.rules)
        # By which fields; None: a match may concern any group.
        self._groups: Mapping[str, tuple[tuple[int, ...], ...]] | None = (
            None
            if groups is None
            else {
                identity: tuple(leaves.fields(identity, each) for each in fields)
                for identity, fields in groups.items()
            }
        )
        self._bounds = Bounds(() if groups is None else needs_of(rule, plan.rules), self.reach_us)
        self._calm_us = 0  # nothing that was looked at made an anchor from this time on
        for identity in self.leaves:
            leaf = leaves[identity]
            leaf.reach_us = max(leaf.reach_us, self.reach_us)

    def begin(self, from_us: int, calm_us: int) -> None:
        """Count from a time on. From ``calm_us`` on, the time after all rows before, there is no anchor yet."""
        self._bounds.begin(from_us)
        self._calm_us = calm_us

    def forget(self, before_us: int) -> None:
        """Let go of what was counted before a time."""
        self._bounds.forget(before_us)

    def concerned(self, fresh: Mapping[str, Matches]) -> dict[str, Mask]:
        """Count new matches, and return which of them can change anchors."""
        there = [identity for identity in self.leaves if identity in fresh]
        if not there:
            return {}
        if self._groups is None:
            return {identity: np.ones(len(fresh[identity].times), bool) for identity in there}
        counted = {
            source: self._fresh(source, fresh[source.rule], distinct=need.distinct)
            for need in self._bounds.needs
            for source in need.sources
            if source.rule in fresh
        }
        asked = [(identity, fields) for identity in there for fields in self._groups[identity]]
        concerned = [(fresh[identity].times, _keyed(fresh[identity], fields)) for identity, fields in asked]
        found: dict[str, Mask] = {}
        for (identity, _), one in zip(asked, self._bounds.feed(counted, concerned), strict=True):
            found[identity] = found[identity] | one if identity in found else one
        return found

    def _fresh(self, source: Source, matches: Matches, *, distinct: bool) -> Fresh:
        groups = _keyed(matches, self._all.fields(source.rule, source.group))
        fields = self._all.fields(source.rule, source.values)
        if not distinct:
            return Fresh(matches.times, groups, None)
        # Of several fields those without a value are left out of what is counted; together they always are one.
        values = [
            keyed.keys[keyed.codes] + np.uint64(len(fields) > 1) for keyed in map(matches.keyed, fields)
        ]
        return Fresh(matches.times, groups, mixed(values, len(matches.times)))

    def evaluate(self, snapshot: Snapshot, fresh: Mapping[str, Matches], after: int) -> tuple[Found, Found]:
        """Return the anchors that the matches of the rows above ``after`` make, and those that they take away."""
        new, old = Found(self.rule), Found(self.rule)
        concerned = {k: v for k, v in self.concerned(fresh).items() if v.any()}
        if not concerned:
            return new, old
        groups = self._wanted(fresh, concerned)
        times = np.concatenate([fresh[identity].times[kept] for identity, kept in concerned.items()])
        reach = self.reach_us
        for first, last in self._stretches(times):
            low, high = first - reach, last + reach
            for identity in self.leaves:
                wanted = None if groups is None else groups[identity]
                tables = self._all.around(snapshot, identity, low, high, after, wanted)
                if identity in fresh:
                    tables.append(among(fresh[identity].table, low, high, wanted))
                self._connection.register(self._all[identity].name, pa.concat_tables(tables))
            given = {"low": low, "high": high, "first": first, "last": high}
            with_it = self._run(given, snapshot.seq)
            # Each run costs some ten milliseconds, however few the matches: the second one is left out where it is known.
            calm = first >= self._calm_us
            if with_it:
                self._calm_us = max(self._calm_us, max(row[0] for row in with_it) + 1)
            if calm or (self._rising and all(row[1] > after for row in with_it)):
                new.rows += with_it
                continue
            without = self._run(given, after)
            before, now = {row[1:3] for row in without}, {row[1:3] for row in with_it}
            new.rows += [row for row in with_it if row[1:3] not in before]
            old.rows += [row for row in without if row[1:3] not in now]
        return new, old

    def _stretches(self, times: Int64s) -> list[tuple[int, int]]:
        """Return the stretches of time to look at, the newest first; one, where all that is needed is in memory."""
        first, last = int(times.min()), int(times.max())
        if first - self.reach_us >= self._all.whole_from_us(self.leaves):
            return [(first, last)]
        return segments(times, self.reach_us)[::-1]

    def _run(self, given: Mapping[str, int], upto: int) -> list[Row]:
        values = {**self._values, **given, "upto": upto}
        rows = self._connection.execute(self._text, values).fetchall()
        return [
            (at, seq, (groups,) if isinstance(groups, str) else tuple(groups), value)
            for at, seq, groups, value in rows
        ]

    def _wanted(
        self, fresh: Mapping[str, Matches], concerned: Mapping[str, Mask]
    ) -> dict[str, list[list[tuple[int, Any]]]] | None:
        """Return by plain rule which values its fields must have to be of a group that may change."""
        if self._groups is None:
            return None
        size = max(len(fields) for each in self._groups.values() for fields in each)
        values: list[list[Any]] = [[] for _ in range(size)]
        for identity, kept in concerned.items():
            table = fresh[identity].table.filter(mask(kept))
            for fields in self._groups[identity]:
                for place, at in enumerate(fields):
                    values[place].append(whole(table.column(f"k{at}")))
        sets = [pc.unique(pa.concat_arrays(arrays)) for arrays in values]
        return {
            identity: [[(at, sets[place]) for place, at in enumerate(fields)] for fields in each]
            for identity, each in self._groups.items()
        }


def segments(times: Int64s, reach: int) -> list[tuple[int, int]]:
    """Return stretches of time (first, last) that hold all the times, further apart than ``reach``; few, oldest first."""
    rising = np.unique(times)
    gaps = rising[1:] - rising[:-1]
    wide = [int(at) for at in (gaps > reach).nonzero()[0]]
    if len(wide) >= MOST_SEGMENTS:
        wide = sorted(sorted(wide, key=lambda at: -gaps[at])[: MOST_SEGMENTS - 1])
    starts, ends = [0, *(at + 1 for at in wide)], [*wide, len(rising) - 1]
    return [(int(rising[a]), int(rising[b])) for a, b in zip(starts, ends, strict=True)]


def _keyed(matches: Matches, fields: Sequence[int]) -> Keyed:
    """Return the keys of groups by some fields; NOTHING where one of these has no value."""
    if len(fields) == 1:
        return matches.keyed(fields[0])
    parts = [keyed.keys[keyed.codes] for keyed in map(matches.keyed, fields)]
    size = len(matches.times)
    if not parts:  # all events together
        return Keyed(np.ones(size, np.int64), np.arange(2, dtype=np.uint64))
    return Keyed.of(mixed(parts, size))
