"""A process is killed at each of its file operations, then in its recovery, then again: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.layout import Layout
from storage.reader import read_snapshot, read_state
from tests.faults.victims import Victim, until, victim
from tests.support import ROOT, require_program

DROPPED = 20  # events of the day that the cycle of a victim drops


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Victim]:
    with victim(tmp_path) as found:
        yield found


def kill_at(folder: Path, *, first: int, step: int) -> dict[str, int]:
    """Kill a cycle of the archive at every ``step``-th operation on the real disk."""
    program = [
        sys.executable,
        str(ROOT / "tests" / "faults" / "cycles.py"),
        str(folder),
        str(first),
        str(step),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, int] = json.loads(done.stdout)
    print(outcome)
    return outcome


def test_a_kill_at_a_failpoint_and_in_the_recovery_after_it_loses_nothing(tmp_path: Path) -> None:
    """Commit, fold, seal, snapshot, drop, collect, publish on the real disk: some of its failpoints."""
    outcome = kill_at(tmp_path, first=10, step=67)

    assert outcome["kills"] >= 4
    assert outcome["in_recovery"] >= 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_at_every_failpoint_loses_nothing(tmp_path: Path) -> None:
    """The long form: all of them."""
    outcome = kill_at(tmp_path, first=0, step=1)

    assert outcome["kills"] == outcome["operations"]


def killed_daemon(it: Victim, number: int, *, more: int = 0) -> bool:
    """Kill a real daemon at its ``number``-th operation on the archive, and the next one in its recovery.

    Returns whether it came so far in its cycle and ``more`` commits: how many operations a cycle has depends on how
    often the daemon commits by itself meanwhile.
    """
    it.start(plan=f"archive.* kill * {number}+1")
    until(lambda: it.ended() or '"message":"ready"' in it.said(), "it is ready, or dead")
    if not it.ended():
        it.cycle()
    for _ in range(more):
        if not it.ended():
            it.write(1, day="2026-03-03")
            it.order("/flush")
    hit = not it.status()
    if hit:
        it.wait()  # a killed process takes a moment to be gone
    it.kill()
    it.start(plan=f"archive.* kill * {5 + number % 40}+1")
    until(lambda: it.ended() or '"message":"ready"' in it.said(), "it is ready, or dead")
    it.kill()
    it.settle(dropped=DROPPED)
    return hit


def test_a_daemon_killed_at_a_failpoint_and_again_in_its_recovery_loses_nothing(it: Victim) -> None:
    """The whole daemon, in the middle of its cycle."""
    assert killed_daemon(it, 110, more=20)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_a_daemon_killed_at_every_failpoint_loses_nothing(tmp_path: Path) -> None:
    """The long form: every N of the cycle, until it comes to its end."""
    number = 1
    while True:
        with victim(tmp_path / str(number)) as it:
            if not killed_daemon(it, number):
                break
        number += 1
    print(f"a daemon killed at {number - 1} failpoints: 0 lost, 0 twice")
    assert number > 100


# The same from outside: a daemon that knows nothing of it, under strace.

FAULTS = ("error=ENOSPC", "error=EIO", "signal=KILL")
CALLS = {"write": "write,pwrite64", "sync": "fsync,fdatasync", "rename": "rename,renameat,renameat2"}
# Starting syncs folders, but hardly a file: so the first of these in a thread is that of a new file.
ANYWHERE = {**CALLS, "file-sync": "fdatasync"}


def quick(fault: str) -> tuple[str, ...]:
    """Return what lets all other calls go at full speed. With it strace 6.1 sends no signals."""
    return ("--seccomp-bpf",) if fault.startswith("error") else ()


def injected(it: Victim, call: str, fault: str, number: int) -> bool:
    """Let the ``number``-th call of a kind on the archive fail or kill; whether the cycle came so far."""
    strace = require_program("strace")
    trace = it.folder / "trace"
    it.archive.mkdir(exist_ok=True)
    # A path that strace is given must exist, so a healthy daemon makes the folders first.
    if not (it.archive / "nodes").exists():
        it.write(1)
        it.settle()
    node = it.archive / "nodes" / "main"
    watched = [
        node / "ledger",
        node / "staging",
        node / "live",
        it.archive / "events",
        it.archive / "rollups",
    ]
    watched += sorted((node / "ledger").glob("*.ledger"))
    # Writes and syncs are told by the ledger and the folders; only the archive renames, and new files at that.
    paths = [argument for path in watched for argument in ("-P", str(path))] if call != "rename" else []
    inject = f"--inject={CALLS[call]}:{fault}:when={number}"
    under = [strace, "-f", *quick(fault), "-qq", "-o", str(trace), *paths, f"--trace={CALLS[call]}", inject]
    it.start(under=under, PYTHONDONTWRITEBYTECODE="1")
    until(lambda: it.ended() or '"message":"ready"' in it.said(), "it is ready, or dead")
    if not it.ended():
        it.cycle()
    told = trace.read_text(errors="replace")
    hit = it.ended() or "(INJECTED)" in told or "killed by SIGKILL" in told
    it.kill()
    it.settle(dropped=DROPPED + 1)
    return hit


@pytest.mark.parametrize(
    ("call", "fault", "number"),
    [("write", "error=ENOSPC", 3), ("sync", "error=EIO", 4), ("rename", "signal=KILL", 2)],
)
def test_a_fault_from_outside_costs_nothing(it: Victim, call: str, fault: str, number: int) -> None:
    """The unmodified daemon: no space at a write, an error of a sync, a kill at a rename."""
    assert injected(it, call, fault, number)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_every_fault_from_outside_costs_nothing(tmp_path: Path, call: str, fault: str) -> None:
    """The long form: every N until the cycle does not come so far."""
    number = 1
    while True:
        with victim(tmp_path / str(number)) as it:
            if not injected(it, call, fault, number):
                break
        number += 1
    print(f"{fault} at the first {number - 1} calls of {call}: 0 lost, 0 twice")
    assert number > 3


# Without any path: the N-th call of each thread, whatever file it is about. So new Parquet files are met, too, whose
# names nobody knows before; the trace tells which files it was.

PARQUET = ".parquet"


def injected_anywhere(it: Victim, call: str, fault: str, number: int) -> list[str]:
    """Let the ``number``-th call of a kind in each thread fail or kill; returns the lines of the trace that say so.

    What failed once works again: the daemon must go on by itself, or say that it does not. Then everything is counted.
    """
    strace = require_program("strace")
    trace = it.folder / "trace"
    it.write(1)
    it.settle()  # a first start has failures of its own, which `storage.power` looks for
    inject = f"--inject={ANYWHERE[call]}:{fault}:when={number}"
    it.start(
        under=[
            strace,
            "-f",
            *quick(fault),
            "-qq",
            "-y",
            "-o",
            str(trace),
            f"--trace={ANYWHERE[call]}",
            inject,
        ],
        PYTHONDONTWRITEBYTECODE="1",
    )
    until(lambda: it.ended() or '"message":"ready"' in it.said(), "it is ready, or dead")
    if not it.ended():
        it.cycle()
    if not it.ended() and it.status():
        until(
            lambda: it.ended() or goes_on(it) or stalls_loudly(it),
            "it goes on by itself, or says that it does not",
        )
    it.kill()
    it.settle(dropped=DROPPED + 1)
    told = trace.read_text(errors="replace").splitlines()
    if fault.startswith("error"):
        return [line for line in told if "(INJECTED)" in line]
    killed = any("killed by SIGKILL" in line for line in told)
    return [line for line in told if killed and line.endswith(("<unfinished ...>", "= ?"))]


def goes_on(it: Victim) -> bool:
    """Whether everything that was written is committed, as far as nothing of it was dropped."""
    return bool(it.status().get("ready")) and it.committed() >= it.written - DROPPED - 1


def stalls_loudly(it: Victim) -> bool:
    status = it.status()
    return bool(status) and not status["ready"] and "will be tried again; no line is skipped" in it.said()


@pytest.mark.parametrize(
    ("call", "fault", "number"),
    [
        ("write", "error=ENOSPC", 4),
        ("file-sync", "error=EIO", 1),
        ("rename", "error=EIO", 1),
    ],
)
def test_a_fault_that_meets_a_new_file_costs_nothing(it: Victim, call: str, fault: str, number: int) -> None:
    """The unmodified daemon, at a file that is not there yet when it starts: half a Parquet file, one that cannot be synced."""
    hits = injected_anywhere(it, call, fault, number)
    assert any(PARQUET in line for line in hits), hits


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", ANYWHERE)
def test_every_fault_at_any_file_costs_nothing(tmp_path: Path, call: str, fault: str) -> None:
    """The long form: every N until no thread comes so far."""
    number = met = 0
    while True:
        number += 1
        with victim(tmp_path / str(number)) as it:
            hits = injected_anywhere(it, call, fault, number)
        if not hits:
            break
        met += any(PARQUET in line for line in hits)
    print(
        f"{fault} at the first {number - 1} calls of {call}, Parquet files met {met} times: 0 lost, 0 twice"
    )
    # A kill comes with the first thread that gets so far, which mostly is the one that writes the view files.
    assert met or fault == "signal=KILL"


# At one new file alone: its name is known before it is there, because numbers go on where the ledger says.


def new_files(it: Victim) -> dict[str, str]:
    """Return where a healthy archive's next start will stage a live file, its roll-up, and a sealed file."""
    layout = Layout(str(it.archive), "main")
    following = read_state(str(it.archive), "main").reserved_to + 1
    tables = [pq.read_table(it.archive / file.path) for file in read_snapshot(str(it.archive)).events]
    first = min(row["seq"] for table in tables for row in table.to_pylist() if not row["internal"])
    sealed = layout.sealed_file("events", "2026-03-01", first, "default")
    live = {kind: layout.staged(layout.live_file(kind, following)) for kind in ("events", "rollup")}
    return {**live, "sealed": layout.staged(sealed)}


def injected_at(it: Victim, which: str, call: str, fault: str, number: int) -> bool:
    """Let the ``number``-th call of a kind on one new file fail or kill; whether there were so many."""
    it.write(1)
    it.settle()
    path, trace = new_files(it)[which], it.folder / "trace"
    inject = f"--inject={CALLS[call]}:{fault}:when={number}"
    narrow = [f"--trace={CALLS[call]}", "-P", path, inject]
    strace = require_program("strace")
    it.start(
        under=[strace, "-f", *quick(fault), "-qq", "-o", str(trace), *narrow], PYTHONDONTWRITEBYTECODE="1"
    )
    until(lambda: it.ended() or '"message":"ready"' in it.said(), "it is ready, or dead")
    if not it.ended():
        it.cycle()
    hit = "(INJECTED)" in trace.read_text(errors="replace") or not it.status()
    it.kill()
    it.settle(dropped=DROPPED + 1)
    return hit


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", ["error=EIO", "signal=KILL"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("which", ["events", "rollup", "sealed"])
def test_every_fault_at_one_new_file_costs_nothing(tmp_path: Path, which: str, call: str, fault: str) -> None:
    """Each write, sync and rename of a Parquet file that is not there yet when the daemon starts."""
    number = 0
    while True:
        number += 1
        with victim(tmp_path / str(number)) as it:
            if not injected_at(it, which, call, fault, number):
                break
    print(f"{fault} at {number - 1} calls of {call} of a new {which} file: 0 lost, 0 twice")
    assert number > 1
