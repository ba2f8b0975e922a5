"""Notices are a hint and looking is the truth: whatever is wrong with a folder or with notices costs no line."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daemon.discovery import Discovery, Root, Scan, Watchable
from daemon.failpoints import planted
from daemon.filesystems import remote_kind
from daemon.following import Fate
from daemon.tailer import Tailer, TailOptions
from daemon.watcher import Watcher
from tests.daemon.test_tailer import Followed, append

PATIENCE_SECONDS = 30.0


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Followed]:
    (tmp_path / "logs").mkdir()
    made = Followed(tmp_path / "logs")
    yield made
    made.tailer.close()


def looked(it: Followed, seconds: float = 0.0) -> None:
    """Take turns for a while as the daemon does when nobody notices anything."""
    it.now += seconds
    for _ in range(300):
        turn = it.tailer.turn()
        it.notes += turn.notes
        it.collector.append([reading.chunk for reading in turn.readings])
        if turn.urgent:
            it.collector.commit()
        it.now += 0.1


# What a listing costs


def test_a_folder_is_read_again_only_when_its_own_times_changed(tmp_path: Path) -> None:
    """Fifty thousand idle files cost a look at their folders, not at themselves."""
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        append(folder / "a.log", b"x\n")
        os.utime(folder, (1, 1))
    discovery = Discovery((Root(os.fsencode(tmp_path)),))
    keys = {found.key for found in discovery.scan().files}
    assert len(keys) == 20
    settle(tmp_path)
    discovery.scan(keys, relist=True)
    with planted(f"scandir delay=0 *; stat delay=0 {tmp_path}/*/a.log") as (listed, looked_at):
        again = discovery.scan(keys)
        assert (listed.hits, looked_at.hits) == (0, 0)
        append(tmp_path / "3" / "b.log", b"y\n")
        found = discovery.scan(keys)
        assert (listed.hits, looked_at.hits) == (1, 0)
    assert not again.changed
    assert len(again.files) == 20
    assert [entry.file for entry in found.loose or ()] == ["3/b.log"]


def settle(folder: Path) -> None:
    """Wait until no folder was changed so recently that a second change could have the same time."""
    newest = max(info.st_ctime_ns for info in (path.stat() for path in [folder, *folder.iterdir()]))
    while time.time_ns() - newest < 3_100_000_000:
        time.sleep(0.1)


def test_a_line_in_an_idle_file_is_found_without_a_notice(it: Followed) -> None:
    """Idle files are looked at in turn."""
    for number in range(50):
        append(it.folder / f"{number}.log", b"first %d\n" % number)
        os.utime(it.folder / f"{number}.log", (1, 1))
    it.settle()
    it.settle(seconds=2000)
    append(it.folder / "17.log", b"second\n")

    looked(it)

    assert b"second" in it.lines
    assert len(it.lines) == 51


# Folders that come and go


def test_a_folder_that_is_made_later_is_read_whole(tmp_path: Path) -> None:
    """It need not exist when the daemon starts (T2)."""
    it = Followed(tmp_path / "logs")
    it.settle()
    assert "does not exist yet" in it.tailer.binder.problems[0]
    it.folder.mkdir()
    append(it.folder / "a.log", b"one\n")
    it.settle()

    assert it.lines == [b"one"]
    assert it.tailer.binder.problems == ()
    it.tailer.close()


def test_folders_made_in_one_go_are_found_with_their_files(it: Followed) -> None:
    """Deep folders and a line in them at once, many times, without any notice (T3)."""
    for number in range(60):
        folder = it.folder / f"{number}" / "b" / "c"
        folder.mkdir(parents=True)
        append(folder / "a.log", b"line %d\n" % number)
        if number % 20 == 0:
            looked(it)
    looked(it)

    assert len(it.lines) == 60


def test_a_root_that_is_removed_and_made_again_is_read_on(it: Followed) -> None:
    """Its new files are new, its old ones stay what they were (T4)."""
    append(it.folder / "a.log", b"one\n")
    it.settle()
    shutil.rmtree(it.folder)
    looked(it)
    it.folder.mkdir()
    append(it.folder / "a.log", b"two\n")
    looked(it)

    assert it.lines == [b"one", b"two"]


def test_a_path_that_is_a_file_is_followed_through_its_rotation(tmp_path: Path) -> None:
    """The folder is watched, the name is what counts, and its rotations (T5)."""
    it = Followed(tmp_path)
    append(tmp_path / "app.log", b"one\n")
    append(tmp_path / "other.log", b"not ours\n")
    it.tailer.close()
    it.tailer = Tailer(
        TailOptions((Root(os.fsencode(tmp_path / "app.log")),)), it.collector, clock=lambda: it.now
    )
    it.settle()
    append(tmp_path / "app.log", b"two\n")
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    append(tmp_path / "app.log", b"three\n")
    it.settle()

    assert it.lines == [b"one", b"three", b"two"]
    assert {followed.fate for followed in it.tailer.files} == {Fate.PRESENT, Fate.RENAMED}
    assert it.tailer.watchable()[0] == (
        Watchable(os.fsencode(tmp_path), tmp_path.stat().st_dev, tmp_path.stat().st_ino, deep=False),
    )
    it.tailer.close()


@pytest.mark.parametrize("call", ["stat", "scandir"])
@pytest.mark.parametrize("error", ["ENOENT", "ESTALE", "EIO", "EMFILE", "EACCES"])
def test_a_root_that_cannot_be_looked_at_for_a_while_loses_nothing(
    it: Followed, call: str, error: str
) -> None:
    """A minute and more of failures is no deletion: no gap, no new source, no line twice (T16, T19)."""
    append(it.folder / "a.log", b"one\n")
    append(it.folder / "sub.log", b"half a li")
    it.settle()
    it.collector.commit()
    for followed in it.tailer.files:
        if followed.file == "a.log":
            it.tailer.binder.books.close(followed)  # as one does that was closed for want of descriptors
    with planted(f"{call} {error} {it.folder}*"):
        for _ in range(20):
            it.settle(seconds=10)
        assert it.tailer.binder.problems
    append(it.folder / "a.log", b"two\n")
    append(it.folder / "sub.log", b"ne\n")
    it.settle(seconds=10)
    it.settle(seconds=30)

    assert it.lines == [b"half a line", b"one", b"two"]
    assert len(it.collector.sources) == 2
    assert not {"gap", "unlinked", "rewritten"} & set(it.kinds())
    assert it.tailer.binder.problems == ()


def test_a_source_whose_folder_is_missing_at_the_start_is_not_lost_yet(it: Followed) -> None:
    """The disk may be mounted later; only then a file that is not there is gone."""
    append(it.folder / "a.log", b"one\nnot finished")
    it.settle()
    it.restart()
    away = it.folder.with_name("away")
    it.folder.rename(away)
    it.settle()
    it.settle(seconds=100)
    assert "gap" not in it.kinds()

    away.rename(it.folder)
    append(it.folder / "a.log", b" line\n")
    it.settle()
    it.settle(seconds=100)

    assert it.lines == [b"not finished line", b"one"]
    assert "gap" not in it.kinds()


def test_a_source_whose_folder_was_taken_out_is_not_lost(it: Followed, tmp_path: Path) -> None:
    """Its file is where it was; nobody asks for it any more."""
    append(it.folder / "a.log", b"one\nnot finished")
    it.settle()
    it.restart()
    it.tailer.close()
    (tmp_path / "other").mkdir()
    it.tailer = Tailer(
        TailOptions((Root(os.fsencode(tmp_path / "other")),)), it.collector, clock=lambda: it.now
    )
    it.settle()
    it.settle(seconds=100)
    assert "gap" not in it.kinds()

    (it.folder / "a.log").unlink()
    it.settle()
    it.settle(seconds=100)
    assert [note.code for note in it.notes if note.kind == "gap"] == ["gone"]


def test_a_failure_that_is_over_is_not_shown_for_ever(it: Followed) -> None:
    """An idle file that could not be looked at once is no failed source."""
    append(it.folder / "a.log", b"one\n")
    it.settle()
    with planted(f"stat EIO {it.folder}/a.log"):
        looked(it, seconds=5)
        assert [followed.trouble for followed in it.tailer.files] == ["Input/output error"]
    looked(it, seconds=1000)

    assert [followed.trouble for followed in it.tailer.files] == [""]


# Files that cannot be opened, or must not be


def test_a_file_that_may_not_be_opened_is_said_and_read_later(it: Followed) -> None:
    """Rights come and go; what is open stays open (T18)."""
    append(it.folder / "open.log", b"one\n")
    it.settle()
    with planted(f"open_file EACCES {it.folder}/*"):
        append(it.folder / "closed.log", b"two\n")
        append(it.folder / "open.log", b"three\n")
        it.settle()
        assert it.lines == [b"one", b"three"]
        assert list(it.tailer.binder.problems) == [f"{it.folder}/closed.log: Permission denied"]
    it.settle()

    assert it.lines == [b"one", b"three", b"two"]
    assert not it.tailer.binder.problems


def test_a_file_that_could_never_be_opened_is_a_gap_when_it_goes(it: Followed) -> None:
    """Its bytes were known to exist."""
    with planted(f"open_file EACCES {it.folder}/*"):
        append(it.folder / "closed.log", b"secret\n")
        it.settle()
        (it.folder / "closed.log").unlink()
        it.settle()

    (gap,) = [note for note in it.notes if note.kind == "gap"]
    assert (gap.code, gap.end - gap.start, gap.sid) == ("unopened", 7, "")


def test_what_is_no_file_is_never_opened(it: Followed) -> None:
    """Opening a FIFO would wait for its writer for ever (T17)."""
    os.mkfifo(it.folder / "fifo.log")
    (it.folder / "folder.log").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(it.folder)  # a socket's path may not be long
        try:
            bound.bind("socket.log")
        finally:
            os.chdir(here)
        append(it.folder / "file.log", b"one\n")
        plan = "; ".join(f"open_file delay=0 */{name}.log" for name in ("fifo", "folder", "socket"))
        with planted(plan) as opened:
            it.settle()

    assert it.lines == [b"one"]
    assert [point.hits for point in opened] == [0, 0, 0]


# Deleted files


def test_deleted_files_that_hold_too_much_are_let_go_of_once_they_are_archived(tmp_path: Path) -> None:
    """Without the wait for a last line, and nothing unread is dropped (T64)."""
    it = Followed(tmp_path, pinned_bytes=100)
    append(tmp_path / "a.log", b"x" * 150 + b"\n")
    it.settle()
    (tmp_path / "a.log").unlink()
    turn = it.tailer.turn(rescan=True)
    assert turn.urgent
    pinned = it.tailer.pinned_bytes
    assert len(it.tailer.files) == 1
    it.collector.commit()
    it.tailer.turn()
    it.tailer.turn()

    assert list(it.tailer.files) == []
    assert (pinned, it.tailer.pinned_bytes) == (151, 0)
    assert len(it.lines) == 1
    it.tailer.close()


# File systems that do not tell of changes


def test_a_file_system_that_does_not_tell_is_looked_at_whole(tmp_path: Path) -> None:
    """Neither notices nor the times of its folders are believed (T14)."""
    append(tmp_path / "a.log", b"one\n")
    discovery = Discovery((Root(os.fsencode(tmp_path)),), remote=lambda _: "nfs")
    first = discovery.scan()
    keys = {found.key for found in first.files}
    append(tmp_path / "a.log", b"two\n")

    second: Scan = discovery.scan(keys)

    assert second.unwatchable == ((os.fsencode(tmp_path), "nfs does not tell of every change"),)
    assert [found.size for found in second.fresh] == [8]


def test_a_local_file_system_is_known_as_such(tmp_path: Path) -> None:
    """The kernel tells everything that happens to it."""
    assert remote_kind(b"/dev/shm") == ""
    assert remote_kind(os.fsencode(tmp_path / "nowhere")) == ""


# Notices


class Notices:
    """A watcher, and the paths it told of so far."""

    def __init__(self) -> None:
        self.paths: set[bytes] = set()
        self.restarts = 0
        self.watcher = Watcher(self.paths.update, on_restart=self.restarted)

    def restarted(self) -> None:
        self.restarts += 1

    def seen(self, folder: Path) -> None:
        scan = Discovery((Root(os.fsencode(folder)),)).scan()
        self.watcher.seen(scan.roots, dict(scan.unwatchable), scan.folders)

    async def until(self, folder: Path, name: bytes) -> None:
        """Write to a file until a notice of it comes, as the tailer would list until then."""
        path = os.path.join(os.fsencode(folder), name)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while path not in self.paths:
                await asyncio.to_thread(append, Path(os.fsdecode(path)), b"x\n")
                await asyncio.sleep(0.1)


@asynccontextmanager
async def watching() -> AsyncGenerator[Notices]:
    notices = Notices()
    task = asyncio.create_task(notices.watcher.run())
    try:
        yield notices
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_root_made_anew_is_watched_anew(tmp_path: Path) -> None:
    """Also if it has the inode number of the one before, so that no listing sees a difference (T4)."""
    root = tmp_path / "logs"
    async with watching() as notices:
        for name in (b"a.log", b"b.log", b"c.log"):
            await asyncio.to_thread(root.mkdir)
            await asyncio.to_thread(notices.seen, root)
            await notices.until(root, name)
            await asyncio.to_thread(shutil.rmtree, root)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while notices.watcher.watches(os.fsencode(root)):  # noqa: ASYNC110 - there is no event of it
                    await asyncio.sleep(0.02)


async def test_no_name_is_left_out_of_the_notices(tmp_path: Path) -> None:
    """Folders of tools and names of editors may hold logs too (T10)."""
    for folder in (".venv", "node_modules", ".git"):
        await asyncio.to_thread((tmp_path / folder).mkdir)
    async with watching() as notices:
        await asyncio.to_thread(notices.seen, tmp_path)
        for name in (b".venv/a.log", b"node_modules/a.log", b".git/a.log", b"a.log~", b"a.swp"):
            await notices.until(tmp_path, name)


async def test_a_name_that_notices_cannot_carry_ends_them_once_for_its_root(tmp_path: Path) -> None:
    """The library dies of it, every time; the root is looked at instead, others keep their notices (T9)."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        await asyncio.to_thread(folder.mkdir)
    roots = (Root(os.fsencode(good)), Root(os.fsencode(bad)))
    odd = os.path.join(os.fsencode(bad), b"odd\xff.log")

    def look(notices: Notices) -> None:
        scan = Discovery(roots).scan()
        notices.watcher.seen(scan.roots, dict(scan.unwatchable), scan.folders)

    async with watching() as notices:
        await asyncio.to_thread(look, notices)
        await notices.until(bad, b"a.log")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not notices.restarts:
                await asyncio.to_thread(append, Path(os.fsdecode(odd)), b"x\n")
                await asyncio.sleep(0.1)
        await asyncio.to_thread(look, notices)
        assert notices.watcher.polled == {str(bad): "it holds a name that is not UTF-8"}
        notices.paths.clear()
        await notices.until(good, b"b.log")
        await asyncio.to_thread(append, Path(os.fsdecode(odd)), b"x\n")
        await notices.until(good, b"c.log")
        assert notices.restarts == 1
        await asyncio.to_thread(os.unlink, odd)
        await asyncio.to_thread(look, notices)
        await notices.until(bad, b"d.log")
