"""What an expression means, in plain Python, and searches to judge it by: nothing here is shared with the SQL.

A condition is true or false: a value that is not there fails every comparison, and NOT turns that round.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from parsers.expression import And, Comparison, Expression, Not, Or, both, either, negated
from parsers.fields import BY_NAME, FIELDS, JSON, RISK, TIME, Field
from parsers.values import ValueProblem, compare, takes
from parsers.vocabulary import LEVELS
from storage.query import Filter
from tests.storage.samples import HOUR_US, START_US, Row

NOW_US = START_US + 20 * HOUR_US
_SEARCHED = ("description", "entity_name", "username")
_ANYWHERE = (
    *_SEARCHED,
    *("user_id", "entity_id", "path", "user_agent", "metadata", "extra", "changes"),
    *("request_headers", "response"),
)
_BANDS = {"low": (-(2**60), 30), "medium": (31, 70), "high": (71, 2**60)}
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def holds(row: Row, wanted: Filter) -> bool:
    """Say whether a row belongs to a filter."""
    return all(true(row, part) for part in wanted.parts)


def true(row: Row, item: Expression) -> bool:
    """Say whether an expression holds for a row."""
    match item:
        case Not(part):
            return not true(row, part)
        case And(parts):
            return all(true(row, part) for part in parts)
        case Or(parts):
            return any(true(row, part) for part in parts)
        case Comparison():
            return any(_passes(item, value) for value in _values(row, item) if value is not None)


def _values(row: Row, item: Comparison) -> list[Any]:
    """Return what a field has in a row: often one value, of lists and searches several."""
    field = BY_NAME[item.field]
    match item.field:
        case "text":
            return [row.get(name) for name in _SEARCHED]
        case "anywhere":
            return [row.get(name) for name in _ANYWHERE]
        case "source":
            return [row["source"], row["source_file"]]
        case "request.ip":
            return [row.get("ip")]
        case "timestamp" | "ingestedAt":
            return [row["time_us"]]
        case "tags" | "flags":
            found = row.get(item.field)
            # An empty list is a value for `tags:*`, and nothing for anything else.
            return ([""] if found is not None else []) if item.operator == "exists" else list(found or [])
        case "riskReasons.reason":
            reasons = row.get("risk_reasons")
            texts = [reason["reason"] for reason in reasons or []]
            return ([""] if reasons is not None else []) if item.operator == "exists" else texts
        case _:
            value = row.get(field.column)
            return [_member(value, item.path)] if item.path else [value]


def _member(text: str | None, path: tuple[str, ...]) -> str | None:
    try:
        found = json.loads(text) if text is not None else None
    except ValueError:
        return None
    for key in path:
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif (
            isinstance(found, list)
            and key.isdigit()
            and (key == "0" or key[0] != "0")
            and int(key) < len(found)
        ):
            found = found[int(key)]
        else:
            return None
    if found is None or isinstance(found, str):
        return found
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _passes(item: Comparison, value: Any) -> bool:
    match item.operator:
        case "exists":
            return True
        case "contains":
            return item.values[0].lower() in value.lower()
        case "matches":
            return _like(item.values[0], value, inside=BY_NAME[item.field].kind.contains and not item.path)
        case "regex":
            return re.search(item.values[0], value) is not None
        case "equals":
            return any(_same(item, value, wanted) for wanted in item.values)
        case _:
            return _between(item, value)


def _same(item: Comparison, value: Any, wanted: str) -> bool:
    kind = BY_NAME[item.field].kind.name
    if kind == "address":
        # An IPv4 address lies inside the IPv6 space as ::ffff:a.b.c.d.
        address, network = ipaddress.ip_address(value), ipaddress.ip_network(wanted)
        if address.version == 4 and network.version == 6:
            address = ipaddress.ip_address(f"::ffff:{address}")
        return address.version == network.version and address in network
    if kind == "band" and wanted in _BANDS:
        return bool(_BANDS[wanted][0] <= value <= _BANDS[wanted][1])
    if kind in {"number", "decimal", "band"}:
        return bool(value == float(wanted))
    return bool(value == wanted) or bool(item.path and wanted in _listed(value))


def _listed(text: str) -> list[str | None]:
    """Return the members of a list of JSON, each as a member of an object would be."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except ValueError:
        return []
    return [_member(text, (str(place),)) for place in range(len(found))] if isinstance(found, list) else []


def _between(item: Comparison, value: Any) -> bool:
    if item.path:
        if not _NUMBER.fullmatch(value):
            return False
        value = float(value)
        if value in {float("inf"), float("-inf")}:
            return False
    if item.operator == "above":
        return bool(value > float(item.values[0]))
    if item.operator == "below":
        return bool(value < float(item.values[0]))
    low, high = item.values
    if BY_NAME[item.field].kind is TIME:
        return (not low or value >= int(low)) and (not high or value <= int(high))
    return (not low or value >= float(low)) and (not high or value <= float(high))


def _like(pattern: str, value: str, *, inside: bool) -> bool:
    parts = re.findall(r"\\.|\*|[^\\*]", pattern, re.DOTALL)
    regex = "".join(".*" if part == "*" else re.escape(part[-1].lower()) for part in parts)
    return re.fullmatch(f".*{regex}.*" if inside else regex, value.lower(), re.DOTALL) is not None


# --- searches ----------------------------------------------------------------------------------------------------

WORDS = [
    "", "a", "A", "ann", "Ann", "success", "/health", "/health/live", "50%", "a_b", "a*b", "a\\b", "it's", '"q"',
    "disk full", "OR", "-x", "!x", "(", ")", "a:b", "1..5", "ä Ö", "x\ny", "true", "10", "null", "--", ";", "/*", "$p0",
]  # fmt: skip
KEYS = ["n", "browser", "a.b", "odd key", 'q"x', "/s~t", "0", "deep", "ä", "Case", "*", "$"]
JSON_TEXTS = [
    None, "{}", '{"n":null}', '{"n":10,"browser":"Ann"}', '{"n":"10","0":true}', '{"n":10.0,"deep":{"n":1}}',
    '{"n":[1,"a",null],"a.b":1}', '{"odd key":"a","q\\"x":2}', '{"/s~t":"a*b","ä":"ä Ö"}', '{"n":"NaN","Case":"x"}',
    '{"n":1e999}', '{"n":-5,"deep":{"browser":"a"}}', '[{"n":3},"a"]', '"a"', "5", '{"n":false,"*":"a","$":"50%"}',
    '{"n":["a","Ann",[1]],"deep":{"n":["50%",true,10.0,{"a":1}]}}', '{"n":"[\\"a\\"]","browser":"[a"}',
    '{"n":"1_000"}', '{"n":" 10 "}', '{"n":1e1}', '{"n":"Infinity"}',
]  # fmt: skip
REGEXES = ["a", "^a", "A.*n$", "[0-9]+", r"\.", "a|b", "(?i)ANN", "^$", "x\\ny", "%", "\\\\"]
NUMBERS = ["0", "10", "31", "70", "70.5", "-5", "404", "500", "-0.25", "1", "100"]
NETWORKS = ["10.0.0.1", "10.0.0.0/8", "::/0", "2001:db8::/32", "0.0.0.0/0", "::ffff:0:0/96"]
TIMES = ["2025-11-16", "2025-11-16T10:00:00Z", "-1h", "-1d", "now", "2025-11-16T00:00:00.000005"]

texts = st.sampled_from(WORDS)
patterns = st.lists(
    texts.map(lambda t: t.replace("\\", "\\\\").replace("*", "\\*")), min_size=1, max_size=3
).map("*".join)
paths = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2).map(tuple)


def _raw(kind: str) -> st.SearchStrategy[str]:
    chosen = {
        "level": st.sampled_from([*LEVELS, "ERROR"]), "number": st.sampled_from(NUMBERS), "decimal": st.sampled_from(NUMBERS),
        "band": st.sampled_from(["low", "medium", "high", *NUMBERS]), "address": st.sampled_from(NETWORKS),
        "time": st.sampled_from(TIMES),
    }  # fmt: skip
    return chosen.get(kind, texts)


_ANY_FIELD = st.sampled_from(FIELDS)


@st.composite
def comparisons(draw: st.DrawFn, fields: st.SearchStrategy[Field] = _ANY_FIELD) -> Comparison:
    """Draw a comparison of any field by any operator it takes."""
    while True:
        field = draw(fields)
        path = draw(paths) if field.kind is JSON and draw(st.booleans()) else ()
        operator = draw(st.sampled_from(takes(field, path)))
        count = {"equals": draw(st.integers(1, 3)), "between": 2, "exists": 0}.get(operator, 1)
        if field.kind is TIME and operator == "equals":
            count = 1
        if operator in {"between", "above", "below"} and (path or field.kind is RISK):
            raw = st.sampled_from(NUMBERS)
        else:
            own = {"contains": texts, "matches": patterns, "regex": st.sampled_from(REGEXES)}
            raw = own[operator] if operator in own else _raw(field.kind.name)
        values = [draw(raw) for _ in range(count)]
        if operator == "between":
            values[draw(st.integers(0, 1))] = "" if draw(st.booleans()) else values[0]
        try:
            return compare(field.name, path, operator, values, now_us=NOW_US)
        except ValueProblem:
            continue  # an empty value where there must be one, levels the wrong way round


def trees(leaves: st.SearchStrategy[Comparison]) -> st.SearchStrategy[Expression]:
    """Draw any tree in normal form."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(negated),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: both(parts) or parts[0]),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: either(parts) or parts[0]),
        ),
        max_leaves=8,
    )


expressions = trees(comparisons())


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Draw a filter of plain parts and a search, in its normal form."""
    plain = Filter.of(
        {
            name: draw(st.lists(st.sampled_from(choices), max_size=2))
            for name, choices in (
                ("level", ["error", "!info", "debug"]),
                ("path", ["/health", "!/health", "!!x"]),
                ("ip", ["10.0.0.0/8", "!10.0.0.1"]),
                ("tag", ["a", "!A"]),
                ("risk", ["high", "!low"]),
            )
        },
        min_risk=draw(st.sampled_from([None, None, 0, 31, 70.5])),
        max_risk=draw(st.sampled_from([None, None, 30, 71])),
        start_us=draw(st.none() | st.integers(0, 40).map(lambda n: START_US + n * HOUR_US // 2)),
        end_us=draw(st.none() | st.integers(0, 40).map(lambda n: START_US + n * HOUR_US // 2)),
        search=draw(st.none() | texts),
        subject=draw(st.sampled_from([None, None, "ann"])),
    )
    return plain.narrowed(draw(st.none() | expressions))


_TEXTS = (None, *WORDS)
_LABELS: Sequence[Any] = (None, [], ["a"], ["A", "50%"], ["ann", "a*b"], ["x\ny", ""])
_TEXT_COLUMNS = [
    field.column
    for field in FIELDS
    if field.kind.name in {"text", "prose"}
    and field.column not in {"event_id", "retention_class", "node", "parser", "source_file", "source"}
]
VALUES: dict[str, Sequence[Any]] = {
    "time_us": [START_US + n * HOUR_US // 2 + n % 7 for n in range(41)],
    "level": LEVELS,
    **dict.fromkeys(_TEXT_COLUMNS, _TEXTS),
    **{field.column: JSON_TEXTS for field in FIELDS if field.kind is JSON},
    "ip": [None, "10.0.0.1", "10.0.0.2", "192.168.1.1", "2001:db8::1", "::1"],
    "status_code": [None, 0, 404, 500],
    "risk_score": [None, 0, 10, 30, 31, 70, 71, 100],
    "response_time_ms": [None, 0.0, -0.25, 10.0, 70.5],
    "latitude": [None, -5.0, 10.0],
    "asn": [None, 1, 404],
    "affected_users_count": [None, 0, 10],
    "tags": _LABELS,
    "flags": _LABELS,
    "risk_reasons": [None, [], [{"reason": "a", "points": 1.0, "detail": None}, {"reason": "ann", "points": 2.0, "detail": "x"}]],
}  # fmt: skip


def made(count: int, *, seed: int) -> list[Row]:
    """Return rows of such values; every second value is missing, as in life."""
    chance = random.Random(seed)
    return [
        {
            name: chance.choice(choices)
            for name, choices in VALUES.items()
            if name in {"time_us", "level"} or chance.random() < 0.6
        }
        for _ in range(count)
    ]
