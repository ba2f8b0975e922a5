"""Bytes that can never be archived are told of: once, with source, range and reason, whatever happens in between."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from daemon.gaps import GapTeller
from daemon.metrics import Metrics
from daemon.selflog import SelfLog
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.gaps import Gap, GapBook, Hole, joined
from storage.reader import read_state
from storage.records import SourceState
from tests.daemon.test_service import Process, serving

PATIENCE_SECONDS = 40.0
NEVER = {
    "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "60"
}  # longer than any test waits: only an urgent commit is made
QUICK = {"WATCHKEEP__LOGS__SCAN_SECONDS": "0.2"}
SOON = {"WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.3", **QUICK}
LINE = b'{"eventId":"%d","timestamp":"2026-03-01T10:00:00Z","level":"info"}\n'


def eventually(holds: Callable[[], Any], what: str) -> Any:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def source(it: Process, file: str) -> SourceState | None:
    found = [s for s in read_state(str(it.archive), "main").sources.values() if s.file == file]
    return found[0] if found else None


def size_of(it: Process, file: str) -> int:
    found = source(it, file)
    return found.size if found else 0


def offset_of(it: Process, file: str) -> int:
    found = source(it, file)
    return found.offset if found else 0


def two_gaps(it: Process) -> list[dict[str, Any]]:
    found = gap_events(it)
    return found if len(found) == 2 else []


def gap_events(it: Process) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = it.get("/events?internal=true&tag=gap")["data"]
    return data


def write(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def test_a_file_that_loses_its_name_or_its_future_is_committed_at_once(tmp_path: Path) -> None:
    """Not when the next commit would be due: what is uncommitted then could be lost (T24)."""
    with serving(tmp_path, **NEVER) as it:
        expected = len(LINE % 1)

        def committed(number: int) -> bool:
            sources = read_state(str(it.archive), "main").sources.values()
            return any(s.offset == expected and s.file.startswith(f"{number}-2026-03-01") for s in sources)

        def unlink(path: Path) -> None:
            path.unlink()

        def rename(path: Path) -> None:
            path.rename(path.with_name(f"{path.name}.1"))

        def supersede(path: Path) -> None:
            write(path.with_name("3-2026-03-02.jsonl"), LINE % 4)

        for number, act in enumerate((unlink, rename, supersede), start=1):
            path = it.logs / f"{number}-2026-03-01.jsonl"
            write(path, LINE % number)
            it.until_events(number)
            act(path)
            eventually(partial(committed, number), f"a commit of everything that was read: {act.__name__}")


def test_what_a_deleted_file_held_is_told_of_when_the_daemon_dies_before_its_commit(tmp_path: Path) -> None:
    """The ledger knew how much there was; one event says so, and no later start says it again (T25)."""
    with serving(tmp_path, WATCHKEEP_FAILPOINTS="fdatasync delay=300 */logs/*", **NEVER, **QUICK) as it:
        path = it.logs / "app.jsonl"
        write(path, LINE % 1)
        it.until_events(1)
        write(path, LINE % 2)
        it.until_events(2)
        size = path.stat().st_size
        path.unlink()
        eventually(lambda: size_of(it, "app.jsonl") == size, "the size at risk in the ledger")
        it.process.kill()
        it.log.unlink()
    for _ in range(2):
        with serving(tmp_path, **SOON) as it:
            (event,) = eventually(partial(gap_events, it), "an event of the gap")
            assert event["metadata"]["bytes"] == size
            assert event["metadata"]["reason"] == "gone"
            (row,) = [row for row in it.get("/logs/files")["data"] if row["path"] == "app.jsonl"]
            assert (row["gaps"], row["gap_bytes"], row["gap_reason"]) == (1, size, "gone")
            status = it.get("/status")
            assert (status["gaps"], status["gap_bytes"], status["gaps_by_reason"]["gone"]["count"]) == (
                1,
                size,
                1,
            )
            ready = it.get("/health/ready")
            assert ready["status"] == "ready"
            assert [complaint["code"] for complaint in ready["degraded"]] == ["gap"]
            it.process.send_signal(signal.SIGKILL)
            it.process.wait()
            it.log.unlink()


def test_a_rotation_that_outran_the_daemon_is_told_of(tmp_path: Path) -> None:
    """While it was down the file went, with bytes that were seen and could not be read yet (T43)."""
    with serving(tmp_path, **SOON) as it:
        write(it.logs / "app.jsonl", LINE % 1 + b"not finished")
        it.until_events(1)
        eventually(lambda: offset_of(it, "app.jsonl"), "a commit")
        assert it.stop() == 0
        it.log.unlink()
    (tmp_path / "logs" / "app.jsonl").unlink()
    with serving(tmp_path, **SOON) as it:
        (event,) = eventually(lambda: gap_events(it), "an event of the gap")
    assert event["description"].startswith("at least 12 bytes of ")
    assert (event["category"], event["level"], event["tags"]) == ("security", "error", ["gap", "gone"])


def test_bytes_between_archived_ones_are_told_of_by_reason(tmp_path: Path) -> None:
    """What is cut off a line that is too long, and a hole of NUL bytes; the metrics have both."""
    with serving(tmp_path, WATCHKEEP__LOGS__MAX_LINE_BYTES="100000", **SOON) as it:
        write(it.logs / "long.jsonl", b"x" * 200_000 + b"\n" + LINE % 1)
        write(it.logs / "hole.jsonl", bytes(5000) + LINE % 2)
        it.until_events(2)
        found = eventually(lambda: two_gaps(it), "two gaps")
        facts = {e["metadata"]["reason"]: (e["metadata"]["bytes"], e["metadata"]["from"]) for e in found}
        assert facts == {"oversize": (200_000 - 65_536, 65_536), "nul": (5000, 0)}
        text = it.metrics()
    assert 'watchkeep_degraded{code="gap"} 1.0' in text
    assert 'watchkeep_gap_bytes_total{reason="nul"} 5000.0' in text
    assert 'watchkeep_gap_bytes_total{reason="oversize"} 134464.0' in text


async def test_an_event_that_was_written_before_a_crash_is_not_written_again(tmp_path: Path) -> None:
    """The ledger does not know yet that it was told, but the daemon's own log has it."""

    def opened() -> tuple[Archive, SelfLog]:
        archive = Archive.open(ArchiveOptions(str(tmp_path / "archive"), node="main"))
        return archive, SelfLog(archive.layout.own_log, node="main", version="1")

    for codes in (["gone"], []):
        archive, log = opened()
        for code in codes:
            archive.losses.gap("a" * 32, 10, 30, code, "/logs/app.log")
        await GapTeller(archive, log, Metrics(), node="main").tell()
        log.close()
        archive.abandon()  # as a crash does: nothing is committed after the event
    archive, log = opened()
    archive.losses.gap("b" * 32, 0, 5, "removed", "/logs/other.log")
    await GapTeller(archive, log, Metrics(), node="main").tell()
    log.close()
    archive.abandon()

    lines = await asyncio.to_thread(
        lambda: [line for file in Path(log.folder).iterdir() for line in file.read_text().splitlines()]
    )
    assert [json.loads(line)["eventId"] for line in lines] == ["gap-main-1", "gap-main-2"]


def test_holes_of_one_commit_are_told_together() -> None:
    """A million long lines are one gap of their file, not a million."""
    holes = [Hole("s", "/a", start, start + 5, 5, "oversize") for start in range(0, 100, 10)]

    assert joined([*holes, Hole("s", "/a", 3, 4, 1, "nul")]) == [
        Hole("s", "/a", 3, 4, 1, "nul"),
        Hole("s", "/a", 0, 95, 50, "oversize"),
    ]


def test_the_sums_of_gaps_survive_a_snapshot() -> None:
    """A start reads a snapshot and what follows."""
    book = GapBook()
    for number in range(120):
        book.add({"sid": "s", "start": number, "end": number + 2, "code": "nul", "path": "/a"}, number)
    book.tell(60)
    again = GapBook.from_json(json.loads(json.dumps(book.to_json())))

    assert again == book
    assert (again.by_source["s"].count, again.by_code["nul"].bytes, len(again.untold())) == (120, 240, 60)
    assert isinstance(again.last, Gap)
