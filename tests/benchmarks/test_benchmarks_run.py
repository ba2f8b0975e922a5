"""The benchmarks run, small, and end with counts that agree; what they measured is nobody's business here."""

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, require_program


def measure(part: str, tmp_path: Path, *arguments: str) -> str:
    """Run one part with what it makes below ``tmp_path``; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part}", "--data", str(tmp_path), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=290,  # seconds; before the test's own, so that what was printed is shown
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ingest_and_queries_are_measured_beside_bare_duckdb(tmp_path: Path) -> None:
    """API, files, view and distinct offsets agree, and every question has its row."""
    said = measure("queries", tmp_path, "--events", "3000", "--times", "1")
    assert "counts agree: API 3,000, glob 3,000, view 3,000, distinct (source, source_offset) 3,000" in said
    rows = [line.split()[0] for line in said[said.index("Queries over") :].splitlines() if line.strip()]
    assert {"a", "b", "c", "d", "e", "f", "g", "h", "i", "k", "csv", "ndjson"} <= set(rows)


def test_freshness_is_measured_on_a_live_stream(tmp_path: Path) -> None:
    """Every line of the stream is answered for in the end."""
    said = measure("latency", tmp_path, "--rate", "300", "--seconds", "1", "--warm", "0.5")
    assert "lines were answered for" in said


def test_telling_is_measured_from_the_line_to_the_receiver(tmp_path: Path) -> None:
    """Every alert that was provoked reached the webhook, of both kinds of rules."""
    said = measure("alerts", tmp_path, "--rate", "100", "--seconds", "2", "--warm", "0.5")
    assert "a rule of one event" in said
    assert "a correlation of 3" in said


def test_following_is_measured(tmp_path: Path) -> None:
    """Every client has every event."""
    said = measure("live", tmp_path, "--clients", "5", "--rate", "200", "--seconds", "0.5", "--warm", "0")
    assert "every client had every event" in said
    assert len([line for line in said.splitlines() if "client" in line and "x" in line]) >= 3


def test_idle_files_are_measured(tmp_path: Path) -> None:
    """Every amount has its row, and every line that was appended was answered for."""
    said = measure("idle", tmp_path, "--files", "30", "--seconds", "0.5", "--settle", "0", "--marks", "2")
    (row,) = [line.split() for line in said.splitlines() if line.strip().startswith("30 ")]
    assert len(row) == 7


def test_sql_is_measured_in_a_ready_process_and_in_a_new_one(tmp_path: Path) -> None:
    """The counts that they answer agree."""
    said = measure("sql", tmp_path, "--lines", "500", "--times", "2")
    assert "POST /sql, a process was ready" in said
    assert "times sooner" in said


def test_hashing_and_the_import_of_many_files_are_measured(tmp_path: Path) -> None:
    """Beside `sha256sum`, and beside two processes; the same files again add nothing."""
    require_program("sha256sum", install="coreutils")
    assert "our hashing, 4 threads" in measure("verify", tmp_path, "--events", "2000", "--copies", "1")
    said = measure("history", tmp_path, "--files", "4", "--lines", "5")
    assert "4 sealed files of events" in said


def test_every_stage_of_ingest_has_its_time(tmp_path: Path) -> None:
    """The functions that are timed are still there, and what they take is most of what there is."""
    said = measure("stages", tmp_path, "--events", "3000")
    rows = {
        line.split("  ")[1].strip(): line.split()[-1] for line in said.splitlines() if line.startswith("  ")
    }
    assert {"from_json in DuckDB", "risk: habits", "sketches", "encode Parquet", "together"} <= set(rows)
    assert float(rows["encode Parquet"]) > 0


def test_a_backlog_is_measured(tmp_path: Path) -> None:
    """Until every event is answered."""
    said = measure("backlog", tmp_path, "--events", "3000")
    assert said.splitlines()[-1].split()[0] == "3,000"
