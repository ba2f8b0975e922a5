"""The readme works: its commands are run in order, in an empty folder, against a real daemon."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import orjson
import pytest

from tests.support import ROOT, require_program

BLOCK = re.compile(r"^```(console|python \w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8710"
# What this test leaves to others: the demo has its own test, and a service needs a machine of its own.
ELSEWHERE = ("make ", "sudo ")
READY_SECONDS = 30  # a bound for giving up, not a measure

# The readme uses DuckDB's own command, which no package brings here: the same engine behind the same two arguments.
DUCKDB_COMMAND = """#!{python}
import sys, duckdb
*database, option, statement = sys.argv[1:]
assert option == "-c" and len(database) < 2, sys.argv
with duckdb.connect(database[0] if database else ":memory:", read_only=bool(database)) as connection:
    connection.sql(statement).show()
"""


class Reader:
    """Somebody who types what the readme says."""

    def __init__(self, folder):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        tools = folder / "bin"
        tools.mkdir()
        (tools / "duckdb").write_text(DUCKDB_COMMAND.format(python=sys.executable))
        (tools / "duckdb").chmod(0o755)
        (tools / "watchkeep").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/watchkeep.py "$@"\n')
        (tools / "watchkeep").chmod(0o755)
        self.folder = folder / "somewhere"
        self.folder.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WATCHKEEP")},
            "PATH": f"{tools}:{os.environ['PATH']}",
            "WATCHKEEP__WEB__PORT": str(self.port),
        }
        self.daemon: subprocess.Popen[bytes] | None = None

    def type(self, command):
        """Run one command line; return what it printed."""
        if command == "watchkeep serve":
            return self._serve()
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command.replace(ADDRESS, f"127.0.0.1:{self.port}")],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
        return run.stdout

    def python(self, code):
        """Run a block of Python as a program."""
        program = self.folder / "program.py"
        program.write_text(code)
        run = subprocess.run(
            [sys.executable, str(program)], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr

    def events(self, at_least):
        """Ask until there are so many events; return them."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/events") as answer:
                found = orjson.loads(answer.read())["data"]
            if len(found) >= at_least or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _serve(self):
        self.daemon = daemon = subprocess.Popen(
            [sys.executable, str(ROOT / "watchkeep.py"), "serve"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and daemon.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready"):
                    return ""
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        daemon.kill()
        pytest.fail(f"the daemon did not start: {daemon.communicate()[1].decode()}")

    def leave(self):
        """Stop the daemon as Ctrl-C does; return its exit code."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGINT)
        self.daemon.communicate(timeout=READY_SECONDS)
        return self.daemon.returncode


@pytest.fixture
def reader(tmp_path):
    """A reader in an empty folder; their daemon is gone afterwards."""
    somebody = Reader(tmp_path)
    yield somebody
    if somebody.daemon is not None and somebody.daemon.poll() is None:
        somebody.daemon.kill()
        somebody.daemon.communicate()


def test_the_readme_can_be_followed_word_for_word(reader):
    """Every command exits with 0, and the three applications of the readme are in the archive."""
    require_program("curl")
    printed = {}
    for language, block in BLOCK.findall((ROOT / "README.md").read_text()):
        if language == "console":
            commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
            assert commands, block
            for command in commands:
                if not command.startswith(ELSEWHERE):
                    printed[command] = reader.type(command)
        else:
            reader.python(block)
            wanted = 3 if "structlog" in language else 2
            reader.events(wanted)

    events = {event["description"]: event for event in reader.events(3)}
    assert set(events) == {"three wrong passwords", "stock is low", "invoice is late"}
    assert events["invoice is late"]["user"] == {"id": 8, "username": "ben"}
    assert events["stock is low"]["extra"] == {"logger": "root"}
    (glob,) = (text for command, text in printed.items() if "events/*/*.parquet" in command)
    assert "error" in glob
    assert "warning" in glob
    (view,) = (text for command, text in printed.items() if "watchkeep.duckdb" in command)
    assert "ana" in view
    assert reader.leave() == 0


def test_the_page_about_logging_shows_the_same_lines():
    """The readme's snippets are those of the page that it names."""
    page = (ROOT / "docs" / "logging.md").read_text()

    for language, block in BLOCK.findall((ROOT / "README.md").read_text()):
        if language != "console":
            assert f"```{language}\n{block}```" in page
