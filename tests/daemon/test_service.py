"""The daemon as a process: from a line in a file to an answer over HTTP, and out of the way when told."""

import asyncio
import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.control import call
from daemon.keykeeper import KeyKeeper
from daemon.metrics import Metrics
from daemon.outbound.around import Around
from daemon.outbound.teller import Teller, TellerOptions
from storage.keyring import Keyring
from storage.reader import read_snapshot
from tests.support import ROOT

PATIENCE_SECONDS = 40.0


class Process:
    """`watchkeep serve` over a folder of its own."""

    def __init__(self, folder: Path, *prefix: str, **environment: str) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.archive = folder / "archive"
        self.logs.mkdir(exist_ok=True)
        self.log = folder / "daemon.log"
        command = [*prefix, sys.executable, str(ROOT / "watchkeep.py"), "serve"]
        command += ["--logs", str(self.logs), "--archive", str(self.archive)]
        environment = {"WATCHKEEP__WEB__PORT": "0", **environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **environment}
            )

    @property
    def socket(self) -> str:
        return str(self.archive / "nodes" / "main" / "control.sock")

    def own_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def url(self) -> str:
        ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends:
            for line in self.own_log():
                if line["message"] == "ready":
                    return str(line["url"])
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url() + path, timeout=PATIENCE_SECONDS) as response:
            return json.loads(response.read())

    def metrics(self) -> str:
        with urllib.request.urlopen(self.url() + "/metrics", timeout=PATIENCE_SECONDS) as response:
            return str(response.read().decode())

    def events(self) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = self.get("/events")["data"]
        return data

    def until_events(self, amount: int) -> list[dict[str, Any]]:
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(found := self.events()) < amount and time.monotonic() < ends:
            time.sleep(0.05)
        assert len(found) == amount
        return found

    def append(self, *ids: str) -> None:
        with (self.logs / "app-2026-03-01.jsonl").open("ab", buffering=0) as file:
            for event_id in ids:
                event = {"eventId": event_id, "timestamp": "2026-03-01T10:00:00Z", "level": "info"}
                file.write(json.dumps(event).encode() + b"\n")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def serving(folder: Path, *prefix: str, **environment: str) -> Iterator[Process]:
    it = Process(folder, *prefix, **environment)
    try:
        yield it
    finally:
        if it.process.poll() is None:
            it.process.kill()
        it.process.wait()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Process]:
    with serving(tmp_path) as it:
        yield it


def test_a_line_becomes_an_answer_and_survives_the_end_of_the_process(served: Process) -> None:
    """The whole path, the daemon's own events, control, stopping, and the archive that remains."""
    served.append("a", "b")
    assert [event["eventId"] for event in served.until_events(2)] == ["b", "a"]
    assert {source["path"] for source in served.get("/logs/files")["data"]} >= {"app-2026-03-01.jsonl"}
    status = call(served.socket, "GET", "/status")
    assert status["ready"] is True
    assert os.stat(served.socket).st_mode & 0o777 == 0o600

    served.append("c")
    assert call(served.socket, "POST", "/seal")["files"] >= 1
    sealed = [file for file in read_snapshot(str(served.archive)).events if file.day == "2026-03-01"]
    assert sum(file.rows for file in sealed) == 3

    served.append("d")
    served.until_events(4)
    assert served.stop() == 0
    assert sum(f.rows for f in read_snapshot(str(served.archive)).events if not f.internal) >= 4
    assert not Path(served.socket).exists()


def test_a_second_daemon_ends_with_a_clear_message(served: Process, tmp_path: Path) -> None:
    """One process writes an archive."""
    served.url()
    command = [sys.executable, str(ROOT / "watchkeep.py"), "serve", "--port", "0"]
    command += ["--logs", str(served.logs), "--archive", str(served.archive)]

    second = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=tmp_path, check=False
    )

    assert second.returncode not in {0, 1}
    assert "another" in second.stderr
    assert "Traceback" not in second.stderr


def test_an_address_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    """And the archive is free again for the next attempt."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with serving(tmp_path, WATCHKEEP__WEB__PORT=port) as it:
            assert it.process.wait(timeout=PATIENCE_SECONDS) not in {0, 1}

    assert "address already in use" in it.log.read_text()
    assert "Traceback" not in it.log.read_text()


def test_systemd_is_told_and_settings_are_read_again(tmp_path: Path) -> None:
    """READY, heartbeats while it gets on, STOPPING; SIGHUP changes what may change."""
    address = f"\0watchkeep-test-{os.getpid()}-{time.monotonic_ns()}"
    config = tmp_path / "config.toml"
    config.write_text('[daemon]\nlog_level = "info"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(PATIENCE_SECONDS)
        environment = {
            "NOTIFY_SOCKET": f"@{address[1:]}",
            "WATCHDOG_USEC": "400000",
            "WATCHKEEP_CONFIG": str(config),
        }
        with serving(tmp_path, **environment) as it:
            assert manager.recv(4096).startswith(b"READY=1")
            assert manager.recv(4096) == b"WATCHDOG=1"
            it.process.send_signal(signal.SIGHUP)
            ends = time.monotonic() + PATIENCE_SECONDS
            while not any("read again" in line["message"] for line in it.own_log()):
                assert time.monotonic() < ends
                time.sleep(0.05)
            assert it.stop() == 0
            said = b""
            while not said.startswith(b"STOPPING=1"):
                said = manager.recv(4096)


async def test_the_control_socket_works_in_a_deep_folder(tmp_path: Path) -> None:
    """The kernel takes 107 bytes of a socket's name; archives may lie deeper."""
    from daemon.control import ControlSocket

    class Answers:
        keeper: Any = None  # not asked for here

        def status(self) -> dict[str, Any]:
            return {"fine": True}

        async def storage(self, days: int) -> dict[str, Any]:
            raise NotImplementedError

        async def seal(self) -> int:
            return 7

        async def flush(self) -> int:
            raise OSError("no space left")

        async def cleanup(self, before_day: str | None, *, dry_run: bool) -> Any:
            raise NotImplementedError

        async def verified(self, outcome: Mapping[str, Any]) -> None:
            raise NotImplementedError

    async def nothing(_event: Mapping[str, Any], *, durable: bool = False) -> None:
        assert durable

    deep = tmp_path / ("a" * 120)
    deep.mkdir()
    path = str(deep / "control.sock")
    around = Around(list, list, lambda: (True, ""), nothing, str)
    teller = Teller(TellerOptions(), str(tmp_path / "outbox"), Metrics(), {}, around)
    control = ControlSocket(path, Answers(), KeyKeeper(Keyring(), nothing), teller)
    await control.start()
    try:
        assert await asyncio.to_thread(call, path, "GET", "/status") == {"fine": True}
        assert await asyncio.to_thread(call, path, "POST", "/seal") == {"files": 7}
        with pytest.raises(Exception, match="no space left"):
            await asyncio.to_thread(call, path, "POST", "/flush")
    finally:
        await control.stop()
        teller.close()
    with pytest.raises(FileNotFoundError):
        await asyncio.to_thread(call, path, "GET", "/status")


def test_compressed_files_are_archived_and_broken_ones_are_shown(tmp_path: Path) -> None:
    """A whole one like any file, adding nothing when a rotation was compressed; a broken one as a source that failed."""
    lines = "".join(json.dumps({"eventId": f"e{n}", "description": "x" * 50}) + "\n" for n in range(100))
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "old.jsonl.1.gz").write_bytes(gzip.compress(lines.encode()))
    (logs / "broken.log.gz").write_bytes(gzip.compress(lines.encode())[:-4] + b"\0\0\0\0")
    with serving(tmp_path, WATCHKEEP__ARCHIVE__COMMIT_SECONDS="0.1") as daemon:
        ends = time.monotonic() + PATIENCE_SECONDS
        whole: dict[str, Any] = {}
        states: dict[str, Any] = {}
        while whole.get("offset_committed") != len(lines) and time.monotonic() < ends:
            states = {entry["path"]: entry for entry in daemon.get("/logs/files")["data"]}
            whole = states.get("old.jsonl.1.gz", {})
            time.sleep(0.05)
        with urllib.request.urlopen(daemon.url() + "/metrics", timeout=PATIENCE_SECONDS) as response:
            text = response.read().decode()

    assert (whole["size"], whole["events"], whole["offset_committed"]) == (len(lines), 100, len(lines))
    assert states["broken.log.gz"]["state"] == "failed"
    assert "is damaged" in states["broken.log.gz"]["note"]
    assert 'watchkeep_unreadable_files_total{reason="damaged"} 1.0' in text


def test_sql_is_answered_by_processes_that_end_with_the_daemon(tmp_path: Path) -> None:
    """Turned on by a setting; the statement is an event; a daemon that stops, or is killed, leaves none behind."""
    line = json.dumps({"eventId": "a", "timestamp": "2026-11-20T10:00:00Z", "level": "info"})
    environment = {"WATCHKEEP__SQL__ENABLED": "true", "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.1"}
    for end in (signal.SIGTERM, signal.SIGKILL):
        folder = tmp_path / end.name
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / "app-2026-11-20.log").write_text(f"{line}\n")
        with serving(folder, **environment) as daemon:
            daemon.until_events(1)
            call(daemon.socket, "POST", "/flush", seconds=PATIENCE_SECONDS)
            body = json.dumps({"sql": "SELECT count(*) AS n FROM events WHERE NOT internal"}).encode()
            request = urllib.request.Request(
                daemon.url() + "/api/v1/sql", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                assert json.loads(response.read())["rows"] == [[1]]
            assert 'watchkeep_sql_statements_total{result="answered"} 1.0' in daemon.metrics()
            children = _children(daemon.process.pid)
            assert children
            daemon.process.send_signal(end)
            daemon.process.wait(PATIENCE_SECONDS)
            ends = time.monotonic() + PATIENCE_SECONDS
            while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < ends:
                time.sleep(0.05)
            assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end while they are listed.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found
