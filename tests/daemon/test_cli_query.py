"""`query`, `export`, `stats`, `tail`, `seal`, `cleanup`, `verify`, `doctor`: the same answers with and without a daemon."""

import csv
import gzip
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon import cli, overhttp, resuming
from daemon.command import CommandError, Exit
from daemon.control import call
from parsers.entityrisk import LEAST_EVENT_POINTS
from storage.layout import Layout
from tests.support import ROOT

START_SECONDS = 40
LEVELS = ("debug", "info", "warning", "error", "critical")


def _event(number: int) -> dict[str, Any]:
    return {
        "eventId": f"e{number}",
        "timestamp": f"2026-11-20T10:{number // 60:02d}:{number % 60:02d}Z",
        "level": LEVELS[number % 5],
        "action": "read",
        "user": {"id": number % 3, "username": f"user{number % 3}"},
        "description": f"event {number} \u202egnp.exe\x9b31m",
    }


EVENTS = [_event(number) for number in range(60)]


def _write(log: Path, events: list[dict[str, Any]]) -> None:
    with log.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


class Done(NamedTuple):
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Place:
    """An archive and its log folder, and the commands over it."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self.archive = folder / "archive"
        self.logs.mkdir()
        self.log = self.logs / "app-2026-11-20.log"
        _write(self.log, EVENTS)
        with self.log.open("a") as file:
            file.write("not JSON\n")
        self.environ = {
            "WATCHKEEP__LOGS__DIRECTORIES": str(self.logs),
            "WATCHKEEP__ARCHIVE__PATH": str(self.archive),
            "WATCHKEEP__WEB__PORT": "0",
        }

    def run(self, *arguments: str) -> Done:
        """Run a command in this process, which has imported everything already."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            code = cli.main(arguments)
            out.flush()
        return Done(code, out.buffer.getvalue().decode(), err.getvalue())

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.run(*arguments)
        assert done.returncode == Exit.OK, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def socket(self) -> str:
        return Layout(str(self.archive), "main").control_socket


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archive made by `ingest`; no daemon runs."""
    place = Place(tmp_path_factory.mktemp("files"))
    assert place.run("ingest", str(place.logs)).returncode == Exit.OK
    return place


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The same archive with a daemon that runs."""
    place = Place(tmp_path_factory.mktemp("daemon"))
    command = [sys.executable, str(ROOT / "watchkeep.py"), "serve"]
    process = subprocess.Popen(command, env={**os.environ, **place.environ}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                call(place.socket, "POST", "/flush", seconds=START_SECONDS)
                break
            except (FileNotFoundError, ConnectionError):
                assert process.poll() is None, "the daemon did not start"
                assert time.monotonic() < deadline, "the daemon does not answer"
                time.sleep(0.1)
        yield place
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0


@pytest.fixture(params=["files", "daemon"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both, one after the other."""
    found: Place = request.getfixturevalue(request.param)
    return found


def test_events_come_newest_first_with_every_filter_of_the_api(place: Place) -> None:
    """The default is one page; a limit follows the pages; excluded values stay out."""
    assert [row["eventId"] for row in place.rows("query")] == [f"e{n}" for n in range(59, 9, -1)]
    assert len(place.rows("query", "--limit", "1000")) == len(EVENTS)
    wanted = [f"e{n}" for n in range(59, -1, -1) if n % 5 in {3, 4} and n % 3 != 2]
    found = place.rows("query", "--level", "error", "--level", "critical", "--user-id", "!2")
    assert [row["eventId"] for row in found] == wanted
    searched = place.rows("query", "--q", "level:>=error -user.id:2 timestamp:<2030-01-01")
    assert [row["eventId"] for row in searched] == wanted
    exported = place.run("export", "--q", "level:>=error", "--user-id", "!2").stdout.splitlines()
    assert [json.loads(line)["eventId"] for line in exported] == wanted
    since = place.rows("query", "--since", "2026-11-20T10:00:58Z")
    assert [row["eventId"] for row in since] == ["e59", "e58"]


def test_one_event_and_the_rejects_can_be_asked_for(place: Place) -> None:
    """An id that is not there is exit code 1; a rejected line says why."""
    (event,) = place.rows("query", "--id", "e7")
    assert event["description"] == EVENTS[7]["description"]
    missing = place.run("query", "--id", "nope")
    assert (missing.returncode, missing.stdout) == (Exit.FOUND, "")
    (reject,) = place.rows("query", "--rejects")
    assert reject["raw"] == "not JSON"
    assert "JSON" in reject["reason"]


def test_a_value_that_cannot_be_used_is_a_mistake_of_the_command_line(place: Place) -> None:
    """Exit code 2, and the option's name."""
    for option, value in (
        ("--level", "loud"),
        ("--ip", "nowhere"),
        ("--start-date", "someday"),
        ("--q", "levl:error"),
    ):
        done = place.run("query", option, value)
        assert done.returncode == Exit.USAGE, done.stderr
        assert option in done.stderr
    done = place.run("query", "--q", "levl:error")
    assert "at character 0: there is no field levl" in done.stderr
    assert "did you mean level?" in done.stderr


def test_exports_hold_everything_and_appear_when_they_are_whole(place: Place, tmp_path: Path) -> None:
    """A file has its name only at the end; a pipe gets the same bytes."""
    target = tmp_path / "all.ndjson"
    done = place.run("export", "--output", str(target), "--json")
    assert json.loads(done.stdout)["events"] == len(EVENTS)
    assert [path.name for path in tmp_path.iterdir()] == ["all.ndjson"]
    assert len(target.read_text().splitlines()) == len(EVENTS)
    assert place.run("export").stdout == target.read_text()
    table = place.run("export", "--format", "csv", "--limit", "3").stdout
    assert table.startswith("eventId,")


def test_exports_have_columns_fields_and_compression_with_and_without_a_daemon(
    place: Place, tmp_path: Path
) -> None:
    """Parquet and Arrow hold what the list holds; a compressed file is the plain one packed; fields are chosen."""
    newest = [f"e{n}" for n in range(59, -1, -1)]
    target = tmp_path / "all"
    done = place.run("export", "--format", "parquet", "-o", str(target), "--manifest", "--json")
    assert done.returncode == Exit.OK, done.stderr
    assert json.loads(done.stdout)["events"] == len(EVENTS)
    assert pq.read_table(target)["event_id"].to_pylist() == newest
    stream = tmp_path / "some.arrow"
    place.run(
        "export", "--format", "arrow", "--fields", "event_id,seq", "--level", "error", "-o", str(stream)
    )
    with pa.ipc.open_stream(stream.read_bytes()) as rows:
        assert rows.schema.names == ["event_id", "seq"]
        assert rows.read_all()["event_id"].to_pylist() == [name for name in newest if int(name[1:]) % 5 == 3]
    packed = tmp_path / "all.csv.gz"
    done = place.run(
        "export", "--format", "csv", "--compress", "gzip", "-o", str(packed), "--manifest", "--json"
    )
    assert json.loads(done.stdout)["events"] == len(EVENTS)
    assert gzip.decompress(packed.read_bytes()).decode() == place.run("export", "--format", "csv").stdout
    for wrong in (("--format", "parquet", "--compress", "zstd"), ("--fields", "levl")):
        assert place.run("export", *wrong, "-o", str(tmp_path / "no")).returncode == Exit.USAGE
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("no")]


class Cutting:
    """Stands before a daemon and cuts the first answers off after some bytes."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._port = port
        self.cuts = cuts
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._server.accept()
            with client, socket.create_connection(("127.0.0.1", self._port)) as behind:
                # Not kept open behind the answer: whoever comes next would wait for that.
                behind.sendall(client.recv(65_536).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                left = self.cuts.pop(0) if self.cuts else None
                while data := behind.recv(4_096 if left is None else min(left, 4_096)):
                    client.sendall(data)
                    left = None if left is None else left - len(data)
                    if left == 0:
                        break


def test_a_download_that_breaks_off_goes_on_where_it_was(
    daemon: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet arrives whole over a connection that breaks twice; the other formats say that they broke off."""
    monkeypatch.setattr(resuming, "RESUME_PAUSES", (0.01, 0.01))
    port = urllib.parse.urlsplit(call(daemon.socket, "GET", "/status", seconds=START_SECONDS)["url"]).port
    assert port is not None

    def lend() -> str:
        token: str = call(daemon.socket, "POST", "/keys/lend", {"author": "test"})["token"]
        return token

    asked = {"start_date": ["-3650d"], "fields": ["event_id,description"]}
    straight = overhttp.Daemon(f"http://127.0.0.1:{port}", 50, lend)
    whole = b"".join(straight.export(asked, "parquet"))
    broken = Cutting(port, [1_500, 1_500])
    far = overhttp.Daemon(broken.url, 50, lend)
    assert b"".join(far.export(asked, "parquet")) == whole
    assert broken.cuts == []
    assert pq.read_table(io.BytesIO(whole)).num_rows == len(EVENTS)
    broken.cuts = [1_500]
    with pytest.raises(CommandError, match="broke off"):
        list(far.export(asked, "ndjson"))


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
def test_everything_about_one_person_comes_with_a_manifest(place: Place, tmp_path: Path, form: str) -> None:
    """Every event by them (and the daemon's own about them), and nobody else's; the manifest proves what was given."""
    target = tmp_path / f"user1.{form}"
    done = place.run("export", "--subject", "user1", "--format", form, "--output", str(target), "--json")
    assert done.returncode == Exit.OK, done.stderr
    text = target.read_text()
    if form == "csv":
        found = [row["eventId"] for row in csv.DictReader(io.StringIO(text))]
    else:
        found = [
            row["eventId"]
            for row in (json.loads(text) if form == "json" else map(json.loads, text.splitlines()))
        ]
    own = [f"e{n}" for n in range(59, -1, -1) if n % 3 == 1]
    assert [event_id for event_id in found if event_id.startswith("e") and len(event_id) < 4] == own
    manifest = json.loads((tmp_path / f"user1.{form}.manifest.json").read_text())
    assert manifest["rows"] == len(found) == json.loads(done.stdout)["events"]
    assert manifest["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert manifest["bytes"] == target.stat().st_size
    assert manifest["filter"] == {"subject": ["user1"], "internal": ["true"]}
    assert manifest["ledger"]["record"] > 0
    assert len(manifest["ledger"]["head"]) == 64
    nobody = tmp_path / f"nobody.{form}"
    place.run("export", "--subject", "nobody at all", "--format", form, "--output", str(nobody))
    assert json.loads((tmp_path / f"nobody.{form}.manifest.json").read_text())["rows"] == 0
    assert place.run("export", "--subject", "user1").returncode == Exit.USAGE  # nothing to describe


def test_storage_tells_days_files_and_what_waits(place: Place) -> None:
    """What an import sealed is listed by day; beside a daemon the same rows are live, and its questions are counted."""
    (found,) = place.rows("stats", "storage")
    sealed = sum(day["rows"] for day in found["days"])
    assert sealed + found["live_rows"] + found["hot_rows"] >= len(EVENTS)
    assert found["bytes"] > 0
    for day in found["days"]:
        assert day["files"] or day["reject_bytes"], "a day without events has lines that are none"
        assert (day["row_groups"] > 0) == (day["rows"] > 0)
    if (place.archive / "nodes/main/control.sock").exists():
        place.rows("query", "--level", "error")
        (found,) = place.rows("stats", "storage", "--days", "1")
        assert found["recent_questions"]["questions"] > 0
    text = place.run("stats", "storage").stdout
    assert text.startswith("{"), "a pipe gets JSON"


def test_figures_add_up(place: Place) -> None:
    """Counts by level over a range are those of the lines."""
    (figures,) = place.rows("stats", "--since", "2026-11-20", "--until", "2026-11-20")
    assert figures["totals"] == {"events": 60, "users": 3}
    assert figures["byLevel"] == dict.fromkeys(LEVELS, 12)
    (found,) = place.rows("stats", "risk", "--since", "2026-11-20", "--until", "2026-11-20")
    events = place.rows("query", "--since", "2026-11-20", "--until", "2026-11-20", "--limit", "100")
    risky = [event["user"]["username"] for event in events if event["riskScore"] >= LEAST_EVENT_POINTS]
    assert {user["username"]: user["contributing"] for user in found["riskyUsers"]} == Counter(risky)


def test_the_archive_can_be_sealed_cleaned_and_verified(place: Place) -> None:
    """Beside the daemon its socket is asked, otherwise the lock is taken; listing removes nothing."""
    assert place.run("seal").returncode == Exit.OK
    listed = json.loads(place.run("cleanup", "--days", "7", "--json").stdout)
    assert listed["dry_run"] is True
    assert place.run("cleanup", "--days", "3").returncode == Exit.USAGE
    ages = place.run("cleanup", "--days", "99999999999", "--json")  # before there was a calendar
    assert (ages.returncode, json.loads(ages.stdout)["rows"]) == (Exit.OK, 0)
    report = json.loads(place.run("verify", "--json").stdout)
    assert report["ok"], report["findings"]
    assert len(place.rows("query", "--limit", "1000")) == len(EVENTS)


def test_doctor_finds_nothing_wrong_here(place: Place) -> None:
    """It reads the same folders and says which profile fits the lines."""
    report = json.loads(place.run("doctor", "--json").stdout)
    found = {(check["check"], check["state"]) for check in report["checks"]}
    assert ("log folder", "ok") in found
    assert ("archive", "ok") in found
    (sample,) = report["samples"]
    assert (sample["profile"], sample["counts"]["events"]) == ("native", len(EVENTS))
    assert sample["bad"][0]["text"] == "not JSON"


def test_new_events_are_printed_as_they_appear(daemon: Place) -> None:
    """`tail` begins with the newest and goes on with what comes."""
    command = [sys.executable, str(ROOT / "watchkeep.py"), "tail", "-n", "1"]
    environ = {**os.environ, **daemon.environ}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["eventId"] == "e59"
            _write(daemon.logs / "other.log", [{**_event(61), "eventId": "late", "level": "critical"}])
            assert json.loads(process.stdout.readline())["eventId"] == "late"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(START_SECONDS) == Exit.OK


def test_without_a_daemon_tail_ends(files: Place) -> None:
    """Nothing new can come, and it says so."""
    done = files.run("tail", "--lines", "2")
    assert [json.loads(line)["eventId"] for line in done.stdout.splitlines()] == ["e58", "e59"]
    assert "no daemon runs" in done.stderr


def test_a_folder_that_is_missing_fails_the_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and what to do."""
    file = tmp_path / "config.toml"
    file.write_text('[logs]\ndirectories = ["absent"]\n[web]\nport = 0\n')
    assert cli.main(["doctor", "--config", str(file), "--archive", str(tmp_path / "archive")]) == Exit.FOUND
    assert f"mkdir -p {tmp_path}/absent" in capsys.readouterr().out


def test_a_log_file_that_cannot_be_read_is_a_finding_of_the_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no end of it: everything else is examined, and the files that can be read are sampled."""
    file, logs = tmp_path / "config.toml", tmp_path / "logs"
    logs.mkdir()
    _write(logs / "open.log", EVENTS)
    _write(logs / "closed.log", EVENTS)
    file.write_text('[logs]\ndirectories = ["logs"]\n[web]\nport = 0\n')
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not os.fsencode(path).endswith(b"closed.log") and real(path, mode)
    )
    asked = ["doctor", "--json", "--config", str(file), "--archive", str(tmp_path / "archive")]
    assert cli.main(asked) == Exit.FOUND
    report = json.loads(capsys.readouterr().out)
    assert f"{logs}/closed.log cannot be read" in [check["what"] for check in report["checks"]]
    assert [sample["path"] for sample in report["samples"]] == [f"{logs}/open.log"]


def test_the_doctor_warns_of_a_node_whose_name_was_changed(
    files: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a new name the daemon reads every log file again."""
    monkeypatch.setenv("WATCHKEEP__ARCHIVE__NODE", "mian")
    done = files.run("doctor")
    assert "there is no node mian yet, but main" in done.stdout
    assert "correct [archive] node" in done.stdout


def test_the_times_of_a_hold_are_told_as_times(place: Place) -> None:
    """Not as the ledger has them."""
    add = ("holds", "add", "spring", "--reason", "court", "--since", "2026-03-01", "--until", "2026-05-31")
    told = "from 2026-03-01T00:00:00Z; to 2026-05-31T23:59:59.999999Z"
    assert place.run(*add).stdout == f"hold spring keeps {told}\n"
    assert told in place.run("holds", "list").stdout
    assert place.run("holds", "release", "spring", "--reason", "closed").returncode == Exit.OK


def test_a_profile_for_a_folder_that_is_not_followed_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would have no effect, and nobody would know."""
    (tmp_path / "logs").mkdir()
    file = tmp_path / "config.toml"
    file.write_text('[logs]\ndirectories = ["logs"]\nprofiles = { "lgos" = "flat" }\n[web]\nport = 0\n')
    cli.main(["doctor", "--config", str(file), "--archive", str(tmp_path / "archive")])
    assert f"[logs] profiles names {tmp_path}/lgos, which has no effect" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--subject", "--user-id", "--q", "--since", "--search", "--min-risk"])
def test_an_empty_filter_is_refused(place: Place, tmp_path: Path, option: str) -> None:
    """A variable of the shell that is not set must not give away, or hold, everybody's events."""
    target = tmp_path / "all.ndjson"
    for asked in (
        ["export", option, "", "--output", str(target)],
        ["query", option, ""],
        ["holds", "add", "case", "--reason", "court", "--level", "error", option, ""],
    ):
        done = place.run(*asked)
        assert (done.returncode, done.stdout) == (Exit.USAGE, ""), asked
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_says_that_the_export_was_limited(place: Place, tmp_path: Path) -> None:
    """So that nobody takes a part for everything."""
    for limit in ([], ["--limit", "3"]):
        target = tmp_path / "some.ndjson"
        place.run("export", "--subject", "user1", *limit, "--output", str(target))
        manifest = json.loads((tmp_path / "some.ndjson.manifest.json").read_text())
        assert manifest.get("limit") == (3 if limit else None)
