"""The whole daemon while somebody sets the clock: two hours back, a year ahead, and back again.

The daemon is unmodified; libfaketime answers its questions for the time of day, and only those.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.control import ControlError, call
from tests.faults.victims import Victim, until, victim
from tests.support import require_program

TWO_HOURS = 2 * 3600
YEAR = 365 * 24 * 3600
BATCH = 10


class Clock:
    """The time of day of a victim's daemon, in seconds from the true one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)

    def set(self, seconds: int) -> None:
        self._file.with_suffix(".new").write_text(f"{seconds:+d}\n")
        self._file.with_suffix(".new").rename(self._file)

    def environment(self) -> dict[str, str]:
        """Return what a process needs to go by this clock."""
        program = require_program("faketime")
        asked = [program, "-m", "-f", "+0", "sh", "-c", 'printf %s "$LD_PRELOAD"']
        library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Victim]:
    with victim(tmp_path) as found:
        yield found


def shown(it: Victim) -> list[str]:
    """Return the ids of all events that the API tells, in the order in which they became visible."""
    with urllib.request.urlopen(f"{it.status()['url']}/api/v1/events?limit=500", timeout=60) as answer:
        events = json.load(answer)["data"]
    return [event["eventId"] for event in sorted(events, key=lambda event: event["seq"])]


def cleanup_is_refused(it: Victim) -> None:
    with pytest.raises(ControlError, match="the clock jumped ahead"):
        call(it.socket, "POST", "/cleanup", {"dry_run": False})


def test_a_clock_that_jumps_costs_nothing_and_removes_nothing(it: Victim) -> None:
    """Commits, seals, order and retention are as promised; a year ahead nothing is too old, restarted or not."""
    clock = Clock(it.folder)
    faked = clock.environment()
    now = datetime.now(UTC)
    old, today = ((now - timedelta(days=days)).strftime("%Y-%m-%d") for days in (30, 0))
    it.start(**faked)
    it.ready()
    for jump in (0, -TWO_HOURS, YEAR, 0, YEAR):
        clock.set(jump)
        it.write(BATCH, day=old)
        it.write(BATCH, day=today)
        assert it.order("/flush") is not None
        assert it.order("/seal") is not None
        if jump == YEAR:
            cleanup_is_refused(it)
            assert [entry["code"] for entry in it.status()["degraded"]].count("clock") == 1
        else:
            assert call(it.socket, "POST", "/cleanup", {"dry_run": False})["rows"] == 0
        assert it.committed() == it.written
        assert shown(it) == [str(number) for number in range(it.written)]

    it.kill()
    it.start(**faked)  # a restart does not make the clock right
    it.ready()
    it.write(BATCH, day=today)
    assert it.order("/seal") is not None
    cleanup_is_refused(it)
    until(lambda: it.committed() == it.written, "everything is committed a year ahead")
    clock.set(0)
    assert call(it.socket, "POST", "/cleanup", {"dry_run": False})["rows"] == 0
    clock.set(YEAR)
    call(it.socket, "POST", "/retention/confirm", {"what": "clock", "reason": "it is right", "author": "me"})
    assert call(it.socket, "POST", "/cleanup", {"dry_run": False})["rows"] > 0
    it.stop()
    assert it.found() == []
