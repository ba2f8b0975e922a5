"""Rules over the stream: which anchors the newest rows make. The same plan as over the archive, so both agree.

Rows come in the order of their seq, a batch at a time. A plain rule looks at the batch alone (`storage.selecting`). For
a correlation, the matches of its plain rules are kept for as long as its window is (`storage.matches`), and counted
(`storage.bounds`): where no window can hold enough of them, nothing more is done. Elsewhere the plan of
`storage.correlating` runs over the matches of those groups, around those of the batch, once with the batch and, where
older anchors may have changed, once without it. The difference is what is new.

So late events make the anchors that the archive has in the end. A condition that one more event can end ("fewer than
five") may also take an anchor away that was told: that is counted as withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from parsers.arrow import Int64s, Mask, mask, numbers, pc, true, whole
from parsers.columns import BY_NAME, EVENT_SCHEMA
from parsers.expression import Expression
from parsers.keyed import Keyed
from parsers.sigma.rule import Rule
from storage import sql
from storage.bounds import Bounds, Field, Fresh, Source, groups_of, mixed, needs_of
from storage.correlating import Plan, Use, only_adds, reach_us
from storage.duck import connect
from storage.filters import Bind
from storage.matches import EVER_US, Matches, Store, among, matches_of, schema_of
from storage.observer import Observer, Silent
from storage.scope import overlaps
from storage.selecting import Selector, Text
from storage.snapshot import Snapshot
from storage.unseen import earlier_rows, events_between, next_rows, parts_of, view_of

SLACK_US = 60_000_000  # kept beyond the longest window: events of several sources come this much apart
NEWEST_SHARE = (
    0.9  # of a batch's times are older than what counts as its newest one: a few clocks may be wrong
)
DAY_US = 86_400_000_000  # a beginning reads no further back, however old the first event is
MOST_SEGMENTS = 8  # of a batch whose events lie far apart in time; more are joined
ALWAYS = frozenset({"timestamp", "seq", "source", "source_offset", "event_id"})

Row = tuple[int, int, tuple[str, ...], float | None]
"""An anchor: time in microseconds, seq, group, value."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a rule fired. (rule, source, offset, groups) is what it is known by: a seq may change in a crash."""

    rule: str
    at_us: int
    seq: int
    groups: tuple[str, ...]
    value: float | None
    source: str
    offset: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch made: the anchors, how many it took away, its rows, and the seq up to which all was looked at."""

    seq: int
    rows: int
    anchors: tuple[Anchor, ...]
    withdrawn: tuple[Anchor, ...]
    newest_us: int | None  # the greatest time among its rows


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """``rows`` is the most a batch has; ``match_bytes`` bound what is kept of matches; memory of DuckDB in megabytes."""

    rows: int = 100_000
    match_bytes: int = 96 << 20
    memory_limit_mb: int = 384


@dataclass(slots=True)
class _Leaf:
    """A plain rule, and the fields of its matches that somebody needs: for groups, or to count their values."""

    rule: Rule
    texts: list[Text] = field(default_factory=list)
    store: Store = field(default_factory=lambda: Store(0))
    reach_us: int = 0  # of the correlations that look back at its matches

    def at(self, text: Text) -> int:
        """Return the number of a field, noted if it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)


@dataclass(frozen=True, slots=True)
class _Correlated:
    """A correlation, ready to run over kept matches of ``leaves``. ``groups``: by which fields; None: not one by one."""

    rule: Rule
    leaves: tuple[str, ...]
    reach_us: int
    rising: bool
    groups: Mapping[str, tuple[tuple[int, ...], ...]] | None
    bounds: Bounds
    text: str
    values: dict[str, Any]


@dataclass(slots=True)
class _Found:
    """Anchors of one rule as rows."""

    rule: Rule
    rows: list[Row] = field(default_factory=list)


class Detector:
    """Finds anchors batch by batch. One thread at a time; blocking. It has a DuckDB instance of its own."""

    def __init__(
        self,
        emitting: Sequence[Rule],
        rules: Mapping[str, Rule],
        routes: Mapping[str, Expression],
        options: DetectorOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._options = options or DetectorOptions()
        self._observer = observer or Silent()
        self._rules = rules
        self._routes = routes
        self._connection = connect(threads=1, memory_limit_mb=self._options.memory_limit_mb)
        self.broken: dict[str, str] = {}  # rule → why it cannot be run
        emitting = [rule for rule in emitting if self._runs(rule)]
        self._leaves: dict[str, _Leaf] = {}
        self._plain: list[tuple[Rule, tuple[int, ...]]] = []
        correlations: list[tuple[Rule, list[Use]]] = []
        for rule in emitting:
            uses = Plan(rules, routes).uses(rule)
            for use in uses:
                leaf = self._leaves.setdefault(use.rule, _Leaf(rules[use.rule]))
                for text in _texts(use):
                    leaf.at(text)
            if rule.correlation is None:
                self._plain.append((rule, self._fields(rule.id, rule.group)))
            else:
                correlations.append((rule, uses))
        self._numbers = {identity: at for at, identity in enumerate(self._leaves)}
        self._correlated = [self._compiled(rule, uses) for rule, uses in correlations]
        for correlated in self._correlated:
            for identity in correlated.leaves:
                leaf = self._leaves[identity]
                leaf.reach_us = max(leaf.reach_us, correlated.reach_us)
                leaf.store = Store(len(leaf.texts))
        self._selector = Selector(self._connection, (leaf.rule for leaf in self._leaves.values()), routes)
        named = {name for leaf in self._leaves.values() for name in self._selector.read(leaf.texts)}
        self._columns = [name for name in BY_NAME if name in named | self._selector.columns | ALWAYS]
        self._begun = False

    @property
    def match_bytes(self) -> int:
        """About how much memory the kept matches take."""
        return sum(leaf.store.bytes for leaf in self._leaves.values())

    def close(self) -> None:
        """Let go of everything."""
        self._connection.close()

    def step(self, snapshot: Snapshot, after: int) -> Step:
        """Return what the next rows above the seq ``after`` make; the same call again gives the same.

        Raises duckdb.Error or OSError when the archive cannot be read; then nothing has happened.
        """
        end, batch = next_rows(self._connection, snapshot, after, self._options.rows, self._columns)
        if not batch.num_rows:
            return Step(end, 0, (), (), None)
        times = _micros(batch)
        newest_us = int(np.quantile(times, NEWEST_SHARE, method="lower"))
        if not self._begun:
            self._begin(snapshot, int(times.min()), newest_us, after)
        fresh = self._matched(batch)
        found = [
            _Found(rule, _rows(fresh[rule.id], fields)) for rule, fields in self._plain if rule.id in fresh
        ]
        gone: list[_Found] = []
        for correlated in self._correlated:
            if any(identity in fresh for identity in correlated.leaves):
                new, old = self._evaluate(snapshot, correlated, fresh, after)
                found.append(new)
                gone.append(old)
        made = self._identified(snapshot, batch, found)
        withdrawn = self._identified(snapshot, batch, gone)
        for identity, matches in fresh.items():
            if self._leaves[identity].reach_us:
                self._leaves[identity].store.add(matches.table)
        # The daemon's own events are of now, and a backlog is not: they must not make it late.
        if not true(whole(batch.column("internal"))).all():
            self._bound(newest_us)
        return Step(end, batch.num_rows, made, withdrawn, int(times.max()))

    def _runs(self, rule: Rule) -> bool:
        """Say whether DuckDB understands a rule, by looking at no rows; if not, note why."""
        try:
            plan = Plan(self._rules, self._routes)
            self._connection.register("nothing", EVENT_SCHEMA.empty_table())
            self._connection.execute(plan.anchors(rule, "nothing"), plan.bind.values).fetchall()
        except (duckdb.Error, ValueError, KeyError) as error:
            self.broken[rule.id] = str(error).partition("\n")[0]
            return False
        return True

    def _fields(self, identity: str, targets: Field, *, number: bool = False) -> tuple[int, ...]:
        leaf = self._leaves[identity]
        return tuple(leaf.at((target, number)) for target in targets)

    # Matches

    def _matched(self, batch: pa.Table) -> dict[str, Matches]:
        """Return the matches among the batch, by plain rule; those without any are left out."""
        times, seqs = _micros(batch), numbers(whole(batch.column("seq")), 0)
        return {
            identity: matches_of(
                times[rows], seqs[rows], self._selector.texts(batch, rows, self._leaves[identity].texts)
            )
            for identity, rows in self._selector.select(batch).items()
        }

    def _begin(self, snapshot: Snapshot, oldest_us: int, newest_us: int, after: int) -> None:
        """Take up the matches among earlier rows that windows reach back to, as if these rows had been looked at."""
        reach = max((leaf.reach_us for leaf in self._leaves.values()), default=0)
        parts = [part for part in parts_of(snapshot) if part.min_seq <= after]
        low = max(oldest_us, newest_us - DAY_US) - reach if parts else EVER_US
        for leaf in self._leaves.values():
            leaf.store = Store(len(leaf.texts), low)
        for correlated in self._correlated:
            correlated.bounds.begin(low)
        if not parts or not reach:
            self._begun = True
            return
        self._observer.count("detection_archive_reads")
        for table in earlier_rows(self._connection, snapshot, low, after, self._columns, self._options.rows):
            fresh = self._matched(table)
            for correlated in self._correlated:
                self._concerned(correlated, fresh)
            for identity, matches in fresh.items():
                if self._leaves[identity].reach_us:
                    self._leaves[identity].store.add(matches.table)
            self._squeeze()
        self._begun = True

    def _bound(self, newest_us: int) -> None:
        """Forget what no window reaches any more."""
        for leaf in self._leaves.values():
            leaf.store.trim(newest_us - leaf.reach_us - SLACK_US)
        for correlated in self._correlated:
            correlated.bounds.forget(newest_us - correlated.reach_us - SLACK_US)
        self._squeeze()

    def _squeeze(self) -> None:
        """Above the limit, forget the older half of the largest stores."""
        while self.match_bytes > self._options.match_bytes:
            self._observer.count("detection_matches_trimmed")
            store = max((leaf.store for leaf in self._leaves.values()), key=lambda store: store.bytes)
            before = store.bytes
            store.halve()
            if store.bytes >= before:
                break

    # Correlations

    def _compiled(self, rule: Rule, uses: Sequence[Use]) -> _Correlated:
        plan = Plan(self._rules, self._routes)
        for name in ("low", "high", "upto", "first", "last"):
            plan.bind.values[name] = 0
        plan.kept = {use: self._kept(use) for use in uses}
        text = f"SELECT * FROM ({plan.anchors(rule, 'batch')}) WHERE at_us BETWEEN $first AND $last"
        reach = reach_us(rule, self._rules)
        groups = groups_of(rule, self._rules)
        return _Correlated(
            rule,
            tuple(dict.fromkeys(use.rule for use in uses)),
            reach,
            only_adds(rule, self._rules),
            None
            if groups is None
            else {
                identity: tuple(self._fields(identity, each) for each in fields)
                for identity, fields in groups.items()
            },
            Bounds(() if groups is None else needs_of(rule, self._rules), reach),
            text,
            plan.bind.values,
        )

    def _kept(self, use: Use) -> str:
        """Return a FROM item of kept matches as a plan wants them."""
        groups = [f"k{at}" for at in self._fields(use.rule, use.groups)]
        values = [f"k{at}" for at in self._fields(use.rule, use.values, number=use.numbers)]
        value = f"concat_ws(chr(31), {', '.join(values)})" if len(values) > 1 else next(iter(values), "NULL")
        known = "".join(f" AND {group} IS NOT NULL" for group in groups)
        return (
            f"(SELECT at_us, seq, [{', '.join(groups)}]::VARCHAR[] AS groups, CAST({value} AS VARCHAR) AS value "
            f"FROM leaf{self._numbers[use.rule]} WHERE at_us BETWEEN $low AND $high AND seq <= $upto{known})"
        )

    def _concerned(self, correlated: _Correlated, fresh: Mapping[str, Matches]) -> dict[str, Mask]:
        """Count new matches, and return which of them can change anchors."""
        there = [identity for identity in correlated.leaves if identity in fresh]
        if not there:
            return {}
        if correlated.groups is None:
            return {identity: np.ones(len(fresh[identity].times), bool) for identity in there}
        counted = {
            source: self._fresh(source, fresh[source.rule], distinct=need.distinct)
            for need in correlated.bounds.needs
            for source in need.sources
            if source.rule in fresh
        }
        asked = [(identity, fields) for identity in there for fields in correlated.groups[identity]]
        concerned = [(fresh[identity].times, _keyed(fresh[identity], fields)) for identity, fields in asked]
        found: dict[str, Mask] = {}
        for (identity, _), one in zip(asked, correlated.bounds.feed(counted, concerned), strict=True):
            found[identity] = found[identity] | one if identity in found else one
        return found

    def _fresh(self, source: Source, matches: Matches, *, distinct: bool) -> Fresh:
        groups = _keyed(matches, self._fields(source.rule, source.group))
        fields = self._fields(source.rule, source.values)
        if not distinct:
            return Fresh(matches.times, groups, None)
        # Of several fields those without a value are left out of what is counted; together they always are one.
        values = [
            keyed.keys[keyed.codes] + np.uint64(len(fields) > 1) for keyed in map(matches.keyed, fields)
        ]
        return Fresh(matches.times, groups, mixed(values, len(matches.times)))

    def _evaluate(
        self, snapshot: Snapshot, correlated: _Correlated, fresh: Mapping[str, Matches], after: int
    ) -> tuple[_Found, _Found]:
        """Return the anchors that the batch makes, and those that it takes away."""
        new, old = _Found(correlated.rule), _Found(correlated.rule)
        concerned = {k: v for k, v in self._concerned(correlated, fresh).items() if v.any()}
        if not concerned:
            return new, old
        groups = _wanted(correlated, fresh, concerned)
        times = np.concatenate([fresh[identity].times[kept] for identity, kept in concerned.items()])
        reach = correlated.reach_us
        for first, last in self._stretches(correlated, times):
            low, high = first - reach, last + reach
            for identity in correlated.leaves:
                wanted = None if groups is None else groups[identity]
                tables = self._around(snapshot, identity, low, high, after, wanted)
                if identity in fresh:
                    tables.append(among(fresh[identity].table, low, high, wanted))
                name = f"leaf{self._numbers[identity]}"
                self._connection.register(name, pa.concat_tables(tables))
            given = {"low": low, "high": high, "first": first, "last": high}
            with_it = self._run(correlated, given, snapshot.seq)
            if correlated.rising and all(row[1] > after for row in with_it):
                new.rows += with_it
                continue
            without = self._run(correlated, given, after)
            before, now = {row[1:3] for row in without}, {row[1:3] for row in with_it}
            new.rows += [row for row in with_it if row[1:3] not in before]
            old.rows += [row for row in without if row[1:3] not in now]
        return new, old

    def _stretches(self, correlated: _Correlated, times: Int64s) -> list[tuple[int, int]]:
        """Return the stretches of time to look at, the newest first; one, where all that is needed is in memory."""
        first, last = int(times.min()), int(times.max())
        begin = max(self._leaves[identity].store.from_us for identity in correlated.leaves)
        if first - correlated.reach_us >= begin:
            return [(first, last)]
        return segments(times, correlated.reach_us)[::-1]

    def _run(self, correlated: _Correlated, given: Mapping[str, int], upto: int) -> list[Row]:
        values = {**correlated.values, **given, "upto": upto}
        rows = self._connection.execute(correlated.text, values).fetchall()
        return [(at, seq, tuple(groups), value) for at, seq, groups, value in rows]

    def _around(
        self, snapshot: Snapshot, identity: str, low: int, high: int, after: int, groups: Any
    ) -> list[pa.Table]:
        """Return the matches between two times among the rows up to ``after``: kept ones, and from the archive."""
        store = self._leaves[identity].store
        if low < store.from_us:
            until = min(high, store.from_us - 1)
            older = self._archived(snapshot, identity, low, until, after)
            if until < store.from_us - 1 or store.squeezed:
                kept = [among(table, low, high, groups) for table in store.between(low, high)]
                return [among(older, low, high, groups), *kept]
            store.begin(low)  # it continues what is kept
            store.add(older)
        empty = schema_of(store.fields).empty_table()
        return [empty, *(among(table, low, high, groups) for table in store.between(low, high))]

    def _archived(self, snapshot: Snapshot, identity: str, low: int, high: int, after: int) -> pa.Table:
        leaf = self._leaves[identity]
        schema = schema_of(len(leaf.texts))
        parts = [part for part in parts_of(snapshot) if part.min_seq <= after and overlaps(part, low, high)]
        if not parts:
            return schema.empty_table()
        self._observer.count("detection_archive_reads")
        plan = Plan(self._rules, self._routes)
        events = events_between(self._connection, view_of(snapshot, parts, after, low, high), plan.bind)
        text = plan.texts(leaf.rule, leaf.texts, events)
        return sql.Statement(text, plan.bind.values).table(self._connection).cast(schema)

    # What an anchor is known by

    def _identified(self, snapshot: Snapshot, batch: pa.Table, found: Iterable[_Found]) -> tuple[Anchor, ...]:
        """Return anchors with their events, in the order of time."""
        rows = [(each.rule, row) for each in found for row in each.rows]
        if not rows:
            return ()
        known = _events(
            batch.filter(pc.is_in(batch.column("seq"), value_set=pa.array({r[1] for _, r in rows})))
        )
        missing = [row for _, row in rows if row[1] not in known]
        if missing:
            known.update(self._older(snapshot, missing))
        made = [
            Anchor(rule.id, at, seq, groups, value, *known[seq])
            for rule, (at, seq, groups, value) in rows
            if seq in known
        ]
        return tuple(
            sorted(made, key=lambda anchor: (anchor.at_us, anchor.source, anchor.offset, anchor.rule))
        )

    def _older(self, snapshot: Snapshot, found: Sequence[Row]) -> dict[int, tuple[str, int, str]]:
        low, high = min(row[0] for row in found), max(row[0] for row in found)
        parts = [part for part in parts_of(snapshot) if overlaps(part, low, high)]
        if not parts:
            return {}
        bind = Bind()
        events = events_between(self._connection, view_of(snapshot, parts, snapshot.seq, low, high), bind)
        text = (
            f"SELECT seq, source, source_offset, event_id FROM {events} "
            f"WHERE seq IN (SELECT unnest({bind([row[1] for row in found])}))"
        )
        return _events(sql.Statement(text, bind.values).table(self._connection))


def segments(times: Int64s, reach: int) -> list[tuple[int, int]]:
    """Return stretches of time (first, last) that hold all the times, further apart than ``reach``; few, oldest first."""
    rising = np.unique(times)
    gaps = rising[1:] - rising[:-1]
    wide = [int(at) for at in (gaps > reach).nonzero()[0]]
    if len(wide) >= MOST_SEGMENTS:
        wide = sorted(sorted(wide, key=lambda at: -gaps[at])[: MOST_SEGMENTS - 1])
    starts, ends = [0, *(at + 1 for at in wide)], [*wide, len(rising) - 1]
    return [(int(rising[a]), int(rising[b])) for a, b in zip(starts, ends, strict=True)]


def _texts(use: Use) -> Iterator[Text]:
    yield from ((target, False) for target in use.groups)
    yield from ((target, use.numbers) for target in use.values)


def _keyed(matches: Matches, fields: Sequence[int]) -> Keyed:
    """Return the keys of groups by some fields; NOTHING where one of these has no value."""
    if len(fields) == 1:
        return matches.keyed(fields[0])
    parts = [keyed.keys[keyed.codes] for keyed in map(matches.keyed, fields)]
    size = len(matches.times)
    if not parts:  # all events together
        return Keyed(np.ones(size, np.int64), np.arange(2, dtype=np.uint64))
    return Keyed.of(mixed(parts, size))


def _wanted(
    correlated: _Correlated, fresh: Mapping[str, Matches], concerned: Mapping[str, Mask]
) -> dict[str, list[list[tuple[int, Any]]]] | None:
    """Return by plain rule which values its fields must have to be of a group that may change."""
    if correlated.groups is None:
        return None
    size = max(len(fields) for each in correlated.groups.values() for fields in each)
    values: list[list[Any]] = [[] for _ in range(size)]
    for identity, kept in concerned.items():
        table = fresh[identity].table.filter(mask(kept))
        for fields in correlated.groups[identity]:
            for place, at in enumerate(fields):
                values[place].append(whole(table.column(f"k{at}")))
    sets = [pc.unique(pa.concat_arrays(arrays)) for arrays in values]
    return {
        identity: [[(at, sets[place]) for place, at in enumerate(fields)] for fields in each]
        for identity, each in correlated.groups.items()
    }


def _rows(matches: Matches, fields: Sequence[int]) -> list[Row]:
    """Return the matches of a plain rule as anchors; a field without a value is empty."""
    texts = [pc.fill_null(matches.table.column(f"k{at}"), "").to_pylist() for at in fields]
    seqs: list[int] = numbers(matches.table.column("seq"), 0).tolist()
    groups: list[tuple[str, ...]] = list(zip(*texts, strict=True)) if texts else [()] * len(seqs)
    return [(at, seq, group, None) for at, seq, group in zip(matches.times.tolist(), seqs, groups, strict=True)]  # fmt: skip


def _events(table: pa.Table) -> dict[int, tuple[str, int, str]]:
    """Return the place and the id of events by seq."""
    columns = (table.column(name).to_pylist() for name in ("seq", "source", "source_offset", "event_id"))
    return {seq: (source, offset, event_id) for seq, source, offset, event_id in zip(*columns, strict=True)}


def _micros(batch: pa.Table) -> Int64s:
    found: Int64s = numbers(whole(batch.column("timestamp")).cast(pa.int64()), 0)
    return found
