"""Rules as DuckDB's SQL and as another project's SQLite agree: pysigma-backend-sqlite shares no code with ours but the parser.

Where the two mean different things, the rules and events made here keep away from it:

- case: SQLite folds ASCII letters alone, ours all of them; so texts are ASCII
- expressions: RE2 here, Python's there; so only what both read alike
- `temporal_ordered`: there every match whose window holds the sequence counts, and events of the same moment are in no
  order; here it counts where the last rule matches, and the same moment is ordered by seq; so times differ, and only
  what ends with the last rule is compared
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from parsers.sigma.rule import Rule
from storage.duck import connect
from storage.evidence import Matched, Windows
from tests.storage.test_correlating import (
    BASE_US,
    EVENTS,
    SECOND_US,
    SPAN,
    Seen,
    connected,
    event_rule,
    fired,
    matched,
    rules,
    table,
)

TEXTS = ("action", "username", "path", "description")
SHOWN = {"username": "user.name", "ip": "request.ip"}  # our names, where rules do not use the column's
COLUMNS = (*TEXTS, "ip", "status_code")
# Few words, so that rules and events meet; and what is special to LIKE, GLOB, SQL and Sigma in them.
WORDS = ["ab", "Ab", "a_b", "axb", "a%b", "a\\\\b", "a'b", "b.a", "x", "xx ab", "[ab]", "a*b", "-"]

EXPRESSIONS = ["^a", "b$", "[aA]b", "a.?x", r"\.", "(a|b)_", "x+", "^.{2,3}$"]
ADDRESSES = ["10.0.0.1", "10.0.1.7", "10.128.0.1", "192.168.3.4", "8.8.8.8"]
NETWORKS = ["10.0.0.0/8", "10.0.0.0/23", "192.168.0.0/16", "8.8.8.8/32", "10.128.0.0/9"]
STATUSES = range(198, 204)
CONDITIONS = [
    "s0",
    "not s0",
    "s0 and s1",
    "s0 and not s1",
    "s0 or (s1 and not s2)",
    "not (s0 or s1) and s2",
    "1 of s*",
    "all of s*",
    "s0 and not 1 of s*",
    "not all of them",
]
EVENTS_OF_A_SEED, RULES_OF_A_SEED = 30, 40
Field = tuple[str, str, Any]  # its name, modifiers, and the value or values


def an_event(random: Random) -> dict[str, Any]:
    return {
        **{name: random.choice([None, *WORDS]) for name in TEXTS},
        "ip": random.choice([None, *ADDRESSES]),
        "status_code": random.choice([None, *STATUSES]),
    }


def pattern(random: Random) -> str:
    """A word in any case, escaped or not, with a letter or so as a wildcard, or with one at an end."""
    word = "".join(random.choice([c.lower(), c.upper(), c]) for c in random.choice(WORDS))
    if random.random() < 0.5:
        word = word.replace("\\", "\\\\").replace("*", "\\*")
    if random.random() < 0.3:
        at = random.randrange(len(word))
        return word[:at] + random.choice("*?") + word[at + 1 :]
    return random.choice(["{}", "{}", "*{}", "{}*"]).format(word)


def some(random: Random, make: Callable[[], Any]) -> Any:
    """One value, or a list of them."""
    return make() if random.random() < 0.5 else [make() for _ in range(random.randint(1, 3))]


def a_field(random: Random) -> Field:
    name, kind = random.choice(TEXTS), random.randrange(8)
    match kind:
        case 0 | 1 | 2:
            modifiers = ("", "|contains", "|startswith", "|endswith", "|cased", "|contains|cased")
            return name, random.choice(modifiers), some(random, lambda: pattern(random))
        case 3:
            return name, "|contains|all", [random.choice(["a", "b", "x", "_", "%", "'"]) for _ in range(2)]
        case 4:
            return name, random.choice(["|re", "|re|i"]), random.choice(EXPRESSIONS)
        case 5:
            exists: tuple[str, Any] = random.choice([("|exists", True), ("|exists", False), ("", None)])
            return random.choice(COLUMNS), *exists
        case 6:
            return "ip", "|cidr", some(random, lambda: random.choice(NETWORKS))
        case _:
            if random.random() < 0.5:
                return "status_code", "", some(random, lambda: random.choice(STATUSES))
            return "status_code", random.choice(["|lt", "|lte", "|gt", "|gte"]), random.choice(STATUSES)


def documented(found: Sequence[Field], names: dict[str, str]) -> dict[str, Any]:
    return {f"{names.get(name, name)}{modifiers}": value for name, modifiers, value in found}


class Oracle:
    """The same events in SQLite, as that backend wants them."""

    def __init__(self, columns: Sequence[str], events: Sequence[Sequence[Any]]) -> None:
        self._backend = sqliteBackend(
            collate_nocase=True, timestamp_format="unix", timestamp_field="at", event_id_field="seq"
        )
        self._connection = sqlite3.connect(":memory:")
        self._connection.create_function(
            "REGEXP", 2, lambda wanted, value: value is not None and bool(re.search(wanted, str(value)))
        )
        self._connection.execute(f"CREATE TABLE logs ({', '.join(columns)})")
        places = ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO logs VALUES ({places})", events)

    def ask(self, *documents: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of the last rule's query."""
        text = "---\n".join(yaml.safe_dump(document) for document in documents)
        queries = self._backend.convert(SigmaCollection.from_yaml(text))
        cursor = self._connection.execute(queries[-1])
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


@pytest.mark.parametrize("seed", range(6))
def test_rules_match_the_events_that_they_match_in_sqlite(seed):
    """Texts with wildcards and signs of every kind, case, networks, numbers, absence, and every operator over them."""
    random = Random(seed)
    events = [an_event(random) for _ in range(EVENTS_OF_A_SEED)]
    oracle = Oracle(
        ["seq INTEGER PRIMARY KEY", *(f"{name} TEXT" for name in (*TEXTS, "ip")), "status_code INTEGER"],
        [[at, *(event[name] for name in COLUMNS)] for at, event in enumerate(events)],
    )
    sizes = set()
    with connected(events) as connection:
        for _ in range(RULES_OF_A_SEED):
            selections = [[a_field(random) for _ in range(random.choice([1, 1, 2]))] for _ in range(3)]
            condition = random.choice(CONDITIONS)
            ours, theirs = (
                {f"s{at}": documented(found, names) for at, found in enumerate(selections)}
                for names in (SHOWN, {})
            )
            rule = {"title": "it", "logsource": {"product": "watchkeep"}}
            expected = oracle.ask(rule | {"detection": {**theirs, "condition": condition}})
            found = matched(connection, {**ours, "condition": condition})
            assert found == sorted(row["seq"] for row in expected), (theirs, condition)
            sizes.add(len(found))
    assert len(sizes) > RULES_OF_A_SEED // 4, "rules that match nothing or everything show little"


CORRELATIONS = st.one_of(
    st.fixed_dictionaries({
        "type": st.just("event_count"),
        "condition": st.dictionaries(st.sampled_from(["gte", "gt", "lt", "lte", "eq"]), st.integers(1, 4), min_size=1, max_size=1),
    }),
    st.fixed_dictionaries({
        "type": st.just("value_count"),
        "condition": st.sampled_from(["gte", "lt", "eq"]).flatmap(
            lambda sign: st.fixed_dictionaries({sign: st.integers(1, 2), "field": st.just("ip")})
        ),
    }),
    st.fixed_dictionaries({
        "type": st.sampled_from(["value_sum", "value_avg"]),
        "condition": st.sampled_from(["gte", "lt"]).flatmap(
            lambda sign: st.fixed_dictionaries({sign: st.integers(0, 9), "field": st.just("amount")})
        ),
    }),
    st.fixed_dictionaries({"type": st.sampled_from(["temporal", "temporal_ordered"])}),
)  # fmt: skip
OURS = {"ip": "request.ip", "amount": "metadata.amount"}


@settings(max_examples=40, deadline=None)
@given(events=EVENTS, correlation=CORRELATIONS)
def test_a_correlation_fires_at_the_moments_of_sqlite(events, correlation):
    """With windows that slide, both ends in them, for each user; and because of the same events."""
    temporal = correlation["type"].startswith("temporal")
    if correlation["type"] == "temporal_ordered":
        events = list({event.at: event for event in events}.values())
    names = ["a", "b"] if temporal else ["a"]
    bases = [event_rule(name, action=name) for name in names]
    whole = {**correlation, "rules": names, "timespan": f"{SPAN}s"}
    theirs = [
        *({**base, "id": f"11111111-1111-1111-1111-11111111111{at}"} for at, base in enumerate(bases)),
        {"title": "it", "correlation": {**whole, "group-by": ["user_id"]}},
    ]
    ours = {**whole, "group-by": ["user.id"]}
    if "condition" in whole:
        field = whole["condition"].get("field")
        ours["condition"] = whole["condition"] | ({"field": OURS[field]} if field else {})
    oracle = Oracle(
        ["seq INTEGER PRIMARY KEY", "at REAL", "action TEXT", "user_id TEXT", "ip TEXT", "amount REAL"],
        [(e.seq, e.at, e.action, e.user, e.ip, e.amount) for e in events],
    )
    told = {
        (row["window_end"], json.loads(row["group_keys"])["user_id"]): json.loads(row["event_ids"])
        for row in oracle.ask(*theirs)
    }
    expected = set(told)
    if correlation["type"] == "temporal_ordered":
        last = {(event.at, event.user) for event in events if event.action == names[-1]}
        expected = {moment for moment in expected if moment in last}
    found = rules(*bases, {"title": "it", "correlation": ours})
    anchors = fired(found, "it", events)
    assert moments(events, anchors) == expected
    at = {event.seq: event.at for event in events}
    some = sorted(anchors)[:3]
    places = [((BASE_US + at[seq] * SECOND_US, seq), group) for seq, group in some]
    for behind, (seq, group) in zip(evidence_of(found, events, places), some, strict=True):
        assert {f"0:{each}" for each in behind} == set(told[float(at[seq]), group[0]])


def evidence_of(
    found: Sequence[Rule], events: Sequence[Seen], places: Sequence[tuple[tuple[int, int], tuple[str, ...]]]
) -> Iterator[set[int]]:
    """Yield the seqs of the events because of which the last rule fired at each place: an anchor and its group."""
    with connect(threads=1, memory_limit_mb=256) as connection:
        connection.register("events", table(events))
        windows = Windows(connection, {rule.id: rule for rule in found}, {}, lambda _: "events")
        for anchor, group in places:
            matched = Matched({}, {})
            windows.behind(found[-1], group, {anchor}, matched)
            yield set(matched.times)


def moments(events: Sequence[Seen], anchors: set[tuple[int, tuple[str, ...]]]) -> set[tuple[float, str]]:
    """Return when each group fired: SQLite tells of a moment, not of an event."""
    at = {event.seq: event.at for event in events}
    return {(float(at[seq]), group[0]) for seq, group in anchors}
