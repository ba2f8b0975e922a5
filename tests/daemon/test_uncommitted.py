"""Killed before a commit: a source that was registered and of which nothing is archived. It says how a file began, no more."""

import os
import shutil

import pytest

from daemon.copies import SMALL_COPY_WAIT_SECONDS
from tests.daemon.machine import Applications
from tests.daemon.test_rewritten import LINES, OTHERS, arrived
from tests.daemon.test_tailer import append


def registered_twice_and_copied() -> None:
    """What the long form shrank to: written anew and half done at a look after a kill, copied, and killed again."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.append(index=0, lines=1, size=0)
    it.lose_the_last_lines(index=0, lost=1, cut=0, look=True, lines=0)
    it.kill_and_start()
    it.write_the_same_anew(index=0, looks=[0.5])
    it.copy(index=0)
    it.kill_and_start()
    it.copy(index=0)
    it.teardown()


def test_a_log_that_two_kills_registered_twice_and_its_copy_are_read_once() -> None:
    """Found by the long form of the machine of applications."""
    registered_twice_and_copied()


def test_of_two_sources_without_a_byte_a_copy_takes_over_neither(it):
    """The same lines were registered at two starts; the log takes one of the two, its copy repeats the log."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.restart(crash=True)
    path.write_bytes(b"".join(LINES[:10]))
    it.settle()
    append(path, b"".join(LINES[10:]))
    it.settle()
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    it.restart(crash=True)
    it.settle()
    append(path, OTHERS[0])
    it.settle()

    assert len(it.collector.sources) == 2
    assert arrived(it) == [*LINES, OTHERS[0]]


@pytest.mark.parametrize("half", [0, 10, 60, 100])
def test_a_log_that_a_start_finds_half_written_anew_beside_its_copy_is_read_once(it, half):
    """The copy is fuller, so it is read; the log repeats it, and goes on where it ends."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:100]))
    it.settle()
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    it.restart(crash=True)
    path.write_bytes(b"".join(LINES[:half]))
    it.settle()
    append(path, b"".join(LINES[half:100]))
    it.settle()
    append(path, OTHERS[0])
    it.settle()

    assert arrived(it) == [*LINES[:100], OTHERS[0]]


def test_a_log_of_which_nothing_was_committed_keeps_its_source_also_under_another_inode(it):
    """What a reader saw before the kill has the same place and the same ids afterwards."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.restart(crash=True)
    shutil.copyfile(path, it.folder / "restored.log")
    path.unlink()
    it.settle()

    assert len(it.collector.sources) == 1
    assert arrived(it) == LINES


def test_short_logs_that_are_equal_by_chance_are_both_read_after_a_kill(it):
    """Each was registered; that they are equal makes neither of them a copy for long."""
    for name in ("a.log", "b.log"):
        append(it.folder / name, LINES[0])
        it.settle(seconds=1)
        it.settle(seconds=SMALL_COPY_WAIT_SECONDS)
    assert arrived(it) == [LINES[0]] * 2
    it.restart(crash=True)
    it.settle(seconds=1)
    it.settle(seconds=SMALL_COPY_WAIT_SECONDS)

    assert arrived(it) == [LINES[0]] * 2
    assert len(it.collector.sources) == 2


def test_a_file_that_took_the_place_of_an_unread_one_goes_on_with_what_was_archived_before(it):
    """Of the two sources that were last at that path, the later one has nothing that could be gone on with."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:100]))
    it.settle()
    it.restart()
    path.write_bytes(b"".join([*LINES[:90], *OTHERS[:10]]))
    it.settle()
    it.restart(crash=True)
    fresh = it.folder / "fresh.tmp"
    fresh.write_bytes(b"".join([*LINES[:90], OTHERS[20]]))
    fresh.replace(path)
    it.settle()
    it.settle(seconds=3)  # it is compared with both

    assert arrived(it) == [*LINES[:100], OTHERS[20]]


def test_a_source_that_was_never_committed_is_not_gone_on_with_in_place_of_a_later_one(it):
    """Killed before its commit, it has the same beginning; what was archived since is not read again."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:10]))
    it.settle()
    it.restart(crash=True)
    path.write_bytes(b"".join(LINES[:7]))
    it.settle()
    append(path, b"".join(LINES[7:30]))
    it.settle()
    it.restart()
    os.truncate(path, len(b"".join(LINES[:25])))
    it.settle()
    append(path, OTHERS[0])
    it.settle()
    assert arrived(it) == [*LINES[:30], OTHERS[0]]


def test_of_two_sources_that_end_at_one_place_a_copy_takes_over_neither() -> None:
    """Found by the long form: a log goes on behind what its first copy took over, a second copy repeats it; and a kill."""
    it = Applications()
    it.create_file(size=0, small=False)
    it.copy(index=0)
    it.write_the_same_anew(index=0, looks=[0.0, 0.97, 0.0])
    it.create_file(size=0, small=False)
    it.create_file(size=0, small=False)
    it.append(index=0, lines=1, size=0)
    it.copy(index=0)
    it.kill_and_start()
    it.everything_arrives()
    it.nothing_came_twice()
    it.teardown()
