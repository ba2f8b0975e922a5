"""Rules over the stream: which anchors the newest rows make. The same plan as over the archive, so both agree.

Rows come in the order of their seq, a batch at a time. A plain rule looks at the batch alone. For a correlation, the
matches of its plain rules are kept for as long as its window is (`storage.matches`); the batch can change anchors only
between its first match and its last one plus the window, so the plan runs over the matches around that, once with the
batch and, where older anchors may have changed, once without it. The difference is what is new.

So late events make the anchors that the archive has in the end. A condition that one more event can end ("fewer than
five") may also take an anchor away that was told: that is counted as withdrawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from parsers.columns import BY_NAME, EVENT_SCHEMA
from parsers.expression import Expression
from parsers.sigma.rule import Rule
from storage import sql
from storage.correlating import Plan, Use, depth_of, only_adds, reach_us
from storage.duck import connect
from storage.filters import Bind, quote
from storage.matches import SCHEMA, Store
from storage.observer import Observer, Silent
from storage.query import Filter, Scope
from storage.scope import View, overlaps
from storage.snapshot import File, Hot, Snapshot

BATCH = "batch"
SLACK_US = 60_000_000  # kept beyond the longest window: events of several sources come this much apart
MOST_SEGMENTS = 8  # of a batch whose events lie far apart in time; more are joined
ALWAYS = ("timestamp", "seq", "internal", "source", "source_offset", "event_id", "entity_type")
_NAMED = re.compile(r'"([a-z_]+)"')


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


@dataclass(frozen=True, slots=True)
class _Correlated:
    """A correlation, ready to run over kept matches. ``binds`` are the names of what differs each time."""

    rule: Rule
    uses: tuple[int, ...]
    reach_us: int
    rising: bool
    least: float  # fewer matches than this in a window make no anchor
    text: str
    values: dict[str, Any]


@dataclass(slots=True)
class _Found:
    """Anchors of one rule as rows: at_us, seq, groups, value."""

    rule: Rule
    rows: list[tuple[int, int, tuple[str, ...], float | None]] = field(default_factory=list)


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
        uses: dict[Use, int] = {}
        for rule in emitting:
            for use in Plan(rules, routes).uses(rule):
                uses.setdefault(use, len(uses))
        self._uses = list(uses)
        self._stores: dict[int, Store] = {}
        self._reach: dict[int, int] = {}
        self._plain: dict[int, Rule] = {}
        self._correlated: list[_Correlated] = []
        for rule in emitting:
            if rule.correlation is None:
                self._plain[uses[Plan(rules, routes).uses(rule)[0]]] = rule
            else:
                self._correlated.append(self._compiled(rule, uses))
        for correlated in self._correlated:
            for place in correlated.uses:
                self._stores.setdefault(place, Store())
                self._reach[place] = max(self._reach.get(place, 0), correlated.reach_us)
        plan = Plan(rules, routes)
        texts = [
            f"SELECT {place} AS place, * FROM ({plan.matches(use, BATCH)})"
            for place, use in enumerate(self._uses)
        ]
        self._statement = sql.Statement(" UNION ALL ".join(texts), plan.bind.values)
        named = set(_NAMED.findall(self._statement.text))
        # Values are bound, so what stands quoted in a text is a column.
        self._columns = tuple(name for name in BY_NAME if name in named or name in ALWAYS)
        self._newest_us: int | None = None

    @property
    def match_bytes(self) -> int:
        """About how much memory the kept matches take."""
        return sum(store.bytes for store in self._stores.values())

    def close(self) -> None:
        """Let go of everything."""
        self._connection.close()

    def step(self, snapshot: Snapshot, after: int) -> Step:
        """Return what the next rows above the seq ``after`` make; the same call again gives the same.

        Raises duckdb.Error or OSError when the archive cannot be read; then nothing has happened.
        """
        parts = _above(snapshot, after)
        if not parts:
            return Step(snapshot.seq, 0, (), (), None)
        begin = max(after, min(part.min_seq for part in parts) - 1)
        end = min(snapshot.seq, begin + self._options.rows)
        cursor = self._connection
        rows, newest_us = self._load(snapshot, parts, begin, end)
        if not rows:
            return Step(end, 0, (), (), None)
        fresh = self._matched(cursor)
        self._newest_us = max(newest_us, self._newest_us or newest_us)
        found = [self._plain_found(rule, fresh.get(use)) for use, rule in self._plain.items()]
        gone: list[_Found] = []
        for correlated in self._correlated:
            if any(use in fresh for use in correlated.uses):
                new, old = self._evaluate(snapshot, correlated, fresh, after)
                found.append(new)
                gone.append(old)
        made = self._identified(snapshot, found)
        withdrawn = self._identified(snapshot, gone)
        for use, store in self._stores.items():
            if use in fresh and store.from_us is not None:
                store.add(fresh[use])
        self._bound()
        return Step(end, rows, made, withdrawn, newest_us)

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

    # The batch

    def _load(self, snapshot: Snapshot, parts: Sequence[File | Hot], begin: int, end: int) -> tuple[int, int]:
        view = _view(snapshot, parts, end)
        bind = Bind()
        sql.register(self._connection, view.hot)
        columns = ", ".join(quote(name) for name in self._columns)
        text = (
            f"CREATE OR REPLACE TEMP TABLE {BATCH} AS SELECT {columns} FROM {sql.source(view, bind)} "
            f"WHERE seq > {bind(begin)} AND seq <= {bind(end)}"
        )
        self._connection.execute(text, bind.values)
        (found,) = self._connection.execute(
            f"SELECT count(*), max(epoch_us({sql.TIME})) FROM {BATCH}"
        ).fetchall()
        return found[0], found[1] or 0

    def _matched(self, cursor: duckdb.DuckDBPyConnection) -> dict[int, pa.Table]:
        """Return the matches among the batch, by place of the use; those without any are left out."""
        if not self._uses:
            return {}
        table = self._statement.table(cursor)
        places = table.column("place")
        matches = table.drop_columns(["place"]).cast(SCHEMA)
        return {
            place.as_py(): matches.filter(pc.equal(places, place)).combine_chunks()
            for place in pc.unique(places)
        }

    @staticmethod
    def _plain_found(rule: Rule, matches: pa.Table | None) -> _Found:
        return _Found(rule, [] if matches is None else _rows(matches))

    # Correlations

    def _compiled(self, rule: Rule, uses: Mapping[Use, int]) -> _Correlated:
        plan = Plan(self._rules, self._routes)
        wanted = plan.uses(rule)
        for name in ("low", "high", "upto", "after", "first", "last"):
            plan.bind.values[name] = 0
        touched = ""
        if depth_of(rule, self._rules) == 1:  # then an event concerns the anchors of its own group alone
            groups = " UNION ALL ".join(
                f"SELECT groups FROM m{uses[use]} WHERE seq > $after" for use in wanted
            )
            touched = f" AND groups IN ({groups})"
        plan.kept = {
            use: f"(SELECT at_us, seq, groups, value FROM m{uses[use]} "
            f"WHERE at_us BETWEEN $low AND $high AND seq <= $upto{touched})"
            for use in wanted
        }
        text = f"SELECT * FROM ({plan.anchors(rule, BATCH)}) WHERE at_us BETWEEN $first AND $last"
        if not touched:
            text += " AND $after >= 0"  # every value must be used
        return _Correlated(
            rule,
            tuple(uses[use] for use in wanted),
            reach_us(rule, self._rules),
            only_adds(rule, self._rules),
            _least(rule) if touched else 0,
            text,
            plan.bind.values,
        )

    def _evaluate(
        self, snapshot: Snapshot, correlated: _Correlated, fresh: Mapping[int, pa.Table], after: int
    ) -> tuple[_Found, _Found]:
        """Return the anchors that the batch makes, and those that it takes away."""
        reach = correlated.reach_us
        times = pa.concat_arrays(
            [chunk for use in correlated.uses if use in fresh for chunk in fresh[use].column("at_us").chunks]
        )
        new, old = _Found(correlated.rule), _Found(correlated.rule)
        for first, last in self._stretches(correlated, times):
            low, high = first - reach, last + reach
            around = {use: self._around(snapshot, use, low, high, after) for use in correlated.uses}
            around |= {use: pa.concat_tables([around[use], fresh[use]]) for use in around if use in fresh}
            if sum(matches.num_rows for matches in around.values()) < correlated.least:
                continue
            for use, matches in around.items():
                self._connection.register(f"m{use}", matches)
            given = {"low": low, "high": high, "after": after, "first": first, "last": high}
            with_it = self._run(correlated, given, snapshot.seq)
            if correlated.rising and all(row[1] > after for row in with_it):
                new.rows += with_it
                continue
            without = self._run(correlated, given, after)
            before, now = {row[1:3] for row in without}, {row[1:3] for row in with_it}
            new.rows += [row for row in with_it if row[1:3] not in before]
            old.rows += [row for row in without if row[1:3] not in now]
        return new, old

    def _stretches(self, correlated: _Correlated, times: pa.Array[Any]) -> list[tuple[int, int]]:
        """Return the stretches of time to look at, the newest first; one, where all that is needed is in memory."""
        bounds = pc.min_max(times)
        first, last = bounds["min"].as_py(), bounds["max"].as_py()
        begin = max(self._stores[use].from_us or last for use in correlated.uses)
        if first - correlated.reach_us >= begin:
            return [(first, last)]
        return segments(times, correlated.reach_us)[::-1]

    def _run(
        self, correlated: _Correlated, given: Mapping[str, int], upto: int
    ) -> list[tuple[int, int, tuple[str, ...], float | None]]:
        values = {**correlated.values, **given, "upto": upto}
        rows = self._connection.execute(correlated.text, values).fetchall()
        return [(at, seq, tuple(groups), value) for at, seq, groups, value in rows]

    def _around(self, snapshot: Snapshot, use: int, low: int, high: int, after: int) -> pa.Table:
        """Return the matches between two times among the rows up to ``after``: kept ones, and from the archive."""
        store = self._stores[use]
        if store.from_us is not None and low >= store.from_us:
            return store.table
        if store.from_us is None:
            store.begin(low)
            store.add(self._archived(snapshot, use, low, None, after))
            return store.table
        until = min(high, store.from_us - 1)
        older = self._archived(snapshot, use, low, until, after)
        if until == store.from_us - 1:  # it continues what is kept
            store.begin(low)
            store.add(older)
            return store.table
        return pa.concat_tables([store.table, older])

    def _archived(self, snapshot: Snapshot, use: int, low: int, high: int | None, after: int) -> pa.Table:
        parts = [part for part in _parts(snapshot) if part.min_seq <= after and overlaps(part, low, high)]
        if not parts:
            return SCHEMA.empty_table()
        self._observer.count("detection_archive_reads")
        seen = _view(snapshot, parts, after, low, high)
        plan = Plan(self._rules, self._routes)
        condition = sql.where(seen, Filter(), Scope(internal="include"), plan.bind)
        events = (
            f"(SELECT * FROM {sql.source(seen, plan.bind)} WHERE {condition} AND seq <= {plan.bind(after)})"
        )
        sql.register(self._connection, seen.hot)
        text = plan.matches(self._uses[use], events)
        return sql.Statement(text, plan.bind.values).table(self._connection).cast(SCHEMA)

    # What an anchor is known by

    def _identified(self, snapshot: Snapshot, found: Iterable[_Found]) -> tuple[Anchor, ...]:
        """Return anchors with their events, in the order of time."""
        rows = [(each.rule, row) for each in found for row in each.rows]
        if not rows:
            return ()
        known = self._events_of([row[1] for _, row in rows])
        missing = [(row[0], row[1]) for _, row in rows if row[1] not in known]
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

    def _events_of(self, seqs: list[int]) -> dict[int, tuple[str, int, str]]:
        rows = self._connection.execute(
            f"SELECT seq, source, source_offset, event_id FROM {BATCH} WHERE seq IN (SELECT unnest($seqs))",
            {"seqs": seqs},
        ).fetchall()
        return {seq: (source, offset, event_id) for seq, source, offset, event_id in rows}

    def _older(
        self, snapshot: Snapshot, places: Sequence[tuple[int, int]]
    ) -> dict[int, tuple[str, int, str]]:
        low, high = min(at for at, _ in places), max(at for at, _ in places)
        parts = [part for part in _parts(snapshot) if overlaps(part, low, high)]
        if not parts:
            return {}
        seen = _view(snapshot, parts, snapshot.seq, low, high)
        bind = Bind()
        sql.register(self._connection, seen.hot)
        from_item = sql.source(seen, bind)
        condition = sql.where(seen, Filter(), Scope(internal="include"), bind)
        rows = self._connection.execute(
            f"SELECT seq, source, source_offset, event_id FROM {from_item} WHERE {condition} "
            f"AND seq IN (SELECT unnest({bind([seq for _, seq in places])}))",
            bind.values,
        ).fetchall()
        return {seq: (source, offset, event_id) for seq, source, offset, event_id in rows}

    def _bound(self) -> None:
        """Forget what no window reaches any more, and above the limit the older half of the largest stores."""
        if self._newest_us is not None:
            for use, store in self._stores.items():
                store.trim(self._newest_us - self._reach[use] - SLACK_US)
        while self.match_bytes > self._options.match_bytes:
            self._observer.count("detection_matches_trimmed")
            store = max(self._stores.values(), key=lambda store: store.bytes)
            before = store.bytes
            store.halve()
            if store.bytes >= before:
                break


def _least(rule: Rule) -> float:
    """Return how many matches a window needs at least; 0 where that is not known."""
    how = rule.correlation
    counted = how is not None and how.type in {"event_count", "value_count"}
    if how is None or not counted or how.threshold is None or how.threshold.sign not in {">", ">="}:
        return 0
    return how.threshold.value


def segments(times: pa.Array[Any], reach: int) -> list[tuple[int, int]]:
    """Return stretches of time (first, last) that hold all the times, further apart than ``reach``; few, oldest first."""
    rising = pc.unique(times).sort().to_numpy(zero_copy_only=False)
    gaps = rising[1:] - rising[:-1]
    wide = [int(at) for at in (gaps > reach).nonzero()[0]]
    if len(wide) >= MOST_SEGMENTS:
        wide = sorted(sorted(wide, key=lambda at: -gaps[at])[: MOST_SEGMENTS - 1])
    starts, ends = [0, *(at + 1 for at in wide)], [*wide, len(rising) - 1]
    return [(int(rising[a]), int(rising[b])) for a, b in zip(starts, ends, strict=True)]


def _rows(table: pa.Table) -> list[tuple[int, int, tuple[str, ...], float | None]]:
    columns = (table.column(name).to_pylist() for name in ("at_us", "seq", "groups"))
    return [(at, seq, tuple(groups), None) for at, seq, groups in zip(*columns, strict=True)]


def _parts(snapshot: Snapshot) -> list[File | Hot]:
    """Return what this node has of the archive: other nodes look at their own."""
    own: list[File | Hot] = [file for file in snapshot.events if file.node == snapshot.node]
    return own + list(snapshot.hot)


def _above(snapshot: Snapshot, after: int) -> list[File | Hot]:
    return [part for part in _parts(snapshot) if part.max_seq > after]


def _view(
    snapshot: Snapshot,
    parts: Sequence[File | Hot],
    seq: int,
    start_us: int | None = None,
    end_us: int | None = None,
) -> View:
    files = tuple(part for part in parts if isinstance(part, File) and part.min_seq <= seq)
    hot = tuple(part for part in parts if isinstance(part, Hot) and part.min_seq <= seq)
    return View(snapshot.root, files, hot, seq, start_us, end_us)
