"""Rules over the stream make the same anchors as over the archive, whatever the batches and however late events come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from parsers.columns import EVENT_SCHEMA
from parsers.sigma.loading import load
from parsers.sigma.rule import Rule
from storage.correlated import segments
from storage.correlating import Plan
from storage.detecting import Detector, DetectorOptions
from storage.duck import connect
from storage.hot import hot_events
from storage.snapshot import Hot, Snapshot

BASE_US = 1_772_442_000_000_000
SECOND_US = 1_000_000
SOURCE = "s" * 32
SPAN = 10  # seconds, of every window here

Row = tuple[int, str, str | None, str, float | None]  # second, action, user, address, amount


def table(rows: Sequence[Row]) -> pa.Table:
    count = len(rows)
    given_columns: dict[str, pa.Array[Any]] = {
        "timestamp": pa.array([BASE_US + row[0] * SECOND_US for row in rows]).cast(
            EVENT_SCHEMA.field("timestamp").type
        ),
        "seq": pa.array(range(1, count + 1), pa.int64()),
        "action": pa.array([row[1] for row in rows], pa.string()),
        "user_id": pa.array([row[2] for row in rows], pa.string()),
        "ip": pa.array([row[3] for row in rows], pa.string()),
        "metadata": pa.array(
            [None if row[4] is None else f'{{"amount":{row[4]}}}' for row in rows], pa.string()
        ),
        "internal": pa.array([False] * count),
        "source": pa.array([SOURCE] * count),
        "source_offset": pa.array(range(0, 100 * count, 100), pa.int64()),
        "event_id": pa.array([f"e{at}" for at in range(1, count + 1)]),
    }
    columns = [
        given_columns[field.name] if field.name in given_columns else pa.nulls(count, field.type)
        for field in EVENT_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def snapshot(hot: Sequence[Hot]) -> Snapshot:
    seq = hot[-1].max_seq if hot else 0
    return Snapshot("/", "node", seq, 0, seq, 0, 0, 0, 0, (), (), (), tuple(hot), ())


def event_rule(name: str, action: str, **more: Any) -> dict[str, Any]:
    return {
        "title": name,
        "name": name,
        "logsource": {"product": "watchkeep"},
        "detection": {"sel": {"action": action}, "condition": "sel"},
        **more,
    }


def correlation(
    title: str, kind: str, names: Sequence[str], group: str | None, **more: Any
) -> dict[str, Any]:
    alone = {"alone": True} if more.pop("alone", False) else {}
    how = {"type": kind, "rules": list(names), "timespan": f"{SPAN}s", **more}
    if group:
        how["group-by"] = [group]
    return {"title": title, "name": title, "correlation": how, **alone}


WINDOWED = ("event_count", "value_count", "value_sum", "value_avg", "value_median")
FIELDS = {"event_count": {}, "value_count": {"field": "request.ip"}}
BY = (None, "user.id", "request.ip")
OF = (("a",), ("a", "b"), ("a", "b", "c"))


def pool() -> list[Rule]:
    """Plain rules, correlations of every kind over them, and chains of these. Read once: reading is slow."""
    choose = random.Random(7)
    documents = [event_rule(name, name) for name in "abc"]
    documents.append(event_rule("plain", "a", group=["request.ip"]))
    inner = []
    for kind in WINDOWED:
        for sign in ("gte", "lt", "eq"):
            condition = {sign: choose.randint(1, 3), **FIELDS.get(kind, {"field": "metadata.amount"})}
            group = choose.choice(BY)
            inner.append(
                correlation(f"{kind}-{sign}", kind, choose.choice(OF), group, condition=condition, alone=True)
            )
    for kind in ("temporal", "temporal_ordered"):
        inner += [correlation(f"{kind}-{group}", kind, OF[1], group, alone=True) for group in BY]
    inner.append(
        correlation("denied", "temporal", OF[2], "user.id", condition="a and (b or not c)", alone=True)
    )
    chains = []
    for each in inner:
        kind, group = (
            choose.choice(("event_count", "value_count", "temporal", "temporal_ordered")),
            choose.choice(BY),
        )
        names = [each["name"], "c"] if kind.startswith("temporal") else [each["name"]]
        more = {} if kind.startswith("temporal") else {"condition": {"gte": 2, **FIELDS[kind]}}
        chains.append(correlation(f"chain of {each['name']}", kind, names, group, **more))
    documents += inner + chains
    found = load([(f"{at}.yml", yaml.safe_dump(document)) for at, document in enumerate(documents)])
    assert not [rule.problem for rule in found if rule.problem]
    return found


POOL = pool()
RULES = {rule.id: rule for rule in POOL}
EMITTING = [rule for rule in POOL if rule.emits]
CONNECTION = connect(threads=1, memory_limit_mb=256)
QUICK = (
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
    Phase.shrink,
)  # explaining traces every line of SQL building
ROWS = st.builds(
    lambda rows, order: random.Random(order).sample(rows, len(rows)) if order % 3 else sorted(rows, key=lambda row: row[0]),
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 30), st.integers(0, 400)),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([None, "u", "v"]),
            st.sampled_from(["192.0.2.1", "192.0.2.2"]),
            st.one_of(st.none(), st.integers(-3, 9).map(float)),
        ),
        max_size=30,
    ),
    st.integers(0, 2**20),
)  # fmt: skip


def archived(rule: Rule, rows: Sequence[Row]) -> set[tuple[int, tuple[str, ...]]]:
    plan = Plan(RULES)
    text = plan.anchors(rule, "events")
    with CONNECTION.cursor() as connection:
        connection.register("events", table(rows))
        return {(row[1], tuple(row[2])) for row in connection.execute(text, plan.bind.values).fetchall()}


@settings(max_examples=25, deadline=None, phases=QUICK)
@given(
    emitting=st.lists(st.sampled_from(EMITTING), min_size=1, max_size=4, unique_by=lambda rule: rule.id),
    rows=ROWS,
    cuts=st.lists(st.integers(1, 29), max_size=6, unique=True),
    most=st.sampled_from([3, 1000]),
    memory=st.sampled_from([1, 1 << 20]),
    restarts=st.sets(st.integers(1, 5)),
)
def test_the_stream_makes_the_anchors_of_the_archive(
    emitting: list[Rule], rows: list[Row], cuts: list[int], most: int, memory: int, restarts: set[int]
) -> None:
    """Random rules, events, batches, restarts, and memory that is too small: in the end the same events, the same groups."""
    whole = table(rows)
    ends = sorted({cut for cut in cuts if cut < len(rows)} | {len(rows)} - {0})
    hot, begin = [], 0
    for end in ends:
        hot.append(hot_events(whole.slice(begin, end - begin)))
        begin = end
    options = DetectorOptions(rows=most, match_bytes=memory)
    detector = Detector(emitting, RULES, {}, options)
    found: dict[str, set[tuple[int, tuple[str, ...]]]] = {rule.id: set() for rule in emitting}
    after = 0
    for visible in range(1, len(hot) + 1):
        seen = snapshot(hot[:visible])
        if visible in restarts:  # what was kept in memory is gone, and taken up from the archive
            detector.close()
            detector = Detector(emitting, RULES, {}, options)
        while after < seen.seq:
            step = detector.step(seen, after)
            for anchor in step.withdrawn:
                found[anchor.rule].remove((anchor.seq, anchor.groups))
            for anchor in step.anchors:
                assert (anchor.seq, anchor.groups) not in found[anchor.rule], "an anchor is told once"
                assert (anchor.offset, anchor.event_id) == (100 * (anchor.seq - 1), f"e{anchor.seq}")
                found[anchor.rule].add((anchor.seq, anchor.groups))
            after = step.seq
    detector.close()
    for rule in emitting:
        assert found[rule.id] == archived(rule, rows), rule.title


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=40), st.integers(0, 60))
def test_the_stretches_of_a_batch_hold_all_its_times_and_do_not_touch(times: list[int], reach: int) -> None:
    """Further apart than a window, so no anchor belongs to two of them."""
    found = segments(np.array(times, np.int64), reach)
    assert {time for time in times if not any(a <= time <= b for a, b in found)} == set()
    assert all(before[1] + reach < after[0] for before, after in pairwise(found))
