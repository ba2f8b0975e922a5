"""The torture list names a test for each case, and each test that it names exists."""

import re

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


def test_every_test_that_the_torture_list_names_exists() -> None:
    """A test that is renamed or removed takes its row along."""
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for pair in _DEFINED.findall(path.read_text())
        for name in pair
    }
    named = {name for tests in rows().values() for name in re.findall(r"`([Tt]est\w+)`", tests)}

    assert len(named) > CASES
    assert sorted(named - defined) == []
