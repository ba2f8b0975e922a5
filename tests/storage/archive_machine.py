"""A machine plays application, daemon and misfortune against the archive; a list of lines is the model."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.errors import ArchiveError
from storage.meeting import source_of
from storage.snapshot import Snapshot
from tests.storage.made import LINE, lines, seen
from tests.storage.power import ROOT, PowerCut, PowerDisk
from tests.storage.promises import DROPPED_BEFORE, ROWS, Line, Promise, check, check_chain, recover

GRACE_SECONDS = 10.0


class ArchiveMachine(RuleBasedStateMachine):
    """Appends, commits, imports, folds, seals, drops; fills the disk; cuts the power: what was acknowledged stays, once."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = PowerDisk()
        self.disk.journal = None
        self.time = 0.0
        self.promise = Promise()
        self.ends: dict[str, int] = {}
        self.held: list[tuple[float, Snapshot]] = []  # what queries under way read
        self.start()

    def start(self) -> None:
        self.archive = recover(self.disk, GRACE_SECONDS)
        self.archive._books._elapsed = lambda: self.time
        self.held = []  # queries do not outlive their process

    @initialize()
    def begin(self) -> None:
        self.new_sources(2)

    @precondition(lambda self: len(self.promise.offsets) < 4)
    @rule(count=st.integers(1, 2))
    def new_sources(self, count: int) -> None:
        names = [f"{len(self.promise.offsets) + number}.jsonl" for number in range(count)]
        with suppress(ArchiveError, OSError):
            sources = self.archive.register_all([seen(name) for name in names])
            self.promised(offsets={**self.promise.offsets, **{source.sid: 0 for source in sources}})
            self.ends |= {source.sid: 0 for source in sources}

    @precondition(lambda self: self.ends)
    @rule(which=st.integers(0, 3), count=st.integers(1, 30))
    def append(self, which: int, count: int) -> None:
        sid = self.sid(which)
        parsed, chunk = lines(source_of(self.archive.sources[sid]), self.ends[sid], count)
        shown = self.archive.append(parsed, [chunk]).seq
        self.promised(shown_seq=max(self.promise.shown_seq, shown))
        self.ends[sid] = chunk.end

    @rule()
    def commit(self) -> None:
        if self.attempt(self.archive.commit):
            self.committed()

    @precondition(lambda self: self.ends)
    @rule(which=st.integers(0, 3), count=st.integers(1, 30))
    def bulk_import(self, which: int, count: int) -> None:
        """What the import command does: on failure it reads again from what is committed."""
        if not self.attempt(self.archive.commit):
            return
        self.committed()
        sid = self.sid(which)
        parsed, chunk = lines(source_of(self.archive.sources[sid]), self.ends[sid], count)
        if self.attempt(lambda: self.archive.bulk.append(parsed, [chunk])) and self.attempt(
            self.archive.bulk.commit
        ):
            self.ends[sid] = chunk.end
            self.committed()
            return
        for _ in range(3):
            if self.attempt(self.archive.recover):
                break
        else:
            raise AssertionError("the disk works again and the archive does not")
        self.ends = {name: state.offset for name, state in self.archive.sources.items()}

    @rule()
    def fold(self) -> None:
        self.attempt(self.archive.fold)

    @rule()
    def seal(self) -> None:
        self.attempt(self.archive.seal)

    @rule(seconds=st.sampled_from([1.0, GRACE_SECONDS]))
    def collect(self, seconds: float) -> None:
        self.time += seconds
        self.held = [held for held in self.held if self.time - held[0] < GRACE_SECONDS]
        self.attempt(self.archive.collect)

    @rule()
    def a_query_begins(self) -> None:
        self.held.append((self.time, self.archive.snapshot))

    @rule()
    def drop(self) -> None:
        with suppress(ArchiveError, OSError):
            paths = self.archive.drop(DROPPED_BEFORE, dry_run=True).paths
            doomed = self.lines_of(path for path in paths if self.archive.state.files[path].kind == "events")
            self.promised(going=self.promise.going | doomed)
            self.archive.drop(DROPPED_BEFORE, dry_run=False)
            self.promised(gone=self.promise.gone | doomed, records=self.archive.state.n)

    @precondition(lambda self: self.ends)
    @rule(which=st.integers(0, 3))
    def gap(self, which: int) -> None:
        end = self.archive.sources[self.sid(which)].offset
        if self.attempt(lambda: self.archive.losses.gap(self.sid(which), end, end + LINE, "truncated")):
            self.promised(gaps=self.promise.gaps + 1, records=self.archive.state.n)

    @rule()
    def a_ledger_snapshot_is_due(self) -> None:
        self.archive.state.commits_since_snapshot = 10_000

    @rule(after=st.integers(0, 30), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def an_operation_will_fail(self, after: int, code: int) -> None:
        self.disk.will_fail(after, code)

    @rule()
    def recover_in_process(self) -> None:
        """What the next write does after a failed one."""
        self.attempt(self.archive.recover)

    @rule(
        seed=st.integers(0, 1 << 16),
        power=st.booleans(),
        fuse=st.none() | st.integers(0, 20),
        recovering=st.none() | st.integers(0, 20),
    )
    def crash(self, seed: int, power: bool, fuse: int | None, recovering: int | None) -> None:
        self.disk.fault = None
        chance = random.Random(seed)
        if fuse is not None:
            self.disk.fuse = fuse
            with suppress(PowerCut, ArchiveError, OSError):
                self.archive.commit()
                self.committed()
            self.disk.fuse = None
        self.disk.cut(chance) if power else self.disk.kill()
        if recovering is not None:
            self.disk.fuse = recovering
            with suppress(PowerCut):
                recover(self.disk)
            self.disk.fuse = None
            self.disk.cut(chance) if chance.random() < 0.5 else self.disk.kill()
        self.start()
        check(self.archive, self.disk, self.promise)
        check_chain(self.disk)
        # The tailer reads on from what is committed; what was only visible is read again.
        self.ends = {sid: state.offset for sid, state in self.archive.sources.items()}
        self.promised(offsets=dict(self.ends))

    @invariant()
    def every_visible_line_is_visible_once(self) -> None:
        snapshot = self.archive.snapshot
        rows = [line for file in snapshot.events for line in ROWS.of(self.disk.read(f"{ROOT}/{file.path}"))]
        for hot in snapshot.hot:
            sids, offsets = hot.table.column("source"), hot.table.column("source_offset").to_numpy()
            rows += zip(map(str, sids.to_pylist()), map(int, offsets), strict=True)
        expected = {(sid, at) for sid, end in self.ends.items() for at in range(0, end, LINE)}
        assert len(rows) == len(set(rows))
        assert set(rows) <= expected
        assert expected - set(rows) <= self.promise.going

    @invariant()
    def files_stay_for_queries_under_way(self) -> None:
        for _, snapshot in self.held:
            for file in snapshot.events:
                self.disk.read(f"{ROOT}/{file.path}")

    def sid(self, which: int) -> str:
        return sorted(self.ends)[which % len(self.ends)]

    def attempt(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except (ArchiveError, OSError):
            return False
        return True

    def committed(self) -> None:
        self.promised(offsets={**self.promise.offsets, **self.ends}, records=self.archive.state.n)

    def promised(self, **changes: object) -> None:
        self.promise = replace(self.promise, **changes)  # type: ignore[arg-type]

    def lines_of(self, paths: object) -> frozenset[Line]:
        found = [ROWS.of(self.disk.read(f"{ROOT}/{path}")) for path in paths]  # type: ignore[attr-defined]
        return frozenset(line for some in found for line in some)
