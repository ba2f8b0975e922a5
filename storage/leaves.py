"""The plain rules that others are made of, with their matches: those of a batch, those kept, those in the archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from parsers.arrow import Int64s, numbers, whole
from parsers.expression import Expression
from parsers.sigma.rule import Rule
from storage import sql
from storage.correlating import Plan, Use
from storage.matches import EVER_US, Matches, Store, among, matches_of, schema_of
from storage.observer import Observer
from storage.preconditions import Field
from storage.scope import overlaps
from storage.selecting import Selector, Text
from storage.snapshot import Snapshot
from storage.unseen import events_between, parts_of, view_of


@dataclass(slots=True)
class Leaf:
    """A plain rule, and the fields of its matches that somebody needs: for groups, or to count their values."""

    rule: Rule
    number: int  # what DuckDB knows its matches by
    texts: list[Text] = field(default_factory=list)
    store: Store = field(default_factory=lambda: Store(0))
    reach_us: int = 0  # of the correlations that look back at its matches

    def at(self, text: Text) -> int:
        """Return the number of a field, noted if it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)

    @property
    def name(self) -> str:
        """The table of its matches while a correlation runs."""
        return f"leaf{self.number}"


class Leaves:
    """All of them. Note every use before `begin`. Blocking; it uses a DuckDB connection of its owner."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        rules: Mapping[str, Rule],
        routes: Mapping[str, Expression],
        observer: Observer,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._routes = routes
        self._observer = observer
        self._leaves: dict[str, Leaf] = {}
        self._selector: Selector | None = None

    def __getitem__(self, identity: str) -> Leaf:
        return self._leaves[identity]

    def __iter__(self) -> Iterator[Leaf]:
        return iter(self._leaves.values())

    def note(self, use: Use) -> None:
        """Note what somebody needs of a plain rule's matches."""
        leaf = self._leaves.setdefault(use.rule, Leaf(self._rules[use.rule], len(self._leaves)))
        for target in use.groups:
            leaf.at((target, False))
        for target in use.values:
            leaf.at((target, use.numbers))

    def fields(self, identity: str, targets: Field, *, number: bool = False) -> tuple[int, ...]:
        """Return the numbers of some fields of a plain rule's matches."""
        return tuple(self._leaves[identity].at((target, number)) for target in targets)

    def read(self) -> frozenset[str]:
        """Return the columns that a batch must have, and take no further notes."""
        for leaf in self:
            leaf.store = Store(len(leaf.texts))
        self._selector = Selector(self._connection, (leaf.rule for leaf in self), self._routes)
        named = {name for leaf in self for name in self._selector.read(leaf.texts)}
        return frozenset(named | self._selector.columns)

    def matched(self, batch: pa.Table) -> dict[str, Matches]:
        """Return the matches among a batch, by plain rule; those without any are left out."""
        assert self._selector is not None
        times, seqs = micros(batch), numbers(whole(batch.column("seq")), 0)
        return {
            identity: matches_of(
                times[rows], seqs[rows], self._selector.texts(batch, rows, self._leaves[identity].texts)
            )
            for identity, rows in self._selector.select(batch).items()
        }

    # What is kept

    @property
    def bytes(self) -> int:
        """About how much memory the kept matches take."""
        return sum(leaf.store.bytes for leaf in self)

    @property
    def reach_us(self) -> int:
        """How far back the longest window of any correlation reaches."""
        return max((leaf.reach_us for leaf in self), default=0)

    def begin(self, from_us: int) -> None:
        """Keep matches from a time on."""
        for leaf in self:
            leaf.store = Store(len(leaf.texts), from_us)

    def keep(self, fresh: Mapping[str, Matches]) -> None:
        """Add new matches to those that are looked back at."""
        for identity, matches in fresh.items():
            if self._leaves[identity].reach_us:
                self._leaves[identity].store.add(matches.table)

    def trim(self, now_us: int) -> None:
        """Forget what no window reaches any more that ends at a time or later."""
        for leaf in self:
            leaf.store.trim(now_us - leaf.reach_us)

    def squeeze(self, most_bytes: int) -> None:
        """Above a limit, forget the older half of the largest stores."""
        while self.bytes > most_bytes:
            self._observer.count("detection_matches_trimmed")
            store = max((leaf.store for leaf in self), key=lambda store: store.bytes)
            before = store.bytes
            store.halve()
            if store.bytes >= before:
                break

    def whole_from_us(self, identities: Iterable[str]) -> int:
        """Return from which time on all matches of some plain rules are kept."""
        return max((self._leaves[identity].store.from_us for identity in identities), default=EVER_US)

    def around(
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

    def from_item(self, use: Use) -> str:
        """Return a FROM item of the kept matches of a plain rule as a plan wants them."""
        groups = [f"k{at}" for at in self.fields(use.rule, use.groups)]
        values = [f"k{at}" for at in self.fields(use.rule, use.values, number=use.numbers)]
        value = f"concat_ws(chr(31), {', '.join(values)})" if len(values) > 1 else next(iter(values), "NULL")
        known = "".join(f" AND {group} IS NOT NULL" for group in groups)
        # One field is its own group: lists of one take DuckDB half as long again to sort, and Python twice as long to read.
        group = groups[0] if len(groups) == 1 else f"[{', '.join(groups)}]::VARCHAR[]"
        return (
            f"(SELECT at_us, seq, {group} AS groups, CAST({value} AS VARCHAR) AS value "
            f"FROM {self[use.rule].name} WHERE at_us BETWEEN $low AND $high AND seq <= $upto{known})"
        )


def micros(batch: pa.Table) -> Int64s:
    """Return the times of a batch's events in microseconds since 1970."""
    found: Int64s = numbers(whole(batch.column("timestamp")).cast(pa.int64()), 0)
    return found
