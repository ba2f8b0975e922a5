"""Detection in the running daemon: what rules find becomes alerts, each told once, whenever the daemon is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb

from storage.reader import read_snapshot
from tests.daemon.test_service import PATIENCE_SECONDS, Process, serving

FAST = {
    "WATCHKEEP__RULES__INTERVAL_SECONDS": "0.1",
    "WATCHKEEP__RULES__UPDATE_SECONDS": "1",
    "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.3",
}
LIMIT = 10  # failed logins within ten minutes: `brute_force_user` of the pack
TITLE = "Many failed logins of one user"


def failures(it: Process, user: str, amount: int, first: int = 0) -> None:
    """Append failed logins of a user, a second apart."""
    with (it.logs / "app-2026-03-01.jsonl").open("ab", buffering=0) as file:
        for at in range(first, first + amount):
            event = {
                "eventId": f"{user}-{at}",
                "timestamp": f"2026-03-01T10:{at // 60:02}:{at % 60:02}Z",
                "level": "warning",
                "category": "authentication",
                "action": "login",
                "outcome": "failure",
                "user": {"id": user},
            }
            file.write(json.dumps(event).encode() + b"\n")


def told(archive: Path) -> list[dict[str, Any]]:
    """Return the metadata of every committed event of an alert of this rule, in the order of its number."""
    files = [f"{archive}/{file.path}" for file in read_snapshot(str(archive)).events]
    if not files:
        return []
    rows = duckdb.execute(
        "SELECT event_id, metadata FROM read_parquet($1, union_by_name = true) "
        "WHERE internal AND entity_type = 'alert' AND entity_name = $2 ORDER BY seq",
        [files, TITLE],
    ).fetchall()
    return [{"event_id": event_id, **json.loads(metadata)} for event_id, metadata in rows]


def waited(it: Process, users: set[str]) -> list[dict[str, Any]]:
    """Wait until these users have alerts in the archive."""
    ends = time.monotonic() + PATIENCE_SECONDS
    found: list[dict[str, Any]] = []
    while time.monotonic() < ends:
        found = told(it.archive)
        if users <= {event["alert"]["groups"][0] for event in found}:
            return found
        time.sleep(0.1)
    raise AssertionError(f"only {found} were told; {it.log.read_text()[-3000:]}")


def test_killed_at_random_moments_it_tells_of_every_alert_once(tmp_path: Path) -> None:
    """Each user's alert is opened once, no event of one is there twice, and in the end it counts every anchor."""
    choose = random.Random(3)
    users: list[str] = []
    for round_ in range(4):
        with serving(tmp_path, **FAST) as it:
            it.url()
            for user in [f"user{round_}{letter}" for letter in "abc"]:
                failures(it, user, LIMIT + 3)
                users.append(user)
            time.sleep(choose.uniform(0.05, 1.2))
            it.process.send_signal(signal.SIGKILL)
            it.process.wait()
            it.log.unlink()  # so that the next one is waited for
    with serving(tmp_path, **FAST) as it:
        waited(it, set(users))
        ends = time.monotonic() + PATIENCE_SECONDS
        counts: dict[str, int] = {}
        while time.monotonic() < ends:
            counts = {event["alert"]["groups"][0]: event["alert"]["count"] for event in told(it.archive)}
            if set(counts.values()) == {4}:
                break
            time.sleep(0.2)
        assert it.stop() == 0
    events = told(it.archive)
    assert max(Counter(event["event_id"] for event in events).values()) == 1
    opened = [event["alert"]["groups"][0] for event in events if event["change"] == "opened"]
    assert sorted(opened) == sorted(users)
    assert counts == dict.fromkeys(users, 4)
    assert os.path.exists(it.archive)
