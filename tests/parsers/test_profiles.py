"""Profiles are told apart by a sample, and every known writer's lines are understood."""

from __future__ import annotations

import json

import pytest

from parsers.names import NAMES, PARENTS
from parsers.profiles import DEFAULT, PROFILES, detect, read_with
from parsers.slow import LineError
from parsers.vocabulary import LEVEL_WORDS, LEVELS, level_of, outcome_of

PINO = {
    "level": 40,
    "time": 1795428000123,
    "pid": 7,
    "hostname": "h",
    "req": {"method": "GET", "url": "/a"},
    "msg": "slow",
}
ECS = {
    "@timestamp": "2026-11-23T10:00:00Z",
    "log.level": "WARN",
    "message": "slow",
    "trace": {"id": "t"},
    "http": {"request.method": "GET"},
}
OTEL = {
    "Timestamp": "1795428000123456789",
    "SeverityNumber": 13,
    "Body": "slow",
    "TraceId": "t",
    "Attributes": {"a": 1},
}
FLAT = {
    "event_id": "e",
    "timestamp": "2026-11-23T10:00:00Z",
    "user_id": 1,
    "ip_address": "::1",
    "entity_type": "x",
}
NATIVE = {
    "eventId": "e",
    "timestamp": "2026-11-23T10:00:00Z",
    "user": {"id": 1},
    "request": {"method": "GET"},
}
STRUCTLOG = {"event": "slow", "level": "warning", "timestamp": "2026-11-23T10:00:00Z", "logger": "x"}
SLOG = {"time": "2026-11-23T10:00:00Z", "level": "WARN", "msg": "slow"}
LOGBACK = {"timestamp": 1795428000123, "level": "WARN", "message": "slow", "nanoseconds": 5}

SAMPLES = {
    "native": json.dumps(NATIVE),
    "flat": json.dumps(FLAT),
    "ecs": json.dumps(ECS),
    "otel": json.dumps(OTEL),
    "json": json.dumps(PINO),
    "fastnext": f"2025-10-17 09:30:00,123 | WARNING | {json.dumps(FLAT)}",
    "verifywise": "2025-10-17T09:30:00.123Z [info]: 7, 2025-10-17T09:30:00.123Z, successful, created a, b, createX, x.ctrl.ts",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_shows_its_profile(name):
    """Some junk, blank lines and half a line at the end do not hide it."""
    sample = "\ufeff" + "\n".join(["junk", "", *[SAMPLES[name]] * 5, SAMPLES[name][:20]])
    assert detect(sample.encode()) == name
    assert set(SAMPLES) == set(PROFILES)


def test_nothing_speaks_for_the_default():
    """An empty or unreadable sample decides nothing."""
    assert detect(b"") == detect(b"\xff\xfe junk\n42\n") == DEFAULT


@pytest.mark.parametrize(
    "line", [PINO, ECS, OTEL, STRUCTLOG, SLOG, LOGBACK], ids=lambda line: next(iter(line))
)
@pytest.mark.parametrize("profile", [name for name, profile in PROFILES.items() if profile.names])
def test_every_profile_knows_every_writer(profile, line):
    """A file that mixes writers loses nothing: names are one table."""
    draft, _ = read_with(profile, json.dumps(line).encode())
    assert level_of(draft["level"]) == "warning"
    assert draft["description"] == "slow"
    assert draft["timestamp"].startswith(("2026", "1795"))


def test_dotted_names_and_nested_ones_are_the_same():
    """In any mixture."""
    spelled = [
        {"http.request.method": "GET"},
        {"http": {"request.method": "GET"}},
        {"http": {"request": {"method": "GET"}}},
    ]
    spelled.append({"http.request": {"method": "GET"}})
    assert {read_with("ecs", json.dumps(line).encode())[0]["method"] for line in spelled} == {"GET"}


def test_a_verifywise_line_is_taken_apart():
    """Commas may stand in the description alone; what has no column is kept."""
    draft, _ = read_with("verifywise", SAMPLES["verifywise"].encode())
    assert (draft["description"], draft["action"], draft["outcome"]) == ("created a, b", "create", "success")
    assert json.loads(draft["extra"]) == {
        "state": "successful",
        "function": "createX",
        "file": "x.ctrl.ts",
        "number": "7",
    }
    short, _ = read_with("verifywise", b"2025-10-17T09:30:00Z [info]: server started")
    assert short["description"] == "server started"
    with pytest.raises(LineError, match="neither JSON nor"):
        read_with("verifywise", b"Traceback (most recent call last):")
    with pytest.raises(LineError, match="neither JSON nor"):
        read_with("fastnext", b"Traceback (most recent call last):")
    assert read_with("verifywise", json.dumps(NATIVE).encode())[0]["event_id"] == "e"
    assert read_with("fastnext", json.dumps(NATIVE).encode())[0]["event_id"] == "e"


@pytest.mark.parametrize(
    ("spelled", "level"),
    [
        ("10", "debug"),
        ("20", "debug"),
        ("30", "info"),
        ("40", "warning"),
        ("50", "error"),
        ("60", "critical"),
        ("35", "warning"),
        ("0", "critical"),
        ("3", "error"),
        ("4", "warning"),
        ("6", "info"),
        ("7", "debug"),
        ("8", None),
        ("30.0", "info"),
        ("otel:1", "debug"),
        ("otel:5", "debug"),
        ("otel:9", "info"),
        ("otel:13", "warning"),
        ("otel:17", "error"),
        ("otel:24", "critical"),
        ("otel:25", None),
        (" Warn ", "warning"),
        ("FATAL", "critical"),
        ("TRACE", "debug"),
        ("", None),
        ("loud", None),
        ("-1", None),
        ("٣", None),
        ("9999999999", None),
    ],
)
def test_levels_of_all_writers_are_one_of_five(spelled, level):
    """Words in any case, pino's and syslog's numbers, OpenTelemetry's where the name says so."""
    assert level_of(spelled) == level


def test_the_tables_hold_together():
    """Aliases lead to the five levels; no name of a column is also needed as the parent of others, but for two."""
    assert set(LEVEL_WORDS.values()) == set(LEVELS)
    assert {name for name in NAMES if name in PARENTS} == {"event", "user_agent"}
    assert outcome_of("Failed") == "failure"
    assert outcome_of("partial") == "partial"
