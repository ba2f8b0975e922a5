"""The tests of the tests: each storage bug that is planted must be found."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.storage.archive_machine import ArchiveMachine
from tests.storage.planted import BUGS, Planted
from tests.storage.power import PowerDisk
from tests.storage.promises import FOUND, a_busy_day, a_short_day, survives
from tests.storage.test_power import failing_days, killed_first_starts
from tests.support import ROOT

SEED = 6  # of nine that were tried, the one from which the machine finds its bug soonest: in 4 s, others in 12 to 40
OUTCOMES = 40  # most rounds over all crash points; a bug is mostly found in the first


def swept() -> None:
    """Crash a short day everywhere, then a busy one, some outcomes at a time."""
    for day, outcomes in ((a_short_day, 12), (a_busy_day, OUTCOMES)):
        disk = PowerDisk()
        day(disk)
        for outcome in range(outcomes):
            for count, before, promise in disk.crash_points():
                survives(before.clone(), promise, random.Random(f"{outcome}/{count}"))


def failed() -> None:
    """Let every operation of a short day fail once, then crash."""
    for fail_at, disk, promise in failing_days(a_short_day):
        for outcome in range(3):
            survives(disk.clone(), promise, random.Random(f"{fail_at}/{outcome}"))


def played() -> None:
    """Let Hypothesis look, without making what it finds smaller."""
    looking = settings(
        max_examples=600, stateful_step_count=40, phases=[Phase.generate], derandomize=False, database=None
    )
    run_state_machine_as_test(seed(SEED)(ArchiveMachine), settings=looking)


def started() -> None:
    """Kill the first start everywhere."""
    for disk, promise in killed_first_starts():
        for outcome in range(6):
            survives(disk.clone(), promise, random.Random(outcome), recoveries=0)


SEARCHES = {"sweep": swept, "failing": failed, "starting": started, "machine": played}


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.name.replace(" ", "_"))
def test_the_harness_finds(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harness that cannot find a missing sync would prove nothing."""
    planted.plant(monkeypatch)
    with pytest.raises((*FOUND, ValueError)):
        SEARCHES[planted.found_by]()


def test_there_are_at_least_twenty_planted_bugs_and_the_document_names_each() -> None:
    """The table in the documents is the one that is tested."""
    text = (ROOT / "docs" / "track-record.md").read_text()
    assert len(BUGS) >= 20
    assert [planted.name for planted in BUGS if f"| {planted.name} |" not in text] == []
