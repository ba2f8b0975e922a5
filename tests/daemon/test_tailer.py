"""Single cases of following files, with a clock in hand."""

import os
import shutil
from pathlib import Path

import pytest

from daemon.discovery import Root
from daemon.failpoints import planted
from daemon.following import Fate
from daemon.notes import Note
from daemon.tailer import Tailer, TailOptions
from tests.daemon.collector import AtOnce, Collector, CollectorLadder


class Followed:
    """A tailer over one folder whose turns are taken by the test."""

    def __init__(self, folder: Path, collector: Collector | None = None, **options) -> None:
        self.folder = folder
        self.collector = collector or Collector()
        self.now = 1000.0
        self.notes: list[Note] = []
        self.options = TailOptions((Root(os.fsencode(folder)),), **options)
        self.tailer = self._started()

    def _started(self) -> Tailer:
        ladder = CollectorLadder(self.collector)
        return Tailer(self.options, self.collector, ladder=ladder, executor=AtOnce(), clock=lambda: self.now)

    def settle(self, *, seconds: float = 0.0, closing: bool = False) -> None:
        """Take turns until nothing more comes, after some time has passed."""
        self.now += seconds
        for _ in range(500):
            turn = self.tailer.turn(rescan=True, closing=closing)
            self.notes += turn.notes
            self.collector.told(turn.notes)
            self.collector.append([reading.chunk for reading in turn.readings])
            if turn.urgent:
                self.collector.commit()
            if not turn.more and not turn.readings and not turn.urgent:
                return
            self.now += 0.3
        raise AssertionError("the tailer never comes to rest")

    def restart(self, *, crash: bool = False) -> None:
        self.collector.crash() if crash else self.collector.commit()
        self.tailer.close()
        self.tailer = self._started()

    @property
    def lines(self) -> list[bytes]:
        return sorted(self.collector.lines())

    def kinds(self) -> list[str]:
        return [note.kind for note in self.notes]


def append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)


def test_files_that_were_there_before_the_first_start_are_read_from_the_beginning(it):
    """Not from their end."""
    append(it.folder / "a.log", b"one\ntwo\n")
    it.settle()

    assert it.lines == [b"one", b"two"]


def test_a_restart_goes_on_where_the_commit_ended(it):
    """What was read and not committed is read again, what was committed is not."""
    append(it.folder / "a.log", b"one\n")
    it.settle()
    it.collector.commit()
    append(it.folder / "a.log", b"two\n")
    it.settle()
    it.restart(crash=True)
    it.settle()

    assert it.lines == [b"one", b"two"]


def test_an_unfinished_line_of_a_deleted_file_is_taken_when_nobody_writes_any_more(it):
    """Its file is sealed: deleted and idle."""
    append(it.folder / "a.log", b"one\ntwo")
    it.settle()
    (it.folder / "a.log").unlink()
    it.settle()
    assert it.lines == [b"one"]

    it.settle(seconds=10)

    assert it.lines == [b"one", b"two"]
    assert list(it.tailer.files) == []


def test_an_unfinished_line_of_a_deleted_file_is_taken_when_the_daemon_stops(it):
    """It could not be read after the next start."""
    append(it.folder / "a.log", b"one\ntwo")
    it.settle()
    (it.folder / "a.log").unlink()
    it.settle()
    it.settle(closing=True)

    assert it.lines == [b"one", b"two"]


def test_yesterdays_file_is_finished_once_todays_exists(it):
    """And not before ten minutes without a write."""
    append(it.folder / "a-2026-03-01.log", b"one\ntwo")
    append(it.folder / "a-2026-03-02.log", b"three\n")
    it.settle()
    it.settle(seconds=300)
    assert it.lines == [b"one", b"three"]

    it.settle(seconds=400)

    assert it.lines == [b"one", b"three", b"two"]


def test_a_writer_that_holds_the_old_file_after_a_rotation_is_still_read(it):
    """Rename rotation with a slow writer."""
    path = it.folder / "a.log"
    append(path, b"one\n")
    it.settle()
    with path.open("ab", buffering=0) as held:
        path.rename(it.folder / "a.log.1")
        append(path, b"two\n")
        it.settle()
        held.write(b"three\n")
        it.settle(seconds=5)

    assert it.lines == [b"one", b"three", b"two"]
    assert len(it.collector.sources) == 2


def test_a_file_renamed_out_of_sight_is_read_to_its_end(it, tmp_path_factory):
    """Through the descriptor."""
    path = it.folder / "a.log"
    append(path, b"one\n")
    it.settle()
    append(path, b"two\n")
    path.rename(tmp_path_factory.mktemp("elsewhere") / "gone")
    it.settle()
    assert it.lines == [b"one", b"two"]

    it.collector.commit()
    it.settle(seconds=61)

    assert list(it.tailer.files) == []


def test_a_truncated_file_is_read_as_a_new_source(it):
    """From its beginning."""
    path = it.folder / "a.log"
    append(path, b"one\ntwo\n")
    it.settle()
    path.write_bytes(b"three\n")
    it.settle()

    assert it.lines == [b"one", b"three", b"two"]
    assert "rewritten" in it.kinds()


def test_bytes_lost_by_a_truncation_are_reported_as_a_gap(it):
    """They were seen, never read, and nothing took them over."""
    path = it.folder / "a.log"
    append(path, b"one\nunfinished")
    it.settle()
    os.truncate(path, 0)
    it.settle(seconds=1)
    it.settle(seconds=20)

    (gap,) = [note for note in it.notes if note.kind == "gap"]
    assert gap.end - gap.start == len(b"unfinished")


def test_a_gap_after_a_start_is_reported(it):
    """The file vanished while the daemon was down, with bytes that were seen."""
    append(it.folder / "a.log", b"one\nunfinished")
    it.settle()
    it.restart()
    (it.folder / "a.log").unlink()
    it.settle()
    it.settle(seconds=20)

    (gap,) = [note for note in it.notes if note.kind == "gap"]
    assert gap.end - gap.start == len(b"unfinished")


def test_a_copy_is_held_back_and_reported(it):
    """Its lines are in the archive already."""
    content = b"".join(b"line %d\n" % number for number in range(500))
    append(it.folder / "a.log", content)
    it.settle()
    shutil.copy(it.folder / "a.log", it.folder / "b.log")
    it.settle(seconds=30)
    it.settle(seconds=700)

    assert len(it.lines) == 500
    assert "copy" in it.kinds()


def test_a_copy_that_goes_its_own_way_is_read(it):
    """Two files may begin alike."""
    content = b"".join(b"line %d\n" % number for number in range(500))
    append(it.folder / "a.log", content)
    it.settle()
    append(it.folder / "b.log", content)
    it.settle()
    assert len(it.lines) == 500

    append(it.folder / "b.log", b"something else\n")
    it.settle(seconds=1)

    assert len(it.lines) == 1001


def test_short_files_that_are_equal_by_chance_are_read_after_a_while(it):
    """A single line may well stand in two files."""
    append(it.folder / "a.log", b"started\n")
    append(it.folder / "b.log", b"started\n")
    it.settle()
    it.settle(seconds=11)

    assert it.lines == [b"started", b"started"]


def test_a_restored_file_is_the_same_source(it, tmp_path_factory):
    """New inode, same bytes: a backup, another file system."""
    path, aside = it.folder / "a.log", tmp_path_factory.mktemp("backup") / "a.log"
    append(path, b"one\ntwo\n")
    it.settle()
    it.restart()
    shutil.copy(path, aside)
    path.unlink()
    shutil.copy(aside, path)
    append(path, b"three\n")
    it.settle()

    assert it.lines == [b"one", b"three", b"two"]
    assert len(it.collector.sources) == 1


def test_a_folder_that_is_away_for_a_while_costs_nothing(it):
    """Not even a second reading."""
    append(it.folder / "sub.log", b"one\n")
    it.settle()
    it.collector.commit()
    away = it.folder.with_name("away")
    it.folder.rename(away)
    it.settle(seconds=90)
    away.rename(it.folder)
    append(it.folder / "sub.log", b"two\n")
    it.settle(seconds=5)

    assert it.lines == [b"one", b"two"]


def test_a_file_that_cannot_be_opened_now_is_read_later(it):
    """Permissions come and go; other files are not disturbed."""
    append(it.folder / "a.log", b"one\n")
    append(it.folder / "b.log", b"two\n")
    with planted("open_file EACCES */a.log"):
        it.settle()
    assert it.lines == [b"two"]

    it.settle(seconds=10)

    assert it.lines == [b"one", b"two"]


def test_more_files_than_descriptors_are_all_read_and_read_on(tmp_path):
    """The longest idle ones are closed and opened again."""
    it = Followed(tmp_path, max_open_files=8)
    for number in range(40):
        append(tmp_path / f"{number}.log", b"one %d\n" % number)
    it.settle()
    it.collector.commit()
    it.settle(seconds=20)
    for number in range(40):
        append(tmp_path / f"{number}.log", b"two %d\n" % number)
    it.settle(seconds=20)
    it.collector.commit()
    opened = sum(not followed.reader.file.closed for followed in it.tailer.files)
    it.tailer.close()

    assert len(it.lines) == 80
    assert opened <= 48


def test_a_live_file_is_served_while_a_backlog_is_read(it):
    """Catching up takes turns; what is small and new goes first."""
    (it.folder / "old.log").write_bytes(
        b"x" * 99 + b"\n" + b"y" * 99 + b"\n" * 1 + (b"z" * 99 + b"\n") * 400_000
    )
    it.tailer.turn(rescan=True)
    append(it.folder / "live.log", b"now\n")
    it.now += 1

    turn = it.tailer.turn([os.fsencode(it.folder / "live.log")])

    assert turn.more
    assert any(reading.chunk.data == b"now\n" and reading.live for reading in turn.readings)


def test_a_full_queue_stops_reading(it):
    """No room: nothing is read, and nothing is lost."""
    append(it.folder / "a.log", b"one\n")

    assert it.tailer.turn(rescan=True, room=0).readings == []
    it.settle()
    assert it.lines == [b"one"]


def test_a_source_that_cannot_be_registered_is_tried_again(it, monkeypatch):
    """The archive's disk may be full: the file waits."""

    def refuse(_seen):
        raise OSError(28, "No space left on device")

    append(it.folder / "a.log", b"one\n")
    with monkeypatch.context() as patched:
        patched.setattr(it.collector, "register_all", refuse)
        assert it.tailer.turn(rescan=True).trouble is not None
    it.settle()

    assert it.lines == [b"one"]


def test_old_files_are_removed_only_when_every_byte_is_committed(it):
    """Retention of log files never costs a line."""
    append(it.folder / "a-2020-01-01.log", b"one\n")
    append(it.folder / "b-2020-01-01.log", b"two\nunfinished")
    os.utime(it.folder / "a-2020-01-01.log", (1, 1))
    os.utime(it.folder / "b-2020-01-01.log", (1, 1))
    it.settle()
    assert it.tailer.older(1_700_000_000_000_000) == []

    it.collector.commit()

    (old,) = it.tailer.older(1_700_000_000_000_000)
    assert old.path == bytes(it.folder / "a-2020-01-01.log")
    assert it.tailer.remove(old)
    assert not (it.folder / "a-2020-01-01.log").exists()
    assert (it.folder / "b-2020-01-01.log").exists()


def test_what_became_of_a_file_is_known(it):
    """Present, renamed, unlinked."""
    path = it.folder / "a.log"
    append(path, b"one\n")
    it.settle()
    fates = [fate_of(it)]
    path.rename(it.folder / "b.log")
    it.settle(seconds=1)
    fates.append(fate_of(it))
    (it.folder / "b.log").unlink()
    it.settle(seconds=1)
    fates.append(fate_of(it))

    assert fates == [Fate.PRESENT, Fate.RENAMED, Fate.UNLINKED]


def fate_of(it: Followed) -> Fate:
    (followed,) = it.tailer.files
    return followed.fate


def test_a_new_file_with_the_inode_of_a_forgotten_one_is_followed_for_itself(it):
    """T26. What is left in the books of the old one must not touch it: it was forgotten in its place, and read twice."""
    old = it.folder / "old.log"
    append(old, b"one\n")
    it.settle()
    it.collector.commit()
    inode = old.stat().st_ino
    old.unlink()
    it.settle()
    it.now += 6
    it.tailer.turn(rescan=True)  # the old one is forgotten at its end
    new = it.folder / "new.log"
    append(new, b"two\n")
    if new.stat().st_ino != inode:
        pytest.skip("this file system does not give the inode of a deleted file to the next one")
    it.now += 0.05
    it.collector.append([r.chunk for r in it.tailer.turn(rescan=True).readings])
    it.settle(seconds=3)
    append(new, b"three\n")
    it.settle()

    assert it.lines == [b"one", b"three", b"two"]
    assert len(it.collector.sources) == 2
