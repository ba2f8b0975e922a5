"""A source that a kill left without a byte: no loss where another source archived its lines, and told of everywhere else."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.reader import BLOCK_BYTES
from tests.daemon.test_rewritten import LINES, OTHERS, arrived
from tests.daemon.test_tailer import Followed, append


def killed(it: Followed, lines: Sequence[bytes]) -> Path:
    """A log that was read and not committed when its daemon was killed."""
    path = it.folder / "a.log"
    append(path, b"".join(lines))
    it.settle()
    it.restart(crash=True)
    return path


def written_anew(it: Followed, path: Path, lines: Sequence[bytes], half: int) -> None:
    """The daemon looks as the file is half written."""
    path.write_bytes(b"".join(lines[:half]))
    it.settle()
    append(path, b"".join(lines[half:]))
    it.settle()


def deleted(it: Followed, path: Path, *, running: bool = True) -> None:
    """All waits are over; and a later start has nothing to add."""
    if running:
        path.unlink()
    else:
        it.restart()
        path.unlink()
    for _ in range(3):
        it.settle(seconds=20)
    told = gaps(it)
    it.restart()
    for _ in range(3):
        it.settle(seconds=20)
    assert gaps(it) == told


def gaps(it: Followed) -> list[tuple[int, int, str]]:
    return [(note.start, note.end, note.code) for note in it.notes if note.kind == "gap"]


def size(lines: Sequence[bytes]) -> int:
    return len(b"".join(lines))


@pytest.mark.parametrize("half", [0, 1, 10, 60, 199])
@pytest.mark.parametrize("running", [True, False], ids=["deleted while it runs", "while it is down"])
def test_a_log_found_half_written_anew_after_a_kill_is_no_loss_once_it_is_archived(it, half, running):
    """Whichever source has its lines."""
    path = killed(it, LINES)
    written_anew(it, path, LINES, half)
    it.collector.commit()
    it.settle(seconds=20)
    assert all(s.size == s.offset for s in it.collector.sources.values() if s.path == str(path))
    deleted(it, path, running=running)

    assert arrived(it) == LINES
    assert gaps(it) == []


def test_a_short_log_that_grew_long_afterwards_is_no_loss(it):
    """The two sources know first bytes of different lengths."""
    path = killed(it, LINES[:5])
    written_anew(it, path, LINES[:5], 2)
    append(path, b"".join(LINES[5:]))
    it.settle()
    deleted(it, path)

    assert arrived(it) == LINES
    assert gaps(it) == []


def test_a_log_that_is_deleted_as_soon_as_it_is_written_anew_is_no_loss(it):
    """There was no listing between its commit and its end."""
    path = killed(it, LINES)
    written_anew(it, path, LINES, 10)
    deleted(it, path)

    assert arrived(it) == LINES
    assert gaps(it) == []


def test_a_log_that_several_kills_registered_is_no_loss(it):
    """Each has its source, and the last one all lines."""
    path = killed(it, LINES)
    for half in (20, 10):
        path.write_bytes(b"".join(LINES[:half]))
        it.settle()
        it.restart(crash=True)
    written_anew(it, path, LINES, 5)
    deleted(it, path)

    assert len(it.collector.sources) == 4
    assert arrived(it) == LINES
    assert gaps(it) == []


@pytest.mark.parametrize("same", [0, 60, 199])
def test_a_log_that_was_written_anew_with_other_lines_is_a_gap(it, same):
    """Also where it began alike by more than what is kept of a beginning, and where only its last line is another one."""
    path = killed(it, LINES)
    written_anew(it, path, [*LINES[:same], *OTHERS], 10)
    deleted(it, path)

    assert arrived(it) == [*LINES[:same], *OTHERS]
    assert gaps(it) == [(0, size(LINES), "gone")]


def test_a_large_log_that_began_alike_is_a_gap(it):
    """Of what lies behind the first block nothing but its size is known."""
    large = [b"%07d %s\n" % (number, b"x" * 991) for number in range(BLOCK_BYTES // 1000 + 100)]
    path = killed(it, large)
    written_anew(it, path, [*large[:-1], large[-1].replace(b"x", b"y")], 1)
    deleted(it, path)

    assert gaps(it) == [(0, size(large), "gone")]


def test_a_log_of_which_less_came_back_is_a_gap(it):
    """Its last lines are nowhere."""
    path = killed(it, LINES)
    written_anew(it, path, LINES[:199], 10)
    deleted(it, path)

    assert arrived(it) == LINES[:199]
    assert gaps(it) == [(0, size(LINES), "gone")]


def test_a_log_that_was_written_anew_and_never_committed_is_a_gap(it):
    """Killed again, with its lines visible and nothing of them durable; then it is deleted."""
    path = killed(it, LINES)
    written_anew(it, path, LINES, 10)
    it.settle(seconds=20)
    it.restart(crash=True)
    path.unlink()
    for _ in range(3):
        it.settle(seconds=20)

    assert arrived(it) == []
    assert max(gaps(it)) == (0, size(LINES), "gone")


def test_lines_in_place_of_which_the_old_ones_came_back_are_a_gap(it):
    """The older source has its own lines where the killed process saw others."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    os.truncate(path, size(LINES[:100]))
    append(path, b"".join(OTHERS[:20]))
    it.settle()
    it.restart(crash=True)
    path.write_bytes(b"".join(LINES))
    it.settle(seconds=20)
    deleted(it, path)

    assert arrived(it) == LINES
    assert gaps(it) == [(size(LINES[:100]), size([*LINES[:100], *OTHERS[:20]]), "gone")]
