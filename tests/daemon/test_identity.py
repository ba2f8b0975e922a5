"""Who a file is, when names, links, inodes and file systems say something else."""

import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.copies import COPY_WAIT_SECONDS
from daemon.discovery import Root
from daemon.files import Identity, Plain
from daemon.following import RETARGETED_IDLE_SECONDS
from daemon.tailer import Tailer, TailOptions
from tests.daemon.test_tailer import Followed, append

LONG = b"".join(b'{"n":%d,"text":"one of the lines that make a file long"}\n' % n for n in range(200))


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Followed]:
    folder = tmp_path / "logs"
    folder.mkdir()
    made = Followed(folder)
    yield made
    made.tailer.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Followed]]:
    made: list[Followed] = []

    def make(*, roots: tuple[Root, ...] | None = None, **options) -> Followed:
        folder = tmp_path / "logs"
        folder.mkdir(exist_ok=True)
        made.append(Followed(folder, **options))
        if roots is not None:
            look_elsewhere(made[-1], *roots)
        return made[-1]

    yield make
    for one in made:
        one.tailer.close()


def look_elsewhere(it: Followed, *roots: Root) -> None:
    """Start again with other directories or patterns."""
    it.collector.commit()
    it.tailer.close()
    it.options = TailOptions(roots)
    it.tailer = Tailer(it.options, it.collector, clock=lambda: it.now)


def root(folder: Path, **named) -> Root:
    return Root(os.fsencode(folder), **named)


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    """A folder on another device than the temporary one."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    if folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is on the same file system")
    yield folder
    shutil.rmtree(folder)


# Copies


@pytest.mark.parametrize("first_start", [True, False], ids=["both unknown", "original known"])
def test_a_copy_is_read_as_a_source_of_its_own_when_that_is_asked_for(make, first_start):
    """T42. Only after the time in which it could still turn out to be a rotation."""
    it = make(on_copy="ingest")
    append(it.folder / "a.log", LONG)
    if not first_start:
        it.settle()
    append(it.folder / "b.log", LONG[: LONG.index(b"\n", len(LONG) // 2) + 1])
    it.settle()
    it.settle(seconds=COPY_WAIT_SECONDS / 2)
    assert it.lines == sorted(LONG.splitlines())

    it.settle(seconds=COPY_WAIT_SECONDS)
    copied = (it.folder / "b.log").read_bytes()
    assert it.lines == sorted((LONG + copied).splitlines())
    assert it.kinds() == ["copy"]

    it.restart()
    append(it.folder / "b.log", b"more\n")
    it.settle(seconds=5)
    assert it.lines == sorted((LONG + copied + b"more\n").splitlines())


def test_of_two_unknown_files_the_one_that_repeats_the_other_is_held(it):
    """T42, at the first start: nobody knows which one was there first."""
    append(it.folder / "a.log", LONG[: LONG.index(b"\n", 3000) + 1])
    append(it.folder / "b.log", LONG)
    it.settle()
    it.settle(seconds=COPY_WAIT_SECONDS + 1)

    assert it.lines == sorted(LONG.splitlines())
    assert [(note.kind, os.path.basename(note.path)) for note in it.notes] == [("copy", "a.log")]


def test_a_short_file_that_is_compressed_beside_its_original_is_a_copy(it):
    """T37. Two short files may be equal by chance; one that somebody compressed is not."""
    append(it.folder / "a.log", b"one\n")
    it.settle()
    (it.folder / "a.log.gz").write_bytes(gzip.compress(b"one\n"))
    it.settle(seconds=60)
    it.settle(seconds=60)

    assert it.lines == [b"one"]


# Links


def test_a_link_that_is_pointed_elsewhere_loses_no_line_of_either_target(it, tmp_path):
    """T7. The targets are outside of what is listed; the old one gets lines for hours."""
    first, second, link = tmp_path / "one", tmp_path / "two", it.folder / "current.log"
    append(first, b"one\n")
    link.symlink_to(first)
    it.settle()
    append(second, b"two\n")
    link.unlink()
    link.symlink_to(second)
    it.settle(seconds=1)
    for hour in range(3):
        append(first, b"late %d\n" % hour)
        append(second, b"new %d\n" % hour)
        it.collector.commit()
        it.settle(seconds=3600)

    assert it.lines == [b"late 0", b"late 1", b"late 2", b"new 0", b"new 1", b"new 2", b"one", b"two"]
    assert len(it.collector.sources) == 2

    it.collector.commit()
    it.settle(seconds=RETARGETED_IDLE_SECONDS + 1)
    assert [followed.path for followed in it.tailer.files] == [os.fsencode(link)]


def test_a_link_to_a_folder_that_is_pointed_elsewhere_loses_no_line(it, tmp_path):
    """T7. As a release is switched over: the old process still writes into the old folder."""
    old, new, link = tmp_path / "release-1", tmp_path / "release-2", it.folder / "current"
    for folder in (old, new):
        folder.mkdir()
    append(old / "app.log", b"old\n")
    link.symlink_to(old)
    it.settle()
    append(new / "app.log", b"new\n")
    link.unlink()
    link.symlink_to(new)
    it.settle(seconds=1)
    it.settle(seconds=1800)
    append(old / "app.log", b"late\n")
    append(new / "app.log", b"newer\n")
    it.settle(seconds=10)

    assert it.lines == [b"late", b"new", b"newer", b"old"]


def test_appends_to_the_target_of_a_link_are_seen(it, tmp_path):
    """T6. No notice comes for it; it is looked at."""
    append(tmp_path / "elsewhere", b"one\n")
    (it.folder / "link.log").symlink_to(tmp_path / "elsewhere")
    it.settle()
    append(tmp_path / "elsewhere", b"two\n")
    it.settle(seconds=5)

    assert it.lines == [b"one", b"two"]


def test_a_file_with_many_names_is_read_once(make, tmp_path):
    """T8. Hard links, overlapping directories, a link to the directory itself."""
    logs = tmp_path / "logs"
    (logs / "sub").mkdir(parents=True)
    append(logs / "sub" / "a.log", b"one\n")
    os.link(logs / "sub" / "a.log", logs / "b.log")
    (logs / "again").symlink_to(logs / "sub")
    it = make(roots=(root(logs), root(logs / "sub"), root(logs / "again")))
    it.settle()
    append(logs / "b.log", b"two\n")
    (logs / "sub" / "a.log").unlink()
    it.settle(seconds=5)
    it.restart()
    append(logs / "b.log", b"three\n")
    it.settle(seconds=5)

    assert it.lines == [b"one", b"three", b"two"]
    assert len(it.collector.sources) == 1


# Inodes


def recreate(path: Path, data: bytes) -> bool:
    """Replace a file by one of the same inode number, if the file system gives it out again."""
    before = path.stat().st_ino
    path.unlink()
    append(path, data)
    return path.stat().st_ino == before


@pytest.mark.parametrize(
    "down", [True, False], ids=["while the daemon was down", "while its descriptor was closed"]
)
def test_an_inode_number_that_is_used_again_is_another_file(make, down):
    """T26. The file system's generation tells them apart; where there is none, the content does."""
    it = make(max_open_files=1)
    path = it.folder / "a.log"
    append(path, LONG)
    it.settle()
    it.collector.commit()
    if down:
        it.restart()
    else:
        (followed,) = it.tailer.files
        it.tailer.binder.books.close(followed)
    if not recreate(path, b"another\n" + LONG):
        pytest.skip("this file system does not give an inode number out again at once")
    it.settle(seconds=5)
    it.settle(seconds=30)

    assert it.lines == sorted((LONG + b"another\n" + LONG).splitlines())
    assert len(it.collector.sources) == 2


def test_a_copy_that_got_a_used_inode_number_does_not_go_before_a_fuller_one(it):
    """T26, T29. Of two copies of a log that was truncated while the daemon was down, the longer one is read on."""
    other, log = it.folder / "a.log", it.folder / "b.log"
    first, unread, later = LONG[:4000].rpartition(b"\n")[0] + b"\n", b"unread\n" * 9, b"later\n"
    append(other, LONG.replace(b"lines", b"words"))
    append(log, first)
    it.settle()
    it.collector.commit()
    it.restart()
    if not recreate(other, first):
        pytest.skip("this file system does not give an inode number out again at once")
    append(log, unread)
    shutil.copyfile(log, it.folder / "b.log.1")
    os.truncate(log, 0)
    append(log, later)
    it.settle(seconds=5)
    it.settle(seconds=30)

    expected = LONG.replace(b"lines", b"words") + first + unread + later
    assert it.lines == sorted(expected.splitlines())


def test_a_generation_that_differs_outweighs_the_same_inode_number():
    """T26. Without one on either side, device and inode are all there is."""
    here = Identity(1, 2, 3)

    assert here.may_be(1, 2, 3)
    assert here.may_be(1, 2, None)
    assert not here.may_be(1, 2, 4)
    assert not here.may_be(1, 5, 3)
    assert not here.may_be(6, 2, 3)
    assert Identity(1, 2, None).may_be(1, 2, 4)


def test_files_that_all_begin_with_the_same_line_are_told_apart(it):
    """T27. A header, or the line an application starts with."""
    header = b'{"schema":1,"text":"every file of this application begins with this line"}\n'
    path = it.folder / "app.log"
    expected = []
    for generation in range(4):
        own = [b'{"generation":%d,"n":%d}' % (generation, n) for n in range(60)]
        append(path, header + b"\n".join(own) + b"\n")
        expected += [header[:-1], *own]
        it.settle(seconds=5)
        it.collector.commit()
        path.rename(it.folder / f"app.log.{4 - generation}")
        it.settle(seconds=5)

    assert it.lines == sorted(expected)
    assert len(it.collector.sources) == 4


def test_two_live_files_that_begin_alike_are_both_read(it):
    """T28. Several kilobytes in common, as from one logger with two targets, and then lines of their own."""
    append(it.folder / "messages.log", LONG)
    append(it.folder / "syslog.log", LONG)
    it.settle()
    append(it.folder / "messages.log", b"only here\n")
    append(it.folder / "syslog.log", b"only there\n")
    it.settle(seconds=1)
    append(it.folder / "syslog.log", b"and there\n")
    it.settle(seconds=1)

    assert it.lines == sorted((LONG * 2 + b"only here\nonly there\nand there\n").splitlines())


# Places


def test_a_file_that_is_moved_to_another_file_system_is_the_same_source(make, other_file_system):
    """T41. `mv` makes a new inode there; also a restored backup, and a device number that is new after a start."""
    it = make()
    look_elsewhere(it, root(it.folder), root(other_file_system))
    append(it.folder / "a.log", LONG)
    it.settle()
    it.collector.commit()
    shutil.move(it.folder / "a.log", other_file_system / "a.log")
    append(other_file_system / "a.log", b"more\n")
    it.settle(seconds=5)
    it.collector.commit()
    it.settle(seconds=30)
    assert it.lines == sorted((LONG + b"more\n").splitlines())

    it.restart()
    shutil.move(other_file_system / "a.log", it.folder / "b.log")
    append(it.folder / "b.log", b"and more\n")
    it.settle(seconds=5)

    assert it.lines == sorted((LONG + b"more\nand more\n").splitlines())
    assert len(it.collector.sources) == 1


def test_other_patterns_and_directories_read_nothing_twice(it, tmp_path):
    """T74. Left out for a while, named differently, found from further up: the content says who it is."""
    append(it.folder / "sub.log", LONG)
    it.settle()
    look_elsewhere(it, root(it.folder, exclude=("sub*",)))
    append(it.folder / "sub.log", b"more\n")
    it.settle(seconds=60)
    assert it.lines == sorted(LONG.splitlines())

    look_elsewhere(it, root(tmp_path, include=("logs/**/*.log", "logs/*.log")))
    it.settle(seconds=5)
    assert it.lines == sorted((LONG + b"more\n").splitlines())

    moved = it.folder.rename(tmp_path / "moved")
    look_elsewhere(it, root(moved))
    append(moved / "sub.log", b"and more\n")
    it.settle(seconds=5)

    assert it.lines == sorted((LONG + b"more\nand more\n").splitlines())
    assert len(it.collector.sources) == 1
    assert "gap" not in it.kinds()


def test_logs_that_were_brought_to_another_machine_are_read_on(it, tmp_path):
    """T74. Archive and logs copied together: every inode is new, the content is not."""
    append(it.folder / "a.log", LONG)
    append(it.folder / "b.log", LONG[::-1].replace(b"\n", b"", 1) + b"\n")
    it.settle()
    before = it.lines
    copied = tmp_path / "copied"
    shutil.copytree(it.folder, copied)
    look_elsewhere(it, root(copied))
    append(copied / "b.log", b"more\n")
    it.settle(seconds=30)

    assert it.lines == sorted([*before, b"more"])
    assert len(it.collector.sources) == 2


# Small files and line ends


def test_empty_files_and_files_of_one_short_line_count(it):
    """T52. An empty one is nobody yet; a line is a line however small its file stays."""
    for number in range(5):
        append(it.folder / f"{number}.log", b'{"n":%d}\n' % number)
    append(it.folder / "empty.log", b"")
    it.settle()
    assert it.lines == [b'{"n":%d}' % number for number in range(5)]
    assert len(it.collector.sources) == 5

    append(it.folder / "empty.log", b"late\n")
    it.settle(seconds=5)
    assert b"late" in it.lines


def test_an_identity_is_that_of_the_open_file(tmp_path):
    """Whatever became of its name."""
    path = tmp_path / "a"
    append(path, LONG)
    file = Plain(os.open(path, os.O_RDONLY))
    with_name = file.identity
    path.unlink()
    append(path, LONG)
    again = Plain(os.open(path, os.O_RDONLY))

    assert file.identity == with_name
    assert with_name.key == (os.fstat(file.fd).st_dev, os.fstat(file.fd).st_ino)
    assert again.identity != with_name
    file.close()
    again.close()
    assert file.closed
