"""A machine plays application, daemon and misfortune against the archive; a list of lines is the model."""

from __future__ import annotations

import errno
import random
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.archive import source_of
from storage.errors import ArchiveError
from tests.storage.made import LINE, lines, seen
from tests.storage.power import PowerCut, PowerDisk, Promise, Rows, check, recover

ROWS = Rows()


class ArchiveMachine(RuleBasedStateMachine):
    """Appends, commits, folds, seals; fills the disk; cuts the power: what was acknowledged stays, once."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = PowerDisk()
        self.archive = recover(self.disk)
        self.promised: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.shown = 0

    @initialize()
    def begin(self) -> None:
        self.new_source()

    @precondition(lambda self: len(self.promised) < 4)
    @rule()
    def new_source(self) -> None:
        with suppress(ArchiveError, OSError):
            source = self.archive.register(seen(f"{len(self.promised)}.jsonl"))
            self.promised[source.sid] = self.ends[source.sid] = 0

    @precondition(lambda self: self.promised)
    @rule(which=st.integers(0, 3), count=st.integers(1, 30))
    def append(self, which: int, count: int) -> None:
        sid = sorted(self.ends)[which % len(self.ends)]
        parsed, chunk = lines(source_of(self.archive.sources[sid]), self.ends[sid], count)
        self.shown = max(self.shown, self.archive.append(parsed, [chunk]).seq)
        self.ends[sid] = chunk.end

    @rule()
    def commit(self) -> None:
        with suppress(ArchiveError, OSError):
            self.archive.commit()
            self.promised = dict(self.ends)

    @rule()
    def fold(self) -> None:
        with suppress(ArchiveError, OSError):
            self.archive.fold()

    @rule()
    def seal(self) -> None:
        with suppress(ArchiveError, OSError):
            self.archive.seal()

    @rule()
    def collect(self) -> None:
        with suppress(ArchiveError, OSError):
            self.archive.collect()

    @rule(after=st.integers(0, 30), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def an_operation_will_fail(self, after: int, code: int) -> None:
        self.disk.will_fail(after, code)

    @rule(seed=st.integers(0, 1 << 16), power=st.booleans(), fuse=st.none() | st.integers(0, 20))
    def crash(self, seed: int, power: bool, fuse: int | None) -> None:
        self.disk.fault = None
        if fuse is not None:
            self.disk.fuse = fuse
            with suppress(PowerCut, ArchiveError, OSError):
                self.archive.commit()
                self.promised = dict(self.ends)
            self.disk.fuse = None
        chance = random.Random(seed)
        self.disk.cut(chance) if power else self.disk.kill()
        self.archive = recover(self.disk)
        check(self.archive, self.disk, Promise(self.promised, self.shown), ROWS)
        # The tailer reads on from what is committed; what was only visible is read again.
        self.promised = self.ends = {sid: state.offset for sid, state in self.archive.sources.items()}
        self.ends = dict(self.ends)

    @invariant()
    def every_visible_line_is_visible_once(self) -> None:
        snapshot = self.archive.snapshot
        rows: list[tuple[str, int]] = []
        for file in snapshot.events:
            rows += [
                (sid, at) for sid, at, _ in ROWS.of(self.disk.read(self.archive.layout.absolute(file.path)))
            ]
        for hot in snapshot.hot:
            sids, offsets = hot.table.column("source"), hot.table.column("source_offset").to_numpy()
            rows += zip(map(str, sids.to_pylist()), map(int, offsets), strict=True)
        expected = [(sid, at) for sid, end in self.ends.items() for at in range(0, end, LINE)]
        assert sorted(rows) == sorted(expected)


TestArchiveMachine = ArchiveMachine.TestCase
TestArchiveMachine.settings = settings(max_examples=60, stateful_step_count=25)
