"""Which rows a rule matches does not depend on how they are looked at: by distinct value, by row, or in the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.addresses import address_column
from parsers.arrow import whole
from parsers.columns import BY_NAME, EVENT_SCHEMA
from parsers.expression import And, Comparison, Expression, Not
from parsers.fields import EXISTS
from parsers.sigma import matching
from parsers.sigma.loading import load
from parsers.sigma.rule import Rule
from storage.correlating import Plan
from storage.duck import connect
from storage.selecting import Selector

TESTS: tuple[dict[str, Any], ...] = (
    {"action": "login"}, {"action": ["LOG*", "x"]}, {"action|cased": "Login"}, {"action": None}, {"action|contains": ""},
    {"outcome|exists": True}, {"outcome|exists": False}, {"request.statusCode": 403}, {"request.statusCode|gte": 400},
    {"request.statusCode|exists": True}, {"request.statusCode": "4*"}, {"tags": "mfa"}, {"tags|contains": "F"}, {"tags": "*"},
    {"tags|exists": True}, {"riskReasons.reason": "new_country"}, {"riskReasons.reason|startswith": "NEW"},
    {"request.ip|cidr": "10.0.0.0/8"}, {"request.ip": "10.*"}, {"user.id|fieldref": "entity.id"}, {"metadata.rows|gt": 5},
    {"metadata.role|contains": ["admin", "owner"]}, {"unknown.field": "v"}, {"description|re": "a+b"},
    {"session.id|exists": True}, {"timestamp|hour": 9}, {"internal": True}, {"level": ["info", "error"], "action": "login"},
)  # fmt: skip
CONDITIONS = ("a", "not a", "a and b", "a or b", "a and not b", "a and b and c", "a and (b or c)", "not a and not (b and c)", "1 of a*")  # fmt: skip
ROUTES: tuple[Expression | None, ...] = (
    None,
    Comparison("request.method", EXISTS),
    Not(Comparison("action", "equals", ("login", "read"))),
    And((Comparison("tags", "equals", ("mfa",)), Comparison("outcome", "contains", ("FAIL",)))),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "internal": st.sampled_from([False, False, True]),
            "entity_type": st.sampled_from([None, "user", "alert"]),
            "entity_id": st.sampled_from([None, "u", "v"]),
            "user_id": st.sampled_from([None, "u", "U", "w"]),
            "session_id": st.sampled_from([None, "s"]),
            "action": st.sampled_from([None, "", "login", "Login", "logout", "read"]),
            "level": st.sampled_from([None, "info", "error"]),
            "outcome": st.sampled_from([None, "failure", "success"]),
            "method": st.sampled_from([None, "GET"]),
            "status_code": st.sampled_from([None, 200, 403, 404]),
            "tags": st.sampled_from([None, [], ["mfa"], ["x", "MFA"], [None], ["other", None]]),
            "risk_reasons": st.sampled_from(
                [None, [], [("new_country", 25.0, None)], [("base", 1.0, "x"), ("new_device", 8.0, None)]]
            ),
            "ip": st.sampled_from([None, "10.1.2.3", "192.0.2.1"]),
            "metadata": st.sampled_from(
                [None, '{"rows":9}', '{"rows":"3","role":"Admin"}', "{", '{"unknown":{"field":"V"}}']
            ),
            "extra": st.sampled_from([None, '{"unknown.field":"v"}']),
            "description": st.sampled_from([None, "xaab", "ab"]),
        }
    ),
    min_size=1,
    max_size=12,
)
CONNECTION = connect(threads=1, memory_limit_mb=256)


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    given_columns: dict[str, Any] = {
        "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
        "timestamp": pa.array([1_772_442_000_000_000 + at * 3_600_000_000 for at in range(len(rows))]).cast(
            EVENT_SCHEMA.field("timestamp").type
        ),
        "ip_bytes": address_column(pa.array([row["ip"] for row in rows], pa.string())).cast(
            EVENT_SCHEMA.field("ip_bytes").type
        ),
    }
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name == "risk_reasons":
            keys = ("reason", "points", "detail")
            values = [v and [dict(zip(keys, each, strict=True)) for each in v] for v in values]
        given_columns[name] = pa.array(values, BY_NAME[name].arrow)
    columns = [given_columns.get(field.name, pa.nulls(len(rows), field.type)) for field in EVENT_SCHEMA]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def rule(parts: Sequence[dict[str, Any]], condition: str, *, own: bool) -> Rule:
    source = {"product": "watchkeep", **({"service": "daemon"} if own else {})}
    detection = {**dict(zip("abc", parts, strict=True)), "condition": condition}
    document = {"title": "it", "logsource": source, "detection": detection}
    (found,) = load([("it.yml", yaml.safe_dump(document))])
    assert not found.problem, found.problem
    return found


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.tuples(*[st.sampled_from(TESTS)] * 3),
            st.sampled_from(CONDITIONS),
            st.booleans(),
            st.sampled_from(ROUTES),
        ),
        min_size=1,
        max_size=4,
    ),
    batches=st.lists(ROWS, min_size=1, max_size=3),
)
def test_a_rule_matches_what_its_condition_matches_row_by_row(
    asked: list[Any], batches: list[list[dict[str, Any]]]
) -> None:
    """Random rules, and several batches, so that answers remembered of one are used for the next."""
    rules = {}
    routes = {}
    for at, (parts, condition, own, route) in enumerate(asked):
        identity = f"r{at}"
        rules[identity] = replace(rule(parts, condition, own=own), id=identity)
        if route is not None:
            routes[identity] = route
    selector = Selector(CONNECTION, rules.values(), routes)
    for rows in batches:
        events = table(rows)
        batch = events.select(sorted(selector.columns | {"seq"}))
        found = {identity: (places + 1).tolist() for identity, places in selector.select(batch).items()}
        CONNECTION.register("events", events)
        for identity, each in rules.items():
            plan = Plan(rules, routes)
            text = f"SELECT seq FROM events WHERE {plan.condition(each)} ORDER BY seq"
            expected = [row[0] for row in CONNECTION.execute(text, plan.bind.values).fetchall()]
            assert found.get(identity, []) == expected, each.match


def test_a_remembered_answer_is_forgotten_before_there_are_too_many(monkeypatch) -> None:
    """Then all values of the batch are asked anew."""
    monkeypatch.setattr("storage.selecting.MOST_WORDS", 3)
    it = rule(({"action|startswith": "l"}, {"level": "info"}, {"level": "info"}), "a", own=False)
    selector = Selector(CONNECTION, [it], {})
    for actions in (["la", "b"], ["lb", "lc", "d"], ["la", "e", None]):
        events = table([{"internal": False, "entity_type": None, "ip": None, "action": a} for a in actions])
        expected = [at for at, action in enumerate(actions) if action is not None and action[0] == "l"]
        assert selector.select(events)[it.id].tolist() == expected


def test_a_field_without_a_column_is_a_text_as_in_the_archive() -> None:
    """Members of JSON and numbers, of the chosen rows in their order."""
    plain = rule(({"metadata.rows|exists": True}, {"user.id": "u"}, {"request.statusCode": 1}), "a or b or c", own=False)  # fmt: skip
    targets = {test.target.name: test.target for test in _tests(plain)}
    rows = [
        {"internal": False, "entity_type": None, "ip": None, "user_id": f"u{at}", "status_code": at, "metadata": f'{{"rows":{at}}}'}
        for at in range(4)
    ]  # fmt: skip
    selector = Selector(CONNECTION, [plain], {})
    wanted = [(targets["user.id"], False), (targets["metadata.rows"], True), (targets["request.statusCode"], False)]  # fmt: skip
    found = selector.texts(table(rows), np.array([2, 0]), wanted)
    assert [whole(pa.chunked_array([each])).to_pylist() for each in found] == [["u2", "u0"], ["2.0", "0.0"], ["2", "0"]]  # fmt: skip


def _tests(it: Rule) -> Any:
    assert it.match is not None
    return matching.tests(it.match)
