"""Risk: what an event says and what is unlike its user, in one score with every point named."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.batch import Chunk, Mark, Place, Source
from parsers.keyed import Hashes
from parsers.points import BEHAVIOUR, LEVELS, Base, Points
from parsers.risk import Scoring
from parsers.scenarios import SCENARIOS, USUAL, Scenario
from storage.transform import ParseOptions, Transformer

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def parsed(lines: Sequence[Mapping[str, Any]], *, internal: bool = False) -> pa.Table:
    """Read lines as the daemon does."""
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    source = Source("0" * 32, "app.jsonl", 0, None, "native", internal)
    transformer = Transformer(ParseOptions())
    try:
        chunk = Chunk(source, 0, len(data), data, Mark("", 0, "", 0, "", 0), Place("", 0, 0, None, len(data)))
        return transformer.parse([chunk]).events
    finally:
        transformer.close()


def at(when: datetime) -> dict[str, Any]:
    return {**USUAL, "timestamp": when.isoformat()}


def played(scenario: Scenario) -> list[dict[str, Any]]:
    """The lines of a scenario; the last is the event."""
    lines = []
    for hour in range(scenario.habit):
        when = START + timedelta(hours=hour)
        lines.append(at(when))
        others = range(scenario.others if hour % 24 == 0 else 0)
        lines.extend({**at(when), "user": {"id": f"other-{number}"}} for number in others)
    last = START + timedelta(hours=max(0, scenario.habit - 1))
    event = last + timedelta(seconds=scenario.after_seconds + 30)
    gap = timedelta(milliseconds=500)
    for number, before in enumerate(scenario.before):
        lines.append({**at(event - gap * (len(scenario.before) - number) / 2), **before})
    lines.append({**at(event), **scenario.event})
    return lines


@pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=[scenario.title.replace(" ", "_") for scenario in SCENARIOS]
)
def test_a_situation_gets_the_score_that_is_published(scenario):
    """Score and reasons of the last event; docs/risk.md has the same table."""
    lines = played(scenario)
    read_us = int((START + timedelta(days=120)).timestamp() * 1e6)
    found = Scoring(Points()).score(parsed(lines), read_us).slice(len(lines) - 1)
    reasons = tuple(reason["reason"] for reason in found["risk_reasons"][0].as_py() or [])
    assert (found["risk_score"][0].as_py(), reasons) == (scenario.score, scenario.reasons)


def test_there_are_thirty_situations_of_all_bands_and_reasons():
    """The table shows what each reason does."""
    assert len(SCENARIOS) >= 30
    named = {reason for scenario in SCENARIOS for reason in scenario.reasons}
    assert named >= {"base", "level", "scale", "application"}
    assert {scenario.score > 70 for scenario in SCENARIOS} == {True, False}


WORDS = st.sampled_from([None, "login", "export", "read", "permission_change", "never heard of"])
EVENTS = st.fixed_dictionaries(
    {
        "level": st.sampled_from(list(LEVELS)),
        "category": st.sampled_from(["authentication", "security", "user_management", "other"]),
        "action": WORDS,
        "outcome": st.sampled_from(["success", "failure", "denied", "unknown"]),
        "user": st.one_of(st.none(), st.fixed_dictionaries({"id": st.sampled_from("abc")})),
        "affectedUsersCount": st.one_of(st.none(), st.integers(0, 5000)),
        "riskScore": st.one_of(st.none(), st.floats(0, 100), st.integers(-5, 120)),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=20))
def test_the_score_follows_from_the_reasons_that_are_told(lines):
    """100 · (1 - Π(1 - p/100)), rounded half up once; no score without a reason, and what was given stays."""
    table = parsed([{"timestamp": START.isoformat(), **line} for line in lines])
    found = Scoring(Points()).score(table, int(START.timestamp() * 1e6))
    for row, given_line in zip(found.to_pylist(), lines, strict=True):
        survived = 1.0
        for reason in row["risk_reasons"] or []:
            survived *= 1 - reason["points"] / 100
        assert row["risk_score"] == math.floor(round(100 * (1 - survived), 9) + 0.5)
        assert 0 <= row["risk_score"] <= 100
        assert row["risk_model"] == "1"
        reported = given_line["riskScore"]
        assert row["risk_score_reported"] == reported
        if reported is not None:  # behaviour may only raise it
            assert row["risk_score"] >= math.floor(min(100, max(0, reported)) + 0.5) - 1e-9


def test_the_daemons_own_events_have_no_risk_and_change_no_habits():
    """They are about the archive, not about what it is there for."""
    scoring = Scoring(Points())
    found = scoring.score(parsed([at(START)], internal=True), 0)
    assert found["risk_score"].to_pylist() == [None]
    assert found["risk_reasons"].to_pylist() == [None]
    assert len(scoring.habits.users) == 0


def test_the_configured_table_wins_over_the_built_in_one():
    """Rows by how exactly they fit, levels and behaviour by name; the version says whose table it is."""
    points = Points(
        "ours",
        {"new_device": 90.0},
        {"info": 1.0},
        (Base(60, action="read"), Base(0, action="read", category="api")),
    )
    assert points.base("data_management", "read", "success", "info") == 60
    assert points.base("api", "read", "success", "info") == 0
    assert points.base("api", "export", "success", "info") == 25
    assert points.of("new_device") == 90
    assert points.of("velocity") == BEHAVIOUR["velocity"]
    assert points.of_level("info") == 1
    assert points.of_level("error") == LEVELS["error"]
    found = Scoring(points).score(parsed([at(START)]), 0)
    assert found["risk_model"].to_pylist() == ["ours"]
    assert found["risk_score"].to_pylist() == [60]


def test_a_hash_is_the_same_for_ever():
    """What is remembered lies on disk, between releases and machines."""
    found = Hashes(str.encode).column(pa.array(["alice", None, "alice"]))
    assert found.keys[found.codes].tolist() == [9933345172075899469, 0, 9933345172075899469]


def test_an_empty_batch_is_left_alone():
    """Nothing in, nothing out."""
    table = parsed([])
    assert Scoring(Points()).score(table, 0) is table
