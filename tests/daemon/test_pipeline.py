"""Lines from files through parser and archive: visible at once, durable soon, never lost when something fails."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daemon.discovery import Root
from daemon.ladder import ArchiveLadder
from daemon.metrics import Metrics
from daemon.notes import Note
from daemon.pipeline import Pipeline, PipelineOptions
from daemon.tailer import Tailer, TailOptions
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.errors import CommitError, FencedError
from storage.snapshot import Snapshot
from storage.transform import ParseOptions, Transformer

PATIENCE_SECONDS = 20.0  # a busy machine is no failure


class Running:
    """A pipeline over a folder of logs, and what it reported."""

    def __init__(self, folder: Path, *, commit_seconds: float = 30.0, queue_bytes: int = 64 << 20) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.notes: list[Note] = []
        self.refusals = 0  # how often a note cannot be recorded
        self.metrics = Metrics()
        self.archive = Archive.open(ArchiveOptions(str(folder / "archive")), observer=self.metrics)
        self.tailer = Tailer(
            TailOptions((Root(os.fsencode(self.logs)),)),
            self.archive,
            ladder=ArchiveLadder(self.archive, ParseOptions(), 1 << 20),
        )
        self.transformer = Transformer(ParseOptions())
        self.pipeline = Pipeline(
            PipelineOptions(queue_bytes=queue_bytes, commit_seconds=commit_seconds),
            self.tailer,
            self.transformer,
            self.archive,
            self.metrics,
            on_notes=self._note,
        )

    async def _note(self, notes: list[Note]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise CommitError("no space left", retry=True)
        self.notes += notes

    def write(self, name: str, *numbers: int) -> None:
        with (self.logs / name).open("ab", buffering=0) as file:
            for number in numbers:
                file.write(line(number))

    async def until(self, reached: Callable[[Snapshot], bool]) -> Snapshot:
        await eventually(lambda: reached(self.archive.snapshot))
        return self.archive.snapshot

    def release(self) -> None:
        self.pipeline.close()
        self.tailer.close()
        self.transformer.close()
        self.archive.abandon()


async def eventually(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reached():  # noqa: ASYNC110 - a test asks from outside
            await asyncio.sleep(0.02)


def block(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("in the way")


def unblock(folder: Path) -> None:
    folder.unlink()
    folder.mkdir()


def line(number: int) -> bytes:
    event = {
        "eventId": f"e{number}",
        "timestamp": "2026-03-01T10:00:00Z",
        "level": "info",
        "category": "api",
        "action": "read",
        "description": f"number {number}",
    }
    return json.dumps(event).encode() + b"\n"


def hot_rows(snapshot: Snapshot) -> int:
    return sum(hot.table.num_rows for hot in snapshot.hot)


def committed_rows(snapshot: Snapshot) -> int:
    return sum(file.rows for file in snapshot.events)


@asynccontextmanager
async def running(folder: Path, *, commit_seconds: float = 30.0) -> AsyncIterator[Running]:
    it = await asyncio.to_thread(lambda: Running(folder, commit_seconds=commit_seconds))
    task = asyncio.create_task(it.pipeline.run())
    try:
        yield it
        await it.pipeline.stop()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(it.release)


async def test_an_appended_line_is_visible_before_it_is_committed(tmp_path: Path) -> None:
    """Visible means in the snapshot; durable comes with the commit."""
    async with running(tmp_path) as it:
        it.write("app.jsonl", 1, 2)

        snapshot = await it.until(lambda s: hot_rows(s) == 2)

        assert committed_rows(snapshot) == 0
        assert snapshot.hot[0].table["event_id"].to_pylist() == ["e1", "e2"]


async def test_stopping_commits_what_is_visible(tmp_path: Path) -> None:
    """After a graceful stop nothing needs to be read again."""
    async with running(tmp_path) as it:
        it.write("app.jsonl", 1, 2, 3)
        await it.until(lambda s: hot_rows(s) == 3)
    async with running(tmp_path) as again:
        await again.pipeline.caught_up()

        assert committed_rows(again.archive.snapshot) == 3
        assert hot_rows(again.archive.snapshot) == 0


async def test_stopping_ends_though_nothing_is_taken_and_a_deleted_file_fills_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive refuses every line: the reader must not wait for room that nobody makes."""
    it = await asyncio.to_thread(lambda: Running(tmp_path, queue_bytes=100_000))

    def refuse(*_args: object, **_named: object) -> None:
        raise CommitError("no numbers left", retry=True)

    monkeypatch.setattr(it.archive, "append", refuse)
    task = asyncio.create_task(it.pipeline.run())
    it.write("app.jsonl", *range(50_000))
    await eventually(lambda: "append" in it.pipeline.trouble and it.pipeline.queue.bytes > 100_000)
    (it.logs / "app.jsonl").unlink()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await it.pipeline.stop()
        await task
    assert it.archive.snapshot.seq == 0
    await asyncio.to_thread(it.release)


async def test_commits_are_made_in_time(tmp_path: Path) -> None:
    """Nobody has to ask for a commit."""
    async with running(tmp_path, commit_seconds=0.2) as it:
        it.write("app.jsonl", 1)

        await it.until(lambda s: committed_rows(s) == 1)


async def test_a_removed_file_is_committed_at_once(tmp_path: Path) -> None:
    """Its lines are nowhere else any more, so they do not wait for the next regular commit."""
    async with running(tmp_path, commit_seconds=60.0) as it:
        it.write("app.jsonl", 1)
        await it.until(lambda s: hot_rows(s) == 1)
        it.write("app.jsonl", 2)
        (it.logs / "app.jsonl").unlink()

        await it.until(lambda s: committed_rows(s) == 2)

        assert any(note.kind == "unlinked" for note in it.notes)


async def test_a_renamed_file_is_committed_at_once_and_read_on(tmp_path: Path) -> None:
    """Rename rotation: the old file keeps its source, the new one gets its own."""
    async with running(tmp_path, commit_seconds=60.0) as it:
        it.write("app.jsonl", 1)
        await it.until(lambda s: hot_rows(s) == 1)
        (it.logs / "app.jsonl").rename(it.logs / "app.jsonl.1")
        it.write("app.jsonl", 2)
        it.write("app.jsonl.1", 3)

        await it.until(lambda s: committed_rows(s) + hot_rows(s) == 3 and committed_rows(s) >= 1)

        assert len(it.archive.sources) == 2


async def test_a_commit_that_the_disk_refuses_is_tried_again(tmp_path: Path) -> None:
    """Rows stay visible, the trouble is said, and nothing is lost once the disk works again."""
    async with running(tmp_path, commit_seconds=0.1) as it:
        staging = Path(it.archive.layout.staging)
        block(staging)
        it.write("app.jsonl", 1)
        await eventually(lambda: "commit" in it.pipeline.trouble)
        assert hot_rows(it.archive.snapshot) == 1

        unblock(staging)
        await it.until(lambda s: committed_rows(s) == 1)

        await eventually(lambda: not it.pipeline.trouble)


async def test_a_backlog_larger_than_the_queue_comes_through_whole(tmp_path: Path) -> None:
    """A full queue stops reading; the file is the buffer."""
    (tmp_path / "logs").mkdir()
    backlog = b"".join(line(number) for number in range(30_000))
    (tmp_path / "logs" / "old.jsonl").write_bytes(backlog)
    it = await asyncio.to_thread(lambda: Running(tmp_path, queue_bytes=2 << 20))
    most = 0
    task = asyncio.create_task(it.pipeline.run())
    try:
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            while hot_rows(it.archive.snapshot) + committed_rows(it.archive.snapshot) < 30_000:
                most = max(most, it.pipeline.queue.bytes)
                await asyncio.sleep(0.005)
        await it.pipeline.stop()
        await task
    finally:
        await asyncio.to_thread(it.release)

    assert most < 8 << 20
    (source,) = it.archive.sources.values()
    assert source.offset == len(backlog)
    assert source.counts.events == 30_000


async def test_a_file_that_loses_its_last_lines_is_read_on_from_the_first_new_one(tmp_path: Path) -> None:
    """What was only visible is committed first, then compared, and nothing is repeated; other files go on meanwhile."""
    async with running(tmp_path, commit_seconds=60.0) as it:
        it.write("app.jsonl", *range(500))
        await it.until(lambda s: hot_rows(s) == 500)
        kept = sum(len(line(number)) for number in range(450))
        os.truncate(it.logs / "app.jsonl", kept)
        it.write("app.jsonl", *range(1000, 1100))
        it.write("other.jsonl", 2000)

        await it.until(lambda s: hot_rows(s) + committed_rows(s) == 601)

        first, fork = sorted(
            (s for s in it.archive.sources.values() if s.file == "app.jsonl"), key=lambda s: s.base
        )
        assert (first.offset, fork.base, fork.continues) == (
            sum(map(len, map(line, range(500)))),
            kept,
            first.sid,
        )
        assert [note.kind for note in it.notes if note.kind != "gap"] == ["shortened"]


async def test_a_note_that_the_disk_refuses_is_told_later_and_reading_goes_on(tmp_path: Path) -> None:
    """A gap on a full disk ended the daemon: now it waits, loudly, and lines of other files become visible."""
    async with running(tmp_path) as it:
        it.write("a.jsonl", 1)
        await it.until(lambda snapshot: hot_rows(snapshot) + committed_rows(snapshot) == 1)
        it.refusals = 1
        (it.logs / "a.jsonl").rename(it.logs / "b.jsonl")
        await eventually(lambda: "note" in it.pipeline.trouble)
        it.write("c.jsonl", 2)
        await it.until(lambda snapshot: hot_rows(snapshot) + committed_rows(snapshot) == 2)
        await eventually(lambda: any(note.kind == "renamed" for note in it.notes))
        await eventually(lambda: "note" not in it.pipeline.trouble)


async def test_a_pipeline_whose_archive_somebody_else_took_over_ends(tmp_path: Path) -> None:
    """Whatever it did would be wrong: the error is not tried again, it ends the process."""
    it = await asyncio.to_thread(Running, tmp_path, commit_seconds=0.05)
    task = asyncio.create_task(it.pipeline.run())
    try:
        it.write("a.jsonl", 1)
        await it.until(lambda snapshot: hot_rows(snapshot) + committed_rows(snapshot) == 1)
        os.unlink(it.archive.layout.lock)
        it.write("a.jsonl", 2)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(BaseExceptionGroup) as caught:
                await task
        assert caught.group_contains(FencedError)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(it.release)
