"""Rules over the stream: which anchors the newest rows make. The same plan as over the archive, so both agree.

Rows come in the order of their seq, a batch at a time. A plain rule looks at the batch alone (`storage.selecting`). For
a correlation, the matches of its plain rules are kept for as long as its window is (`storage.leaves`), and its plan runs
over those that a new one may concern (`storage.correlated`).

So late events make the anchors that the archive has in the end. A condition that one more event can end ("fewer than
five") may also take an anchor away that was told: that is counted as withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from parsers.arrow import true, whole
from parsers.columns import BY_NAME, EVENT_SCHEMA
from parsers.expression import Expression
from parsers.sigma.rule import Rule
from storage.anchors import Anchor, Found, identified, rows_of
from storage.correlated import Correlated
from storage.correlating import Plan, Use
from storage.duck import connect
from storage.leaves import Leaves, micros
from storage.matches import EVER_US
from storage.observer import Observer, Silent
from storage.snapshot import Snapshot
from storage.unseen import earlier_rows, next_rows, parts_of

SLACK_US = 60_000_000  # kept beyond the longest window: events of several sources come this much apart
NEWEST_SHARE = (
    0.9  # of a batch's times are older than what counts as its newest one: a few clocks may be wrong
)
DAY_US = 86_400_000_000  # a beginning reads no further back, however old the first event is
ALWAYS = frozenset({"timestamp", "seq", "source", "source_offset", "event_id"})


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

    rows: int = 50_000
    match_bytes: int = 96 << 20
    memory_limit_mb: int = 384


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
        leaves = self._leaves = Leaves(self._connection, rules, routes, self._observer)
        self._plain: list[tuple[Rule, tuple[int, ...]]] = []
        correlations: list[tuple[Rule, list[Use]]] = []
        for rule in emitting:
            uses = Plan(rules, routes).uses(rule)
            for use in uses:
                leaves.note(use)
            if rule.correlation is None:
                self._plain.append((rule, leaves.fields(rule.id, rule.group)))
            else:
                correlations.append((rule, uses))
        self._correlated = [
            Correlated(self._connection, Plan(rules, routes), rule, uses, leaves)
            for rule, uses in correlations
        ]
        named = leaves.read() | ALWAYS
        self._columns = [name for name in BY_NAME if name in named]
        self._begun = False

    @property
    def match_bytes(self) -> int:
        """About how much memory the kept matches take."""
        return self._leaves.bytes

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
        times = micros(batch)
        newest_us = int(np.quantile(times, NEWEST_SHARE, method="lower"))
        if not self._begun:
            self._begin(snapshot, int(times.min()), newest_us, after)
        fresh = self._leaves.matched(batch)
        found = [
            Found(rule, rows_of(fresh[rule.id], fields)) for rule, fields in self._plain if rule.id in fresh
        ]
        gone: list[Found] = []
        for correlated in self._correlated:
            if any(identity in fresh for identity in correlated.leaves):
                new, old = correlated.evaluate(snapshot, fresh, after)
                found.append(new)
                gone.append(old)
        made = identified(self._connection, snapshot, batch, found)
        withdrawn = identified(self._connection, snapshot, batch, gone)
        self._leaves.keep(fresh)
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

    def _begin(self, snapshot: Snapshot, oldest_us: int, newest_us: int, after: int) -> None:
        """Take up the matches among earlier rows that windows reach back to, as if these rows had been looked at."""
        reach = self._leaves.reach_us
        parts = [part for part in parts_of(snapshot) if part.min_seq <= after]
        low = max(oldest_us, newest_us - DAY_US) - reach if parts else EVER_US
        self._leaves.begin(low)
        calm_us = max((part.max_time_us + 1 for part in parts), default=EVER_US)
        for correlated in self._correlated:
            correlated.begin(low, calm_us)
        if not parts or not reach:
            self._begun = True
            return
        self._observer.count("detection_archive_reads")
        for table in earlier_rows(self._connection, snapshot, low, after, self._columns, self._options.rows):
            fresh = self._leaves.matched(table)
            for correlated in self._correlated:
                correlated.concerned(fresh)
            self._leaves.keep(fresh)
            self._leaves.squeeze(self._options.match_bytes)
        self._begun = True

    def _bound(self, newest_us: int) -> None:
        """Forget what no window reaches any more."""
        self._leaves.trim(newest_us - SLACK_US)
        for correlated in self._correlated:
            correlated.forget(newest_us - correlated.reach_us - SLACK_US)
        self._leaves.squeeze(self._options.match_bytes)
