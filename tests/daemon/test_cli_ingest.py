"""`watchkeep ingest`: every line once, however often and under whatever name its file is given."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from daemon import cli
from daemon.binding import Binder
from daemon.command import Exit
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.bulk import Bulk
from storage.bulkimports import BulkImports
from storage.reader import read_snapshot, read_state
from storage.transform import Transformer
from storage.verify import Parts, verify
from storage.visible import Visible
from tests.storage.asking import rows


def _lines(start: int, count: int, day: str = "2026-11-20") -> str:
    """Some events whose text makes each file longer than what identifies it."""
    return "".join(
        json.dumps({"eventId": f"e{number}", "timestamp": f"{day}T10:00:00Z", "description": "x" * 200})
        + "\n"
        for number in range(start, start + count)
    )


def _ingest(
    capsys: pytest.CaptureFixture[str], archive: Path, *arguments: object
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = cli.main(["ingest", "--json", "--archive", str(archive), *map(str, arguments)])
    return code, json.loads(capsys.readouterr().out)


def _ids(archive: Path) -> Counter[str]:
    return Counter(row[0] for row in rows(archive, "SELECT event_id FROM events"))


def _expected(count: int) -> Counter[str]:
    return Counter({f"e{number}": 1 for number in range(count)})


def test_a_file_that_lost_its_end_adds_only_its_new_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same comparison as the daemon's: what is left of it is not read again."""
    log, archive = tmp_path / "app.log", tmp_path / "archive"
    log.write_text(_lines(0, 50))
    _ingest(capsys, archive, log)
    with log.open("r+") as file:  # the same inode
        file.truncate(len(_lines(0, 40)))
        file.seek(0, 2)
        file.write(_lines(50, 30))

    code, report = _ingest(capsys, archive, log)

    assert (code, report["counts"]["events"]) == (Exit.OK, 30)
    assert _ids(archive) == _expected(80)


def test_files_given_again_add_only_what_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same file, grown, renamed, copied whole and copied in part: each line is archived once."""
    log, archive = tmp_path / "app-2026-11-20.log", tmp_path / "archive"
    log.write_text(_lines(0, 50))
    code, report = _ingest(capsys, archive, log)
    assert (code, report["counts"]["events"], report["known_bytes"]) == (Exit.OK, 50, 0)
    log.write_text(_lines(0, 80))
    assert _ingest(capsys, archive, log)[1]["counts"]["events"] == 30
    renamed = log.rename(tmp_path / "app-2026-11-20.log.1")
    assert _ingest(capsys, archive, renamed)[1]["bytes"] == 0
    whole = shutil.copy(renamed, tmp_path / "copy.log")
    assert _ingest(capsys, archive, whole)[1]["bytes"] == 0
    part = tmp_path / "part.log"
    part.write_text(_lines(0, 20))
    code, report = _ingest(capsys, archive, part)
    assert (code, report["bytes"]) == (Exit.OK, 0)
    assert "repeats" in report["left_out"][0]["reason"]
    assert _ids(archive) == _expected(80)


def test_a_copy_that_went_on_adds_its_own_lines_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup that begins like an archived file is read from where that one ended."""
    log, archive = tmp_path / "a.log", tmp_path / "archive"
    log.write_text(_lines(0, 30))
    _ingest(capsys, archive, log)
    longer = tmp_path / "b.log"
    longer.write_text(_lines(0, 40))
    log.unlink()
    assert _ingest(capsys, archive, longer)[1]["counts"]["events"] == 10
    assert _ids(archive) == _expected(40)


def test_a_copy_beside_its_original_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both in one command: one is read, the other is named."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").write_text(_lines(0, 30))
    shutil.copy(logs / "a.log", logs / "b.log")
    code, report = _ingest(capsys, tmp_path / "archive", logs)
    assert (code, report["files"], report["counts"]["events"], len(report["left_out"])) == (Exit.OK, 1, 30, 1)


def test_every_line_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Events, rejects, blanks and lines over the limit add up to the lines of the file."""
    log = tmp_path / "a.log"
    long = json.dumps({"description": "x" * (2 << 20)})
    log.write_text(_lines(0, 5) + "not JSON\n\n" + long + "\n" + _lines(5, 5))
    code, report = _ingest(capsys, tmp_path / "archive", log)
    counts = report["counts"]
    assert code == Exit.OK
    assert (counts["events"], counts["rejects"], counts["blanks"], counts["oversize"]) == (10, 1, 1, 1)
    assert counts["lines"] == 13


def test_a_last_line_without_newline_waits_unless_the_file_is_final(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody may still be writing it."""
    log, archive = tmp_path / "a.log", tmp_path / "archive"
    log.write_text(_lines(0, 20) + _lines(20, 1).rstrip("\n"))
    _, report = _ingest(capsys, archive, log)
    assert report["counts"]["events"] == 20
    assert "no newline" in report["left_out"][0]["reason"]
    assert _ingest(capsys, archive, log, "--final")[1]["counts"]["lines"] == 1
    assert _ids(archive) == _expected(21)


def test_what_cannot_be_read_is_named_and_the_rest_is_archived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing, a broken and a misnamed compressed file cost exit code 1, not the other file."""
    good, broken, misnamed = tmp_path / "a.log", tmp_path / "b.log.gz", tmp_path / "c.log"
    good.write_text(_lines(0, 5))
    packed = gzip.compress(_lines(0, 5).encode())
    broken.write_bytes(packed[:-1])
    misnamed.write_bytes(packed)
    code, report = _ingest(capsys, tmp_path / "archive", good, broken, misnamed, tmp_path / "absent.log")
    assert (code, report["counts"]["events"]) == (Exit.FOUND, 5)
    assert [entry["reason"] for entry in report["left_out"]] == [
        "No such file or directory",
        f"ends after {len(packed) - 1} bytes, in the middle of its gzip data",
        "is compressed, but not named so: call it c.log.gz",
    ]


@pytest.mark.parametrize(
    ("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_a_compressed_file_is_read_as_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, compress: Callable[[bytes], bytes]
) -> None:
    """Before or after the plain one, in whole or in part: each line once."""
    archive, packed = tmp_path / "archive", tmp_path / f"app-2026-11-20.log{ending}"
    packed.write_bytes(compress(_lines(0, 50).encode()))
    code, report = _ingest(capsys, archive, packed)
    assert (code, report["counts"]["events"]) == (Exit.OK, 50)
    plain = tmp_path / "plain.log"
    plain.write_text(_lines(0, 50))
    assert _ingest(capsys, archive, plain)[1]["counts"]["events"] == 0
    packed.write_bytes(compress(_lines(0, 80).encode()))
    assert _ingest(capsys, archive, packed)[1]["counts"]["events"] == 30
    packed.write_bytes(compress(_lines(0, 20).encode()))
    assert _ingest(capsys, archive, packed)[1]["counts"]["events"] == 0
    assert _ids(archive) == _expected(80)


def test_folders_are_searched_by_the_patterns_and_days_come_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names are those the daemon would give, below the folder."""
    deep = tmp_path / "logs" / "shop"
    deep.mkdir(parents=True)
    (deep / "app-2026-11-21.log").write_text(_lines(10, 10, "2026-11-21"))
    (deep / "app-2026-11-20.log").write_text(_lines(0, 10))
    archive = tmp_path / "archive"
    assert _ingest(capsys, archive, tmp_path / "logs")[0] == Exit.OK
    statement = "SELECT source_file, min(seq) FROM events GROUP BY 1 ORDER BY 2"
    found = [row[0] for row in rows(archive, statement)]
    assert found == ["shop/app-2026-11-20.log", "shop/app-2026-11-21.log"]
    assert {os.path.basename(path.parent) for path in (archive / "events").glob("*/*.parquet")} == {
        "date=2026-11-20",
        "date=2026-11-21",
    }


def test_beside_a_running_daemon_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One process writes an archive."""
    log, archive = tmp_path / "a.log", tmp_path / "archive"
    log.write_text(_lines(0, 5))
    holder = Archive.open(ArchiveOptions(path=str(archive)))
    try:
        assert cli.main(["ingest", str(log), "--archive", str(archive)]) == Exit.ARCHIVE
    finally:
        holder.close()
    assert "stop it for that time" in capsys.readouterr().err


def test_an_unknown_profile_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is opened."""
    assert cli.main(["ingest", "x.log", "--profile", "nativ", "--archive", str(tmp_path / "a")]) == Exit.USAGE
    assert "fastnext" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_what_a_compressed_file_holds_is_verified_against_the_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file that was read is still there: its bytes are compared as they were read."""
    archive, packed = tmp_path / "archive", tmp_path / "app-2026-11-20.log.gz"
    packed.write_bytes(gzip.compress(_lines(0, 50).encode()))
    _ingest(capsys, archive, packed)
    outcomes = []
    for content in (gzip.compress(_lines(0, 50).encode(), 1), gzip.compress(_lines(1, 50).encode()), b"no"):
        packed.write_bytes(content)
        code = cli.main(["verify", "--json", "--archive", str(archive)])
        report = json.loads(capsys.readouterr().out)
        outcomes.append((code, report["sources_checked"], [f["kind"] for f in report["findings"]]))
    assert outcomes == [(Exit.OK, 1, []), (Exit.FOUND, 1, ["SOURCE"]), (Exit.FOUND, 1, ["SOURCE"])]


def test_many_small_files_cost_few_records_and_little_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Years of daily files: one sealed file a day, a record for thousands of sources, few files open at once."""
    logs, archive = tmp_path / "logs", tmp_path / "archive"
    logs.mkdir()
    first = date(2024, 1, 1)
    for number in range(120):
        day = str(first + timedelta(days=number))
        (logs / f"app-{day}.log").write_text(_lines(number * 3, 3, day))
    code, report = _ingest(capsys, archive, logs)
    assert (code, report["files"], report["counts"]["events"]) == (Exit.OK, 120, 360)
    assert _committed(archive) == _expected(360)
    sealed = list((archive / "events").glob("*/*.parquet"))
    assert len(sealed) == 120
    records = b"".join(part.read_bytes() for part in (archive / "nodes/main/ledger").iterdir()).splitlines()
    assert len(records) < 5
    state = read_state(str(archive), "main")
    assert len(state.sources) == 120
    assert sum(source.counts.events for source in state.sources.values()) == 360
    assert verify(str(archive), parts=Parts(rollups=True)).findings == []
    assert _ingest(capsys, archive, logs)[1]["bytes"] == 0


def test_any_order_any_name_and_any_time_add_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Halves before wholes, after a seal and a drop, under other names, from another folder."""
    logs, other, archive = tmp_path / "logs", tmp_path / "restored", tmp_path / "archive"
    logs.mkdir()
    days = [f"2024-03-{number:02d}" for number in range(1, 9)]
    whole = {day: _lines(10 * i, 10, day) for i, day in enumerate(days)}
    for day in days[4:]:
        (logs / f"{day}.log").write_text(whole[day])
    _ingest(capsys, archive, logs)
    half = whole[days[0]][: len(whole[days[0]]) // 2]
    half = half[: half.rindex("\n") + 1]
    (logs / f"{days[0]}.log").write_text(half)
    _ingest(capsys, archive, logs / f"{days[0]}.log")
    for day in reversed(days):
        (logs / f"{day}.log").write_text(whole[day])
    _ingest(capsys, archive, *(logs / f"{day}.log" for day in reversed(days)))
    assert _committed(archive) == _expected(80)
    holder = Archive.open(ArchiveOptions(path=str(archive)))
    holder.drop("2024-03-03", dry_run=False)
    holder.close()
    kept = Counter({f"e{number}": 1 for number in range(20, 80)})
    assert _committed(archive) == kept
    shutil.copytree(logs, other)
    for path in sorted(other.iterdir()):
        path.rename(other / f"backup-{path.name}")
    assert _ingest(capsys, archive, logs, other)[1]["bytes"] == 0
    shutil.rmtree(logs)
    assert _ingest(capsys, archive, other)[1]["bytes"] == 0
    assert _committed(archive) == kept
    assert verify(str(archive)).findings == []


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (Transformer, "parse"),
        (Visible, "accept"),
        (Bulk, "add"),
        (Bulk, "flush"),
        (BulkImports, "commit"),
        (Binder, "reconcile"),
    ],
)
def test_ctrl_c_at_any_step_leaves_whole_batches(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
) -> None:
    """Rows and the ranges that claim them are committed together or not at all; the same command adds what is missing."""
    log, archive = tmp_path / "app-2026-11-20.log", tmp_path / "archive"
    log.write_text(_lines(0, 40) + "no JSON\n")
    real = getattr(owner, step)

    def pressed(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(owner, step, pressed)
    code, report = _ingest(capsys, archive, log)
    monkeypatch.undo()
    assert (code, report["interrupted"]) == (Exit.INTERRUPTED, True)
    assert verify(str(archive)).findings == []

    assert _ingest(capsys, archive, log)[0] == Exit.OK
    assert _committed(archive) == _expected(40)
    assert sum(file.rows for file in read_snapshot(str(archive)).rejects) == 1
    assert verify(str(archive)).findings == []


def test_a_second_ctrl_c_ends_it_as_a_kill_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, with nothing of what was not committed; the lines are read again by the same command."""
    log, archive = tmp_path / "app-2026-11-20.log", tmp_path / "archive"
    log.write_text(_lines(0, 40))
    real = Visible.accept

    def pressed(*arguments: Any) -> None:
        real(*arguments)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Visible, "accept", pressed)
    assert cli.main(["ingest", "--archive", str(archive), str(log)]) == Exit.INTERRUPTED
    monkeypatch.undo()
    assert read_state(str(archive), "main").sources == {}
    capsys.readouterr()
    assert _ingest(capsys, archive, log)[1]["counts"]["events"] == 40
    assert _committed(archive) == _expected(40)
    assert verify(str(archive)).findings == []


def test_the_archive_itself_is_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon wrote of itself does not come back as an application's, also from a folder above."""
    logs, archive = tmp_path / "logs", tmp_path / "archive"
    logs.mkdir()
    (logs / "a.log").write_text(_lines(0, 30))
    _ingest(capsys, archive, logs)
    own = archive / "nodes" / "main" / "self" / "2026-11-20.jsonl"
    own.parent.mkdir(exist_ok=True)
    own.write_text(_lines(30, 10))
    link = tmp_path / "link.log"
    link.symlink_to(own)
    for given, code in ((archive, Exit.FOUND), (own, Exit.FOUND), (link, Exit.FOUND), (tmp_path, Exit.OK)):
        ended, report = _ingest(capsys, archive, given)
        assert (ended, report["bytes"]) == (code, 0), given
        assert "lie in the archive" in report["left_out"][0]["reason"]
    assert _committed(archive) == _expected(30)


def test_a_name_that_is_no_text_is_spelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In reports of the import and of the doctor; the file is read like any other."""
    archive, logs = tmp_path / "archive", os.fsencode(tmp_path / "logs")
    os.mkdir(logs)
    name = os.path.join(logs, b"caf\xe9.jsonl")
    with open(name, "w") as file:
        file.write(_lines(0, 30))
    code, report = _ingest(capsys, archive, os.fsdecode(logs), os.fsdecode(name + b".gone"))
    assert (code, report["counts"]["events"]) == (Exit.FOUND, 30)
    assert report["left_out"][0]["path"].endswith("caf\\xe9.jsonl.gone")
    (tmp_path / "config.toml").write_text('[logs]\ndirectories = ["logs"]\n[web]\nport = 0\n')
    asked = ["doctor", "--json", "--config", str(tmp_path / "config.toml"), "--archive", str(archive)]
    assert cli.main(asked) == Exit.OK
    (sample,) = json.loads(capsys.readouterr().out)["samples"]
    assert (sample["path"], sample["counts"]["events"]) == (f"{tmp_path}/logs/caf\\xe9.jsonl", 30)


def test_a_folder_of_which_nothing_is_read_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its names do not fit; and no name at all is not the working folder."""
    logs, archive = tmp_path / "logs", tmp_path / "archive"
    logs.mkdir()
    (logs / "app.txt").write_text(_lines(0, 30))
    code, report = _ingest(capsys, archive, logs)
    assert (code, report["files"]) == (Exit.FOUND, 0)
    assert "[logs] include" in report["left_out"][0]["reason"]
    assert _ingest(capsys, archive, logs / "app.txt")[1]["counts"]["events"] == 30
    (logs / "app.log").write_text(_lines(30, 30))
    monkeypatch.chdir(logs)
    code, report = _ingest(capsys, archive, "")
    assert (code, report["files"]) == (Exit.FOUND, 0)
    assert report["left_out"][0]["reason"] == "No such file or directory"


def _committed(archive: Path) -> Counter[str]:
    """Return how often each event is in the committed files."""
    files = [str(archive / file.path) for file in read_snapshot(str(archive)).events]
    return Counter(
        row[0] for row in duckdb.execute("SELECT event_id FROM read_parquet($1)", [files]).fetchall()
    )
