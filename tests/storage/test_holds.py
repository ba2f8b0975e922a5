"""Legal holds: a file with a matching event stays; adding and releasing are records that survive everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.archive import Archive
from storage.holds import HoldError
from storage.query import Filter
from tests.storage.stock import TODAY, days, opened, stock

DAY_US = 86_400_000_000
EVENTS = [
    {"day": "2026-01-01", "user_id": "42", "category": "api"},
    {"day": "2026-01-02", "user_id": "7", "category": "api"},
    {"day": "2026-01-03", "user_id": "7", "metadata": '{"target_user_id": 42}'},
]


def filled(folder: Path) -> Archive:
    archive = opened(folder)
    stock(archive, EVENTS)
    return archive


def dropped(archive: Archive) -> list[str]:
    return [day.day for day in archive.keeping.asked(TODAY, dry_run=False, day=TODAY).days]


def test_a_file_with_a_matching_event_stays_until_the_hold_is_released(tmp_path: Path) -> None:
    """Through a restart; every way of dropping asks, and the plan names the hold."""
    archive = filled(tmp_path / "a")
    archive.keeping.add_hold("case-1", Filter.of({"user_id": ["42"]}), reason="a case", author="ann")
    archive.close()
    archive = opened(tmp_path / "a")
    assert [(hold.name, hold.reason, hold.author) for hold in archive.keeping.holds] == [
        ("case-1", "a case", "ann")
    ]
    plan = archive.keeping.old(dry_run=True, day=TODAY)
    assert [(kept.day, kept.reason) for kept in plan.kept] == [("2026-01-01", "hold case-1")]
    assert [day.day for day in archive.keeping.smaller(10**12, dry_run=True, day=TODAY).days] == [
        "2026-01-02",
        "2026-01-03",
    ]
    assert dropped(archive) == ["2026-01-02", "2026-01-03"]
    archive.keeping.release_hold("case-1", reason="closed", author="bob")
    assert dropped(archive) == ["2026-01-01"]
    archive.close()
    archive = opened(tmp_path / "a")
    assert archive.keeping.holds == []
    archive.close()


def test_a_hold_on_a_person_keeps_what_is_about_them(tmp_path: Path) -> None:
    """By them, or named as a person in the event's JSON."""
    archive = filled(tmp_path / "a")
    archive.keeping.add_hold("dsar", Filter.of(subject="42"), reason="a request", author="ann")
    assert dropped(archive) == ["2026-01-02"]
    archive.close()


def test_a_hold_by_a_search_means_the_same_after_a_restart(tmp_path: Path) -> None:
    """The ledger keeps the search as it was understood, relative times as the moments they were."""
    archive = filled(tmp_path / "a")
    first = min(file.min_time_us for file in archive.snapshot.events)
    wanted = Filter.of(q="(user.id:42 OR metadata.none:x) time:>=-1h", now_us=first + DAY_US // 24)
    archive.keeping.add_hold("case", wanted, reason="why", author="ann")
    archive.close()
    archive = opened(tmp_path / "a")
    (hold,) = archive.keeping.holds
    assert Filter.from_json(hold.filter) == wanted
    assert "-1h" not in str(hold.filter)
    assert dropped(archive) == ["2026-01-02", "2026-01-03"]
    archive.close()


def test_a_hold_with_a_time_keeps_only_what_lies_in_it(tmp_path: Path) -> None:
    """Files outside the time are not even opened."""
    archive = filled(tmp_path / "a")
    first = min(file.min_time_us for file in archive.snapshot.events)
    wanted = Filter.of({"category": ["api"]}, end_us=first + DAY_US // 2)
    archive.keeping.add_hold("early", wanted, reason="why", author="ann")
    assert dropped(archive) == ["2026-01-02", "2026-01-03"]
    archive.close()


def test_rejects_stay_with_a_held_day(tmp_path: Path) -> None:
    """A line that could not be parsed has no fields: it stays while an event of its day is held."""
    from storage.holds import Hold, HoldChecker
    from storage.retention import units
    from storage.snapshot import File

    archive = filled(tmp_path / "a")
    files = list(archive.state.files.values())
    some = next(file for file in files if file.kind == "events")
    rejects = [
        File("rejects/" + day, "rejects", "main", 1, 1, "", 0, 0, 1, 1, day, "default", False)
        for day in ("2026-01-01", "2026-01-02")
    ]
    hold = Hold("h", Filter.of({"user_id": ["42"]}).to_json(), "r", "a", some.max_seq)
    held = HoldChecker(archive.options.path).held(units(rejects), files, [hold])
    assert held == {"rejects/2026-01-01": "hold h"}
    archive.close()


def test_a_file_that_cannot_be_read_stays(tmp_path: Path) -> None:
    """Nobody knows what is in it; the others are judged all the same."""
    archive = filled(tmp_path / "a")
    damaged = next(file for file in archive.snapshot.events if file.day == "2026-01-02")
    path = tmp_path / "a" / damaged.path
    path.chmod(0o600)
    path.write_bytes(b"no parquet")
    archive.keeping.add_hold("case", Filter.of({"user_id": ["42"]}), reason="why", author="ann")
    plan = archive.keeping.asked(TODAY, dry_run=True, day=TODAY)
    assert [(kept.day, kept.reason) for kept in plan.kept] == [
        ("2026-01-01", "hold case"),
        ("2026-01-02", "hold case, until the file can be read"),
    ]
    archive.close()


def test_a_hold_of_a_newer_release_keeps_everything(tmp_path: Path) -> None:
    """A filter that is not understood might match anything."""
    archive = filled(tmp_path / "a")
    body = {"action": "add", "name": "new", "filter": {"sentiment": "bad"}, "reason": "r", "author": "a"}
    archive._books.record([("hold", {**body, "added_us": 1})])
    plan = archive.keeping.asked(TODAY, dry_run=True, day=TODAY)
    assert (plan.files, len(plan.kept)) == (0, 3)
    assert "not understood" in plan.kept[0].reason
    archive.close()


def test_a_hold_added_while_a_plan_is_made_counts(tmp_path: Path) -> None:
    """The plan is made again when something that decides has changed."""
    archive = filled(tmp_path / "a")
    keeping = archive.keeping
    keeping.add_hold("other", Filter.of({"user_id": ["nobody"]}), reason="r", author="a")
    looked = keeping._checker.held

    def meanwhile(*given):
        if len(keeping.holds) == 1:
            keeping.add_hold("case", Filter.of({"user_id": ["42"]}), reason="r", author="a")
        return looked(*given)

    keeping._checker.held = meanwhile  # type: ignore[method-assign]
    assert dropped(archive) == ["2026-01-02", "2026-01-03"]
    assert days(archive) == ["2026-01-01"]
    archive.close()


@pytest.mark.parametrize(
    ("name", "wanted", "reason", "said"),
    [
        ("bad name", Filter.of(subject="42"), "r", "cannot name a hold"),
        ("case", Filter(), "r", "would keep everything"),
        ("case", Filter.of(subject="42"), "  ", "needs a reason"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(tmp_path, name, wanted, reason, said) -> None:
    """A name, a filter and a reason are needed."""
    archive = opened(tmp_path / "a")
    with pytest.raises(HoldError, match=said):
        archive.keeping.add_hold(name, wanted, reason=reason, author="ann")
    archive.close()


def test_names_of_holds_are_not_used_twice_at_a_time(tmp_path: Path) -> None:
    """A release names what it releases."""
    archive = opened(tmp_path / "a")
    archive.keeping.add_hold("case", Filter.of(subject="42"), reason="r", author="a")
    with pytest.raises(HoldError, match="there is a hold case already"):
        archive.keeping.add_hold("case", Filter.of(subject="43"), reason="r", author="a")
    with pytest.raises(HoldError, match="in force: case"):
        archive.keeping.release_hold("caze", reason="", author="a")
    archive.close()
