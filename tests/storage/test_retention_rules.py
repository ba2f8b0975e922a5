"""Whatever the policy, the files and the wish: nothing that is kept goes, and nothing goes that need not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsers.classes import DEFAULT, INTERNAL, REJECTS
from storage.retention import (
    Policy,
    RetentionClass,
    Terms,
    Unit,
    class_of,
    plan_asked,
    plan_old,
    plan_smaller,
    units,
)
from storage.snapshot import File
from tests.support import soak_examples

TODAY = date(2026, 6, 1)
NAMES = ("audit", "noise")

# Few ages, and days on both sides of each: mistakes by one then happen often enough to be seen.
ages = st.sampled_from((0, 7, 30))
past = st.sampled_from((-1, 0, 1, 6, 7, 8, 29, 30, 31, 60))
classes = st.tuples(
    *(
        st.builds(
            lambda minimum, more, forever, name=name: RetentionClass(
                name, (name,), minimum, 0 if forever else minimum + more
            ),
            ages,
            ages,
            st.booleans(),
        )
        for name in NAMES
    )
)
policies = st.builds(
    Policy, classes, event_days=ages, exports=st.sampled_from([(), ("one",), ("one", "two")])
)


@st.composite
def archives(draw: st.DrawFn) -> list[File]:
    """Sealed files of some days, events with their roll-ups and rejects, and a live file that must never go."""
    found = [File("live", "events", "main", 1, 10**6, "", 0, 0, 1, 1)]
    for number in range(draw(st.integers(0, 12))):
        day = (TODAY - timedelta(days=draw(past))).isoformat()
        kind = draw(st.sampled_from(("events", "events", "rejects")))
        name = draw(st.sampled_from((*NAMES, DEFAULT)))
        size = draw(st.integers(1, 1000))
        path = f"{kind}/{day}/{number}"
        internal = draw(st.booleans())
        file = File(path, kind, "main", 5, size, "", 0, 0, number, number, day, name, internal)  # type: ignore[arg-type]
        found.append(file)
        if kind == "events":
            found.append(
                File(f"r{path}", "rollup", "main", 1, 7, "", 0, 0, number, number, day, name, internal, path)
            )
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[File], Terms, set[str]]:
    """Files, the terms, and the paths of the units that are held."""
    files = draw(archives())
    mains = [file.path for file in files if file.kind != "rollup" and file.day]
    held = set(draw(st.lists(st.sampled_from(mains), max_size=4))) if mains else set()
    policy = draw(policies)
    exported = {
        name: set(draw(st.lists(st.sampled_from(mains), max_size=12))) if mains else set()
        for name in ("one", "two")
    }
    locked = draw(st.dictionaries(st.sampled_from((*NAMES, DEFAULT, INTERNAL, REJECTS)), ages, max_size=5))

    def check(found: Sequence[Unit]) -> dict[str, str]:
        return {unit.main.path: "hold" for unit in found if unit.main.path in held}

    return files, Terms(policy, locked, TODAY.isoformat(), exported, check), held


def must_stay(file: File, terms: Terms, held: set[str]) -> bool:
    """Say, in words of its own, whether something keeps a file."""
    if file.day is None or file.path in held or file.covers in held:
        return True
    age = (TODAY - date.fromisoformat(file.day)).days
    name = class_of(file)
    if age <= max(terms.policy.minimums.get(name, 0), terms.locked.get(name, 0)):
        return True
    path = file.covers or file.path
    written = all(path in terms.exported[export] for export in terms.policy.exports)
    return file.kind != "rejects" and not written


@given(situations(), ages)
def test_a_wish_takes_everything_that_is_old_enough_and_that_nothing_keeps(situation, days: int) -> None:
    """And each file that stays although it is old enough is told."""
    files, terms, held = situation
    before = (TODAY - timedelta(days=days)).isoformat()
    report = plan_asked(files, terms, before, dry_run=True)
    old = {file.path for file in files if file.day is not None and file.day < before}
    free = {file.path for file in files if file.path in old and not must_stay(file, terms, held)}
    assert set(report.paths) == free
    assert sum(kept.files for kept in report.kept) == len(old - free)
    assert report.bytes == sum(file.bytes for file in files if file.path in free)


@given(situations())
def test_age_takes_what_its_class_no_longer_keeps(situation) -> None:
    """Each class by its own maximum, which is never below its minimum."""
    files, terms, held = situation
    report = plan_old(files, terms, dry_run=True)
    gone = {file.path: file for file in files if file.path in set(report.paths)}
    for file in files:
        limits = terms.policy.limits(class_of(file), terms.locked)
        assert limits.maximum == 0 or limits.maximum >= limits.minimum
        if file.day is None:
            assert file.path not in gone
            continue
        due = limits.maximum > 0 and (TODAY - date.fromisoformat(file.day)).days > limits.maximum
        assert (file.path in gone) == (due and not must_stay(file, terms, held))


@given(situations(), st.integers(1, 5000))
def test_the_budget_takes_the_oldest_first_and_no_more_than_it_needs(situation, excess: int) -> None:
    """Enough if there is enough that may go; without the last one that went it would not have been enough."""
    files, terms, held = situation
    report = plan_smaller(files, terms, excess, dry_run=True)
    paths = set(report.paths)
    assert not any(must_stay(file, terms, held) for file in files if file.path in paths)
    may_go = [
        unit for unit in units(files) if unit.day < terms.today and not must_stay(unit.main, terms, held)
    ]
    assert report.bytes >= excess or paths == {file.path for unit in may_go for file in unit.files}
    gone = [unit for unit in may_go if unit.main.path in paths]
    stayed = [unit for unit in may_go if unit.main.path not in paths]
    assert not gone or not stayed or max(unit.day for unit in gone) <= min(unit.day for unit in stayed)
    if gone:
        newest = [unit for unit in gone if unit.day == max(unit.day for unit in gone)]
        assert report.bytes - max(unit.bytes for unit in newest) < excess


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize(
    "rule",
    [
        test_a_wish_takes_everything_that_is_old_enough_and_that_nothing_keeps,
        test_age_takes_what_its_class_no_longer_keeps,
        test_the_budget_takes_the_oldest_first_and_no_more_than_it_needs,
    ],
    ids=lambda rule: rule.__name__,
)
def test_the_rules_hold_for_long(rule: Callable[[], None]) -> None:
    """The long form; WATCHKEEP_SOAK_EXAMPLES says how long."""
    settings(max_examples=soak_examples(50_000), deadline=None, suppress_health_check=list(HealthCheck))(
        rule
    )()
