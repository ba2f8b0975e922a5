"""A machine of commits, folds, seals, drops, crashes and time that passes: what the glob holds is what `sealed_seq` says."""

from __future__ import annotations

import errno
import random
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parsers.batch import Parsed
from parsers.columns import TIMESTAMP
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.errors import ArchiveError
from storage.meeting import source_of
from tests.storage.made import FIRST_TIME_US, LINE, lines, seen
from tests.storage.power import ROOT, PowerDisk

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_KNOWN: dict[bytes, list[tuple[int, int]]] = {}
OPTIONS = ArchiveOptions(
    path=ROOT, grace_seconds=0.0, fold_files=3, seal_bytes=20_000, late_seconds=3600.0, late_files=3
)


def rows_of(data: bytes) -> list[tuple[int, int]]:
    """Return (offset, seq) of the rows of an events file, read once however often it is looked at."""
    if data not in _KNOWN:
        table = pq.read_table(pa.BufferReader(data), columns=["source_offset", "seq"])
        offsets, seqs = table["source_offset"].to_numpy().tolist(), table["seq"].to_numpy().tolist()
        _KNOWN[data] = list(zip(offsets, seqs, strict=True))
    return _KNOWN[data]


class SealingMachine(RuleBasedStateMachine):
    """Rows of today and of days that are over; everything that rearranges files; misfortune."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = FIRST_TIME_US
        self.disk = PowerDisk()
        self.disk.journal = None
        self.archive = self.opened()
        self.sid = self.archive.register(seen("a")).sid
        self.end = 0
        self.before = 0

    def opened(self) -> Archive:
        """Open the archive as after a restart."""
        return Archive.open(OPTIONS, fs=self.disk, clock=lambda: self.now_us)

    @rule(days_ago=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 9, -1]), min_size=1, max_size=12))
    def append(self, days_ago: list[int]) -> None:
        source = source_of(self.archive.sources[self.sid])
        parsed, chunk = lines(source, self.end, len(days_ago))
        times = self.now_us - np.array(days_ago, np.int64) * DAY_US
        place = parsed.events.schema.get_field_index("timestamp")
        field = parsed.events.schema.field(place)
        events = parsed.events.set_column(place, field, pa.array(times).cast(TIMESTAMP))
        self.archive.append(Parsed(events, parsed.rejects, parsed.counts, {}), [chunk])
        self.end = chunk.end

    @rule(what=st.sampled_from(["commit", "commit", "fold", "seal_due", "seal_due", "seal", "collect"]))
    def work(self, what: str) -> None:
        with suppress(ArchiveError, OSError):
            getattr(self.archive, what)()

    @rule(days=st.integers(0, 10))
    def retention_wants_late_rows(self, days: int) -> None:
        before = datetime.fromtimestamp(self.now_us / 1e6 - days * 86_400, UTC).strftime("%Y-%m-%d")
        with suppress(ArchiveError, OSError):
            self.archive.keeping.take_late(before)

    @rule(hours=st.sampled_from([0.5, 1, 2, 5, 24, -2]))
    def time_passes(self, hours: float) -> None:
        self.now_us += int(hours * HOUR_US)

    @rule(after=st.integers(0, 40), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def an_operation_will_fail(self, after: int, code: int) -> None:
        self.disk.will_fail(after, code)

    @rule(seed=st.integers(0, 1 << 16), power=st.booleans())
    def crash(self, seed: int, power: bool) -> None:
        self.disk.fault = None
        self.disk.cut(random.Random(seed)) if power else self.disk.kill()
        self.archive = self.opened()
        self.end = self.archive.sources[self.sid].offset

    @invariant()
    def glob_and_live_are_the_committed_rows_and_sealed_seq_is_true(self) -> None:
        state, shown = self.archive.state, self.archive.snapshot
        glob = [
            row
            for path, inode in self.disk.names.items()
            if path.startswith(f"{ROOT}/events/")
            for row in rows_of(inode.data)
        ]
        live = [
            row
            for file in shown.events
            if file.day is None
            for row in rows_of(self.disk.read(self.archive.layout.absolute(file.path)))
        ]
        if not self.archive.problems and not self.archive._books.broken:
            rows = sorted(offset for offset, _ in (*glob, *live))
            assert rows == list(range(0, state.sources[self.sid].offset, LINE))
        assert len({offset for offset, _ in glob}) == len(glob), "no row is twice in the glob"
        assert all(seq > shown.sealed_seq for _, seq in live), "the glob holds every row up to sealed_seq"
        assert shown.sealed_seq >= self.before, "it never goes back"
        self.before = shown.sealed_seq

    @invariant()
    def live_files_are_few_and_late_ones_bounded(self) -> None:
        late = [file for file in self.archive.snapshot.events if file.late]
        assert all(file.day is None or file.rows for file in late)
        waiting = [file for file in late if file.day is None]
        assert len(waiting) <= 9


TestSealingMachine = SealingMachine.TestCase
TestSealingMachine.settings = settings(max_examples=40, stateful_step_count=25)
