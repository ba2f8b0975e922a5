"""`watchkeep verify`: the archive against the log files it was made of, its exit code, its report and its event."""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from daemon import cli, files
from daemon.command import Exit
from daemon.control import call
from storage.reader import read_snapshot
from tests.daemon.test_service import serving


def run(capsys: pytest.CaptureFixture[str], archive: Path, *more: object) -> tuple[int, dict[str, Any]]:
    """Run the command and return its code and report."""
    capsys.readouterr()
    code = cli.main(["verify", "--json", "--archive", str(archive), *map(str, more)])
    return code, json.loads(capsys.readouterr().out)


def log_lines(start: int, count: int) -> str:
    """Return some events."""
    return "".join(
        json.dumps({"eventId": f"e{number}", "timestamp": "2026-11-20T10:00:00Z", "description": "x" * 100})
        + "\n"
        for number in range(start, start + count)
    )


def ingest(archive: Path, *arguments: object) -> None:
    """Import files."""
    assert cli.main(["ingest", "--json", "--archive", str(archive), *map(str, arguments)]) == Exit.OK


def own_events(archive: Path) -> list[tuple[str, str]]:
    """Return level and description of what the daemon archived of itself about verifications."""
    files = [str(archive / file.path) for file in read_snapshot(str(archive)).events if file.internal]
    return duckdb.execute(
        "SELECT level, description FROM read_parquet($1) WHERE contains(description, 'verified') ORDER BY seq",
        [files],
    ).fetchall()


def test_the_archive_is_compared_with_the_log_files_that_still_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read by several processes one after the other, renamed since: all of it, and one changed byte is located."""
    log, archive = tmp_path / "app.log", tmp_path / "archive"
    log.write_text(log_lines(0, 50) + "\nno JSON\n")
    ingest(archive, log)
    log.write_text(log_lines(0, 50) + "\nno JSON\n" + log_lines(50, 30))
    ingest(archive, log)
    size = log.stat().st_size
    log = log.rename(tmp_path / "app.log.1")
    code, report = run(capsys, archive, "--rollups")
    assert (code, report["ok"], report["findings"]) == (Exit.OK, True, [])
    assert (report["sources_checked"], report["source_bytes"]) == (1, size)
    assert (report["events"], report["rejects"]) == (80, 1)

    data = bytearray(log.read_bytes())
    second = data.index(b'"e60"')
    data[second + 2] ^= 1
    log.write_bytes(data)
    code, report = run(capsys, archive)
    assert (code, report["classes"]) == (Exit.FOUND, {"SOURCE": 1})
    begins = len(log_lines(0, 50) + "\nno JSON\n")
    assert f"bytes {begins} to {size}" in report["findings"][0]["what"]
    assert run(capsys, archive, "--no-sources")[0] == Exit.OK

    log.write_bytes(data[: size // 2])
    assert run(capsys, archive)[1]["classes"] == {"SOURCE": 1}
    log.unlink()
    code, report = run(capsys, archive)
    assert (code, report["sources_checked"]) == (Exit.OK, 0)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_log_file_that_was_compressed_since_is_compared_by_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], compress: Callable[[bytes], bytes]
) -> None:
    """Whether nobody has read it since, or the daemon knows it under its new name."""
    ending = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[compress]
    log, archive = tmp_path / "app.log", tmp_path / "archive"
    log.write_text(log_lines(0, 50))
    ingest(archive, log)
    data = log.read_bytes()
    packed = tmp_path / f"app.log.{ending}"
    packed.write_bytes(compress(data))
    log.unlink()
    code, report = run(capsys, archive)
    assert (code, report["sources_checked"], report["source_bytes"]) == (Exit.OK, 1, len(data))
    ingest(archive, packed)
    assert run(capsys, archive)[1]["sources_checked"] == 1
    packed.write_bytes(compress(data.replace(b'"e49"', b'"e48"')))
    assert run(capsys, archive)[1]["classes"] == {"SOURCE": 1}
    packed.write_bytes(compress(data)[:-5])
    assert run(capsys, archive)[1]["classes"] == {"SOURCE": 1}


def test_the_outcome_becomes_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told to the daemon when one runs; otherwise left for the next one to read. A finding is critical."""
    with serving(tmp_path) as served:
        served.append("a", "b")
        served.until_events(2)
        call(served.socket, "POST", "/seal")
        assert run(capsys, served.archive)[0] == Exit.OK
        call(served.socket, "POST", "/flush")
        assert served.stop() == 0
    archive = served.archive
    assert [level for level, _ in own_events(archive)] == ["info"]
    sealed = next(file for file in read_snapshot(str(archive)).events if file.day == "2026-03-01")
    path = archive / sealed.path
    kept = path.read_bytes()
    path.chmod(0o640)
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert run(capsys, archive)[1]["classes"] == {"MODIFIED": 1}
    path.write_bytes(kept)
    served.log.unlink()
    with serving(tmp_path) as again:
        again.until_events(2)
        call(again.socket, "POST", "/flush")
        assert again.stop() == 0
    assert own_events(archive) == [
        ("info", "The archive was verified: everything is as the ledger says"),
        ("critical", "The archive was verified and is not as the ledger says: 1 MODIFIED"),
    ]


def test_a_report_for_people_says_what_each_class_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Findings, then the meaning of their classes."""
    log, archive = tmp_path / "app.log", tmp_path / "archive"
    log.write_text(log_lines(0, 5))
    ingest(archive, log)
    day = next((archive / "events").iterdir())
    (day / "made-up.parquet").write_bytes(b"PAR1")
    capsys.readouterr()
    assert cli.main(["verify", "--archive", str(archive)]) == Exit.FOUND
    printed = capsys.readouterr().out
    assert "made-up.parquet" in printed
    assert "UNKNOWN: a file lies where readers find it" in printed


def test_a_log_file_that_may_not_be_read_is_not_passed_over_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It proves nothing wrong and nothing right: the report says how many were not compared, and the first."""
    archive, logs = tmp_path / "archive", tmp_path / "logs"
    logs.mkdir()
    for number in range(3):
        (logs / f"{number}.log").write_text(log_lines(number * 50, 50))
    ingest(archive, logs)
    real = files.open_regular

    def refused(path: bytes) -> Any:
        if not path.endswith(b"/0.log"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    monkeypatch.setattr(files, "open_regular", refused)
    code, report = run(capsys, archive)
    assert (code, report["sources_checked"]) == (Exit.OK, 1)
    (note,) = report["notes"]
    assert note.startswith("2 log files could not be read and were not compared, first")
    assert f"{logs}/1.log" in note
    assert note.endswith("Permission denied")
