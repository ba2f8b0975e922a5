"""What is missing is skipped by a person's machine and refused by a build machine."""

import pytest

from tests import support


def test_a_missing_helper_skips_on_a_laptop(monkeypatch):
    """Somebody without a browser can still run the other tests."""
    monkeypatch.setattr(support, "CI", False)

    with pytest.raises(pytest.skip.Exception, match="a browser is missing; install chromium"):
        support.require(None, "a browser", install="chromium")


def test_a_missing_helper_fails_in_ci(monkeypatch):
    """A build machine never passes by skipping."""
    monkeypatch.setattr(support, "CI", True)

    with pytest.raises(pytest.fail.Exception, match="a browser is missing here"):
        support.require(None, "a browser")


def test_what_is_there_is_used():
    """A program is returned by its path."""
    assert support.require_program("sh").endswith("/sh")
