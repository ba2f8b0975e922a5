"""What is measured beside us: the table, its warnings, and the large archives that are grown for it."""

import subprocess
import sys
from pathlib import Path

import duckdb

from benchmarks.compare import Measured, differences
from benchmarks.peers import FACETS, VictoriaLogs, Wanted
from storage.verify import verify
from tests.support import ROOT

WANTED = Wanted("an-event", "a-request", 1_795_305_600_000_000, 49_950, 50)


def run(part: str, data: Path, *arguments: str) -> str:
    """Run one part with what it makes below ``data``; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", part, "--data", str(data), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_engines_answer_the_same_and_archives_grow(tmp_path: Path) -> None:
    """Every question has its row and no engine counts otherwise; a grown archive is a real one."""
    said = run("compare", tmp_path, "--events", "2000", "--times", "1")
    rows = [line.split()[0] for line in said[said.index("Queries over") :].splitlines() if line.strip()]
    assert {*"abcdefghiklm", "peak"} <= set(rows)
    assert "SQLite FTS5" in said
    assert "warning" not in said
    run("grow", tmp_path, "--from", "2000", "--events", "6000", "--files-a-day", "2")
    grown = tmp_path / "archive-6000"
    found = duckdb.execute(
        f"SELECT count(*), count(DISTINCT event_id), count(DISTINCT timestamp::DATE), count(DISTINCT filename) "
        f"FROM read_parquet('{grown}/events/*/*.parquet', filename = true)"
    ).fetchall()
    assert found == [(6000, 6000, 21, 42)]
    assert verify(str(grown)).findings == []


def test_different_numbers_of_rows_are_told() -> None:
    """Engines that disagree are named; what cannot be compared is not."""
    found = {
        "one": Measured({}, {"a": 50, "d": None, "h": 11}),
        "two": Measured({}, {"a": 50, "d": 40, "h": 10}),
    }
    assert differences(found) == ["h has different numbers of rows: one 11, two 10"]


def test_every_question_has_its_logsql() -> None:
    """The texts for VictoriaLogs name the values, the page and every field."""
    texts = VictoriaLogs(1, WANTED).texts()
    assert set(texts) == set("abcdefghikm")
    assert texts["c"] == ('event_id:="an-event"',)
    assert texts["k"] == ("* | sort by (_time desc) offset 49950 limit 50",)
    assert [text.split("(")[1].split(")")[0] for text in texts["i"]] == list(FACETS)
