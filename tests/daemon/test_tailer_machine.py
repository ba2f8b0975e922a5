"""The applications as a machine: whatever they do to their files, each complete line comes through exactly once."""

import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.discovery import Root
from daemon.tailer import Tailer, TailOptions
from tests.daemon.collector import Collector


@dataclass
class Written:
    """A file as its writer sees it: an open descriptor, and the lines that are in it."""

    path: Path
    fd: int
    lines: list[bytes] = field(default_factory=list)
    half: bytes = b""
    gone: bool = False
    risky: bool = False  # truncated or removed since the last commit: a crash now may cost its lines

    def write(self, data: bytes) -> None:
        assert os.write(self.fd, data) == len(data)


class Applications(RuleBasedStateMachine):
    """Applications that append, rotate, truncate, copy and remove; and a daemon that is now and then killed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tail-"))
        self.collector = Collector()
        self.now = 0.0
        self.count = 0
        self.must: set[bytes] = set()  # these lines have to arrive
        self.may: set[bytes] = set()  # these were destroyed before anybody could be sure of them
        self.files: list[Written] = []
        self.tailer = self.started()

    def teardown(self) -> None:
        self.tailer.close()
        for file in self.files:
            os.close(file.fd)
        shutil.rmtree(self.folder)

    def started(self) -> Tailer:
        roots = (Root(os.fsencode(self.folder)),)
        return Tailer(TailOptions(roots, max_line_bytes=4096), self.collector, clock=lambda: self.now)

    def create(self, path: Path) -> Written:
        file = Written(path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL))
        self.files.append(file)
        return file

    def line(self, size: int) -> bytes:
        self.count += 1
        return b'{"n":%08d,"pad":"%s"}' % (self.count, b"x" * size)

    def pick(self, index: int) -> Written:
        return self.files[index % len(self.files)]

    def name(self) -> Path:
        self.count += 1
        return self.folder / f"app-{self.count}.jsonl"

    def drain(self) -> None:
        for _ in range(1000):
            self.now += 0.3
            turn = self.tailer.turn(rescan=True)
            assert turn.trouble is None
            self.collector.append([reading.chunk for reading in turn.readings])
            if turn.urgent:
                self.commit()
            if not turn.more and not turn.readings and not turn.urgent:
                return
        raise AssertionError("the tailer never comes to rest")

    def commit(self) -> None:
        self.collector.commit()
        for file in self.files:
            file.risky = False

    def at_risk(self, file: Written) -> None:
        """From now on only what was read already is sure to arrive."""
        seen = set(self.collector.lines())
        lost = {line for line in file.lines if line not in seen}
        self.must -= lost
        self.may |= lost | {file.half}
        file.half = b""

    @rule(size=st.integers(0, 40))
    def create_file(self, size: int) -> None:
        if len(self.files) < 6:
            file = self.create(self.name())
            self.append(len(self.files) - 1, 1, size)
            assert file.lines

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), lines=st.integers(1, 20), size=st.integers(0, 300))
    def append(self, index: int, lines: int, size: int) -> None:
        file = self.pick(index)
        if file.gone:
            return
        for _ in range(lines):
            line = self.line(size)
            if file.half:
                file.write(b"\n")  # ends the half line, as it stands
                file.lines.append(file.half)
                self.must.add(file.half)
                file.half = b""
            file.write(line + b"\n")
            file.lines.append(line)
            self.must.add(line)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5))
    def append_half_a_line(self, index: int) -> None:
        file = self.pick(index)
        if not file.half and not file.gone:
            file.half = self.line(5)[:-3]
            file.write(file.half)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), recreate=st.booleans())
    def rotate_by_rename(self, index: int, recreate: bool) -> None:
        file = self.pick(index)
        if not file.path.exists():
            return
        self.count += 1
        old = file.path
        file.path = old.with_name(f"{old.name}.{self.count}")
        old.rename(file.path)
        if recreate and len(self.files) < 6:
            self.create(old)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5), keep=st.booleans(), look=st.booleans(), lines=st.integers(0, 30))
    def rotate_by_copy_and_truncate(self, index: int, keep: bool, look: bool, lines: int) -> None:
        file = self.pick(index)
        if not file.path.exists():
            return
        if not keep:
            self.at_risk(file)
            file.risky = True
            uncommitted = True
        else:
            self.count += 1
            copy = file.path.with_name(f"{file.path.name}.{self.count}")
            shutil.copyfile(file.path, copy)
            uncommitted = False
            if look:
                self.drain()
            if file.half:
                file.half = b""
        os.ftruncate(file.fd, 0)
        if not uncommitted and not file.risky:
            file.lines = []
        if lines:
            self.append(self.files.index(file), lines, 10)

    @precondition(lambda self: self.files)
    @rule(index=st.integers(0, 5))
    def unlink(self, index: int) -> None:
        file = self.pick(index)
        if not file.path.exists():
            return
        self.drain()  # so that the daemon has the file open: nobody can read what was removed unseen
        self.at_risk(file)
        file.risky = True
        file.path.unlink()
        file.gone = True
        os.close(file.fd)
        file.fd = os.open(os.devnull, os.O_WRONLY)

    @rule()
    def poll(self) -> None:
        self.drain()

    @rule()
    def poll_and_commit(self) -> None:
        self.drain()
        self.commit()

    @rule()
    def stop_and_start(self) -> None:
        self.drain()
        turn = self.tailer.turn(closing=True)
        self.collector.append([reading.chunk for reading in turn.readings])
        self.commit()
        self.tailer.close()
        self.tailer = self.started()

    @rule()
    def kill_and_start(self) -> None:
        for file in self.files:
            if file.risky:
                durable = {
                    line
                    for chunks in self.collector.committed.values()
                    for chunk in chunks
                    for line in chunk.data.splitlines()
                }
                lost = {line for line in file.lines if line not in durable}
                self.must -= lost
                self.may |= lost
        self.collector.crash()
        self.tailer.close()
        self.tailer = self.started()

    @invariant()
    def nothing_came_twice(self) -> None:
        for line, times in Counter(self.collector.lines()).items():
            assert times == 1, line

    @invariant()
    def order_is_kept(self) -> None:
        for sid in self.collector.sources:
            chunks = self.collector.committed.get(sid, []) + self.collector.pending.get(sid, [])
            lines = [line for chunk in chunks for line in chunk.data.splitlines()]
            assert lines == sorted(lines)

    @rule()
    def everything_arrives(self) -> None:
        self.drain()
        delivered = set(self.collector.lines())
        assert self.must <= delivered, f"lost {sorted(self.must - delivered)[:3]}"
        assert delivered <= self.must | self.may


TestApplications = Applications.TestCase
TestApplications.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
