"""Applications as a machine: whatever they do to their files, each complete line comes through exactly once.

The model knows what is in every file. A line that was complete and on disk when the daemon had its chance *must* come
through, exactly once and in order; one that was destroyed before anybody could be sure of it *may*. The tailer is the
real one over real files. Behind it stands one of two archives: `Recorded` keeps what was handed over, fast and with an
exact memory of bytes; `Stored` is the real archive with the real parser and the real comparison of rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon import failpoints
from daemon.discovery import Root
from daemon.ladder import ArchiveLadder
from daemon.reader import MARK_BYTES
from daemon.tailer import Tailer, TailOptions
from parsers.batch import Chunk
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.transform import ParseOptions, Transformer
from storage.verify import verify
from tests.daemon.collector import AtOnce, Collector, CollectorLadder

MAX_LINE = 4096
MOST_FILES = 6
MEMORY = Path("/dev/shm")  # where an archive costs no syncs

Key = str
"""What a line is known by in an archive: its own id, or the hash of a line that is no event."""


def key_of(line: bytes) -> Key:
    """Return how a line will be known."""
    try:
        return str(json.loads(line)["eventId"])
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(line).hexdigest()


class Recorded:
    """An archive that only remembers the bytes."""

    def __init__(self) -> None:
        self.sink = Collector()
        self.ladder = CollectorLadder(self.sink)

    def append(self, chunks: Sequence[Chunk]) -> None:
        self.sink.append(chunks)

    def commit(self) -> None:
        self.sink.commit()

    def crash(self) -> None:
        self.sink.crash()

    def keys(self) -> list[Key]:
        """Everything that came through, in the order of each source."""
        return [key_of(line) for line in self.sink.lines() if line.strip()]

    def durable(self) -> set[Key]:
        committed = self.sink.committed.values()
        return {key_of(line) for chunks in committed for chunk in chunks for line in chunk.data.splitlines()}

    def by_source(self) -> Iterable[list[Key]]:
        for sid in self.sink.sources:
            chunks = self.sink.committed.get(sid, []) + self.sink.pending.get(sid, [])
            yield [key_of(line) for chunk in chunks for line in chunk.data.splitlines() if line.strip()]

    def check(self) -> None:
        """Nothing more to check: the collector does so with every chunk."""

    def close(self) -> None:
        """Nothing to close."""


class Stored:
    """The real archive, in memory where that can be."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="archive-", dir=MEMORY if MEMORY.is_dir() else None))
        self.transformer = Transformer(ParseOptions())
        self._open()

    def _open(self) -> None:
        self.sink = Archive.open(ArchiveOptions(str(self.folder / "archive"), fold_files=6, grace_seconds=0))
        self.ladder = ArchiveLadder(self.sink, ParseOptions(), MAX_LINE)

    def append(self, chunks: Sequence[Chunk]) -> None:
        if chunks:
            self.sink.append(self.transformer.parse(chunks), chunks)

    def commit(self) -> None:
        self.sink.commit()
        self.sink.fold()

    def crash(self) -> None:
        self.sink.abandon()
        self._open()

    def _tables(self, *, hot: bool) -> list[tuple[Any, str]]:
        snapshot = self.sink.snapshot
        root = Path(snapshot.root)
        found = [(pq.ParquetFile(root / f.path).read(), "event_id") for f in snapshot.events]
        found += [(pq.ParquetFile(root / f.path).read(), "sha256") for f in snapshot.rejects]
        if hot:
            found += [(batch.table, "event_id") for batch in snapshot.hot]
            found += [(batch.table, "sha256") for batch in snapshot.hot_rejects]
        return found

    def keys(self) -> list[Key]:
        return [key for table, name in self._tables(hot=True) for key in table.column(name).to_pylist()]

    def durable(self) -> set[Key]:
        return {key for table, name in self._tables(hot=False) for key in table.column(name).to_pylist()}

    def by_source(self) -> Iterable[list[Key]]:
        rows: dict[str, list[tuple[int, Key]]] = {}
        for table, name in self._tables(hot=True):
            columns = (table.column(c).to_pylist() for c in ("source", "source_offset", name))
            for sid, offset, key in zip(*columns, strict=True):
                rows.setdefault(sid, []).append((offset, key))
        for found in rows.values():
            assert len({offset for offset, _ in found}) == len(found), "(source, source_offset) is unique"
            yield [key for _, key in sorted(found)]

    def check(self) -> None:
        """The archive agrees with its ledger."""
        report = verify(str(self.folder / "archive"), with_sources=False)
        assert report.ok, report.findings

    def close(self) -> None:
        self.transformer.close()
        self.sink.abandon()
        shutil.rmtree(self.folder)


@dataclass
class Written:
    """A file as its writer sees it: its names, an open descriptor, and the lines that are in it."""

    path: Path
    fd: int
    lines: list[bytes] = field(default_factory=list)
    half: bytes = b""
    small: bool = False
    copied: bool = False  # there is a copy, and perhaps nothing durable yet that the daemon read of the two
    cut: bool = False  # it lost lines, and perhaps the daemon does not know yet where it goes on
    links: list[Path] = field(default_factory=list)
    gone: bool = False
    moved: bool = False  # it had another name: once idle, its last half line counts

    @property
    def content(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines) + self.half

    @property
    def telling(self) -> bool:
        """It holds enough to be told from others by content: a shorter one may begin as another by chance."""
        return len(self.content) >= MARK_BYTES


class Applications(RuleBasedStateMachine):
    """Applications that append, rotate, truncate, copy, replace and remove; and a daemon that is killed now and then."""

    backend: type[Recorded | Stored] = Recorded

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tail-"))
        self.elsewhere = Path(tempfile.mkdtemp(prefix="tail-"))
        self.archive = self.backend()
        self.now = 1000.0
        self.count = 0
        self.must: set[bytes] = set()  # these lines have to come through
        self.may: set[bytes] = set()  # these were destroyed before anybody could be sure of them
        self.order: dict[Key, int] = {}
        self.doomed: set[bytes] = set()  # these are in no file any more, and perhaps only read
        self.files: list[Written] = []
        self.destroyed = False
        self.refused = False  # whether a comparison may have failed and waits to be made again
        self.gaps = 0
        self.tailer = self.started()

    def teardown(self) -> None:
        try:
            if self.files:
                self.everything_arrives()
                self.commit()
                self.archive.check()
        finally:
            self.tailer.close()
            for file in self.files:
                os.close(file.fd)
            self.archive.close()
            shutil.rmtree(self.folder)
            shutil.rmtree(self.elsewhere)

    # The daemon

    def started(self) -> Tailer:
        options = TailOptions((Root(os.fsencode(self.folder)),), max_line_bytes=MAX_LINE)
        return Tailer(
            options,
            self.archive.sink,
            ladder=self.archive.ladder,
            executor=AtOnce(),
            clock=lambda: self.now,
        )

    def drain(self, *, tolerant: bool = False) -> None:
        for _ in range(300):
            self.now += 0.3
            turn = self.tailer.turn(rescan=True)
            assert tolerant or turn.trouble is None
            self.gaps += sum(note.kind == "gap" for note in turn.notes)
            self.archive.append([reading.chunk for reading in turn.readings])
            if turn.urgent:
                self.commit()
            if tolerant or (not turn.more and not turn.readings and not turn.urgent):
                return
        raise AssertionError("the tailer never comes to rest")

    def settle(self, file: Written) -> None:
        """Let the daemon find out where a cut file goes on, before it is copied: the copy then begins as no other."""
        if file.cut:
            self.append(self.files.index(file), 1, 10)
        if file.cut or self.refused:
            self.now += 3.0  # a comparison that failed is made again by then
            self.drain()
        file.cut = self.refused = False

    def commit(self) -> None:
        self.archive.commit()
        self.doomed = set()

    # The model

    def create(self, path: Path) -> Written:
        file = Written(path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL))
        self.files.append(file)
        return file

    def line(self, size: int) -> bytes:
        self.count += 1
        return b'{"eventId":"%08d","pad":"%s"}' % (self.count, b"x" * size)

    def pick(self, index: int) -> Written:
        return self.files[index % len(self.files)]

    def name(self, stem: str = "app") -> Path:
        self.count += 1
        return self.folder / f"{stem}-{self.count}.jsonl"

    def destroy(self, file: Written, lines: Sequence[bytes]) -> None:
        """From now on only what was read of some lines is sure to arrive; and that only if nobody is killed."""
        self.destroyed = True
        seen = set(self.archive.keys())
        lost = {line for line in lines if key_of(line) not in seen}
        self.must -= lost
        self.may |= lost
        self.doomed |= set(lines)
        if file.half:
            self.may.add(file.half)

    def write(self, file: Written, data: bytes) -> None:
        assert os.write(file.fd, data) == len(data)

    def owe(self, line: bytes) -> None:
        """A line is complete: it has to come through, after those that were before it in its file."""
        self.must.add(line)
        self.order.setdefault(key_of(line), len(self.order))

    def end_half(self, file: Written) -> None:
        if file.half:
            self.write(file, b"\n")  # ends the half line, as it stands
            file.lines.append(file.half)
            self.owe(file.half)
            file.half = b""

    # What applications do

    @rule(size=st.integers(0, 40), small=st.booleans())
    def create_file(self, size: int, small: bool) -> None:
        if len(self.files) < MOST_FILES:
            file = self.create(self.name())
            file.small = small
            self.append(len(self.files) - 1, 1, size)
            assert file.lines

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), lines=st.integers(1, 20), size=st.integers(0, 300))
    def append(self, index: int, lines: int, size: int) -> None:
        file = self.pick(index)
        if file.gone:
            return
        self.end_half(file)
        for _ in range(lines):
            line = self.line(size if file.small or file.telling else size + MARK_BYTES)
            self.write(file, line + b"\n")
            file.lines.append(line)
            self.owe(line)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5))
    def append_half_a_line(self, index: int) -> None:
        file = self.pick(index)
        if not file.half and not file.gone:
            file.half = self.line(5)[:-3]
            self.write(file, file.half)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), recreate=st.booleans(), times=st.integers(1, 3))
    def rotate_by_rename(self, index: int, recreate: bool, times: int) -> None:
        """Once, or in a chain between two looks."""
        file = self.pick(index)
        if file.gone:
            return
        first = file.path
        for _ in range(times):
            self.count += 1
            old = file.path
            file.path = first.with_name(f"{first.name}.{self.count}")
            old.rename(file.path)
            file.moved = True
            if recreate and len(self.files) < MOST_FILES and not old.exists():
                fresh = self.create(old)
                self.append(self.files.index(fresh), 1, 3)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), look=st.booleans(), late=st.integers(0, 3), lines=st.integers(0, 30))
    def rotate_by_copy_and_truncate(self, index: int, look: bool, late: int, lines: int) -> None:
        """``late``: lines that a busy writer appends between the copy and the truncation."""
        file = self.pick(index)
        if file.gone or not file.telling:
            return
        self.settle(file)
        self.count += 1
        copy = file.path.with_name(f"{file.path.name}.{self.count}")
        shutil.copyfile(file.path, copy)
        copied = len(file.lines)
        if late:
            self.append(index, late, 20)
        if look:
            self.drain()
        self.destroy(file, file.lines[copied:])
        os.ftruncate(file.fd, 0)
        file.lines, file.half = [], b""
        if lines:
            self.append(index, lines, 10)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), look=st.booleans(), lines=st.integers(0, 30))
    def truncate(self, index: int, look: bool, lines: int) -> None:
        file = self.pick(index)
        if file.gone:
            return
        self.destroy(file, file.lines)
        os.ftruncate(file.fd, 0)
        file.lines, file.half = [], b""
        if look:
            self.drain()
        if lines:
            self.append(index, lines, 10)

    @precondition(lambda self: self.files)
    @rule(
        index=st.integers(0, 5), lost=st.integers(1, 8), cut=st.sampled_from([0, 0, 21, 25, 40, MAX_LINE]), look=st.booleans(), lines=st.integers(0, 12)
    )  # fmt: skip
    def lose_the_last_lines(self, index: int, lost: int, cut: int, look: bool, lines: int) -> None:
        """An editor, or a power cut; ``cut`` bytes of the first line that is lost remain, at most all but its newline.

        If it ended in half a line, that half may be in a copy. A file that loses only such a half and goes on otherwise
        makes the copy another log, which is read whole: so then a line of it is lost as well.
        """
        file = self.pick(index)
        if file.gone or not file.lines:
            return
        if file.copied:  # killed before, it would find two files of which neither holds the other
            self.drain()
            self.commit()
            file.copied = False
        kept = max(0, len(file.lines) - lost)
        self.destroy(file, file.lines[kept:])
        line = file.lines[kept]
        half = line[:cut] if not file.half else line[: min(cut, len(line) - 1)]
        file.lines, file.half, file.cut = file.lines[:kept], half, True
        os.ftruncate(file.fd, len(file.content))
        if look:
            self.drain()
        if lines:
            self.append(index, lines, 10)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), looks=st.lists(st.floats(0, 1), max_size=3))
    def write_the_same_anew(self, index: int, looks: list[float]) -> None:
        """An editor truncates the file and writes the same content; the daemon looks in between."""
        file = self.pick(index)
        if file.gone:
            return
        content = file.content
        os.ftruncate(file.fd, 0)
        done = 0
        for share in sorted(looks):
            self.drain()
            upto = int(len(content) * share)
            self.write(file, content[done:upto])
            done = upto
            self.drain()
        self.write(file, content[done:])

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), lost=st.integers(0, 5))
    def replace_by_rename(self, index: int, lost: int) -> None:
        """A new file, with the same lines or but the last ones, put in the place of the old one, and written on.

        All of it under the daemon's eyes: which file is which, it makes durable with the first line.
        """
        file = self.pick(index)
        kept = max(0, len(file.lines) - lost)
        if file.gone or file.links or len(b"".join(file.lines[:kept])) < MARK_BYTES:
            return
        self.drain()
        self.destroy(file, file.lines[kept:])
        file.lines, file.half = file.lines[:kept], b""
        temporary = self.folder / "new.tmp"
        temporary.write_bytes(file.content)
        os.close(file.fd)
        file.fd = os.open(temporary, os.O_WRONLY | os.O_APPEND)
        temporary.replace(file.path)
        self.append(index, 1, 10)
        for _ in range(2):
            self.drain()
            self.now += 6.0  # the deleted file is let go of
        self.drain()
        self.commit()

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5))
    def copy(self, index: int) -> None:
        """`cp a.log a.bak` under the daemon's eyes: its lines are in the archive already.

        Of two unknown files that hold the same, neither is the copy: the one that differs later is read whole.
        """
        file = self.pick(index)
        if not file.gone and file.telling:
            self.settle(file)
            self.drain()
            shutil.copyfile(file.path, self.name("copy"))
            self.drain()
            file.copied = True

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), symbolic=st.booleans())
    def link(self, index: int, symbolic: bool) -> None:
        file = self.pick(index)
        if file.gone:
            return
        if symbolic:
            self.name("link").symlink_to(file.path)
        else:
            file.links.append(self.name("link"))
            os.link(file.path, file.links[-1])

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), away=st.booleans())
    def unlink(self, index: int, away: bool) -> None:
        """Deleted, or moved where nobody looks; with another name left it only loses one."""
        file = self.pick(index)
        if file.gone:
            return
        if file.links:
            file.path.unlink()
            file.path = file.links.pop()
            file.moved = True
            return
        self.drain()  # so that the daemon has the file open: nobody can read what was removed unseen
        self.destroy(file, file.lines)
        if away:
            file.path.rename(self.elsewhere / file.path.name)
        else:
            file.path.unlink()
        file.gone = True
        os.close(file.fd)
        file.fd = os.open(os.devnull, os.O_WRONLY)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), seconds=st.sampled_from([0, 1, 2_000_000_000, 5_000_000_000]))
    def set_the_time_of_the_last_write(self, index: int, seconds: int) -> None:
        """A clock that jumped, a backup that was restored: no time decides anything."""
        file = self.pick(index)
        if not file.gone:
            os.utime(file.path, (seconds, seconds))

    # What happens to the daemon

    @rule(seconds=st.sampled_from([0.0, 12.0, 70.0, 700.0]))
    def poll(self, seconds: float) -> None:
        self.drain()
        if seconds:
            self.now += seconds
            self.drain()

    @rule()
    def poll_and_commit(self) -> None:
        self.drain()
        self.commit()

    @rule(
        plan=st.sampled_from(
            ["pread EIO * 2+3", "open_file EMFILE", "open_file EACCES * 1+2", "scandir EIO", "stat ESTALE * 2+4",
             "fstat EIO * 1+2", "pread short", "duplicate EMFILE"]
        ),
        turns=st.integers(1, 3),
    )  # fmt: skip
    def poll_while_the_system_refuses(self, plan: str, turns: int) -> None:
        """A disk that fails, no descriptor left, a folder that cannot be listed: later is soon enough."""
        self.refused = True
        with failpoints.planted(plan):
            for _ in range(turns):
                self.drain(tolerant=True)

    @rule(turns=st.integers(1, 3))
    def poll_while_the_archive_is_full(self, turns: int) -> None:
        """No new source can be registered, nothing can be committed."""
        sink: Any = self.archive.sink
        real = sink.register_all

        def refuse(_seen: object) -> None:
            raise OSError(28, "No space left on device")

        sink.register_all = refuse
        try:
            for _ in range(turns):
                self.drain(tolerant=True)
        finally:
            sink.register_all = real

    @rule()
    def stop_and_start(self) -> None:
        self.drain()
        more = True
        while more:  # a deleted file may have to be compared first, which takes a commit
            turn = self.tailer.turn(closing=True)
            self.archive.append([reading.chunk for reading in turn.readings])
            self.commit()
            more = turn.more
        self.tailer.close()
        self.tailer = self.started()

    @rule()
    def kill_and_start(self) -> None:
        if self.doomed:
            durable = self.archive.durable()
            lost = {line for line in self.doomed if key_of(line) not in durable}
            self.must -= lost
            self.may |= lost
            self.doomed = set()
        self.tailer.close()
        self.archive.crash()
        self.tailer = self.started()

    # What must hold

    @invariant()
    def nothing_came_twice(self) -> None:
        """I1."""
        if self.backend is Recorded:
            self._once(self.archive.keys())

    def _once(self, keys: list[Key]) -> None:
        again = [key for key, times in Counter(keys).items() if times > 1]
        assert not again, f"came twice: {again[:3]} and {len(again)} in all"

    @invariant()
    def order_is_kept(self) -> None:
        """I2."""
        if self.backend is Recorded:
            self._ordered()

    def _ordered(self) -> None:
        for keys in self.archive.by_source():
            places = [self.order[key] for key in keys if key in self.order]
            assert places == sorted(places)

    @rule()
    def everything_arrives(self) -> None:
        """I1, I3, I6."""
        self.drain()
        self.now += 3.0  # what failed before is tried again by now
        self.drain()
        keys = self.archive.keys()
        self._once(keys)
        self._ordered()
        delivered = set(keys)
        must = {key_of(line): line for line in self.must}
        missing = sorted(line for key, line in must.items() if key not in delivered)
        assert not missing, f"lost: {missing[:3]} and {len(missing)} in all"
        halves = {key_of(f.half) for f in self.files if f.half and (f.moved or f.gone)}
        foreign = delivered - set(must) - {key_of(line) for line in self.may} - halves
        assert not foreign, f"nobody wrote {sorted(foreign)[:3]}"
        assert self.destroyed or not self.gaps, "a gap, and nothing was lost"
