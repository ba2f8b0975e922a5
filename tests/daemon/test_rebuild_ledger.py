"""A lost ledger under a real daemon: refused, shown, rebuilt, and gone on with: nothing lost, nothing twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from daemon import cli
from daemon.command import Exit
from daemon.control import ControlError, call
from storage.reader import read_snapshot
from storage.verify import verify
from tests.daemon.test_service import PATIENCE_SECONDS, Process, serving
from tests.support import ROOT

SETTINGS = {
    "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.2",
    "WATCHKEEP__ARCHIVE__FOLD_FILES": "4",
    "WATCHKEEP__LOGS__SCAN_SECONDS": "0.5",
}


def doctor(capsys: pytest.CaptureFixture[str], archive: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its code and what it says."""
    capsys.readouterr()
    code = cli.main(["doctor", "--rebuild-ledger", "--json", "--archive", str(archive), *more])
    return code, json.loads(capsys.readouterr().out)


def committed(archive: Path) -> Counter[str]:
    """Return how often each event of an application is in the committed files."""
    files = [str(archive / file.path) for file in read_snapshot(str(archive)).events]
    found = duckdb.execute("SELECT event_id FROM read_parquet($1) WHERE NOT internal", [files]).fetchall()
    return Counter(row[0] for row in found)


def until_committed(served: Process, ids: set[str]) -> None:
    """Wait until the daemon has committed all of these."""
    served.until_events(len(ids))
    call(served.socket, "POST", "/flush")
    assert set(committed(served.archive)) == ids


def spoil(ledger: Path) -> None:
    """Damage a record in the middle; good ones follow."""
    segment = sorted(ledger.iterdir())[-1]
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)


@pytest.mark.parametrize("damage", [shutil.rmtree, spoil], ids=["missing", "damaged"])
def test_the_daemon_goes_on_after_a_rebuild_with_every_line_once(
    damage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed, folded, live and superseded files, rejects and blank lines; killed, and its ledger taken away."""
    ids: set[str] = set()
    with serving(tmp_path, **SETTINGS) as served:
        for round_ in range(8):
            fresh = {f"{round_}-{number}" for number in range(5)}
            ids |= fresh
            served.append(*sorted(fresh))
            with (served.logs / "app-2026-03-01.jsonl").open("a") as file:
                file.write("\nno JSON\n")
            until_committed(served, ids)
            if round_ == 3:
                call(served.socket, "POST", "/seal")
        with (served.logs / "app-2026-03-01.jsonl").open("a") as file:
            file.write("\n\n\n")  # lines without rows: no file tells of them
        call(served.socket, "POST", "/flush")
        served.process.kill()
        served.process.wait()
    archive = served.archive
    # Written while nobody watched: read after the rebuild.
    served.append("late")
    ids.add("late")
    damage(archive / "nodes" / "main" / "ledger")
    files = sorted(path for path in archive.rglob("*.parquet"))

    command = [sys.executable, str(ROOT / "watchkeep.py"), "serve", "--port", "0"]
    command += ["--logs", str(served.logs), "--archive", str(archive)]
    refused = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=tmp_path, check=False
    )
    assert refused.returncode == Exit.ARCHIVE
    assert "ledger" in refused.stderr
    assert "doctor --rebuild-ledger" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(path for path in archive.rglob("*.parquet")) == files

    code, shown = doctor(capsys, archive)
    assert (code, shown["written"]) == (Exit.FOUND, False)
    assert shown["superseded"]
    assert shown["holes"] == []
    assert sorted(path for path in archive.rglob("*.parquet")) == files
    code, written = doctor(capsys, archive, "--yes")
    assert (code, written["written"]) == (Exit.OK, True)
    assert {source["sid"]: source["offset"] for source in written["sources"]} == {
        source["sid"]: source["offset"] for source in shown["sources"]
    }
    assert doctor(capsys, archive)[1]["usable"] is True

    served.log.unlink()
    with serving(tmp_path, **SETTINGS) as again:
        until_committed(again, ids)
        again.append("after")
        ids.add("after")
        until_committed(again, ids)
        call(again.socket, "POST", "/seal")
        asked = {"before_day": "2100-01-01", "dry_run": False}
        with pytest.raises(ControlError, match="holds may be missing"):
            call(again.socket, "POST", "/cleanup", asked)
        confirm = ["retention", "confirm", "holds", "--reason", "there were none"]
        assert cli.main([*confirm, "--archive", str(archive)]) == Exit.OK
        assert call(again.socket, "GET", "/retention")["waits"] is None
        assert again.stop() == 0
    assert committed(archive) == Counter(dict.fromkeys(ids, 1))
    own = [str(archive / file.path) for file in read_snapshot(str(archive)).events if file.internal]
    told = duckdb.execute(
        "SELECT count(*) FROM read_parquet($1) WHERE description LIKE 'The ledger was rebuilt%'", [own]
    ).fetchone()
    assert told == (1,)
    report = verify(str(archive))
    assert report.ok, report.findings
    assert report.sources_checked >= 2


def test_a_rebuild_waits_until_nobody_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The node's lock is held by whoever writes."""
    with serving(tmp_path) as served:
        served.append("a")
        served.until_events(1)
        code = cli.main(["doctor", "--rebuild-ledger", "--yes", "--archive", str(served.archive)])
        assert code == Exit.ARCHIVE
        assert "stop it first" in capsys.readouterr().err
