"""`watchkeep sql`: answers over a real archive, and what a statement cannot do."""

import csv
import errno
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon import cli
from daemon.command import Exit
from storage.adhoc import Limits
from storage.errors import DeadlineError, QueryError
from tests.storage.asking import rows
from tests.support import ROOT, require


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with two events and one rejected line, made by `watchkeep ingest`."""
    folder = tmp_path_factory.mktemp("sql")
    log = folder / "logs" / "app-2026-11-20.log"
    log.parent.mkdir()
    lines = [
        {"eventId": "a", "timestamp": "2026-11-20T10:00:00Z", "level": "info", "description": "=1+1"},
        {"eventId": "b", "timestamp": "2026-11-20T10:00:01Z", "level": "error", "user": {"id": 7}},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + "not JSON\n")
    assert cli.main(["ingest", str(log), "--archive", str(folder / "archive")]) == Exit.OK
    return folder / "archive"


def _rows(archive: Path, statement: str, *, deadline: float = 30, confined: bool = True) -> list[Any]:
    return rows(archive, statement, deadline=deadline, limits=Limits(128, 1, confined))


def test_rows_come_as_json_lines_in_a_pipe(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a row; times as RFC 3339; names that repeat are told apart."""
    statement = "SELECT event_id, timestamp, 1 AS event_id, 'nan'::DOUBLE AS x FROM events ORDER BY seq"
    assert cli.main(["sql", statement, "--archive", str(archive)]) == Exit.OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == {
        "event_id": "a",
        "timestamp": "2026-11-20T10:00:00.000000Z",
        "event_id_2": 1,
        "x": None,
    }
    assert [row["event_id"] for row in rows] == ["a", "b"]


def test_a_table_and_csv_can_be_asked_for(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells that a spreadsheet would run are marked as text."""
    statement = "SELECT event_id, description FROM events ORDER BY seq"
    cli.main(["sql", statement, "--format", "table", "--archive", str(archive)])
    assert capsys.readouterr().out.splitlines() == ["event_id  description", "a         =1+1", "b"]
    cli.main(["sql", statement, "--format", "csv", "--archive", str(archive)])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [["event_id", "description"], ["a", "'=1+1"], ["b", ""]]


def test_rejected_lines_are_a_view_too(archive: Path) -> None:
    """What could not be parsed is there to be looked at."""
    ((count, length),) = _rows(archive, "SELECT count(*), max(length) FROM rejects")
    assert (count, length) == (1, len("not JSON"))


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '{archive}/x.csv'",
        "COPY (SELECT 1) TO '{archive}/x.csv' (use_tmp_file false)",
        "WITH t AS (COPY (SELECT 1) TO '{archive}/x.csv' (use_tmp_file false)) SELECT * FROM t",
        "COPY events TO '{archive}/watchkeep.sql' (FORMAT csv, use_tmp_file false)",
        "ATTACH '{archive}/x.duckdb'",
        "EXPORT DATABASE '{archive}/x'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM read_csv('{archive}/../logs/app-2026-11-20.log')",
        "SELECT * FROM glob('/*')",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM 'https://127.0.0.1:1/x.parquet'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM os",
    ],
)
def test_a_statement_can_write_nothing_and_read_nothing_else(archive: Path, statement: str) -> None:
    """Every known way out is refused, and the archive's files are as before."""
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    with pytest.raises(QueryError):
        _rows(archive, statement.format(archive=archive))
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before


def _confined(work: str, folder: Path) -> str:
    """Do ``work`` in a process that may read below ``folder`` only; returns what became of it."""
    script = (
        f"import os, socket, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from storage import sandbox\nfolder = {str(folder)!r}\nsandbox.confine([folder])\n"
        f"try:\n    {work}\nexcept PermissionError: print('refused')\nelse: print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "work",
    [
        "open(folder + '/new', 'w')",
        "open(folder + '/old', 'a')",
        "os.truncate(folder + '/old', 0)",
        "os.unlink(folder + '/old')",
        "os.mkdir(folder + '/sub')",
        "os.rename(folder + '/old', folder + '/other')",
        "open('/etc/hostname')",
        "os.execv('/bin/true', ['true'])",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.kill(os.getppid(), 0)",
    ],
)
def test_the_kernel_itself_refuses(tmp_path: Path, work: str) -> None:
    """Without DuckDB's help: a confined process reads below the folders it was given, and that is all."""
    (tmp_path / "old").write_text("kept")
    assert _confined("assert open(folder + '/old').read() == 'kept'", tmp_path) == "done"
    assert _confined(work, tmp_path) == "refused"
    assert (tmp_path / "old").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_statement_that_takes_too_long_is_killed(archive: Path) -> None:
    """Work that DuckDB would not interrupt ends with its process."""
    with pytest.raises(DeadlineError, match="longer than 1 s"):
        _rows(archive, "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b", deadline=1)


def test_a_statement_that_takes_too_much_memory_is_stopped(archive: Path) -> None:
    """Functions that ignore DuckDB's own limit meet the process's."""
    with pytest.raises(DeadlineError, match="memory"):
        _rows(archive, "SELECT length(repeat('x', 4000000000))")


def test_mistakes_are_told_and_cost_exit_code_1(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DuckDB's own words, with the place."""
    assert cli.main(["sql", "SELEC 1", "--archive", str(archive)]) == Exit.FOUND
    assert "syntax error" in capsys.readouterr().err


def test_no_archive_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is created by asking."""
    assert cli.main(["sql", "SELECT 1", "--archive", str(tmp_path / "none")]) == Exit.ARCHIVE
    assert "there is no archive" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_secrets_of_the_environment_stay_outside(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process starts with an empty environment."""
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(QueryError):
        _rows(archive, "SELECT getenv('SECRET')")
    with pytest.raises(QueryError):
        _rows(archive, "SELECT * FROM read_text('/proc/self/environ')", confined=False)


def test_a_file_appears_when_its_answer_is_complete(archive: Path, tmp_path: Path) -> None:
    """Arrow and Parquet hold DuckDB's own types; a mistake leaves no file, and no half of one."""
    parquet, arrow = tmp_path / "x.parquet", tmp_path / "x.arrow"
    command = ["sql", "SELECT event_id, timestamp FROM events ORDER BY seq", "--archive", str(archive)]
    assert cli.main([*command, "--format", "parquet", "--output", str(parquet)]) == Exit.OK
    assert cli.main([*command, "--format", "arrow", "--output", str(arrow)]) == Exit.OK
    table = pq.read_table(parquet)
    assert table["event_id"].to_pylist() == ["a", "b"]
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    with pa.OSFile(str(arrow), "rb") as source:
        assert pa.ipc.open_stream(source).read_all().equals(table)
    wrong = ["sql", "SELECT event_id, error('no') FROM events", "--archive", str(archive)]
    assert cli.main([*wrong, "--output", str(tmp_path / "none")]) == Exit.FOUND
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.arrow", "x.parquet"]


def test_values_are_given_apart(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value never becomes SQL; one without a name is a mistake of the command line."""
    statement = "SELECT event_id FROM events WHERE event_id = $id"
    command = ["sql", statement, "--archive", str(archive), "--format", "csv"]
    assert cli.main([*command, "--param", "id=b' OR ''='"]) == Exit.OK
    assert capsys.readouterr().out == '"event_id"\n'
    assert cli.main([*command, "--param", "id=b"]) == Exit.OK
    assert capsys.readouterr().out == '"event_id"\n"b"\n'
    assert cli.main([*command, "--param", "b"]) == Exit.USAGE
    assert cli.main([*command, "--deadline", "100000"]) == Exit.USAGE
    assert "grace_seconds" in capsys.readouterr().err


def test_a_process_that_cannot_start_is_no_lack_of_memory(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an interpreter that has no DuckDB: what is missing is said, and the exit code is another one."""
    # The interpreter below this environment.
    bare = Path(sys.base_prefix) / "bin" / "python3"
    missing = subprocess.run([bare, "-P", "-c", "import duckdb"], capture_output=True, check=False)
    require(bare.exists() and missing.returncode == 1, "an interpreter without DuckDB")
    monkeypatch.setattr(sys, "executable", str(bare))
    assert cli.main(["sql", "SELECT 1", "--archive", str(archive)]) == Exit.UNREACHABLE
    said = capsys.readouterr().err
    assert "could not be started" in said
    assert "exit code 1: ModuleNotFoundError" in said
    assert "memory" not in said


LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture


def test_without_a_sandbox_nothing_is_run_unless_asked_for(archive: Path) -> None:
    """On a kernel that has no Landlock a statement is refused with the way out, and --unsafe takes it."""
    command = [
        sys.executable,
        "-m",
        "tests.storage.refusing",
        str(errno.ENOSYS),
        str(LANDLOCK_CREATE_RULESET),
    ]
    command += ["sql", "SELECT 1 AS x", "--archive", str(archive)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert refused.returncode == Exit.UNREACHABLE
    assert "offers no Landlock" in refused.stderr
    assert "--unsafe" in refused.stderr
    unsafe = subprocess.run([*command, "--unsafe"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (unsafe.returncode, unsafe.stdout) == (Exit.OK, '{"x":1}\n')
