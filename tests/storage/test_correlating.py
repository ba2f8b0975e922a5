"""Rules as SQL: they fire where a plain reading of Sigma says, whatever the events and in whatever order they came."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.columns import EVENT_SCHEMA
from parsers.sigma.loading import load
from parsers.sigma.rule import Rule
from storage.correlating import Plan
from storage.duck import connect

BASE_US = 1_772_442_000_000_000
SECOND_US = 1_000_000


@dataclass(frozen=True)
class Seen:
    """An event as these tests make it."""

    at: int  # seconds
    seq: int
    action: str
    user: str | None
    ip: str
    amount: float | None


def table(events: Sequence[Seen]) -> pa.Table:
    given_columns: dict[str, pa.Array[Any]] = {
        "timestamp": pa.array([BASE_US + event.at * SECOND_US for event in events]).cast(
            EVENT_SCHEMA.field("timestamp").type
        ),
        "seq": pa.array([event.seq for event in events], pa.int64()),
        "action": pa.array([event.action for event in events], pa.string()),
        "user_id": pa.array([event.user for event in events], pa.string()),
        "ip": pa.array([event.ip for event in events], pa.string()),
        "metadata": pa.array(
            [None if event.amount is None else f'{{"amount":{event.amount}}}' for event in events],
            pa.string(),
        ),
    }
    given_columns["internal"] = pa.array([False] * len(events))
    columns = [given_columns.get(field.name, pa.nulls(len(events), field.type)) for field in EVENT_SCHEMA]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def rules(*documents: dict[str, Any]) -> list[Rule]:
    found = load([(f"{at}.yml", yaml.safe_dump(document)) for at, document in enumerate(documents)])
    assert not [rule.problem for rule in found if rule.problem]
    return found


def event_rule(name: str, **detection: Any) -> dict[str, Any]:
    return {
        "title": name,
        "name": name,
        "logsource": {"product": "watchkeep"},
        "detection": {"sel": detection, "condition": "sel"},
    }


def fired(found: Sequence[Rule], title: str, events: Sequence[Seen]) -> set[tuple[int, tuple[str, ...]]]:
    """Return the anchors of a rule: seq and group."""
    rule = next(rule for rule in found if rule.title == title)
    plan = Plan({rule.id: rule for rule in found})
    text = plan.anchors(rule, "events")
    with connect(threads=1, memory_limit_mb=256) as connection:
        connection.register("events", table(events))
        rows = connection.execute(text, plan.bind.values).fetchall()
    assert len(rows) == len({(row[1], tuple(row[2])) for row in rows}), "an anchor is told once"
    return {(row[1], tuple(row[2])) for row in rows}


EVENTS = st.builds(
    lambda rows, order: [
        Seen(at, seq + 1, action, user, ip, amount)
        for seq, (at, action, user, ip, amount) in enumerate(random.Random(order).sample(rows, len(rows)))
    ],
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([None, "u", "v"]),
            st.sampled_from(["192.0.2.1", "192.0.2.2"]),
            st.one_of(st.none(), st.integers(-3, 9).map(float)),
        ),
        max_size=24,
    ),
    st.integers(0, 2**20),
)
SPAN = 10


def windows(
    events: Sequence[Seen], actions: Sequence[str], span: int = SPAN
) -> list[tuple[Seen, list[Seen]]]:
    """Return each matched event of a user with the matched events of the same user in its window."""
    matched = [event for event in events if event.action in actions and event.user is not None]
    return [
        (event, [o for o in matched if o.user == event.user and event.at - span <= o.at <= event.at])
        for event in matched
    ]


def measured(kind: str, inside: Sequence[Seen]) -> float | None:
    amounts = [event.amount for event in inside if event.amount is not None]
    if kind == "event_count":
        return len(inside)
    if kind == "value_count":
        return len({event.ip for event in inside})
    if not amounts:
        return None
    if kind == "value_sum":
        return sum(amounts)
    if kind == "value_avg":
        return statistics.fmean(amounts)
    return float(np.percentile(amounts, 50 if kind == "value_median" else 90))


HOLDS = {
    "gte": lambda value, limit: value >= limit,
    "gt": lambda value, limit: value > limit,
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
    "eq": lambda value, limit: value == limit,
}


@settings(max_examples=80, deadline=None)
@given(
    events=EVENTS,
    kind=st.sampled_from(
        ["event_count", "value_count", "value_sum", "value_avg", "value_median", "value_percentile"]
    ),
    sign=st.sampled_from(sorted(HOLDS)),
    limit=st.integers(1, 5),
)
def test_a_correlation_fires_where_its_sliding_window_says(events, kind, sign, limit):
    """Every window that ends at a matched event, both ends in it, late events among the others."""
    condition: dict[str, Any] = {sign: limit}
    if kind == "value_count":
        condition["field"] = "request.ip"
    elif kind != "event_count":
        condition["field"] = "metadata.amount"
    if kind == "value_percentile":
        condition["percentile"] = 90
    correlation = {
        "type": kind,
        "rules": ["base"],
        "group-by": ["user.id"],
        "timespan": f"{SPAN}s",
        "condition": condition,
    }
    found = rules(event_rule("base", action=["A", "b"]), {"title": "it", "correlation": correlation})
    expected = set()
    for event, inside in windows(events, ["a", "b"]):
        value = measured(kind, inside)
        if value is not None and HOLDS[sign](round(value, 9), limit):
            expected.add((event.seq, (event.user,)))
    assert fired(found, "it", events) == expected


@settings(max_examples=80, deadline=None)
@given(events=EVENTS, ordered=st.booleans(), size=st.sampled_from([2, 3]))
def test_a_temporal_correlation_fires_where_all_its_rules_matched(events, ordered, size):
    """In any order, or one after the other, within the window."""
    names = ["a", "b", "c"][:size]
    correlation = {
        "type": "temporal_ordered" if ordered else "temporal",
        "rules": names,
        "group-by": ["user.id"],
        "timespan": f"{SPAN}s",
    }
    found = rules(
        *(event_rule(name, action=name) for name in names), {"title": "it", "correlation": correlation}
    )
    expected = set()
    for event, inside in windows(events, names):
        if not ordered:
            if {other.action for other in inside} == set(names):
                expected.add((event.seq, (event.user,)))
        elif event.action == names[-1] and chained(event, inside, names[:-1]):
            expected.add((event.seq, (event.user,)))
    assert fired(found, "it", events) == expected


def chained(last: Seen, inside: Sequence[Seen], names: Sequence[str]) -> bool:
    """Whether events of these names come one after the other before the last one, by time and then seq."""
    if not names:
        return True
    return any(
        chained(other, inside, names[:-1])
        for other in inside
        if other.action == names[-1] and (other.at, other.seq) < (last.at, last.seq)
    )


@settings(max_examples=30, deadline=None)
@given(events=EVENTS)
def test_a_condition_over_rules_may_be_any_expression(events):
    """And, or and not over what occurred in the window."""
    correlation = {
        "type": "temporal",
        "rules": ["a", "b", "c"],
        "group-by": ["user.id"],
        "timespan": f"{SPAN}s",
        "condition": "a and (b or not c)",
    }
    found = rules(
        *(event_rule(name, action=name) for name in "abc"), {"title": "it", "correlation": correlation}
    )
    expected = set()
    for event, inside in windows(events, "abc"):
        seen = {other.action for other in inside}
        if "a" in seen and ("b" in seen or "c" not in seen):
            expected.add((event.seq, (event.user,)))
    assert fired(found, "it", events) == expected


@settings(max_examples=30, deadline=None)
@given(events=EVENTS)
def test_a_correlation_of_a_correlation_sees_its_anchors(events):
    """Three failures within the window, then a success after the third."""
    found = rules(
        event_rule("failed", action="a"),
        event_rule("success", action="b"),
        {
            "title": "many",
            "name": "many",
            "correlation": {
                "type": "event_count",
                "rules": ["failed"],
                "group-by": ["user.id"],
                "timespan": "10s",
                "condition": {"gte": 3},
            },
        },
        {
            "title": "it",
            "correlation": {
                "type": "temporal_ordered",
                "rules": ["many", "success"],
                "group-by": ["user.id"],
                "timespan": "10s",
            },
        },
    )
    many = [event for event, inside in windows(events, ["a"]) if len(inside) >= 3]
    expected = {
        (event.seq, (event.user,))
        for event, _ in windows(events, ["b"])
        if any(
            o.user == event.user and event.at - SPAN <= o.at and (o.at, o.seq) < (event.at, event.seq)
            for o in many
        )
    }
    assert fired(found, "it", events) == expected


def test_a_rule_that_cannot_be_read_stops_no_other_of_its_file():
    """Named by its title; and what is called by its other name is read."""
    good = event_rule("good", **{"path|utf16le|base64offset|contains": "cmd"})
    bad = {
        "title": "bad",
        "correlation": {
            "type": "event_count",
            "rules": ["good"],
            "timespan": "1m",
            "condition": {"gt": 1, "lt": 9},
        },
    }
    found = load(
        [
            (
                "one.yml",
                "---\n".join(yaml.safe_dump(each) for each in (good, bad, event_rule("also", action="x"))),
            )
        ]
    )
    assert {rule.title: bool(rule.problem) for rule in found} == {"good": False, "also": False, "bad": True}
    rows = [{"path": "YwBtAGQA", "ip": None}, {"path": "xjAG0AZA", "ip": None}, {"path": "cmd", "ip": None}]
    with connected(rows) as connection:
        plan = Plan({rule.id: rule for rule in found})
        text = plan.anchors(next(rule for rule in found if rule.title == "good"), "events")
        assert [row[1] for row in connection.execute(text, plan.bind.values).fetchall()] == [0, 1]


@pytest.mark.parametrize(
    ("condition", "correlation"),
    [
        ("sel | count() by user.id > 2", {"type": "event_count", "condition": {"gt": 2}}),
        ("sel|count(request.ip) by user.id >= 2", {"type": "value_count", "condition": {"gte": 2, "field": "request.ip"}}),
        ("sel | count() by user.id == 2", {"type": "event_count", "condition": {"eq": 2}}),
    ],
)  # fmt: skip
@settings(max_examples=15, deadline=None)
@given(events=EVENTS)
def test_a_count_as_it_was_written_before_correlations_is_one(condition, correlation, events):
    """With the rule's own id and level, and nothing fires by itself where it is only counted."""
    old = {
        "title": "it",
        "id": "66b3e910-4f54-4d6b-88d3-c9650ab1b8fc",
        "level": "high",
        "logsource": {"product": "watchkeep"},
        "detection": {"sel": {"action": ["A", "b"]}, "timeframe": f"{SPAN}s", "condition": condition},
    }
    whole = {**correlation, "rules": ["base"], "group-by": ["user.id"], "timespan": f"{SPAN}s"}
    found = rules(old)
    new = rules(event_rule("base", action=["A", "b"]), {"title": "it", "correlation": whole})
    assert fired(found, "it", events) == fired(new, "it", events)
    assert [(rule.id, rule.level) for rule in found if rule.emits] == [(old["id"], "high")]


def test_an_alias_gives_one_group_its_field_in_each_rule():
    """The user of a login and the one whose account was changed."""
    found = rules(
        event_rule("granted", action="grant"),
        event_rule("used", action="use"),
        {
            "title": "it",
            "correlation": {
                "type": "temporal",
                "rules": ["granted", "used"],
                "group-by": ["who"],
                "aliases": {"who": {"granted": "user.id", "used": "request.ip"}},
                "timespan": "10s",
            },
        },
    )
    events = [Seen(1, 1, "grant", "bob", "x", None), Seen(2, 2, "use", "eve", "bob", None)]
    assert fired(found, "it", events) == {(2, ("bob",))}


def test_no_group_means_all_events_together():
    """A correlation without group-by."""
    found = rules(
        event_rule("base", action="a"),
        {
            "title": "it",
            "correlation": {
                "type": "event_count",
                "rules": ["base"],
                "timespan": "10s",
                "condition": {"gte": 2},
            },
        },
    )
    events = [Seen(1, 1, "a", "u", "x", None), Seen(2, 2, "a", None, "y", None)]
    assert fired(found, "it", events) == {(2, ())}


ROWS: list[dict[str, Any]] = [
    {"action": "Login", "username": "Ann_1", "ip": "10.1.2.3", "status_code": 401, "path": "/a/b?x=%41", "metadata": '{"a":{"b":"X"},"n":"7","t":true}', "description": "Disk is FULL", "extra": '{"odd.key":"v"}'},
    {"action": "logout", "username": None, "ip": "192.168.1.9", "status_code": 200, "path": "/A", "metadata": None, "description": "50% of_it", "extra": None},
    {"action": None, "username": "bob", "ip": None, "status_code": None, "path": None, "metadata": '{"a":"plain"}', "description": None, "extra": '{"a":{"b":"x"}}'},
]  # fmt: skip
CASES: list[tuple[Any, list[int]]] = [
    ({"action": "LOGIN"}, [0]),
    ({"action|cased": "login"}, []),
    ({"action": "log*"}, [0, 1]),
    ({"action": "log??t"}, [1]),
    ({"action": ["login", "logout"]}, [0, 1]),
    ({"user.name|contains": "_"}, [0]),
    ({"user.name|endswith": "_1"}, [0]),
    ({"user.name|startswith": "ANN"}, [0]),
    ({"description|contains": "%"}, [1]),
    ({"description|contains|all": ["of_", "50"]}, [1]),
    ({"status_code": 401}, [0]),
    ({"sc-status": "401"}, [0]),
    ({"status_code|gte": 300}, [0]),
    ({"request.ip|cidr": "10.0.0.0/8"}, [0]),
    ({"request.ip|cidr": ["192.168.0.0/16", "10.0.0.0/8"]}, [0, 1]),
    ({"request.ip": "10.1.2.*"}, [0]),
    ({"user.name": None}, [1]),
    ({"user.name|exists": True}, [0, 2]),
    ({"user.name|exists": False}, [1]),
    ({"path|re": "^/a/[a-z]"}, [0]),
    ({"path|re|i": "^/a$"}, [1]),
    ({"metadata.a.b": "x"}, [0]),
    ({"metadata.n": 7}, [0]),
    ({"metadata.n|lt": 8}, [0]),
    ({"metadata.t": True}, [0]),
    ({"odd.key": "V"}, [0]),
    ({"a.b": "x"}, [0, 2]),
    ({"path|contains": "x=%41"}, [0]),
    ({"cs-method": "GET"}, []),
]  # fmt: skip


def connected(rows: Sequence[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    from parsers.addresses import address_column

    columns = []
    for field in EVENT_SCHEMA:
        if field.name == "ip_bytes":
            columns.append(
                address_column(pa.array([row["ip"] for row in rows], pa.string())).cast(field.type)
            )
        elif field.name == "seq":
            columns.append(pa.array(range(len(rows)), field.type))
        elif field.name == "internal":
            columns.append(pa.array([False] * len(rows)))
        elif field.name == "timestamp":
            columns.append(pa.array([BASE_US] * len(rows)).cast(field.type))
        else:
            columns.append(pa.array([row.get(field.name) for row in rows], field.type))
    connection = connect(threads=1, memory_limit_mb=256)
    connection.register("events", pa.Table.from_arrays(columns, schema=EVENT_SCHEMA))
    return connection


def matched(connection: duckdb.DuckDBPyConnection, detection: dict[str, Any]) -> list[int]:
    (rule,) = rules({"title": "it", "logsource": {"product": "watchkeep"}, "detection": detection})
    plan = Plan({rule.id: rule})
    text = plan.anchors(rule, "events")
    return sorted(row[1] for row in connection.execute(text, plan.bind.values).fetchall())


@pytest.mark.parametrize(
    ("selection", "expected"),
    CASES,
    ids=[str(next(iter(case[0]))) + str(at) for at, case in enumerate(CASES)],
)
def test_a_test_of_a_field_means_what_sigma_says(selection, expected):
    """Case, wildcards, numbers, networks, expressions, absence; and the opposite is exactly the other events."""
    with connected(ROWS) as connection:
        assert matched(connection, {"sel": selection, "condition": "sel"}) == expected
        others = [row for row in range(len(ROWS)) if row not in expected]
        assert matched(connection, {"sel": selection, "condition": "not sel"}) == others


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["full"], [0]), (["50%"], [1]), (["disk*full"], [0]), (["nothing"], []), (["plain", "FULL"], [0, 2])],
)
def test_a_keyword_is_found_anywhere_in_an_event(words, expected):
    """In any text, the application's own fields among them; signs of LIKE are plain signs."""
    with connected(ROWS) as connection:
        assert matched(connection, {"keywords": words, "condition": "keywords"}) == expected


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12))
def test_no_value_becomes_sql(text):
    """Whatever a rule holds is compared, never run; and what is there is found."""
    value = text.replace("\x00", "")
    row = {"action": "x", "username": value, "ip": None}
    plain = value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
    with connected([row]) as connection:
        assert matched(connection, {"sel": {"user.name": plain}, "condition": "sel"}) == [0]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("title: [", "no Sigma rule"),
        (yaml.safe_dump({"title": "x", "logsource": {"product": "y"}, "detection": {"sel": {"a|re": "(?=b)"}, "condition": "sel"}}), "no Sigma rule"),
        (yaml.safe_dump({"title": "x", "logsource": {"product": "y"}, "detection": {"sel": {"a": "%who%"}, "condition": "other"}}), "no Sigma rule"),
        (yaml.safe_dump({"title": "x", "logsource": {"product": "y"}, "detection": {"sel": {"a|expand": "%who%"}, "condition": "sel"}}), "placeholder"),
        (yaml.safe_dump({"title": "x", "correlation": {"type": "event_count", "rules": ["none"], "timespan": "1m", "condition": {"gte": 1}}}), "not there"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_used_says_why_and_stops_no_other(document, said):
    """It is loaded with its problem; the rules beside it work."""
    good = yaml.safe_dump(event_rule("good", action="a"))
    found = load([("bad.yml", document), ("good.yml", good)])
    problems = {rule.title: rule.problem for rule in found if rule.problem}
    assert len(problems) == 1
    assert said in next(iter(problems.values()))
    assert [rule.title for rule in found if not rule.problem] == ["good"]


def test_a_rule_keeps_what_an_alert_must_tell():
    """Author, references, techniques, level, false positives, and attributes of our own."""
    (rule,) = rules(
        {
            **event_rule("x", action="a"),
            "author": "Ann",
            "references": ["https://example.org"],
            "tags": ["attack.credential-access", "attack.t1110.003"],
            "level": "high",
            "falsepositives": ["tests"],
            "runbook": "call Ann",
        }
    )
    assert (rule.author, rule.techniques, rule.score) == ("Ann", ("T1110.003",), 73)
    assert rule.custom["runbook"] == "call Ann"
