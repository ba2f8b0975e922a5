"""Loggers and rotation as they are in use, each writing numbered events: a real daemon archives what they wrote, once.

Where a writer itself loses lines (several processes rotating one file, copytruncate), everything that is on disk in the
end must be in the archive, and nothing in it twice.
"""

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import pytest

from tests.support import ROOT, require, require_program

HERE = Path(__file__).resolve().parent
WRITING = HERE / "writing.py"
LINES = 1200  # by each writer
WAIT_SECONDS = 90.0
ROTATIONS = 3

T = TypeVar("T")


class Watching:
    """A daemon that follows a folder, with a folder below it for each writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(mode=0o755)
        self.log = folder / "daemon.log"
        environment = {**os.environ, "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.5"}
        command = [sys.executable, str(ROOT / "watchkeep.py"), "serve", "--port", "0"]
        command += ["--logs", str(self.logs), "--archive", str(folder / "archive")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)

    def url(self) -> str:
        """Wait until it answers, and say where."""
        found = wait_for(lambda: re.search(r'"message":"ready","url":"([^"]+)"', self.log.read_text()))
        return str(found[1])

    def archived(self, kind: str) -> Counter[str]:
        """Return the event ids of one kind in the archive, with how often each is there."""
        query = urlencode({"environment": kind, "format": "json"})
        with urllib.request.urlopen(f"{self.url()}/api/v1/events/export?{query}") as answer:
            return Counter(event["eventId"] for event in json.load(answer))


def wait_for(look: Callable[[], T | None]) -> T:
    """Return what ``look`` finds, as soon as it finds something."""
    ends = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    """One daemon for all writers."""
    it = Watching(tmp_path_factory.mktemp("writers"))
    try:
        it.url()
        yield it
        it.process.terminate()
        assert it.process.wait(30) == 0
    finally:
        if it.process.poll() is None:
            it.process.kill()
            it.process.wait()


class Case:
    """One kind of writer at work in a folder of its own."""

    def __init__(self, watching: Watching, kind: str, *, writers: int = 1) -> None:
        self.watching = watching
        self.kind = kind
        self.folder = watching.logs / kind
        self.folder.mkdir(mode=0o755)
        self.names = [f"{kind}.{number}" for number in range(writers)]
        self.written = {f"{name}-{number}" for name in self.names for number in range(1, LINES + 1)}

    def command(self, name: str) -> list[str]:
        """Return how a writer is started."""
        return [sys.executable, str(WRITING), self.kind, str(self.folder), name, str(LINES)]

    def start(self) -> list[subprocess.Popen[bytes]]:
        """Start the writers."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
        return [subprocess.Popen(self.command(name), env=environment) for name in self.names]

    def run(self) -> None:
        """Let the writers write all their lines."""
        for process in self.start():
            assert process.wait(WAIT_SECONDS) == 0

    def on_disk(self) -> set[str]:
        """Return the event ids that the files hold now."""
        found: set[str] = set()
        for path in self.folder.iterdir():
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            found |= {json.loads(line)["eventId"] for line in data.splitlines() if line.startswith(b"{")}
        return found

    def check(self, *, lossless: bool = True) -> None:
        """Wait until what is on disk is archived; assert that it is there once, and nothing that nobody wrote."""
        kept = self.on_disk()
        assert kept <= self.written
        if lossless:
            assert kept == self.written, "the writer lost lines"
        wait_for(lambda: kept <= set(self.watching.archived(self.kind)))
        archived = self.watching.archived(self.kind)
        assert set(archived) <= self.written
        assert set(archived.values()) == {1}, "a line is archived twice"


@pytest.mark.parametrize(
    ("kind", "writers", "lossless"),
    [
        ("structlog", 1, True),
        ("client", 4, True),
        ("rotating", 1, True),
        ("timed", 1, True),
        ("rotating-by-four", 4, False),
        ("timed-by-four", 4, False),
    ],
    ids=[
        "structlog",
        "our-client-in-four-processes",
        "rotating",
        "timed",
        "rotating-by-four",
        "timed-by-four",
    ],
)
def test_a_logger_in_use_is_archived_line_for_line(
    watching: Watching, kind: str, writers: int, lossless: bool
) -> None:
    """The standard library's handlers alone and in several processes, structlog, and the client of this project."""
    case = Case(watching, kind, writers=writers)
    case.run()
    case.check(lossless=lossless)


def test_pino_with_its_own_rotation_is_archived_line_for_line(watching: Watching) -> None:
    """A logger of Node's world that rolls by size, set up as the logging page says."""
    node = require_program("node", install="nodejs")
    require((HERE / "node_modules" / "pino-roll").is_dir(), "pino-roll", install="it by make programs")
    case = Case(watching, "pino")
    command = [node, str(HERE / "pino.mjs"), "pino", str(case.folder), case.names[0], str(LINES)]
    subprocess.run(command, check=True, timeout=WAIT_SECONDS)

    assert len(list(case.folder.iterdir())) > 1, "it rolled"
    case.check()


ROTATION = {
    "create": "create 0640",
    "dateext": "create 0640\n  dateext\n  dateformat -%Y%m%d-%s",
    "delaycompress": "create 0640\n  compress\n  delaycompress",
    "copytruncate": "copytruncate",
    "watched": "create 0640",
}


@pytest.mark.parametrize("kind", ROTATION)
def test_what_logrotate_rotates_is_archived_once(watching: Watching, kind: str, tmp_path: Path) -> None:
    """The real logrotate rotates while a server writes: by rename, by date, compressed one later, by copy and truncation."""
    logrotate = _logrotate()
    case = Case(watching, kind)
    tell = f'postrotate\n    kill -HUP "$(cat {case.folder}/pid)" || true\n  endscript'
    settings = tmp_path / "logrotate.conf"
    settings.write_text(
        f"{case.folder}/app.log {{\n  rotate 100\n  missingok\n  {ROTATION[kind]}\n"
        f"  {tell if kind in {'create', 'dateext', 'delaycompress'} else ''}\n}}\n"
    )
    settings.chmod(0o600)
    (process,) = case.start()
    log = case.folder / "app.log"
    for _ in range(ROTATIONS):
        wait_for(lambda: (log.exists() and log.stat().st_size > 20_000) or process.poll() is not None)
        if kind == "dateext":
            _into_the_next_second()
        subprocess.run(
            [logrotate, "--force", "--state", str(tmp_path / "state"), str(settings)], check=True, timeout=60
        )
    assert process.wait(WAIT_SECONDS) == 0
    with contextlib.suppress(FileNotFoundError):
        (case.folder / "pid").unlink()

    assert len(list(case.folder.iterdir())) == ROTATIONS + 1
    case.check(lossless=kind != "copytruncate")


def _logrotate() -> str:
    os.environ["PATH"] += ":/usr/sbin"  # where Debian has it
    return require_program("logrotate")


def _into_the_next_second() -> None:
    """Wait for another second: it is part of the rotated file's name."""
    now = int(time.time())
    wait_for(lambda: int(time.time()) > now)
