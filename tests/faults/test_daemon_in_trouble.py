"""The unmodified daemon when the machine fails it: it says so, keeps answering, skips nothing, and goes on by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daemon.command import Exit
from storage.reader import read_snapshot, read_state
from tests.faults.mounts import fill, small_disk, until_full
from tests.faults.victims import Victim, until, victim


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Victim]:
    with victim(tmp_path) as found:
        yield found


STOPPED_SECONDS = 180.0  # of SIGSTOP in the long form; the environment may ask for more

ERRORS = {
    "the ledger's disk is full": "archive.write ENOSPC *.ledger 4+3",
    "the staging disk is full": "archive.write ENOSPC */staging/* 2+2",
    "the data cannot be synced": "archive.sync EIO */staging/* 2+2",
    "the ledger cannot be synced": "archive.sync EIO *.ledger 4+2",
    "files cannot be moved into place": "archive.rename EIO */live/* 1+2",
    "folders cannot be synced": "archive.sync_dir ESTALE */live 2+2",
    "there are no descriptors": "archive.open EMFILE */staging/* 1+3",
}


SEVERAL = (
    "archive.write ENOSPC *.ledger 4+1; archive.sync EIO */staging/* 2+1; archive.rename EIO */live/* 2+1;"
    "archive.sync EIO *.ledger 8+1; archive.open EMFILE */staging/* 9+1"
)


def test_errors_of_the_archives_disk_stall_it_loudly_and_cost_nothing(it: Victim) -> None:
    """No space, input/output errors and no descriptors at the archive, one after the other."""
    it.start(plan=SEVERAL)
    it.ready()
    for _ in range(6):
        it.write(5)
        until(lambda: it.status().get("queue_bytes") == 0 and not it.ended(), "the lines are read")
        time.sleep(0.3)  # let a commit fall due
    until(lambda: it.committed() == it.written, "everything is committed, by itself")
    until(lambda: it.status().get("ready"), "it is ready again")
    assert "will be tried again; no line is skipped" in it.said()
    assert re.search(r'watchkeep_pipeline_failures_total\{stage="commit"\} [1-9]', it.metrics())
    it.stop()
    it.settle()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("plan", ERRORS.values(), ids=[name.replace(" ", "_") for name in ERRORS])
def test_each_error_alone_costs_nothing(it: Victim, plan: str) -> None:
    """The long form: each error by itself, while everything that writes goes on."""
    it.start(plan=plan)
    it.ready()
    it.cycle()
    it.write(5)
    until(lambda: it.committed() >= it.written - 20, "everything is committed, by itself")
    it.stop()
    it.settle(dropped=20)


def test_a_slow_disk_makes_reading_wait_and_memory_stays(it: Victim) -> None:
    """A commit that takes a second under a flood: what is not read yet stays in its file."""
    it.start(plan="archive.sync delay=0.2", WATCHKEEP__LOGS__QUEUE_BYTES=str(2 << 20))
    it.ready()
    for _ in range(10):
        it.write(2000, filler=400)
    until(lambda: it.committed() == it.written, "everything is committed")
    assert it.process is not None
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{it.process.pid}/status").read_text())
    assert peak is not None
    assert int(peak[1]) < 512 * 1024
    it.stop()
    it.settle()


def stopped_for(it: Victim, seconds: float) -> None:
    """Stop the process while files grow, are renamed, created and deleted, for so long; then everything must be found."""
    it.start()
    it.ready()
    assert it.process is not None
    it.write(10)
    it.write(10, file="gone.jsonl")
    until(lambda: it.committed() == it.written, "both files are followed")
    ends = time.monotonic() + seconds
    it.process.send_signal(signal.SIGSTOP)
    for number in range(5):
        it.write(10)
        (it.logs / "app.jsonl").rename(it.logs / f"app-{number}.jsonl")
        it.write(10)
    it.write(10, file="gone.jsonl")
    (it.logs / "gone.jsonl").unlink()
    while time.monotonic() < ends:
        it.write(1)
        time.sleep(min(1.0, seconds / 4))
    it.process.send_signal(signal.SIGCONT)
    until(lambda: it.committed() == it.written, "everything is committed")
    until(lambda: it.status().get("ready"), "it is ready")
    assert it.status()["gaps"] == 0
    it.write(10)
    until(lambda: it.committed() == it.written, "it goes on")
    it.stop()
    assert sorted(it.found()) == list(range(it.written)), "each line once"


def test_a_stopped_process_goes_on_where_it_was(it: Victim) -> None:
    """SIGSTOP for a moment: after SIGCONT everything is found."""
    stopped_for(it, 1.0)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_process_that_is_stopped_for_minutes_goes_on_where_it_was(it: Victim) -> None:
    """The long form: longer than any timer of the daemon, its lock, its listings and its graces included."""
    stopped_for(it, float(os.environ.get("WATCHKEEP_SOAK_STOPPED_SECONDS", STOPPED_SECONDS)))


def test_a_second_daemon_on_one_archive_ends_with_a_clear_message(it: Victim, tmp_path: Path) -> None:
    """The first goes on undisturbed."""
    it.start()
    it.ready()
    second = Victim(tmp_path / "second", archive=it.archive)
    second.start()
    try:
        assert second.wait() == Exit.ARCHIVE
        assert re.search(r"another process writes this archive \(node main, pid \d+\)", second.said())
    finally:
        second.kill()
    it.write(10)
    until(lambda: it.committed() == it.written, "the first daemon goes on")
    it.stop()
    it.settle()


def test_a_daemon_whose_lock_was_taken_away_ends_instead_of_writing(it: Victim, tmp_path: Path) -> None:
    """Somebody removes the lock file and starts another daemon: the older one is fenced off, and nothing is doubled."""
    it.start()
    it.ready()
    it.write(10)
    until(lambda: it.committed() == it.written, "the first daemon works")
    (it.archive / "nodes" / "main" / "lock").unlink()
    other = Victim(tmp_path / "other", archive=it.archive, logs=it.logs)
    other.start()
    try:
        other.ready()
        it.write(10)
        assert it.wait() == Exit.ARCHIVE
        assert re.search(
            r"the lock of this archive was taken away|another process writes this ledger", it.said()
        )
        until(lambda: it.committed() == it.written, "the other daemon has every line")
        other.stop()
    finally:
        other.kill()
    it.settle()


def test_a_failing_own_log_costs_nothing(it: Victim) -> None:
    """The log of the daemon itself lies on a full disk: events go on, and the lines that are missing are counted."""
    it.start(WATCHKEEP__DAEMON__LOG_FILE="/dev/full")
    it.write(10)
    until(lambda: it.committed() == it.written, "everything is committed")
    until(lambda: it.status().get("ready"), "it is ready")
    (own,) = (entry for entry in it.status()["degraded"] if entry["code"] == "own-log")
    assert "may be missing" in own["detail"]
    assert re.search(r"watchkeep_own_log_lost_lines_total [1-9]", it.metrics())
    it.stop()


# A small disk


def full_and_free_again(tmp_path: Path, cycles: int) -> None:
    with small_disk(tmp_path / "disk", 16) as disk, victim(tmp_path, archive=disk / "archive") as it:
        it.start(WATCHKEEP__ARCHIVE__PAUSE_FREE_BYTES=str(1 << 20))
        it.ready()
        for cycle in range(cycles):
            it.write(50)
            until(lambda: it.committed() == it.written, "a disk with room takes everything")
            fill(disk)
            it.write(50)
            stalled = until(lambda: (s := it.status()) and not s["ready"] and s, "it says that it stalls")
            assert "reading pauses" in stalled["reason"] or "No space left" in stalled["reason"], stalled
            assert re.search(r"watchkeep_(reading_paused 1|pipeline_failures)", it.metrics())
            assert "nearly full" in it.said() or "No space left" in it.said()
            if cycle % 2:  # it can also be started on a full disk, and answers
                it.kill()
                it.start(WATCHKEEP__ARCHIVE__PAUSE_FREE_BYTES=str(1 << 20))
                it.ready()
            (disk / "ballast").unlink()
            until(lambda: it.committed() == it.written, "it goes on by itself")
            until(lambda: it.status().get("ready"), "it is ready again")
        it.stop()
        it.settle()


@pytest.mark.mounts
def test_a_full_disk_stalls_it_loudly_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    """A 16 MB disk is filled to the last byte and freed again; a daemon is also started while it is full."""
    full_and_free_again(tmp_path, cycles=2)


@pytest.mark.mounts
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_fills_of_a_small_disk_lose_nothing(tmp_path: Path) -> None:
    """The long form."""
    full_and_free_again(tmp_path, cycles=50)


@pytest.mark.mounts
def test_a_file_that_is_removed_while_the_disk_is_full_is_archived_when_there_is_room(tmp_path: Path) -> None:
    """Its name is gone and the archive refuses: the open file keeps its lines, and they are archived when there is room."""
    with small_disk(tmp_path / "disk", 16) as disk, victim(tmp_path, archive=disk / "archive") as it:
        it.start()
        it.ready()
        it.write(10)
        until(lambda: it.committed() == it.written, "the file is followed")
        fill(disk)
        it.write(10)
        until(lambda: "will be tried again; no line is skipped" in it.said(), "the disk is full")
        (it.logs / "app.jsonl").unlink()
        until(lambda: "a file was unlinked" in it.said() or "the note stage" in it.said(), "it is noticed")
        assert not it.ended()
        assert it.status()["ready"] is False
        (disk / "ballast").unlink()
        until(lambda: it.committed() == it.written, "what the removed file held is archived")
        until(lambda: it.status().get("ready"), "it is ready again")
        it.stop()


@pytest.mark.mounts
def test_a_full_disk_of_the_application_tears_a_line_and_only_that(tmp_path: Path) -> None:
    """The log's disk is full in the middle of a line; the application goes on when there is room."""
    with small_disk(tmp_path / "disk", 1) as disk, victim(tmp_path, logs=disk / "logs") as it:
        it.start()
        it.ready()
        it.write(10)
        fill(disk)
        with until_full():
            it.write(200)  # a part of these is on the disk, the last one torn
        (disk / "ballast").unlink()
        data = (it.logs / "app.jsonl").read_bytes()
        whole = data.count(b"\n")
        it.written = whole
        with (it.logs / "app.jsonl").open("ab") as file:
            file.write(b"\n")  # as loggers do that find half a line
        it.write(10)
        until(lambda: it.committed() == it.written, "everything whole is committed")
        it.stop()
        assert it.found() == list(range(it.written))


def own_events(it: Victim) -> list[int]:
    """Return the numbers of the archived own events that have a ``turn``, in their order."""
    rows: list[tuple[str, int, str]] = []
    for file in read_snapshot(str(it.archive)).events:
        columns = ["source", "source_offset", "metadata", "internal"]
        table = pq.read_table(it.archive / file.path, columns=columns, partitioning=None)
        rows += [
            (row["source"], row["source_offset"], row["metadata"])
            for row in table.to_pylist()
            if row["internal"] and row["metadata"] and '"turn"' in row["metadata"]
        ]
    return [json.loads(metadata)["turn"] for _, _, metadata in sorted(rows)]


@pytest.mark.mounts
def test_half_an_own_event_that_a_full_disk_left_costs_only_itself(tmp_path: Path) -> None:
    """The daemon's own log ends in the middle of a line: what is written when there is room stands in a line of its own."""
    with small_disk(tmp_path / "disk", 16) as disk, victim(tmp_path, archive=disk / "archive") as it:
        it.start()
        it.ready()
        turns = 0

        def tell() -> bool:
            nonlocal turns
            turns += 1
            return it.order("/verified", ok=True, turn=turns, filler="x" * 700) is not None

        written = [turns for _ in range(3) if tell()]
        assert written == [1, 2, 3]
        folder = it.archive / "nodes" / "main" / "self"
        ballast = fill(disk)
        lost: list[int] = []
        while sorted(folder.glob("*.jsonl"))[-1].read_bytes().endswith(b"\n"):
            (written if tell() else lost).append(turns)
            assert turns < 100
        assert lost == [turns], "the one that is half there was refused"
        assert not tell()
        assert [e["code"] for e in it.status()["degraded"]].count("own-events") == 1
        assert re.search(r"watchkeep_own_events_lost_total [1-9]", it.metrics())
        ballast.unlink()
        written += [turns for _ in range(3) if tell()]
        it.write(1)
        until(lambda: it.committed() == it.written and own_events(it) == written, "all others are archived")
        until(lambda: it.status().get("ready"), "it is ready again")
        assert "own-events" not in [entry["code"] for entry in it.status()["degraded"]]
        state = read_state(str(it.archive), "main")
        assert [source.counts.rejects for source in state.sources.values() if source.internal] == [1]
        it.stop()
