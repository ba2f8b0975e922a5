"""A daemon that is killed at any moment loses nothing, archives nothing twice and keeps the order."""

import os
from pathlib import Path

import pytest

from tests.daemon.soaking import soak

KILLS = int(os.environ.get("WATCHKEEP_SOAK_KILLS", "1000"))
BURST_LINES = 400  # at most in one write: ten thousand lines a kill, ten million in a thousand


def test_killed_at_random_moments_it_archives_every_line_exactly_once(tmp_path: Path) -> None:
    """Eight SIGKILLs while three applications append, tear lines and rotate; counted from Parquet alone."""
    outcome = soak(tmp_path / "soak", kills=8, seed=7, most_seconds=0.6)

    assert outcome.clean, outcome
    assert outcome.written > 500


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_thousand_kills_over_ten_million_lines_lose_nothing(tmp_path: Path) -> None:
    """The long form of the same, with ten million lines; `WATCHKEEP_SOAK_KILLS` makes it longer."""
    outcome = soak(tmp_path / "soak", kills=KILLS, seed=8, most_seconds=1.5, burst=BURST_LINES, tell=True)

    print(f"\n{outcome}")
    assert outcome.clean, outcome
