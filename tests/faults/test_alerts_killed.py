"""A kill at any operation between an event and the receiver of its alert: no alert lost, none twice in the archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

EVERYTHING = 1 << 30


def kill_at(folder: Path, *, first: int, step: int, most: int = EVERYTHING) -> dict[str, int]:
    """Kill what lies between log and receiver at every ``step``-th operation on the files of alerts, ``most`` times."""
    program = [sys.executable, str(ROOT / "tests" / "faults" / "alarms.py"), str(folder)]
    program += [str(number) for number in (first, step, most)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, int] = json.loads(done.stdout)
    print(outcome)
    return outcome


def test_a_kill_between_event_and_receiver_loses_no_alert_and_archives_none_twice(tmp_path: Path) -> None:
    """Some operations on the daemon's own log, the watermark and the outbox, and one more in each recovery."""
    outcome = kill_at(tmp_path, first=12, step=23, most=3)

    assert outcome["kills"] == 3


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_kill_at_every_operation_between_event_and_receiver_loses_no_alert(tmp_path: Path) -> None:
    """The long form: all of them. Each alert is archived once and told at least once, repeats under the same key."""
    outcome = kill_at(tmp_path, first=0, step=1)

    assert outcome["kills"] == outcome["operations"] > 60
