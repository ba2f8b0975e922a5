"""A real daemon to measure, and the requests put to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from benchmarks.measure import KIBIBYTE, ROOT, WATCHKEEP, BenchmarkError

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
SETTLED_SECONDS = 1.0
SETTLED_SHARE = 0.05  # of a core: what an idle daemon stays below
ANSWER_SECONDS = 600.0


class Daemon:
    """`watchkeep serve` over an archive and a log folder, on a free port."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self._folder = folder
        self._process = process
        self.port = port

    @classmethod
    @contextlib.contextmanager
    def over(cls, archive: Path, logs: Path, folder: Path, more: str = "") -> Iterator[Self]:
        """Start a daemon, yield it when it is ready, stop it. ``more`` is added to its configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        logs.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        config = configure(folder, archive, logs, port, more)
        with (folder / "daemon.log").open("wb") as log:
            process = subprocess.Popen(
                [*WATCHKEEP, "serve", "--config", config], cwd=ROOT, stdout=log, stderr=log
            )
        daemon = cls(folder, process, port)
        try:
            daemon._wait()
            yield daemon
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def settle(self) -> None:
        """Wait until the daemon has done what it does after a start, which takes from the first answers' time."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(SETTLED_SECONDS)
            if self.cpu_seconds() - before < SETTLED_SHARE * SETTLED_SECONDS:
                return

    def connect(self) -> Connection:
        """Return a connection that stays open between requests."""
        return Connection(self.port)

    def cpu_seconds(self) -> float:
        """CPU seconds the daemon has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        """The most memory the daemon has held so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * KIBIBYTE

    def resident_bytes(self) -> int:
        """The memory the daemon holds now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * KIBIBYTE

    def forget_peak(self) -> None:
        """Let `peak_bytes` count from now on."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), self.connect() as connection:
                if connection.status("/health/ready") == 200:
                    return
            time.sleep(POLL_SECONDS)
        words = (self._folder / "daemon.log").read_text(errors="replace")[-2000:]
        raise BenchmarkError(f"the daemon was not ready within {START_SECONDS:.0f} s:\n{words}")


class Connection:
    """One HTTP connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def status(self, path: str) -> int:
        """Return the status of a GET."""
        self._http.request("GET", path)
        answer = self._http.getresponse()
        answer.read()
        return answer.status

    def bytes(self, path: str) -> bytes:
        """Return the body of a GET; raises `BenchmarkError` unless it is a 200."""
        self._http.request("GET", path)
        answer = self._http.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise BenchmarkError(f"GET {path} answered {answer.status}: {body[:500]!r}")
        return body

    def drain(self, path: str) -> int:
        """Read a GET to its end without keeping it; return its bytes."""
        self._http.request("GET", path)
        answer = self._http.getresponse()
        if answer.status != 200:
            raise BenchmarkError(f"GET {path} answered {answer.status}: {answer.read()[:500]!r}")
        total = 0
        while block := answer.read(1 << 20):
            total += len(block)
        return total

    def json(self, path: str) -> Any:
        """Return the parsed body of a GET."""
        return json.loads(self.bytes(path))


def configure(folder: Path, archive: Path, logs: Path, port: int, more: str = "") -> str:
    """Write a configuration with the shipped defaults but for the places, without the reuse of statistics, and ``more``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(
        f"[logs]\ndirectories = [{json.dumps(str(logs.resolve()))}]\n"
        f"[archive]\npath = {json.dumps(str(archive.resolve()))}\n"
        f"[web]\nport = {port}\nstatistics_cache_seconds = 0\n"
        "[retention]\nevent_days = 0\n"
        "[query]\ndeadline_seconds = 120\n"
        "[risk]\nrebuild_events = 0\n"  # grown archives have no checkpoint: learning habits again takes minutes
        f"{more}"
    )
    return str(path)
