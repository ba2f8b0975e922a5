"""A real daemon in its own process, made to suffer: killed, refused, stopped, started again; then its rows are counted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from daemon.control import call
from storage.errors import ArchiveError
from storage.layout import Layout
from storage.reader import read_snapshot
from tests.support import ROOT

PATIENCE_SECONDS = 60.0  # until a state counts as never reached
LOOK_SECONDS = 0.05

ENVIRONMENT = {
    "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.2",
    "WATCHKEEP__ARCHIVE__PAUSE_FREE_BYTES": "0",
    "WATCHKEEP__LOGS__SCAN_SECONDS": "0.3",
}


def until(state: Callable[[], Any], what: str) -> Any:
    """Wait for a state and return it."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if found := state():
            return found
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"never happened: {what}")


class Victim:
    """One archive and the folder it follows; daemons come and go."""

    def __init__(self, folder: Path, *, archive: Path | None = None, logs: Path | None = None) -> None:
        self.folder = folder
        self.logs = logs or folder / "logs"
        self.archive = archive or folder / "archive"
        self.logs.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "daemon.log"
        self.log.touch()
        self.written = 0
        self.process: subprocess.Popen[bytes] | None = None

    # The application

    def write(
        self, lines: int, *, day: str = "2026-03-01", file: str = "app.jsonl", filler: int = 60
    ) -> None:
        """Append numbered events."""
        data = b""
        for _ in range(lines):
            event = {
                "eventId": str(self.written),
                "timestamp": f"{day}T10:00:00Z",
                "description": "x" * filler,
            }
            data += json.dumps(event).encode() + b"\n"
            self.written += 1
        with (self.logs / file).open("ab", buffering=0) as out:
            out.write(data)

    # The daemon

    def start(self, *, under: Sequence[str] = (), plan: str = "", **settings: str) -> None:
        """Start a daemon, under another program if given, with failpoints if given; returns at once."""
        environment = {**os.environ, **ENVIRONMENT, **settings, "WATCHKEEP_FAILPOINTS": plan}
        command = [*under, sys.executable, str(ROOT / "watchkeep.py"), "serve", "--port", "0"]
        command += ["--logs", str(self.logs), "--archive", str(self.archive)]
        self.since = self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )

    def said(self) -> str:
        """Return what the present daemon has said."""
        return self.log.read_bytes()[self.since :].decode("utf-8", "replace")

    def ready(self) -> None:
        """Wait until the daemon answers."""
        until(lambda: '"message":"ready"' in self.said() or self.ended(), "the daemon is ready")
        assert not self.ended(), self.said()[-3000:]

    def ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def wait(self) -> int:
        """Wait for the daemon's end and return its code."""
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Kill the daemon with everything it was started under, if it still runs."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Stop the daemon in good order."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)
        assert self.wait() == 0, self.said()[-3000:]

    @property
    def socket(self) -> str:
        return Layout(str(self.archive), "main").control_socket

    def order(self, path: str, **body: Any) -> Any:
        """Give an order over the control socket; None if it could not be carried out."""
        try:
            return call(self.socket, "POST", path, body)
        except Exception:  # noqa: BLE001 - a daemon that is being killed may answer anything
            return None

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself, nothing if it does not answer."""
        try:
            return dict(call(self.socket, "GET", "/status"))
        except Exception:  # noqa: BLE001 - not there yet, or no longer
            return {}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.status()['url']}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def cycle(self) -> None:
        """Let it do everything that writes: commits, a seal, a drop."""
        self.write(20)
        self.order("/flush")
        self.write(20, day="2026-03-02")
        self.order("/seal")
        self.order("/cleanup", before_day="2026-03-02", dry_run=False)
        self.write(5, day="2026-03-03")
        self.order("/flush")

    # What came of it

    def found(self) -> list[int]:
        """Return the numbers of the archived events, in the order of their file."""
        rows: list[tuple[str, int, str]] = []
        for file in read_snapshot(str(self.archive)).events:
            columns = ["source", "source_offset", "event_id", "internal"]
            table = pq.read_table(self.archive / file.path, columns=columns, partitioning=None)
            rows += [
                (row["source"], row["source_offset"], row["event_id"])
                for row in table.to_pylist()
                if not row["internal"]
            ]
        return [int(event_id) for _, _, event_id in sorted(rows)]

    def committed(self) -> int:
        """Return how many events are archived; 0 while nobody can tell."""
        try:
            return len(self.found())
        except (ArchiveError, OSError):
            return 0

    def settle(self, *, dropped: int = 0) -> None:
        """Run a healthy daemon until everything written is archived, and count: nothing lost, nothing twice.

        ``dropped`` of the first events may have been removed by retention.
        """
        self.start()
        self.ready()
        assert self.order("/flush") is not None, self.said()[-3000:]
        self.stop()
        found = self.found()
        assert len(found) == len(set(found)), "archived twice"
        missing = set(range(self.written)) - set(found)
        assert missing in (set(), set(range(dropped))), f"lost: {sorted(missing)[:10]}"
        assert found == sorted(found), "out of order"


@contextlib.contextmanager
def victim(folder: Path, **places: Path) -> Iterator[Victim]:
    """Yield a victim; whatever of it still runs at the end is killed."""
    it = Victim(folder, **places)
    try:
        yield it
    finally:
        it.kill()
