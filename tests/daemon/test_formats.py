"""Archives as earlier releases wrote them: each is read, verified, gone on with, and rebuilt without its ledger.

The fixtures lie beside `tests/storage/formats/make.py`, which says how each was made. They are never written again.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from daemon import cli
from daemon.command import Exit
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.fs import Disk
from storage.layout import FORMAT_VERSION, Layout
from storage.reader import read_snapshot, read_state
from storage.rebuild import holding, plan, rebuild
from storage.verify import verify

FIXTURES = sorted((Path(__file__).resolve().parents[1] / "storage" / "formats").glob("format-*.tar.xz"))


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name.split(".")[0])
def fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An old archive with its log files and what must be in it."""
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


def expected(root: Path) -> dict[str, Any]:
    """Return what must be in a fixture."""
    found: dict[str, Any] = json.loads((root / "expected.json").read_text())
    return found


def rows(root: Path) -> Counter[str]:
    """Return how often each event is in the committed files, as any DuckDB reads them."""
    files = [str(root / "archive" / file.path) for file in read_snapshot(str(root / "archive")).events]
    found = duckdb.execute("SELECT event_id FROM read_parquet($1, union_by_name = true)", [files]).fetchall()
    return Counter(row[0] for row in found)


def ingest(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Import the fixture's log files again and return the report."""
    capsys.readouterr()
    assert cli.main(["ingest", "--json", "--archive", str(root / "archive"), str(root / "logs")]) == Exit.OK
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_every_format_has_its_fixture() -> None:
    """A release that changes what is on disk adds one."""
    assert [path.name for path in FIXTURES] == [f"format-{n + 1}.tar.xz" for n in range(FORMAT_VERSION)]


def test_an_old_archive_is_read_and_verified(fixture: Path) -> None:
    """Every event once, every offset, and nothing to find fault with."""
    wanted = expected(fixture)
    assert rows(fixture) == Counter(wanted["ids"])
    state = read_state(str(fixture / "archive"), "main")
    assert {source.file: source.offset for source in state.sources.values()} == wanted["offsets"]
    assert state.n == wanted["records"]
    report = verify(str(fixture / "archive"))
    assert report.findings == []
    assert (report.records, report.rejects) == (wanted["records"], wanted["rejects"])


def test_an_old_archive_is_gone_on_with(fixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its log files add nothing again, under new inodes; a new line is added to what was there; all of it can be sealed."""
    wanted = expected(fixture)
    assert ingest(fixture, capsys)["bytes"] == 0
    with (fixture / "logs" / "app.log").open("a") as file:
        file.write('{"eventId": "new", "timestamp": "2026-03-02T10:00:00Z"}\n')
    assert ingest(fixture, capsys)["counts"]["events"] == 1
    assert rows(fixture) == Counter([*wanted["ids"], "new"])
    archive = Archive.open(ArchiveOptions(path=str(fixture / "archive"), grace_seconds=0.0))
    assert archive.problems == []
    archive.fold()
    archive.seal()
    archive.collect()
    archive.close()
    assert rows(fixture) == Counter([*wanted["ids"], "new"])
    assert verify(str(fixture / "archive")).findings == []


def test_the_ledger_of_an_old_archive_is_rebuilt_from_its_files(
    fixture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its files say of themselves is enough: nothing lost, nothing twice."""
    layout = Layout(str(fixture / "archive"), "main")
    shutil.rmtree(layout.ledger)
    with holding(Disk(), layout):
        rebuild(Disk(), layout, plan(Disk(), layout))
    dropped = [f"e{number}" for number in range(25, 35)]
    kept = Counter(expected(fixture)["ids"])
    # Files that were dropped, and still lie in their grace time, are known again: only the ledger knew of the drop.
    assert rows(fixture) in (kept, kept + Counter(dropped))
    assert ingest(fixture, capsys)["bytes"] == 0
    assert verify(str(fixture / "archive")).findings == []
