"""What retention drops and what it may not: classes, minimum ages, the budget, and what survives a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parsers.classes import Classes
from storage.archive import Archive
from storage.keeping import MinimumError
from storage.reader import read_state
from storage.retention import Policy, RetentionClass, class_of
from storage.transform import ParseOptions, Transformer
from storage.verify import verify
from tests.storage.stock import TODAY, counted, days, opened, stock

AUDIT = RetentionClass("audit", ("security", "authentication"), minimum_days=365, maximum_days=730)
DEBUG = RetentionClass("debug", ("api",), maximum_days=7)
POLICY = Policy(classes=(AUDIT, DEBUG), event_days=90)


def rows(*found: tuple[str, str]) -> list[dict[str, str]]:
    return [{"day": day, "category": category} for day, category in found]


def sealed_classes(archive: Archive) -> dict[str, set[str]]:
    """Return, by class of the file, the categories in it, as the files themselves say."""
    import pyarrow.parquet as pq

    found: dict[str, set[str]] = {}
    for file in archive.snapshot.events:
        table = pq.read_table(
            f"{archive.options.path}/{file.path}", columns=["category", "retention_class"], partitioning=None
        )
        assert set(table["retention_class"].to_pylist()) == {file.retention_class}
        found.setdefault(class_of(file), set()).update(str(name) for name in table["category"].to_pylist())
    return found


def test_the_class_of_an_event_is_decided_when_its_line_is_read() -> None:
    """By category; one without a class is `default`; the daemon's own events are `internal` whatever they say."""
    from parsers.batch import Chunk, Mark, Place, Source

    transformer = Transformer(ParseOptions(classes=Classes(POLICY.by_category)))
    categories = ["security", "api", "workflow", None]
    data = b"".join(
        json.dumps({"level": "info", "category": category, "timestamp": "2026-01-01T00:00:00Z"}).encode()
        + b"\n"
        for category in categories
    )
    mark, place = Mark("", 0, "", 0, "", 0), Place("/l/a", 1, 1, None, len(data))
    found = []
    for internal in (False, True):
        source = Source("a" * 32, "a", 0, None, "native", internal)
        parsed = transformer.parse([Chunk(source, 0, len(data), data, mark, place)])
        found.append(parsed.events["retention_class"].to_pylist())
    transformer.close()
    assert found == [["audit", "debug", "default", "default"], ["internal"] * 4]


def test_a_sealed_file_holds_one_class(tmp_path: Path) -> None:
    """So that whole files can be dropped; live files mix."""
    archive = opened(tmp_path / "a", POLICY)
    stock(archive, rows(("2026-01-01", "security"), ("2026-01-01", "api"), ("2026-01-01", "workflow")))
    stock(archive, rows(("2026-01-01", "security")), name="own", internal=True)
    assert sealed_classes(archive) == {
        "audit": {"security"},
        "debug": {"api"},
        "default": {"workflow"},
        "internal": {"security"},
    }
    archive.close()


def test_each_class_goes_at_its_own_age(tmp_path: Path) -> None:
    """`debug` after 7 days, `default` after 90, `audit` after two years."""
    archive = opened(tmp_path / "a", POLICY)
    stock(
        archive,
        rows(
            ("2023-01-01", "security"),
            ("2026-01-01", "security"),
            ("2026-05-20", "api"),
            ("2026-05-30", "api"),
            ("2026-01-01", "workflow"),
            ("2026-05-20", "workflow"),
        ),
    )
    report = archive.keeping.old(dry_run=False, day=TODAY)
    assert {name: tally.rows for name, tally in report.classes.items()} == {
        "audit": 1,
        "debug": 1,
        "default": 1,
    }
    assert days(archive) == ["2026-01-01", "2026-05-20", "2026-05-30"]
    archive.close()


def test_a_dry_run_says_exactly_what_goes_and_what_stays_and_why(tmp_path: Path) -> None:
    """And changes nothing; the real run then does the same."""
    archive = opened(tmp_path / "a", POLICY)
    stock(archive, rows(("2026-01-01", "security"), ("2026-01-01", "workflow"), ("2026-01-02", "workflow")))
    plan = archive.keeping.asked("2026-05-01", dry_run=True, day=TODAY)
    assert counted(archive) == 3
    assert [(day.day, day.rows) for day in plan.days] == [("2026-01-01", 1), ("2026-01-02", 1)]
    assert [(kept.day, kept.retention_class, kept.rows, kept.reason) for kept in plan.kept] == [
        ("2026-01-01", "audit", 1, "class audit is kept for 365 days, until 2027-01-01")
    ]
    done = archive.keeping.asked("2026-05-01", dry_run=False, day=TODAY)
    assert (done.days, done.classes, done.kept, done.paths) == (
        plan.days,
        plan.classes,
        plan.kept,
        plan.paths,
    )
    assert plan.bytes == sum(tally.bytes for tally in plan.classes.values()) > 0
    assert days(archive) == ["2026-01-01"]
    archive.close()


def test_nothing_younger_than_its_minimum_is_dropped_by_any_way(tmp_path: Path) -> None:
    """Neither by somebody's wish, nor by age, nor for the disk budget."""
    archive = opened(tmp_path / "a", Policy(classes=(AUDIT,), event_days=1))
    stock(archive, rows(("2025-06-01", "security"), ("2025-05-30", "security")))
    keeping = archive.keeping
    assert keeping.smaller(10**12, dry_run=True, day=TODAY).rows == 1
    assert keeping.asked("2026-06-01", dry_run=True, day=TODAY).rows == 1
    assert keeping.old(dry_run=True, day=TODAY).rows == 0
    assert keeping.asked("2026-06-01", dry_run=False, day=TODAY).rows == 1
    assert days(archive) == ["2025-06-01"]
    assert [kept.reason for kept in keeping.smaller(10**12, dry_run=False, day=TODAY).kept] == [
        "class audit is kept for 365 days, until 2026-06-01"
    ]
    archive.close()


def test_a_lowered_setting_does_not_open_the_lock(tmp_path: Path) -> None:
    """The ledger remembers the highest minimum, also for a class that the settings no longer name."""
    archive = opened(tmp_path / "a", Policy(classes=(AUDIT,)))
    stock(archive, rows(("2026-01-01", "security")))
    archive.close()
    for policy in (Policy(classes=(RetentionClass("audit", ("security",), 0, 30),)), Policy()):
        archive = opened(tmp_path / "a", policy)
        assert archive.keeping.asked(TODAY, dry_run=False, day=TODAY).rows == 0
        assert archive.keeping.minimums["audit"] == 365
        archive.close()
    assert [record.body["minimum_days"] for record in config_records(tmp_path / "a")] == [365, 365, 365]


def test_lowering_a_minimum_takes_the_settings_and_a_record(tmp_path: Path) -> None:
    """Who, why and from what to what; after that, and only after that, younger files may go."""
    archive = opened(tmp_path / "a", Policy(classes=(AUDIT,)))
    stock(archive, rows(("2026-01-01", "security")))
    with pytest.raises(MinimumError, match="the settings say 365 days"):
        archive.keeping.lower_minimum("audit", 30, reason="because", author="ann")
    archive.keeping.set_policy(Policy(classes=(RetentionClass("audit", ("security",), 30),)))
    assert archive.keeping.asked(TODAY, dry_run=True, day=TODAY).rows == 0
    with pytest.raises(MinimumError, match="needs a reason"):
        archive.keeping.lower_minimum("audit", 30, reason=" ", author="ann")
    with pytest.raises(MinimumError, match="to raise it, change the settings"):
        archive.keeping.lower_minimum("audit", 400, reason="because", author="ann")
    assert archive.keeping.lower_minimum("audit", 30, reason="the board said so", author="ann") == 365
    assert archive.keeping.asked(TODAY, dry_run=False, day=TODAY).rows == 1
    archive.close()
    last = config_records(tmp_path / "a")[-1].body
    assert (last["class"], last["before"], last["minimum_days"], last["author"], last["reason"]) == (
        "audit",
        365,
        30,
        "ann",
        "the board said so",
    )
    assert verify(str(tmp_path / "a"), with_sources=False).findings == []


def test_own_events_and_rejects_are_kept_as_long_as_the_longest_class() -> None:
    """Who read and what was removed must outlast what it is about; of a reject nobody knows the category."""
    assert POLICY.minimums == {"default": 0, "internal": 365, "rejects": 365, "audit": 365, "debug": 0}
    assert POLICY.limits("internal", {}).maximum == 365
    configured = Policy(classes=(AUDIT, RetentionClass("internal", (), 30, 60)))
    assert (configured.limits("internal", {}).minimum, configured.limits("internal", {}).maximum) == (30, 60)
    assert POLICY.limits("gone-from-the-settings", {"gone-from-the-settings": 200}).maximum == 200


def test_the_budget_takes_the_oldest_days_first_and_the_least_protected_class_first(tmp_path: Path) -> None:
    """No more than is needed, and nothing of today."""
    policy = Policy(classes=(RetentionClass("audit", ("security",), 30),))
    archive = opened(tmp_path / "a", policy)
    stock(
        archive,
        rows(
            ("2026-01-01", "security"),
            ("2026-01-01", "workflow"),
            ("2026-01-02", "workflow"),
            ("2026-05-20", "security"),
            (TODAY, "workflow"),
        ),
    )
    one = archive.keeping.smaller(1, dry_run=True, day=TODAY)
    assert [(day.day, day.rows) for day in one.days] == [("2026-01-01", 1)]
    assert list(one.classes) == ["default"]
    two = archive.keeping.smaller(one.bytes + 1, dry_run=True, day=TODAY)
    assert sorted(two.classes) == ["audit", "default"]
    assert [day.day for day in two.days] == ["2026-01-01"]
    everything = archive.keeping.smaller(10**12, dry_run=False, day=TODAY)
    assert [day.day for day in everything.days] == ["2026-01-01", "2026-01-02"]
    assert days(archive) == ["2026-05-20", TODAY]
    archive.close()


def test_dropped_rows_do_not_come_back_and_the_ledger_says_why(tmp_path: Path) -> None:
    """T71: after a restart, and from a snapshot of the ledger as well."""
    archive = opened(tmp_path / "a")
    stock(archive, rows(("2026-01-01", "api"), ("2026-05-30", "api")))
    archive.keeping.asked("2026-05-01", dry_run=False, day=TODAY)
    offset = next(iter(archive.sources.values())).offset
    for _ in range(2):
        archive._books.state.commits_since_snapshot = 1000
        archive._books.snapshot_if_due()
        archive.close()
        archive = opened(tmp_path / "a")
        assert days(archive) == ["2026-05-30"]
        assert next(iter(archive.sources.values())).offset == offset
        assert archive.snapshot.drops == 1
    archive.close()
    assert verify(str(tmp_path / "a"), with_sources=False).findings == []


def test_what_is_kept_survives_a_ledger_snapshot(tmp_path: Path) -> None:
    """Holds, minimums and exports are part of the state."""
    from storage.query import Filter

    archive = opened(tmp_path / "a", POLICY)
    stock(archive, rows(("2026-01-01", "api")))
    archive.keeping.add_hold("case", Filter.of({"category": ["api"]}), reason="a case", author="ann")
    path = archive.snapshot.events[0].path
    archive.keeping.exported({"name": "daily", "day": "2026-01-01", "part": 1, "covers": [path]})
    before = read_state(str(tmp_path / "a"), "main")
    archive._books.state.commits_since_snapshot = 1000
    archive._books.snapshot_if_due()
    archive.close()
    after = read_state(str(tmp_path / "a"), "main")
    assert (after.holds, after.minimums, after.exports) == (before.holds, before.minimums, before.exports)
    assert after.exports == {"daily": {"2026-01-01": {"parts": 1, "paths": [path]}}}


def test_verify_finds_a_drop_that_a_minimum_forbade(tmp_path: Path) -> None:
    """An auditor need not trust the daemon: the ledger itself shows what was removed too early."""
    archive = opened(tmp_path / "a", Policy(classes=(RetentionClass("audit", ("security",), 36_000),)))
    stock(archive, rows(("2026-01-01", "security")))
    paths = [file.path for file in archive.snapshot.events]
    archive._books.record([("drop", {"removes": paths, "before": TODAY, "reason": "asked"})])
    archive.close()
    (finding,) = verify(str(tmp_path / "a"), with_sources=False).findings
    assert finding.kind == "EARLY"
    assert paths[0] in finding.where


def config_records(folder: Path) -> list:
    from storage.fs import Disk
    from storage.layout import Layout
    from storage.ledger import Ledger

    records = Ledger(Disk(), Layout(str(folder), "main"), writer_version="").read(repair=False)
    return [record for record in records if record.header.kind == "config"]
