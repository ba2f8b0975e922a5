"""A real daemon at the limits of its machine: watches, instances, descriptors, a full queue of notices, a stopped process."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.test_service import Process, serving
from tests.support import require_program

PATIENCE_SECONDS = 50.0
SOON = {"WATCHKEEP__LOGS__SCAN_SECONDS": "0.5", "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "1"}


def limited(name: str, value: int) -> list[str]:
    """Return the words before a command that give it a user namespace with a limit of its own."""
    unshare = require_program("unshare", install="util-linux")
    words = [unshare, "-Ur", "sh", "-c", f'echo {value} > /proc/sys/user/{name} && exec "$@"', "sh"]
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    # Not every build machine lets a user make namespaces; nothing that could be installed changes that.
    if tried.returncode:
        pytest.skip(f"user namespaces are not allowed here: {tried.stderr.decode().strip()}")
    return words


def line(number: int) -> bytes:
    return b'{"eventId":"%d","timestamp":"2026-03-01T10:00:00Z","level":"info"}\n' % number


def total(it: Process) -> int:
    return int(it.get("/events?limit=1")["total"])


def complaints(it: Process) -> dict[str, str]:
    return {entry["code"]: entry["detail"] for entry in it.get("/health/ready")["degraded"]}


def eventually(holds: Callable[[], Any], what: str) -> Any:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")


def has(it: Process, amount: int) -> bool:
    return total(it) == amount


def fill(logs: Path, folders: int, first: int) -> int:
    """Write one line into a file in each of some new folders; return the next number."""
    for number in range(first, first + folders):
        folder = logs / f"d{number}"
        folder.mkdir()
        (folder / "a.log").write_bytes(line(number))
    return first + folders


def test_too_few_watches_cost_latency_and_no_line(tmp_path: Path) -> None:
    """The limit is reached while it runs, or was at the start: every file is found, and health says so (T12)."""
    words = limited("max_inotify_watches", 8)
    (tmp_path / "logs").mkdir()
    amount = fill(tmp_path / "logs", 3, 0)
    with serving(tmp_path, *words, **SOON) as it:
        eventually(partial(has, it, amount), "the first files")
        assert "watches" not in complaints(it)
        amount = fill(it.logs, 12, amount)
        eventually(partial(has, it, amount), "the files of folders without a watch")
        assert "folders have no watch" in eventually(lambda: complaints(it).get("watches"), "a complaint")
        with (it.logs / "d9" / "a.log").open("ab") as file:
            file.write(line(1000))
        eventually(partial(has, it, amount + 1), "a line in such a folder")
        assert it.stop() == 0
        it.log.unlink()
    with serving(tmp_path, *words, **SOON) as it:
        assert "watch" in eventually(lambda: complaints(it).get("watches"), "a complaint at the start")
        fill(it.logs, 1, 500)
        eventually(partial(has, it, amount + 2), "a new file all the same")


def test_without_any_notices_it_looks_for_itself(tmp_path: Path) -> None:
    """No inotify instance is to be had (T13)."""
    with serving(tmp_path, *limited("max_inotify_instances", 0), **SOON) as it:
        assert eventually(lambda: complaints(it).get("watches"), "a complaint")
        amount = fill(it.logs, 5, 0)
        eventually(partial(has, it, amount), "the files")
        it.append("late")
        eventually(partial(has, it, amount + 1), "one more line")


def test_a_stopped_daemon_finds_what_was_made_meanwhile(tmp_path: Path) -> None:
    """More notices than the kernel keeps: the queue overflows, and the next listing has everything (T11, T67)."""
    _overflow(tmp_path, 3_500)  # five notices each; the kernel keeps 16,384


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_twenty_thousand_files_made_while_it_was_stopped_are_found(tmp_path: Path) -> None:
    """The same at full size."""
    _overflow(tmp_path, 20_000, patience=600)


def _overflow(tmp_path: Path, amount: int, patience: float = PATIENCE_SECONDS) -> None:
    with serving(tmp_path, WATCHKEEP__ARCHIVE__COMMIT_SECONDS="2") as it:
        it.append("before")
        eventually(partial(has, it, 1), "the first line")
        it.process.send_signal(signal.SIGSTOP)
        for number in range(amount):
            path = it.logs / f"{number}.log"
            path.write_bytes(line(number))
            os.utime(path)  # one more notice
        it.process.send_signal(signal.SIGCONT)
        ends = time.monotonic() + patience
        while total(it) < amount + 1 and time.monotonic() < ends:
            time.sleep(0.2)
        assert total(it) == amount + 1


@pytest.mark.parametrize(
    "amount", [600, pytest.param(5_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_more_files_than_descriptors_lose_nothing(tmp_path: Path, amount: int) -> None:
    """Two rounds of lines in many files with 256 descriptors for everything, rotations in between (T16)."""
    sh = require_program("sh")
    (tmp_path / "logs").mkdir()
    for number in range(amount):
        (tmp_path / "logs" / f"{number}.log").write_bytes(line(number) + line(amount + number))
    with serving(tmp_path, sh, "-c", 'ulimit -n 256 && exec "$@"', "sh", **SOON) as it:
        patience = 40.0 + amount / 20
        wait(it, 2 * amount, patience)
        for number in range(0, amount, 10):
            path = it.logs / f"{number}.log"
            path.rename(path.with_name(f"{path.name}.1"))
        for number in range(amount):
            with (it.logs / f"{number}.log").open("ab") as file:
                file.write(line(2 * amount + number))
        wait(it, 3 * amount, patience)
        limit = len(os.listdir(f"/proc/{it.process.pid}/fd"))
        assert limit < 256
        assert it.get("/status")["gaps"] == 0
        assert "descriptors" not in complaints(it)


def wait(it: Process, amount: int, patience: float) -> None:
    ends = time.monotonic() + patience
    while (found := total(it)) < amount and time.monotonic() < ends:
        time.sleep(0.2)
    assert found == amount


def test_a_name_that_is_not_utf8_is_read_and_restarts_nothing_for_ever(tmp_path: Path) -> None:
    """The notices of its folder end, once; its lines come in, and those beside it (T9)."""
    with serving(tmp_path, **SOON) as it:
        odd = os.path.join(os.fsencode(it.logs), b"odd\xff.log")
        for number in range(10):
            with open(odd, "ab") as file:
                file.write(line(number))
            eventually(partial(has, it, number + 1), "the line")
        polled = eventually(lambda: it.get("/status")["polled"], "the folder is looked at")
        assert polled == {str(it.logs): "it holds a name that is not UTF-8"}
        restarts = [
            row for row in it.metrics().splitlines() if row.startswith("watchkeep_watcher_restarts_total")
        ]
        assert float(restarts[0].split()[1]) <= 2
        assert "watches" not in complaints(it)


def test_a_file_system_that_layers_others_is_looked_at(tmp_path: Path) -> None:
    """Lines written beneath an overlay give no notice, and come in (T14)."""
    unshare = require_program("unshare", install="util-linux")
    for name in ("logs", "below", "above", "work"):
        (tmp_path / name).mkdir()
    mount = (
        f"mount -t overlay overlay -o lowerdir={tmp_path}/below,upperdir={tmp_path}/above,"
        f"workdir={tmp_path}/work {tmp_path}/logs"
    )
    words = [unshare, "-Urm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("overlays may not be mounted here")
    with serving(tmp_path, *words, **SOON) as it:
        eventually(partial(has, it, 0), "an answer")
        (tmp_path / "above" / "a.log").write_bytes(line(1))
        eventually(partial(has, it, 1), "a line that nobody told of")
        with (tmp_path / "above" / "a.log").open("ab") as file:
            file.write(line(2))
        eventually(partial(has, it, 2), "another one in the same file")
        assert it.get("/status")["polled"] == {str(it.logs): "overlay does not tell of every change"}
