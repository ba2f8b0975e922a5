"""Which rows of a batch each plain rule matches: the conditions of `storage.matching`, asked of as little as possible.

A batch of a hundred thousand events has a few dozen actions, outcomes and methods. So DuckDB, whose conditions these
are over the archive too, answers a test once for each distinct value; the answers are remembered, and numpy carries
them to the rows. What looks into JSON or at several columns at once is asked only of rows that everything else leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from parsers.arrow import Array, Int64s, Mask, nulls, pc, rows, true, valid, whole
from parsers.columns import BY_NAME
from parsers.expression import And, Comparison, Expression, Not, Or
from parsers.sigma.matching import All, Keyword, Match, Some, Target, Test, Without
from parsers.sigma.rule import Rule
from storage.coded import Codes, encode
from storage.comparing import condition as expression_sql
from storage.correlating import ALERT_ENTITY
from storage.filters import Bind, quote
from storage.matching import match_sql, number_of, text_of, word_sql
from storage.sql import Statement

MOST_WORDS = 20_000  # remembered of a column; about 4 MB with the answers of a hundred tests
# Columns whose values are hardly ever the same twice: to number them costs more than it saves.
_OWN = frozenset(
    {"event_id", "correlation_id", "trace_id", "span_id", "session_id", "entity_id", "entity_name", "path", "response_time_ms"}
    | {"description", "ip", "ip_bytes", "latitude", "longitude", "travel_kmh", "source_offset", "writer_seq", "seq"}
)  # fmt: skip
_WORDS, _CHOSEN = "words", "chosen"  # what DuckDB knows distinct values and left-over rows as
_NAMED = re.compile(r'"([a-z_]+)"')
_PRESENCE = re.compile(r'\("([a-z_]+)" IS (NOT )?NULL\)')

Part: TypeAlias = Match | Expression
Leaf: TypeAlias = Test | Keyword | Comparison
Text: TypeAlias = tuple[Target, bool]
"""A field of an event as text; the second: as a number, where it is one."""


@dataclass(slots=True)
class _Column:
    """The tests of one column, and what was answered for the values met so far."""

    name: str
    tests: list[Leaf] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)  # value → row of the answers
    answers: Mask = field(default_factory=lambda: np.zeros((0, 0), bool))

    @property
    def listed(self) -> bool:
        return pa.types.is_list(BY_NAME[self.name].arrow)


class Selector:
    """The conditions of some plain rules. Blocking; it uses a DuckDB connection of its owner."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, rules: Iterable[Rule], routes: Mapping[str, Expression]
    ) -> None:
        self._connection = connection
        self._rules = {rule.id: rule for rule in rules}
        self._plain: dict[str, list[Part]] = {}  # what numpy puts together
        self._dear: dict[str, list[Part]] = {}  # what DuckDB is asked of rows
        self._columns: dict[str, _Column] = {}
        self._present: dict[Leaf, tuple[str, bool]] = {}  # the column, and whether it must have a value
        self._statements: dict[tuple[str, ...], Statement] = {}
        for rule in self._rules.values():
            assert rule.match is not None
            parts: list[Part] = list(rule.match.parts) if isinstance(rule.match, All) else [rule.match]
            if rule.id in routes:
                parts.insert(0, routes[rule.id])
            self._plain[rule.id] = [part for part in parts if self._noted(part)]
            self._dear[rule.id] = [part for part in parts if part not in self._plain[rule.id]]
        bind = Bind()
        texts = [_sql(part, bind) for parts in self._dear.values() for part in parts]
        named = {name for text in texts for name in _columns_of(text)}
        named |= {column for column, _ in self._present.values()} | self._columns.keys()
        self.columns = frozenset(named | {"internal", "entity_type"})  # that a batch must have

    def _noted(self, part: Part) -> bool:
        """Say whether numpy can put a part together, and note what must be known for it."""
        places = {leaf: _place(leaf) for leaf in _leaves(part)}
        if None in places.values():
            return False
        for leaf, place in places.items():
            assert place is not None
            column, present = place
            if present is not None:
                self._present[leaf] = (column, present)
            elif leaf not in self._columns.setdefault(column, _Column(column)).tests:
                self._columns[column].tests.append(leaf)
        return True

    def select(self, batch: pa.Table) -> dict[str, Int64s]:
        """Return the rows that each rule matches, by its id; rules without any are left out."""
        answers = self._answered(batch)
        internal = true(whole(batch.column("internal")))
        kinds = {False: ~internal & valid(whole(batch.column("internal"))), True: internal}
        if internal.any():
            kinds[True] = internal & ~true(pc.equal(whole(batch.column("entity_type")), ALERT_ENTITY))
        found: dict[str, Mask] = {}
        for identity, rule in self._rules.items():
            mask = kinds[rule.internal]
            for part in self._plain[identity]:
                if not mask.any():
                    break
                mask = mask & _combined(part, answers, batch.num_rows)
            if mask.any():
                found[identity] = mask
        self._ask(batch, found)
        return {identity: np.flatnonzero(mask) for identity, mask in found.items() if mask.any()}

    def texts(self, batch: pa.Table, chosen: Int64s, wanted: Sequence[Text]) -> list[Array]:
        """Return fields of some rows as arrays of texts."""
        taken: dict[Text, Array] = {}
        asked: list[Text] = []
        for text in wanted:
            column = text[0].column
            if column is not None and BY_NAME[column].sql == "VARCHAR" and not text[1]:
                taken[text] = whole(batch.column(column)).take(rows(chosen))
            else:
                asked.append(text)
        if asked:
            bind = Bind()
            chosen_texts = [
                f"CAST({_text_sql(each, bind)} AS VARCHAR) AS k{at}" for at, each in enumerate(asked)
            ]
            statement = Statement(f"SELECT {', '.join(chosen_texts)} FROM {_CHOSEN}", bind.values)
            self._connection.register(_CHOSEN, batch.select(_columns_of(statement.text)).take(rows(chosen)))
            table = statement.table(self._connection)
            taken |= {text: whole(table.column(f"k{at}")) for at, text in enumerate(asked)}
        return [taken[text] for text in wanted]

    @staticmethod
    def read(texts: Iterable[Text]) -> frozenset[str]:
        """Return the columns that `texts` looks at."""
        bind = Bind()
        return frozenset(name for text in texts for name in _columns_of(_text_sql(text, bind)))

    # Distinct values

    def _answered(self, batch: pa.Table) -> dict[Leaf, Mask]:
        """Return for each test of a single column which rows pass it."""
        found: dict[Leaf, Mask] = {}
        asked: list[tuple[_Column, list[Any], Array]] = []
        coded: list[tuple[_Column, Codes, list[Any], Int64s | None]] = []
        for column in self._columns.values():
            values = whole(batch.column(column.name))
            offsets = None
            if column.listed:
                offsets, values = _elements(values)
            numbered = encode(pa.chunked_array([values]))
            words = numbered.words.to_pylist()
            coded.append((column, numbered.codes, words, offsets))
            new = [at for at, word in enumerate(words) if word not in column.known]
            if new:
                if len(column.known) + len(new) > MOST_WORDS:
                    column.known, column.answers = {}, np.zeros((0, 0), bool)
                    new = list(range(len(words)))
                asked.append((column, [words[at] for at in new], numbered.words.take(pa.array(new))))
        if asked:
            self._learn(asked)
        for column, codes, words, offsets in coded:
            places = np.fromiter((column.known[word] for word in words), np.int64, len(words))
            answers = column.answers[places]
            for at, test in enumerate(column.tests):
                passed: Mask = answers[:, at][codes]
                found[test] = passed if offsets is None else _any_within(passed, offsets)
        for leaf, (name, present) in self._present.items():
            there = valid(whole(batch.column(name)))
            found[leaf] = there if present else ~there
        return found

    def _learn(self, asked: Sequence[tuple[_Column, list[Any], Array]]) -> None:
        """Ask DuckDB the tests of some columns for values not met before: one statement, the columns side by side."""
        size = max(len(words) for _, words, _ in asked)
        bind = Bind()
        texts: list[str] = []
        columns: dict[str, Array] = {}
        for column, words, values in asked:
            sql = _word_sql if column.listed else _sql
            texts += [f"{sql(test, bind)} AS {quote(column.name + str(at))}" for at, test in enumerate(column.tests)]  # fmt: skip
            columns[column.name] = pa.concat_arrays([values, nulls(size - len(words), values.type)])
        self._connection.register(_WORDS, pa.table(columns))
        table = Statement(f"SELECT {', '.join(texts)} FROM {_WORDS}", bind.values).table(self._connection)
        for column, words, _ in asked:
            answers = np.column_stack(
                [
                    true(whole(table.column(f"{column.name}{at}")))[: len(words)]
                    for at in range(len(column.tests))
                ]
            )
            first = len(column.known)
            column.known.update((word, first + at) for at, word in enumerate(words))
            column.answers = np.concatenate([column.answers, answers]) if first else answers

    # Rows

    def _ask(self, batch: pa.Table, found: dict[str, Mask]) -> None:
        """Take away from masks what DuckDB says is not matched."""
        active = tuple(identity for identity in found if self._dear[identity])
        if not active:
            return
        statement = self._statements.get(active)
        if statement is None:
            bind = Bind()
            texts = [
                # Only where the rest holds: what looks into JSON is dear.
                f"CASE WHEN m{at} THEN {' AND '.join(_sql(part, bind) for part in self._dear[identity])} ELSE FALSE END AS d{at}"
                for at, identity in enumerate(active)
            ]
            statement = Statement(f"SELECT {', '.join(texts)} FROM {_CHOSEN}", bind.values)
            self._statements[active] = statement
        left = np.flatnonzero(np.logical_or.reduce([found[identity] for identity in active]))
        chosen = batch.select(_columns_of(statement.text)).take(rows(left))
        for at, identity in enumerate(active):
            chosen = chosen.append_column(f"m{at}", pa.array(found[identity][left]))
        self._connection.register(_CHOSEN, chosen)
        table = statement.table(self._connection)
        for at, identity in enumerate(active):
            mask = np.zeros(batch.num_rows, bool)
            mask[left] = true(whole(table.column(f"d{at}")))
            found[identity] = mask


def _place(leaf: Leaf) -> tuple[str, bool | None] | None:
    """Return the one column that a test looks at, and whether all it wants is a value there (True) or none (False).

    None: several columns, or one whose values are hardly ever the same twice, or one that is no plain value.
    """
    text = _sql(leaf, Bind())
    presence = _PRESENCE.fullmatch(text)
    if presence:
        return presence[1], bool(presence[2])
    named = set(_NAMED.findall(text)) & BY_NAME.keys()
    if len(named) != 1:
        return None
    column = BY_NAME[named.pop()]
    if pa.types.is_list(column.arrow):
        return (column.name, None) if isinstance(leaf, Test) and leaf.kind == "text" else None
    own = column.json or column.name in _OWN or pa.types.is_timestamp(column.arrow)
    return None if own else (column.name, None)


def _leaves(part: Part) -> Iterator[Leaf]:
    match part:
        case All(parts) | Some(parts) | And(parts) | Or(parts):
            for each in parts:
                yield from _leaves(each)
        case Without(inner) | Not(inner):
            yield from _leaves(inner)
        case _:
            yield part


def _combined(part: Part, answers: Mapping[Leaf, Mask], rows: int) -> Mask:
    found: Mask
    match part:
        case All(parts) | And(parts):
            found = np.ones(rows, bool)
            for each in parts:
                found &= _combined(each, answers, rows)
        case Some(parts) | Or(parts):
            found = np.zeros(rows, bool)
            for each in parts:
                found |= _combined(each, answers, rows)
        case Without(inner) | Not(inner):
            found = ~_combined(inner, answers, rows)
        case _:
            found = answers[part]
    return found


def _elements(lists: Array) -> tuple[Int64s, Array]:
    """Return where the elements of each list begin and end, and all elements; of reasons, their names."""
    missing = ~valid(lists)
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    assert not sizes[missing].any()
    offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    flat: Any = pc.list_flatten(lists)
    return offsets, pc.struct_field(flat, "reason") if pa.types.is_struct(flat.type) else flat


def _any_within(passed: Mask, offsets: Int64s) -> Mask:
    sums = np.concatenate(([0], np.cumsum(passed, dtype=np.int64)))
    return sums[offsets[1:]] > sums[offsets[:-1]]


def _sql(part: Part, bind: Bind) -> str:
    if isinstance(part, Comparison | And | Or | Not):
        return expression_sql(part, bind)
    return match_sql(part, bind)


def _text_sql(text: Text, bind: Bind) -> str:
    return (number_of if text[1] else text_of)(text[0], bind)


def _word_sql(leaf: Leaf, bind: Bind) -> str:
    assert isinstance(leaf, Test)
    return word_sql(leaf, bind)


def _columns_of(text: str) -> list[str]:
    """Return the columns that a text names; one at least, for a table without any has no rows."""
    return sorted(set(_NAMED.findall(text)) & BY_NAME.keys()) or ["seq"]
