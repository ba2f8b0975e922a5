"""Every operation on a followed file can be made to fail, also in a daemon that knows nothing of the test."""

import ast
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon import failpoints, files
from daemon.failpoints import planted
from storage.reader import read_state

ROOT = Path(__file__).resolve().parents[2]
# Modules whose files are not followed ones: the archive's own folder, the own log, sockets, the terminal.
OTHERS = {
    *("files", "failpoints", "doctor", "selflog", "control", "terminal", "service", "upkeep", "ownlog"),
    *("origins", "live", "notify", "descriptors", "keeping", "atlas", "rulebook"),
}
CALLS = {"open", "close", "pread", "read", "fstat", "stat", "lstat", "scandir", "listdir", "unlink", "fdatasync", "fsync", "dup"}  # fmt: skip


def test_followed_files_are_touched_through_one_module_only():
    """Otherwise a failpoint would miss some of them."""
    strangers = [
        f"{path.name}: os.{node.attr}"
        for path in sorted((ROOT / "daemon").glob("*.py"))
        if path.stem not in OTHERS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in CALLS
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    ]
    assert strangers == []


def test_nothing_stands_before_the_system_without_a_plan():
    """The operations are the system's own functions, and the test aid is not even imported."""
    code = (
        "import os, sys, daemon.cli; from daemon import files;"
        "assert (files.pread, files.open_file, files.stat) == (os.pread, os.open, os.stat);"
        "assert 'daemon.failpoints' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EMFILE", "ESTALE", "EACCES"])
def test_an_operation_fails_with_the_error_that_was_planted(tmp_path, error):
    """For the files and the times that the plan names."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"0123456789")
    with planted(f"open_file {error} */a 2+1") as (point,):
        outcomes = [_opens(tmp_path / name) for name in "aabaa"]

    assert outcomes == [None, error, None, None, None]
    assert point.hits == 4


def _opens(path: Path) -> str | None:
    """Return the name of the error that opening ends with."""
    try:
        file = files.open_regular(str(path))
    except OSError as failure:
        return errno.errorcode[failure.errno or 0]
    assert file is not None
    file.close()
    return None


def test_a_read_may_come_short_also_through_a_descriptor(tmp_path):
    """The path of a descriptor is looked up, so that a pattern is about the same paths everywhere."""
    (tmp_path / "a").write_bytes(b"0123456789")
    file = files.open_regular(str(tmp_path / "a"))
    assert file is not None
    with planted("pread short */a; pread delay=0.001"):
        assert files.pread(file.fd, 10, 0) == b"01234"
        assert files.pread(file.fd, 1, 9) == b"9"
        assert file.pread(10, 0) == b"0123456789"  # what is read of a file is asked for until it is there
    assert file.pread(10, 0) == b"0123456789"
    file.close()


@pytest.mark.parametrize("plan", ["pread EWHAT", "look EIO", "pread", "pread EIO a 1 2", "pread EIO a x"])
def test_a_plan_that_says_nothing_is_refused(plan):
    """A test with a spelling mistake must not pass for that reason."""
    with pytest.raises(ValueError, match=r"failpoint|unpack|invalid"):
        failpoints.plant(plan)


def test_a_real_daemon_dies_at_the_failpoint_and_its_successor_archives_the_line_once(tmp_path):
    """The plan comes in the environment; the daemon is the one that is shipped."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.log").write_text('{"description": "once"}\n')
    config = tmp_path / "config.toml"
    config.write_text('[logs]\ndirectories = ["logs"]\n[archive]\npath = "archive"\n[web]\nport = 0\n')
    command = [sys.executable, str(ROOT / "watchkeep.py"), "serve", "--config", str(config)]
    environment = {**os.environ, "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.1"}
    killed = subprocess.run(
        command,
        env={**environment, "WATCHKEEP_FAILPOINTS": "fdatasync kill */a.log"},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        deadline = time.monotonic() + 40
        while _committed(tmp_path / "archive") < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        daemon.terminate()

    assert _committed(tmp_path / "archive") == 1


def _committed(archive: Path) -> int:
    state = read_state(str(archive), "main")
    return sum(source.counts.events for source in state.sources.values() if not source.internal)
