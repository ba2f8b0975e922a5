"""A line that lost nothing but its newline is the line that is archived, whatever becomes of its file."""

import os
from pathlib import Path

import pytest

from daemon.oldlogs import compress
from tests.daemon.machine import MAX_LINE, Applications
from tests.daemon.test_rewritten import LINES, OTHERS, arrived
from tests.daemon.test_tailer import Followed, append


def cut_and_renamed() -> None:
    """The same for the machine of applications: a log loses a newline, is renamed, and nobody writes to it."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.append(index=0, lines=2, size=10)
    it.everything_arrives()
    it.lose_the_last_lines(index=0, lost=1, cut=MAX_LINE, look=True, lines=0)
    it.rotate_by_rename(index=0, recreate=False, times=1)
    it.poll(seconds=70.0)
    it.teardown()


def test_it_does_not_come_again_whatever_the_machine_does_next() -> None:
    """The shortest way to it, by the machine of applications."""
    cut_and_renamed()


@pytest.mark.parametrize("count", [1, 200], ids=["the only line", "the last line"])
@pytest.mark.parametrize("away", [False, True], ids=["renamed", "moved away"])
@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is down"])
def test_it_does_not_come_again_when_its_file_is_renamed(it, count, away, running):
    """However long nobody writes to the file; and the newline may come back."""
    path, renamed = it.folder / "a.log", (it.folder.parent if away else it.folder) / "a.log.1"
    append(path, b"".join(LINES[:count]))
    it.settle()
    if not running:
        it.restart()
    os.truncate(path, len(b"".join(LINES[:count])) - 1)
    it.settle()
    path.rename(renamed)
    it.settle(seconds=1)
    it.settle(seconds=100)
    assert arrived(it) == LINES[:count]
    assert it.collector.files_at_risk == {}
    assert "gap" not in it.kinds()

    renamed.rename(path)
    append(path, b"\n" + OTHERS[0])
    it.settle(seconds=1)
    assert arrived(it) == [*LINES[:count], OTHERS[0]]


@pytest.mark.parametrize("closing", [False, True], ids=["then idle", "as the daemon stops"])
def test_it_does_not_come_again_when_its_file_is_deleted(it, closing):
    """The file is let go of, and there is nothing to tell."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    os.truncate(path, len(b"".join(LINES)) - 1)
    it.settle()
    path.unlink()
    it.settle(seconds=1)
    it.settle(seconds=10, closing=closing)

    assert arrived(it) == LINES
    assert list(it.tailer.files) == []
    assert it.collector.files_at_risk == {}
    assert "gap" not in it.kinds()


LONG_AGO = (1_500_000_000, 1_500_000_000)  # seconds
LATER_US = 1_700_000_000_000_000


def lacking(it: Followed, lost: int) -> Path:
    """An old log that was read, lost its last bytes and was renamed."""
    path, renamed = it.folder / "a.log", it.folder / "a.log.1"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    os.truncate(path, len(b"".join(LINES)) - lost)
    path.rename(renamed)
    os.utime(renamed, LONG_AGO)
    it.settle(seconds=1)
    return renamed


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("lost", [1, len(LINES[-1])], ids=["a newline", "a line"])
def test_an_old_file_that_lacks_its_end_is_removed_by_retention(it, lost, restarted):
    """All that it holds is archived; it would wait for ever."""
    renamed = lacking(it, lost)
    if restarted:
        it.restart()
    it.settle(seconds=100)
    (old,) = it.tailer.older(LATER_US)
    assert it.tailer.remove(old)
    it.settle(seconds=1)
    it.settle(seconds=100)

    assert not renamed.exists()
    assert list(it.tailer.files) == []
    assert arrived(it) == LINES
    assert "gap" not in it.kinds()
    assert it.collector.files_at_risk == {}


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_an_old_file_that_lacks_its_newline_is_compressed_and_not_read_again(it, compression):
    """The compressed file lacks it as well, and goes when its own time has come."""
    renamed = lacking(it, 1)
    (old,) = it.tailer.older(LATER_US)
    packed = Path(os.fsdecode(compress(old, compression)))
    assert it.tailer.remove(old)
    for seconds in (1, 100, 700):
        it.settle(seconds=seconds)
    it.restart()
    it.settle(seconds=700)

    assert (renamed.exists(), packed.exists()) == (False, True)
    assert arrived(it) == LINES
    assert "gap" not in it.kinds()
    (old,) = it.tailer.older(LATER_US)
    assert old.path == bytes(packed)


def test_an_old_file_with_the_half_of_a_line_stays_until_that_is_archived(it):
    """Nobody can tell it from the half of another line."""
    renamed = lacking(it, 2)
    assert it.tailer.older(LATER_US) == []
    it.settle(seconds=100)
    it.collector.commit()

    (old,) = it.tailer.older(LATER_US)
    assert it.tailer.remove(old)
    assert not renamed.exists()
    assert arrived(it) == [*LINES, LINES[-1][:-2] + b"\n"]


@pytest.mark.parametrize("done", ["nothing", "a line", "the newline", "other bytes"])
def test_an_old_file_that_changes_after_it_was_found_is_not_removed(it, done):
    """A writer came back at the last moment."""
    renamed = lacking(it, 1)
    (old,) = it.tailer.older(LATER_US)
    if done == "a line":
        append(renamed, b"\n" + OTHERS[0])
    elif done == "the newline":
        append(renamed, b"\n")
    elif done == "other bytes":
        renamed.write_bytes(b"x" * renamed.stat().st_size)

    assert it.tailer.remove(old) == (done == "nothing")
    assert renamed.exists() == (done != "nothing")


def test_a_file_put_in_its_place_goes_on_behind_it(it):
    """What was let go of with the deleted file is still what the new one is compared with."""
    path, fresh = it.folder / "a.log", it.folder / "a.tmp"
    append(path, b"".join(LINES))
    it.settle()
    os.truncate(path, len(b"".join(LINES)) - 1)
    it.settle()
    fresh.write_bytes(b"".join([*LINES, OTHERS[0]]))
    fresh.replace(path)
    for _ in range(3):
        it.settle(seconds=6)

    assert arrived(it) == [*LINES, OTHERS[0]]


def test_the_half_of_a_line_comes_when_its_file_is_deleted(it):
    """Nobody can tell the half of an archived line from that of another one."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    os.truncate(path, len(b"".join(LINES)) - 2)
    it.settle()
    path.unlink()
    it.settle(seconds=1)
    it.settle(seconds=10)

    assert arrived(it) == [*LINES, LINES[-1][:-2] + b"\n"]
