"""The torture list names a test for each case, and each test that it or the page of guarantees names exists."""

import re

import pytest

from tests.support import ROOT

CASES = 74
_ROW = re.compile(r"^\| T(\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_DEFINED = re.compile(r"^\s*(?:async )?def (test_\w+)|^(Test\w+) = ", re.MULTILINE)


def rows() -> dict[int, str]:
    """Return, by number, the cell of a case that names its tests."""
    page = (ROOT / "docs" / "torture.md").read_text()
    return {int(number): tests for number, _, tests in _ROW.findall(page)}


def test_every_case_of_the_torture_list_has_a_row() -> None:
    """No number is left out."""
    assert list(rows()) == list(range(1, CASES + 1))


@pytest.mark.parametrize(("page", "least"), [("torture.md", CASES), ("guarantees.md", 30)])
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    """A test that is renamed or removed takes its row along."""
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for pair in _DEFINED.findall(path.read_text())
        for name in pair
    }
    named = set(re.findall(r"`([Tt]est_?\w+)`", (ROOT / "docs" / page).read_text()))

    assert len(named) > least
    assert sorted(named - defined) == []
