"""A committed file that somebody removed or damaged: every answer that lacks its events says so, and no command hides it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daemon import cli
from daemon.command import Exit
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from tests.daemon.test_keeping import Done, watchkeep
from tests.daemon.test_service import Process, serving
from tests.storage.stock import stock

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
EVENTS_A_DAY = 40


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three sealed days, some events of each by user 1."""
    logs, archive = tmp_path / "logs", tmp_path / "archive"
    logs.mkdir()
    for day in DAYS:
        (logs / f"app-{day}.jsonl").write_text(
            "".join(
                json.dumps(
                    {
                        "eventId": f"{day}-{number}",
                        "timestamp": f"{day}T10:00:00Z",
                        "user": {"id": number % 4},
                        "description": os.urandom(40).hex(),
                    }
                )
                + "\n"
                for number in range(EVENTS_A_DAY)
            )
        )
    assert cli.main(["ingest", str(logs), "--archive", str(archive)]) == Exit.OK
    return archive


def _sealed(archive: Path, day: str) -> Path:
    (found,) = (archive / "events" / f"date={day}").iterdir()
    return found


def _damage(file: Path) -> None:
    """Overwrite the packed values of a column that all questions read; the footer stays whole, and so does the size."""
    with pq.ParquetFile(file) as parquet:
        row_group = parquet.metadata.row_group(0)
        columns = [row_group.column(number) for number in range(row_group.num_columns)]
    column = next(column for column in columns if column.path_in_schema == "description")
    start, size = column.data_page_offset, column.total_compressed_size
    data = bytearray(file.read_bytes())
    middle = slice(start + size // 2, start + size - 10)
    data[middle] = bytes(len(data[middle]))
    os.chmod(file, 0o640)
    file.write_bytes(data)


def test_without_a_daemon_a_missing_file_is_told_of_beside_each_answer(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there is answered; an export of one person's events does not pass for everything."""
    missing = _sealed(archive, DAYS[1])
    missing.unlink()
    told = f"40 events not in the answer, first events/date={DAYS[1]}/{missing.name}"
    for asked in (["query"], ["sql", "SELECT 1"], ["stats"], ["tail"]):
        capsys.readouterr()
        assert cli.main([*asked, "--archive", str(archive)]) == Exit.OK
        assert told in capsys.readouterr().err

    target = tmp_path / "person.ndjson"
    code = cli.main(["export", "--subject", "1", "-o", str(target), "--archive", str(archive)])
    assert code == Exit.FOUND
    assert told in capsys.readouterr().err
    manifest = json.loads((tmp_path / "person.ndjson.manifest.json").read_text())
    assert manifest["rows"] == len(target.read_text().splitlines()) == EVENTS_A_DAY // 2
    assert manifest["lost"] == [{"file": f"events/date={DAYS[1]}/{missing.name}", "events": EVENTS_A_DAY}]


def test_of_a_whole_archive_nothing_is_said(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No note, no entry in the manifest; a roll-up that is gone costs no event."""
    for rollup in (archive / "rollups").glob(f"date={DAYS[0]}/*"):
        rollup.unlink()
    capsys.readouterr()
    target = tmp_path / "person.ndjson"
    code = cli.main(["export", "--subject", "1", "-o", str(target), "--archive", str(archive)])
    assert (code, capsys.readouterr().err) == (Exit.OK, "")
    assert "lost" not in json.loads((tmp_path / "person.ndjson.manifest.json").read_text())
    cli.main(["doctor", "--archive", str(archive)])
    assert "1 of 6 files are missing or damaged, first rollups/" in capsys.readouterr().out


def test_a_daemon_that_started_without_a_file_says_so_everywhere(archive: Path, tmp_path: Path) -> None:
    """Readiness, metrics, status, the doctor and the exports of the command line; once the file is back, nothing."""
    missing = _sealed(archive, DAYS[1])
    aside = missing.rename(tmp_path / "aside.parquet")
    name = f"events/date={DAYS[1]}/{missing.name}"
    with serving(tmp_path) as it:
        (complaint,) = (entry for entry in it.get("/health/ready")["degraded"] if entry["code"] == "lost")
        assert f"{name} is not whole (missing), and its 40 rows are in no answer" in complaint["detail"]
        assert it.get("/status")["lost"] == [{"file": name, "events": EVENTS_A_DAY, "reason": "missing"}]
        doctor = _run(it, "doctor")
        assert (doctor.returncode, complaint["detail"] in doctor.stdout) == (Exit.FOUND, True)
        assert f"1 of 6 files are missing or damaged, first {name}" in doctor.stdout
        target = tmp_path / "person.ndjson"
        exported = _run(it, "export", "--subject", "1", "-o", str(target))
        assert exported.returncode == Exit.FOUND
        assert "40 events not in the answer" in exported.stderr
        manifest = json.loads((tmp_path / "person.ndjson.manifest.json").read_text())
        assert manifest["lost"] == [{"file": name, "events": EVENTS_A_DAY}]
        assert it.stop() == 0
    aside.rename(missing)
    it.log.unlink()
    with serving(tmp_path) as it:
        assert [entry for entry in it.get("/health/ready")["degraded"] if entry["code"] == "lost"] == []
        assert _run(it, "doctor").returncode == Exit.OK
        assert it.stop() == 0


def _run(it: Process, *arguments: str) -> Done:
    config = it.folder / "config.toml"
    config.write_text('[logs]\ndirectories = ["logs"]\n')
    return watchkeep(it, *arguments, config=config)


def test_a_damaged_file_is_named_with_and_without_a_daemon(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export and a list that meet it fail with what is wrong, what to do, and exit code 4; the log says which file."""
    damaged = _sealed(archive, DAYS[1])
    _damage(damaged)
    for asked in (["export"], ["query", "--q", "description:zzz*"]):
        capsys.readouterr()
        assert cli.main([*asked, "--archive", str(archive)]) == Exit.ARCHIVE
        said = capsys.readouterr().err
        assert "a file of the archive could not be read" in said
        assert damaged.name in said
        assert "watchkeep verify" in said
    with serving(tmp_path) as it:
        it.url()
        for asked in (["export"], ["query", "--q", "description:zzz*"]):
            done = _run(it, *asked)
            assert (done.returncode, "could not be read" in done.stderr) == (Exit.ARCHIVE, True), done.stderr
            assert "watchkeep verify" in done.stderr
        assert it.stop() == 0
        assert damaged.name in it.log.read_text()


@pytest.mark.parametrize("cut", ["lost", "behind"])
def test_a_ledger_that_lacks_records_is_no_empty_archive(
    archive: Path, capsys: pytest.CaptureFixture[str], cut: str
) -> None:
    """No command says that there are no holds, no days and no events, when nobody can know any more."""
    (segment,) = (archive / "nodes" / "main" / "ledger").iterdir()
    first, *_ = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"" if cut == "lost" else first)
    for asked in (
        ["query"],
        ["stats"],
        ["sql", "SELECT 1"],
        ["export"],
        ["seal"],
        ["holds", "list"],
        ["holds", "add", "case", "--reason", "court", "--user-id", "1"],
        ["cleanup", "--days", "30"],
        ["retention"],
        ["exports"],
    ):
        capsys.readouterr()
        assert cli.main([*asked, "--archive", str(archive)]) == Exit.ARCHIVE, asked
        said = capsys.readouterr()
        assert "watchkeep doctor --rebuild-ledger" in said.err, asked
        assert said.out == ""


def test_where_there_is_no_archive_nothing_is_called_right(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not mounted, a mistyped name or node: said so, and nothing is made."""
    for asked in (["verify"], ["holds", "list"], ["cleanup", "--days", "30"], ["query"], ["retention"]):
        capsys.readouterr()
        assert cli.main([*asked, "--archive", str(tmp_path / "typo")]) == Exit.ARCHIVE, asked
        assert "there is no archive" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
    assert cli.main(["verify", "--node", "mian", "--archive", str(archive)]) == Exit.ARCHIVE
    assert "the archive has no node mian" in capsys.readouterr().err


def test_files_that_somebody_left_between_the_folders_are_nobodys(archive: Path, tmp_path: Path) -> None:
    """A note, what a file manager or a backup leaves behind: the daemon starts, and nothing is wrong."""
    for place in ("events", f"events/date={DAYS[0]}", "rollups", "rejects", "nodes", "nodes/main"):
        (archive / place / ".DS_Store").write_bytes(b"not ours")
    with serving(tmp_path) as it:
        assert it.get("/health/ready")["degraded"] == []
        assert json.loads(_run(it, "verify", "--json").stdout)["ok"]
        assert it.stop() == 0
    for asked in (["verify"], ["query"], ["sql", "SELECT 1"], ["stats", "storage"]):
        assert cli.main([*asked, "--archive", str(archive)]) == Exit.OK, asked


def test_a_neighbour_without_a_whole_ledger_keeps_nobody_from_publishing(
    archive: Path, tmp_path: Path
) -> None:
    """Another node's trouble, or a commit of its that came between two looks, is not ours."""
    (segment,) = (archive / "nodes" / "main" / "ledger").iterdir()
    segment.write_bytes(segment.read_bytes().splitlines(keepends=True)[0])
    two = Archive.open(ArchiveOptions(path=str(archive), node="two"))
    try:
        stock(two, [{"day": "2026-05-30"}])
        two.publish()
        assert two.snapshot.view_seq == two.snapshot.seq
    finally:
        two.close()
