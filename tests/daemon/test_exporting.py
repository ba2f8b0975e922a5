"""Daily exports: each finished day once, whole, with a manifest and a record; retention waits for them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from daemon.exporting import Exporter, Failed, Planned, Wrote
from storage.archive import Archive
from storage.daily import DailyFormat, Export
from storage.fs import Disk
from storage.observer import Silent
from storage.query import Filter, Scope
from storage.reader import read_state
from storage.retention import Policy
from tests.storage.stock import TODAY, opened, stock

EVENTS = [
    {"day": "2026-05-30", "event_id": "a", "category": "security", "level": "info"},
    {"day": "2026-05-30", "event_id": "b", "category": "api", "level": "info"},
    {"day": "2026-05-31", "event_id": "c", "category": "security", "level": "error"},
    {"day": TODAY, "event_id": "d", "category": "security", "level": "info"},
]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def planned(folder: Path, form: DailyFormat = "ndjson", wanted: Filter | None = None) -> Planned:
    return Planned(Export("daily", str(folder), form, wanted or Filter(), Scope()), hour=2, after_days=1)


def exporter(archive: Archive, plan: Planned, **given: Any) -> Exporter:
    return Exporter(archive, Silent(), [plan], version="1.2.3", **{"now": lambda: NOON, **given})


@pytest.fixture
def archive(tmp_path: Path):
    found = opened(tmp_path / "a", Policy(exports=("daily",)))
    stock(found, EVENTS)
    yield found
    found.close()


def ids(path: Path) -> list[str]:
    match path.suffix:
        case ".ndjson":
            return [json.loads(line)["eventId"] for line in path.read_text().splitlines()]
        case ".json":
            return [item["eventId"] for item in json.loads(path.read_text())]
        case ".csv":
            return [row["eventId"] for row in csv.DictReader(path.read_text().splitlines())]
        case _:
            return [str(event_id) for event_id in pq.read_table(path)["event_id"].to_pylist()]


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "parquet"])
def test_each_finished_day_is_written_once_with_its_manifest(
    archive: Archive, tmp_path: Path, form: DailyFormat
) -> None:
    """Exactly the rows of that day, newest first; the manifest says how many, their hash and where the ledger stood."""
    it = exporter(archive, planned(tmp_path / "out", form))
    assert [(one.name, one.body["day"], one.body["rows"]) for one in it.run() if isinstance(one, Wrote)] == [
        ("daily", "2026-05-30", 2),
        ("daily", "2026-05-31", 1),
    ]
    path = tmp_path / "out" / f"daily-2026-05-30.{form}"
    assert ids(path) == ["b", "a"]
    manifest = json.loads(path.with_name(path.name + ".manifest.json").read_text())
    assert manifest["rows"] == 2
    assert manifest["bytes"] == path.stat().st_size
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["watchkeep"] == "1.2.3"
    assert manifest["ledger"]["record"] > 0
    assert len(manifest["ledger"]["head"]) == 64
    assert manifest["filter"] == {}
    assert [source["rows"] for source in manifest["sources"]] == [2]
    assert sorted(os.listdir(tmp_path / "out")) == [
        f"daily-2026-05-3{day}.{form}{suffix}" for day in "01" for suffix in ("", ".manifest.json")
    ]
    assert it.run() == []
    assert exporter(archive, planned(tmp_path / "out", form)).run() == []


def test_parquet_exports_have_the_archive_s_columns_and_values(archive: Archive, tmp_path: Path) -> None:
    """What was archived comes out as it was."""
    exporter(archive, planned(tmp_path / "out", "parquet")).run()
    exported = pq.read_table(tmp_path / "out" / "daily-2026-05-31.parquet")
    (source,) = [file for file in archive.snapshot.events if file.day == "2026-05-31"]
    stored = pq.read_table(tmp_path / "a" / source.path, partitioning=None)
    assert exported.column_names == stored.column_names
    assert exported.to_pylist() == stored.to_pylist()


def test_an_export_holds_what_its_filter_says(archive: Archive, tmp_path: Path) -> None:
    """A day without a match is written too: its absence would say that the export failed."""
    wanted = Filter.of({"category": ["security"], "level": ["info"]})
    exporter(archive, planned(tmp_path / "out", wanted=wanted)).run()
    assert ids(tmp_path / "out" / "daily-2026-05-30.ndjson") == ["a"]
    assert (tmp_path / "out" / "daily-2026-05-31.ndjson").read_bytes() == b""
    manifest = json.loads((tmp_path / "out" / "daily-2026-05-31.ndjson.manifest.json").read_text())
    assert (manifest["rows"], manifest["filter"]["values"]) == (
        0,
        {"category": ["security"], "level": ["info"]},
    )


def test_late_events_become_a_numbered_supplement(archive: Archive, tmp_path: Path) -> None:
    """What was written is never written again; only what came later is."""
    it = exporter(archive, planned(tmp_path / "out"))
    it.run()
    before = (tmp_path / "out" / "daily-2026-05-30.ndjson").stat()
    stock(archive, [{"day": "2026-05-30", "event_id": "late"}], name="late")
    (wrote,) = it.run()
    assert isinstance(wrote, Wrote)
    assert (wrote.body["part"], wrote.body["rows"]) == (2, 1)
    assert ids(tmp_path / "out" / "daily-2026-05-30.2.ndjson") == ["late"]
    assert (tmp_path / "out" / "daily-2026-05-30.ndjson").stat() == before
    state = read_state(str(tmp_path / "a"), "main")
    assert state.exports["daily"]["2026-05-30"]["parts"] == 2


@pytest.mark.parametrize(
    ("hour", "after_days", "days"),
    [(2, 1, ["2026-05-30", "2026-05-31"]), (13, 1, ["2026-05-30"]), (2, 2, ["2026-05-30"]), (2, 3, [])],
)
def test_a_day_is_due_at_its_hour(
    archive: Archive, tmp_path: Path, hour: int, after_days: int, days: Sequence[str]
) -> None:
    """So many days after it began, from so many o'clock."""
    plan = replace(planned(tmp_path / "out"), hour=hour, after_days=after_days)
    assert [one.body["day"] for one in exporter(archive, plan).run() if isinstance(one, Wrote)] == days


def test_retention_drops_no_day_that_an_export_has_not_written(archive: Archive, tmp_path: Path) -> None:
    """Outstanding or failed is the same: the day stays, and the plan says why."""
    keeping = archive.keeping
    plan = keeping.asked(TODAY, dry_run=False, day=TODAY)
    assert plan.files == 0
    assert {kept.reason for kept in plan.kept} == {"export daily has not written this day"}
    assert keeping.smaller(10**12, dry_run=True, day=TODAY).files == 0
    exporter(archive, planned(tmp_path / "out")).run()
    stock(archive, [{"day": "2026-05-30", "event_id": "late"}], name="late")
    done = keeping.asked(TODAY, dry_run=False, day=TODAY)
    assert [(day.day, day.rows) for day in done.days] == [("2026-05-30", 2), ("2026-05-31", 1)]
    assert [(kept.day, kept.rows) for kept in done.kept] == [("2026-05-30", 1)]
    assert archive.state.exports["daily"]["2026-05-31"] == {"parts": 1, "paths": []}


class Failing(Disk):
    """A disk that refuses the n-th operation that changes something."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(28, "No space left on device")

    def create(self, path: str, *, private: bool = False) -> Any:
        self._tick()
        return super().create(path, private=private)

    def rename(self, source: str, target: str) -> None:
        self._tick()
        super().rename(source, target)

    def sync_dir(self, path: str) -> None:
        self._tick()
        super().sync_dir(path)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_failure_at_any_step_is_told_and_tried_again(archive: Archive, tmp_path: Path, at: int) -> None:
    """After each step: no file that is not whole has its name, the day stays outstanding, the next attempt mends it."""
    (tmp_path / "out").mkdir()
    now = [0.0]
    it = exporter(archive, planned(tmp_path / "out"), fs=Failing(at), clock=lambda: now[0])
    failed = next(one for one in it.run() if isinstance(one, Failed))
    assert (failed.reason, failed.first) == ("No space left on device", True)
    assert it.status()[0]["reason"].endswith("No space left on device")
    for manifest in (tmp_path / "out").glob("*.manifest.json"):
        said = json.loads(manifest.read_text())
        data = (tmp_path / "out" / said["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == said["sha256"]
    assert failed.day in it.status()[0]["waiting"]
    assert it.run() == []  # it waits before it tries again
    now[0] += 60.0
    assert all(isinstance(one, Wrote) for one in it.run())
    assert it.status()[0]["waiting"] == []
    assert it.status()[0]["reason"] is None
    assert ids(tmp_path / "out" / "daily-2026-05-30.ndjson") == ["b", "a"]
    assert ids(tmp_path / "out" / "daily-2026-05-31.ndjson") == ["c"]
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_failure_that_lasts_is_told_once_and_tried_ever_less_often(
    archive: Archive, tmp_path: Path
) -> None:
    """One event an episode; a minute, two, four … an hour between attempts."""
    (tmp_path / "out").write_text("a file where the folder should be")
    now = [0.0]
    it = exporter(archive, planned(tmp_path / "out"), clock=lambda: now[0])
    firsts, attempts = [], []
    for second in range(0, 3600 * 4, 30):
        now[0] = float(second)
        for one in it.run():
            assert isinstance(one, Failed)
            firsts.append(one.first)
            attempts.append(second)
    assert firsts == [True] + [False] * (len(firsts) - 1)
    gaps = [after - before for before, after in pairwise(attempts)]
    assert gaps == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert it.run(whatever_the_hour=True) != []  # a person need not wait


def test_a_long_backlog_is_written_in_turns(archive: Archive, tmp_path: Path) -> None:
    """One day at least, then the other steps may go on."""
    it = exporter(archive, planned(tmp_path / "out"))
    assert [one.body["day"] for one in it.run(seconds=0.0) if isinstance(one, Wrote)] == ["2026-05-30"]
    assert it.due()
    assert [one.body["day"] for one in it.run(seconds=0.0) if isinstance(one, Wrote)] == ["2026-05-31"]
    assert not it.due()


def test_rows_of_a_day_that_became_due_are_sealed_first(tmp_path: Path) -> None:
    """Asked for once a day: late rows must not make a sealed file a minute."""
    archive = opened(tmp_path / "a")
    archive.seal = lambda: 0  # type: ignore[method-assign]
    stock(archive, EVENTS[:1])
    now = [NOON]
    it = exporter(archive, planned(tmp_path / "out"), now=lambda: now[0])
    assert [it.unsealed(), it.unsealed()] == [True, False]
    now[0] += timedelta(days=1)
    assert [it.unsealed(), it.unsealed()] == [True, False]
    del archive.seal
    archive.seal()
    assert not exporter(archive, planned(tmp_path / "out")).unsealed()
    archive.close()


def test_a_folder_that_is_none_is_named_in_the_reason(archive: Archive, tmp_path: Path) -> None:
    """The event and the list of exports say which name is in the way."""
    (tmp_path / "out").write_text("a file")
    (failed,) = exporter(archive, planned(tmp_path / "out")).run()
    assert isinstance(failed, Failed)
    assert str(tmp_path / "out") in failed.reason
