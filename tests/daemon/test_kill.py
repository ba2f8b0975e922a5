"""A daemon that is killed at any moment loses nothing, archives nothing twice and keeps the order."""

from pathlib import Path

import pytest

from tests.daemon.soaking import soak


@pytest.mark.timeout(300)
def test_killed_at_random_moments_it_archives_every_line_exactly_once(tmp_path: Path) -> None:
    """Eight SIGKILLs while three applications append, tear lines and rotate; counted from Parquet alone."""
    outcome = soak(tmp_path / "soak", kills=8, seed=7, most_seconds=0.6)

    assert outcome.clean, outcome
    assert outcome.written > 500


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    """The long form of the same."""
    outcome = soak(tmp_path / "soak", kills=200, seed=8, most_seconds=1.5)

    assert outcome.clean, outcome
