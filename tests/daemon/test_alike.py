"""Which followed files a new one is compared with: those that begin as it does, however many others there are."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.alike import Alike
from daemon.failpoints import FOREVER, planted
from tests.daemon.test_tailer import Followed, append

SECOND = b'{"timestamp":"2026-11-25T00:00:00Z","event_type":"login_failed","username":"user%d"}\n'
OPERATIONS_A_FILE = 40  # for a file that is found, compared with its like and read, at most


@dataclass(eq=False)
class File:
    """Stands for a followed file: of what it begins with nothing else is known."""

    begins: list[bytes]
    readable: bool = True

    def beginnings(self) -> list[bytes]:
        if not self.readable:
            raise PermissionError
        return self.begins


def over(files: Iterable[File]) -> Any:
    return Alike(cast("Iterable[Any]", files), lambda file: cast("Any", file).beginnings())


TEXTS = st.text("ab", max_size=6).map(str.encode)
FILES = st.lists(st.builds(File, st.lists(TEXTS, max_size=2)), max_size=12)


@given(FILES, FILES, TEXTS)
def test_a_file_finds_all_those_of_which_one_begins_with_the_other(early, late, first):
    """However they were added, each once, and no other."""
    alike = over(early)
    for file in late:
        alike.add(file)

    found = alike.to(first)

    wanted = [
        file
        for file in early + late
        if any(key and (key.startswith(first) or first.startswith(key)) for key in file.begins)
    ]
    assert sorted(map(id, found)) == sorted(map(id, wanted))


def test_a_file_that_cannot_be_read_is_like_no_other():
    """It is no witness; the others are."""
    readable, broken = File([b"abc"]), File([b"abc"], readable=False)

    assert over([broken, readable]).to(b"ab") == [readable]


@pytest.mark.parametrize("again", [False, True], ids=["new", "known"])
def test_what_a_log_costs_does_not_grow_with_the_number_of_logs_that_begin_in_the_same_second(it, again):
    """Every service rotates at midnight: 600 files have 70 bytes in common, and four descriptors."""
    it = Followed(it.folder, it.collector, max_open_files=4)
    for number in range(600):
        append(it.folder / f"{number}.log", SECOND % number)
    if again:
        it.settle()
        it.restart()
        for number in range(600):
            append(it.folder / f"{number}-more.log", SECOND % (1000 + number))

    with planted(f"* EIO * {FOREVER}") as (operations,):
        it.settle()

    assert operations.hits < 600 * OPERATIONS_A_FILE * (2 if again else 1)
    assert len(it.lines) == len(set(it.lines)) == (1200 if again else 600)
    it.tailer.close()


def test_what_a_new_log_costs_does_not_grow_with_the_number_of_logs_that_were_just_deleted(it):
    """Each may be the one whose content it goes on with; 300 are deleted and made anew between two looks."""
    for number in range(300):
        append(it.folder / f"{number}.log", SECOND % number)
    it.settle()
    it.collector.commit()
    for number in range(300):
        (it.folder / f"{number}.log").unlink()
        append(it.folder / f"{number}.log", 2 * (SECOND % (1000 + number)))

    with planted(f"* EIO * {FOREVER}") as (operations,):
        it.settle()

    assert operations.hits < 600 * OPERATIONS_A_FILE
    assert len(it.lines) == 900


def test_copies_of_files_that_wait_to_be_read_are_held_back_although_those_are_closed(it):
    """Many more files than descriptors, of which hardly anything is read when their copies are found."""
    it = Followed(it.folder, it.collector, max_open_files=4)
    logs = [[b'{"file":%d,"line":%d}' % (file, line) for line in range(100)] for file in range(30)]
    for number, lines in enumerate(logs):
        append(it.folder / f"{number}.log", b"\n".join([*lines, b""]))
    for copied in (False, True):
        if copied:
            for number in range(len(logs)):
                shutil.copy(it.folder / f"{number}.log", it.folder / f"{number}.copy.log")
        turn = it.tailer.turn(rescan=True, room=1)
        it.collector.append([reading.chunk for reading in turn.readings])
        it.now += 1

    it.settle()

    assert it.lines == sorted(line for lines in logs for line in lines)
    it.tailer.close()


def test_the_copy_of_a_log_that_was_written_anew_is_held_back_although_both_begin_otherwise_than_it_did(it):
    """The log is being compared with what was read of it; what it holds now is what its copy repeats."""
    path = it.folder / "a.log"
    old, new = ([b'{"%s":%d}' % (what, line) for line in range(200)] for what in (b"before", b"after"))
    append(path, b"\n".join([*old, b""]))
    it.settle()
    it.collector.commit()
    os.truncate(path, 0)
    append(path, b"\n".join([*new, b"more"]))
    append(it.folder / "copy.log", b"\n".join([*new, b""]))

    it.settle()
    it.settle(seconds=30)

    assert it.lines == sorted([*old, *new])
