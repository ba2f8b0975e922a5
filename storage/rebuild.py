"""Building a lost or damaged ledger again from what the Parquet files say of themselves. Never done silently.

`plan` looks and changes nothing; `rebuild` writes. What the old ledger's whole records still say is used too: they know of
bytes that made no row, and of sources whose files retention has removed. Nothing that both are silent about is guessed.

The order, so that a power cut at any point leaves either no ledger (and the daemon refuses again) or the new one: files
that cannot be used are set aside; the new ledger's first segment is made durable, *which is the moment it counts*; the
old segments are set aside. The files themselves are not touched: the next start moves, keeps and collects as always.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from parsers.batch import Counts
from storage.books import SEQ_RESERVE, WRITER_VERSION, now_us
from storage.errors import LedgerError
from storage.fs import Fs, makedirs
from storage.layout import NODES, Layout, segments
from storage.ledger import Ledger, salvage
from storage.lineage import ground
from storage.provenance import Covered
from storage.records import Range, Record, SourceState
from storage.recovery import prepare, refuse_if_behind, sweep_old_segments
from storage.snapshot import File
from storage.state import State, fold
from storage.survey import Piece, Progress, survey

# Every start reserves SEQ_RESERVE numbers; so many starts without a commit may have gone unnoticed.
UNSEEN_STARTS = 64
# Records that nobody can read any more (starts, sources) have numbers too: they are not given again.
UNSEEN_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes ``[start, end)`` of a source that were archived, and that no file here holds: dropped, or lost."""

    sid: str
    path: str
    start: int
    end: int


@dataclass(slots=True)
class Plan:
    """What would be known again, and what not."""

    node: str
    state: State
    epoch: int = 0
    n: int = 0  # number of the last record before the new ones
    old_records: int = 0  # whole records of the old ledger that were used
    old_damage: tuple[str, ...] = ()  # where the old ledger could not be read
    old_head: str = ""
    superseded: list[str] = field(default_factory=list)  # live files whose rows are in newer files
    unfinished: list[str] = field(default_factory=list)  # staged files no record can have named
    unusable: list[tuple[str, str]] = field(default_factory=list)  # path, why: set aside
    missing: list[str] = field(default_factory=list)  # the old ledger names them, the disk does not have them
    holes: list[Hole] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many files would be known."""
        return len(self.state.files)

    def rows(self, kind: str) -> int:
        """How many rows of a kind would be known."""
        return sum(file.rows for file in self.state.files.values() if file.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        sources = self.state.sources.values()
        return {
            "node": self.node,
            "files": self.files,
            "bytes": sum(file.bytes for file in self.state.files.values()),
            "events": self.rows("events"),
            "rejects": self.rows("rejects"),
            "sources": [{"sid": s.sid, "path": s.path, "offset": s.offset} for s in sources],
            "old_records": self.old_records,
            "old_damage": list(self.old_damage),
            "superseded": self.superseded,
            "unfinished": self.unfinished,
            "unusable": [{"path": path, "why": why} for path, why in self.unusable],
            "missing": self.missing,
            "holds": sorted(self.state.holds),
            "holes": [{"sid": h.sid, "path": h.path, "start": h.start, "end": h.end} for h in self.holes],
            "record": self.n + 1,
            "epoch": self.epoch,
        }


@contextmanager
def holding(fs: Fs, layout: Layout) -> Generator[None]:
    """Hold the node's lock. LockedError while a daemon, or anything else, writes this archive."""
    makedirs(fs, layout.home)
    lock = fs.lock(layout.lock, f"node {layout.node}, pid {os.getpid()}, rebuilding the ledger\n")
    try:
        prepare(fs, layout)
        yield
    finally:
        lock.release()


def usable(fs: Fs, layout: Layout) -> State | None:
    """Return the state if a daemon could start with the ledger as it is; None if it has to be built again."""
    try:
        state = fold(Ledger(fs, layout, writer_version="").read(repair=False))
        refuse_if_behind(fs, layout, state)
    except LedgerError:
        return None
    return state


def _silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""


def plan(fs: Fs, layout: Layout, tell: Progress = _silent) -> Plan:
    """Return what a new ledger would say. LedgerError when even that cannot be made out; nothing is changed."""
    placed, staged = survey(fs, layout, tell)
    found = Plan(layout.node, State())
    _read_old(fs, layout, found)
    chosen = _chosen(placed, staged, found)
    _take_files(chosen, found)
    _take_sources(chosen, found)
    _number(chosen, found)
    found.state.holds_unknown = True  # unread records may have told of more: retention waits for a person
    return found


def rebuild(fs: Fs, layout: Layout, found: Plan) -> None:
    """Write the new ledger as planned and set the old one aside. The caller holds the node's lock."""
    for path, _ in found.unusable:
        if fs.size(layout.absolute(path)) is not None:
            _set_aside(fs, layout, path)
    ledger = Ledger(fs, layout, writer_version=WRITER_VERSION)
    ledger.n, ledger.epoch = found.n, found.epoch
    about = {
        "at": now_us(),
        "files": found.files,
        "events": found.rows("events"),
        "rejects": found.rows("rejects"),
        "old_records": found.old_records,
        "old_head": found.old_head,
        "missing": found.missing,
        "unusable": [path for path, _ in found.unusable],
    }
    try:
        ledger.begin_segment({**found.state.to_json(), "rebuilt": about}, now_us=now_us())
    finally:
        ledger.close()
    sweep_old_segments(fs, layout)


def _set_aside(fs: Fs, layout: Layout, path: str) -> None:
    name = path.replace(os.sep, "-")
    fs.rename(layout.absolute(path), os.path.join(layout.aside, name))
    fs.sync_dir(os.path.dirname(layout.absolute(path)))
    fs.sync_dir(layout.aside)


# The old ledger


def _read_old(fs: Fs, layout: Layout, found: Plan) -> None:
    """Fold whatever records of the old ledger are whole. What they contradict is left to the files."""
    damage: list[str] = []
    state = found.state
    for number in segments(fs.listdir(layout.ledger)):
        path = layout.segment(number)
        found.n = max(found.n, number)
        for record in salvage(fs.read(path), os.path.basename(path)):
            if isinstance(record, str):
                damage.append(record)
                continue
            _fold_leniently(state, record)
            found.old_records += 1
            found.n = max(found.n, record.header.n)
            found.epoch = max(found.epoch, record.header.epoch)
            found.old_head = record.hash
    found.old_damage = tuple(damage)


def _fold_leniently(state: State, record: Record) -> None:
    """Fold a record into a state that may have missed the ones before it: nothing goes backwards."""
    if record.header.kind == "commit":
        met = {entry["sid"] for entry in record.body.get("sources", ())}
        for entry in record.body["ranges"]:
            extent = Range.from_json(entry)
            if extent.sid in met:
                continue
            source = state.sources.get(extent.sid)
            if source is not None and source.offset < extent.start:
                return  # records between are unreadable: how this source's lines ended is only in the files
            if source is None or source.offset > extent.start:
                return
    if record.header.kind == "snapshot":
        before = dict(state.sources)
        state.apply(record)
        for sid, source in before.items():
            _keep(state, replace(source, sid=sid))
        return
    try:
        state.apply(record)
    except (LedgerError, KeyError):
        return


def _keep(state: State, source: SourceState) -> None:
    """Let a source's state stand if it is further than what is known of it."""
    known = state.sources.get(source.sid)
    if known is None or known.offset < source.offset:
        state.sources[source.sid] = source


# The files


@dataclass(slots=True)
class _Chosen:
    """Pieces that belong to the archive, and those whose rows are in others of them."""

    valid: list[Piece] = field(default_factory=list)
    superseded: list[Piece] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)

    def all(self) -> Iterator[Piece]:
        yield from self.valid
        yield from self.superseded


def _chosen(placed: Sequence[Piece], staged: Sequence[Piece], found: Plan) -> _Chosen:
    usable: list[Piece] = []
    for piece in placed:
        if piece.footer is None:
            found.unusable.append((piece.path, piece.trouble))
        elif piece.footer.entry.path != piece.path:
            found.unusable.append((piece.path, f"is a copy of {piece.footer.entry.path}"))
        else:
            usable.append(piece)
    usable += _from_staging(usable, staged, found)
    replaced = {path for piece in usable if piece.footer for path in piece.footer.replaces}
    chosen = _Chosen(replaced=replaced)
    for piece in usable:
        inside = piece.file is not None and (piece.file.path in replaced or piece.file.covers in replaced)
        (chosen.superseded if inside else chosen.valid).append(piece)
    return chosen


def _from_staging(usable: Sequence[Piece], staged: Sequence[Piece], found: Plan) -> list[Piece]:
    """Return the staged files that a record named, as far as that can be known.

    A record is durable before any of its files is moved: when one is in its place, its siblings in `staging` count.
    When none is, a commit's files are taken if they are complete and continue what is known: their rows are then in
    the archive exactly once, whether or not there was a record. Everything else is left to be cleared: its rows are in
    the log files, or in the files it was merged from.
    """
    moved = {_record(piece) for piece in usable}
    offsets: dict[str, int] = {}
    for piece in usable:
        for sid, told in piece.footer.sources.items() if piece.footer else ():
            offsets[sid] = max(offsets.get(sid, 0), told.covered.end)
    groups: dict[tuple[int, int, str] | None, list[Piece]] = defaultdict(list)
    for piece in staged:
        groups[_record(piece)].append(piece)
    taken: list[Piece] = []
    for key, group in groups.items():
        whole = key is not None and (key in moved or (key[2] in {"commit", "bulk"} and _complete(group)))
        if whole and (key in moved or _continues(group, offsets)):
            taken += group
        else:
            found.unfinished += [piece.path for piece in group]
    return taken


def _record(piece: Piece) -> tuple[int, int, str] | None:
    footer = piece.footer
    return (footer.epoch, footer.record, footer.made_by) if footer else None


def _covered(group: Iterable[Piece]) -> dict[tuple[str, int, int], Covered]:
    """Return each range that some files tell of, once."""
    return {
        (sid, told.covered.start, told.covered.end): told.covered
        for piece in group
        if piece.footer
        for sid, told in piece.footer.sources.items()
    }


def _complete(group: Sequence[Piece]) -> bool:
    """Return whether the rows of some files are as many as the lines that their ranges say became rows."""
    counts = sum((covered.counts for covered in _covered(group).values()), Counts())
    events, rejects = (
        sum(piece.file.rows for piece in group if piece.file and piece.file.kind == kind)
        for kind in ("events", "rejects")
    )
    return (events, rejects) == (counts.events, counts.rejects + counts.oversize + counts.torn)


def _continues(group: Sequence[Piece], offsets: dict[str, int]) -> bool:
    return all(offsets.get(sid, start) <= start for sid, start, _ in _covered(group))


def _take_files(chosen: _Chosen, found: Plan) -> None:
    state = found.state
    old = {path: file for path, file in state.files.items() if path not in state.retired}
    # Sealed files leave only by being dropped: what the old ledger says of that still holds while they lie there.
    dropped = {path: when for path, when in state.retired.items() if not path.startswith(NODES)}
    state.files = {
        piece.file.path: piece.file for piece in chosen.valid if piece.file and piece.file.path not in dropped
    }
    when = now_us()
    state.retired = {piece.file.path: when for piece in chosen.superseded if piece.file}
    found.superseded = sorted(state.retired)
    state.retired |= dropped
    known = {*state.files, *state.retired, *chosen.replaced}
    found.missing = sorted(path for path in old if path not in known)
    covered = {file.path for file in state.files.values() if file.kind == "events"}
    # A roll-up without its events file would count rows that are not there.
    for path in [p for p, f in state.files.items() if f.kind == "rollup" and f.covers not in covered]:
        del state.files[path]
        found.unusable.append((path, "the events file that it sums up is not here"))


def _take_sources(chosen: _Chosen, found: Plan) -> None:
    state = found.state
    ranges: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for piece in chosen.all():
        if piece.footer is None:
            continue
        for source in piece.footer.known:
            _keep(state, source)
        for sid, told in piece.footer.sources.items():
            _keep(state, told.covered.state)
            ranges[sid].add((told.covered.start, told.covered.end))
    # What the old ledger says of bytes without any file stands, as far as no footer tells of them.
    state.bare = {
        sid: bare
        for sid, bare in state.bare.items()
        if bare.end == state.sources[sid].offset and all(end <= bare.start for _, end in ranges[sid])
    }
    for sid, bare in state.bare.items():
        ranges[sid].add((bare.start, bare.end))
    for sid, source in state.sources.items():
        if not source.rungs:
            state.sources[sid] = replace(source, rungs=(ground(source, 0),))
        found.holes += [
            Hole(sid, source.path, start, end)
            for start, end in _between(source.base, ranges[sid], source.offset)
        ]


def _between(start: int, ranges: set[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield what ``ranges`` leave uncovered of ``[start, end)``."""
    at = start
    for low, high in sorted(ranges):
        if low > at:
            yield at, low
        at = max(at, high)
    if at < end:
        yield at, end


def _number(chosen: _Chosen, found: Plan) -> None:
    """Find numbers above every one that may have been given."""
    state = found.state
    for piece in chosen.all():
        if piece.footer is not None:
            found.n = max(found.n, piece.footer.record)
            found.epoch = max(found.epoch, piece.footer.epoch)
            state.reserved_to = max(state.reserved_to, piece.footer.seq_reserved_to)
    files = [piece.file for piece in chosen.all() if piece.file]
    state.max_seq = max([state.max_seq, *(file.max_seq for file in files)])
    state.max_seq_internal = max([state.max_seq_internal, *_seqs(files, internal=True)])
    state.max_seq_external = max([state.max_seq_external, *_seqs(files, internal=False)])
    live = [file.min_seq for file in state.files.values() if file.day is None and file.kind != "rollup"]
    state.sealed_seq = min([state.max_seq, *(seq - 1 for seq in live)])
    state.reserved_to = max(state.reserved_to, state.max_seq) + UNSEEN_STARTS * SEQ_RESERVE
    found.n += UNSEEN_RECORDS
    found.epoch += 1


def _seqs(files: Iterable[File], *, internal: bool) -> Iterator[int]:
    return (f.max_seq for f in files if f.kind == "events" and f.internal in {internal, None})
