"""A log goes on as a fork behind what its copy took over; files that hold the beginning of both, found by a later start."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_rewritten import LINES, OTHERS, arrived
from tests.daemon.test_tailer import Followed, append


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Followed]:
    """A log of 150 lines; a copy has the first hundred, which it took over; the daemon is down."""
    made = Followed(tmp_path)
    path = made.folder / "a.log"
    append(path, b"".join(LINES[:100]))
    made.settle()
    shutil.copyfile(path, made.folder / "copy.log")
    made.settle()
    path.write_bytes(b"")
    made.settle()
    append(path, b"".join(LINES[:150]))
    made.settle()
    assert arrived(made) == LINES[:150]
    assert len(made.collector.sources) == 2
    made.restart()
    yield made
    made.tailer.close()


def put(it: Followed, lines: list[bytes], *, log: bool) -> Path:
    """Another file in place of the log, or with no log left at all."""
    (it.folder / "a.log").unlink()
    path = it.folder / ("a.log" if log else "b.log")
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("copy", [True, False], ids=["with the first copy", "without"])
@pytest.mark.parametrize("log", [True, False], ids=["in its place", "elsewhere"])
@pytest.mark.parametrize("count", [101, 149, 150])
def test_a_file_that_holds_a_part_of_the_fork_is_not_read_again(it, copy, log, count):
    """It goes on once it holds more than that."""
    path = put(it, LINES[:count], log=log)
    if not copy:
        (it.folder / "copy.log").unlink()
    it.settle()
    it.settle(seconds=30)
    assert arrived(it) == LINES[:150]

    append(path, b"".join([*LINES[count:150], OTHERS[0]]))
    it.settle()
    assert arrived(it) == [*LINES[:150], OTHERS[0]]


@pytest.mark.parametrize("copy", [True, False], ids=["with the first copy", "without"])
@pytest.mark.parametrize("log", [True, False], ids=["in its place", "elsewhere"])
def test_a_file_that_goes_on_otherwise_behind_what_the_copy_has_is_read_from_there(it, copy, log):
    """Nothing of it is lost, and nothing comes twice."""
    put(it, [*LINES[:100], *OTHERS[:20]], log=log)
    if not copy:
        (it.folder / "copy.log").unlink()
    it.settle()
    it.settle(seconds=30)

    assert sorted(arrived(it)) == sorted([*LINES[:150], *OTHERS[:20]])
