"""Folding and sealing beside commits: decided under the archive's lock, merged outside it, recorded under it.

A live file that was committed never changes and stays until a record takes its place, so a merge may take its time
over a fixed set of them while commits go on. Only the record and the renames need the lock.

What a seal covers is a prefix of the commits: every row up to some seq, of all days. Rows that are late (see
`storage.late`) may be left waiting in a live file of their own. `sealed_seq` is therefore computed, not chosen: it is
the number before the first committed row that is in no sealed file.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from storage import rollups
from storage.books import Books
from storage.errors import CommitError
from storage.freeing import give_back
from storage.fs import Fs
from storage.late import Key, LateRules, Waiting, late, ripe
from storage.layout import Layout
from storage.merge import Inputs
from storage.observer import Observer
from storage.origins import merge_origin
from storage.provenance import Coverage, Maker, Origin
from storage.seal import Stager
from storage.snapshot import File, Kind
from storage.turns import Turns

LATE_FILES = 8  # live files of late rows above which they are merged into one
MERGE_ROWS = 1 << 20  # rows that one merge takes at least; each costs about 110 bytes of memory
LEAST_ROW_BYTES = 64  # of Parquet: with it a sealed file of any size can be filled
KINDS: tuple[Kind, ...] = ("events", "rejects")

Chosen = Callable[[Key], bool]


class Owner(Protocol):
    """What rearranging needs of the archive. Everything is called with the lock held."""

    def recover_if_broken(self) -> None:
        """Bring books and disk together after a failure."""

    def files_changed(self) -> None:
        """Show readers the new set of files."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """When files are large enough, in bytes of Parquet, and how many may lie in `live`."""

    seal_bytes: int
    fold_files: int

    @property
    def rows(self) -> int:
        """Most rows of one merge, which bounds its memory; rows are rarely smaller than LEAST_ROW_BYTES."""
        return max(MERGE_ROWS, self.seal_bytes // LEAST_ROW_BYTES)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one step works on: a fixed set of live files, and what was true when they were listed."""

    recoveries: int
    generation: int  # number of the last record, for the names of new live files
    now_us: int
    since_us: int  # when the oldest of what this step leaves behind was committed
    fresh: tuple[File, ...]  # a prefix of the commits: events and rejects
    late: tuple[File, ...]  # live files of rows that wait
    made: Counter[Key]  # late files that there are already


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which keys get a sealed file; those of them with rows in time; the live files of late rows that are taken up."""

    keys: set[Key]
    in_time: set[Key]
    late: tuple[File, ...]


class Rearranger:
    """Folds and seals one node's live files. Thread-safe; one step at a time."""

    def __init__(
        self,
        fs: Fs,
        layout: Layout,
        books: Books,
        owner: Owner,
        *,
        sizes: Sizes,
        rules: LateRules,
        writing: Turns,
        observer: Observer,
    ) -> None:
        self.merging = threading.RLock()  # taken before `writing`: whoever removes live files holds it
        self._fs = fs
        self._layout = layout
        self._books = books
        self._owner = owner
        self._sizes = sizes
        self._rules = rules
        self._writing = writing
        self._observer = observer
        self._waiting: dict[str, dict[Key, Waiting]] = {}  # by path of a live file of late rows

    def fold(self) -> bool:
        """Merge some live files if there are too many of a kind; return whether any were."""
        folded = [self._fold(kind) for kind in KINDS]
        return any(folded)

    def _fold(self, kind: Kind) -> bool:
        with self.merging:
            with self._writing:
                self._owner.recover_if_broken()
                live = sorted(fresh(self._books.live(kind)), key=lambda file: file.min_seq)
                recoveries, generation = self._books.recoveries, self._books.state.n
            if len(live) <= self._sizes.fold_files:
                return False
            chosen = cheapest_run(live, max(2, self._sizes.fold_files // 2), self._sizes.rows)
            if not chosen:
                return False

            def work(stager: Stager) -> None:
                coverage = Coverage()
                with Inputs(self._fs, self._layout, chosen, kind, coverage) as inputs:
                    origin = self._origin("fold", chosen, coverage)
                    stager.live(kind, inputs, inputs.in_order(), origin, generation=generation)

            def record(added: list[File]) -> None:
                self._books.exchange("fold", added, self._books.with_rollups(chosen))

            self._staged(work, recoveries, record)
            return True

    def seal(self) -> int:
        """Seal every row that is committed now, late ones too; return how many files were made."""
        with self.merging:
            through, made = self._books.state.max_seq, 0
            while True:
                plan = self._plan(through)
                if not plan.fresh and not plan.late:
                    return made
                made += self._step(plan, _all)

    def seal_due(self, at_us: int | None = None) -> int:
        """Seal one step of what is committed: about ``seal_bytes``, late rows only if they have waited long enough."""
        with self.merging:
            plan = self._plan(self._books.state.max_seq, at_us)
            return self._step(plan, _none)

    def seal_late(self, chosen: Chosen) -> int:
        """Seal late rows that wait, of the keys that ``chosen`` says; return how many files were made."""
        with self.merging:
            plan = self._plan(self._books.state.max_seq, only_late=True)
            if not any(map(chosen, self._waiting_in(plan.late))):
                return 0
            return self._step(plan, chosen)

    def _plan(self, through: int, at_us: int | None = None, *, only_late: bool = False) -> _Plan:
        with self._writing:
            self._owner.recover_if_broken()
            state = self._books.state
            own, live = self._books.own_files(), self._books.live(*KINDS)
            recoveries, generation, since_us = self._books.recoveries, state.n, state.unsealed_since_us
        when = self._books.clock() if at_us is None else at_us
        candidates = [file for file in fresh(live) if file.max_seq <= through]
        chosen = [] if only_late else prefix(candidates, self._sizes.seal_bytes, self._sizes.rows)
        made = Counter(
            Key(file.day or "", file.retention_class or "", bool(file.internal))
            for file in own
            if file.day is not None and file.late and file.kind == "events"
        )
        return _Plan(
            recoveries,
            generation,
            when,
            since_us if len(chosen) < len(candidates) else when,
            tuple(chosen),
            tuple(file for file in live if file.late),
            made,
        )

    def _step(self, plan: _Plan, at_once: Chosen) -> int:
        started = time.monotonic()
        removed = list(plan.fresh)

        def work(stager: Stager) -> None:
            events, rejects = ([file for file in plan.fresh if file.kind == kind] for kind in KINDS)
            coverage = Coverage()
            with (
                Inputs(self._fs, self._layout, events, "events", coverage) as rows,
                Inputs(self._fs, self._layout, rejects, "rejects", coverage) as lines,
            ):
                choice = self._chosen(rows, plan, at_once)
                rows.add(choice.late)
                removed.extend(choice.late)
                origin = self._origin("seal", removed, coverage)
                self._events(stager, plan, rows, choice, origin)
                keys = list(lines.by_key())
                for key, positions in keys:
                    stager.sealed("rejects", lines, key, positions, origin, last=key is keys[-1][0])

        def record(added: list[File]) -> None:
            if added:
                self._record(plan, added, removed)

        added = self._staged(work, plan.recoveries, record)
        if added:
            self._observer.seconds("seal_seconds", time.monotonic() - started)
        return sum(1 for file in added if file.day is not None)

    def _chosen(self, rows: Inputs, plan: _Plan, at_once: Chosen) -> _Choice:
        """Decide which keys get a sealed file, and whether the live files of late rows are taken up.

        Late rows of the keys that ``at_once`` says need not have waited.
        """
        new = self._late_rows(rows, [file for file in plan.fresh if file.kind == "events"])
        in_time = {key for key, _ in rows.by_key()} - set(new)
        old = self._waiting_in(plan.late)
        waiting = {**old, **new} | {key: new[key] + old[key] for key in new if key in old}
        keys = set(filter(at_once, waiting)) | ripe(waiting, plan.made, self._rules, plan.now_us)
        keys |= in_time
        taken = plan.late if not keys.isdisjoint(old) or len(plan.late) >= LATE_FILES else ()
        return _Choice(keys, in_time, taken)

    @staticmethod
    def _events(stager: Stager, plan: _Plan, rows: Inputs, choice: _Choice, origin: Origin) -> None:
        """Stage a sealed file for each key that gets one, and a live file of the rows that wait."""
        parts = list(rows.by_key())
        sealed = [(key, positions) for key, positions in parts if key in choice.keys]
        left = [positions for key, positions in parts if key not in choice.keys]
        for number, (key, positions) in enumerate(sealed, 1):
            # The latest day tells of the sources without rows: it is the one that retention leaves longest.
            last = number == len(sealed)
            stager.sealed("events", rows, key, positions, origin, late=key not in choice.in_time, last=last)
        if left:
            waiting = rows.in_order(np.concatenate(left))
            stager.live(
                "events", rows, waiting, origin, generation=plan.generation, late=True, last=not sealed
            )

    def _origin(self, made_by: Maker, replaced: Sequence[File], coverage: Coverage) -> Origin:
        with self._writing:
            return merge_origin(self._books, made_by, self._books.with_rollups(replaced), coverage)

    def _late_rows(self, inputs: Inputs, files: Sequence[File]) -> dict[Key, Waiting]:
        """Return the keys that have late rows only. Others get a file now, and their late rows come with them."""
        found: dict[Key, Waiting] = {}
        if not inputs.rows:
            return found
        share = sum(file.bytes for file in files) / inputs.rows
        behind = late(inputs.times, inputs.arrived, self._rules.slack_us)
        for key, positions in inputs.by_key():
            if bool(behind[positions].all()):
                since = int(inputs.arrived[positions].min())
                found[key] = Waiting(len(positions), round(len(positions) * share), since)
        return found

    def _waiting_in(self, files: Sequence[File]) -> dict[Key, Waiting]:
        """Return what waits in live files of late rows; each is looked at once."""
        found: dict[Key, Waiting] = {}
        for file in files:
            if file.path not in self._waiting:
                with Inputs(self._fs, self._layout, [file], "events") as inputs:
                    share = file.bytes / max(inputs.rows, 1)
                    self._waiting[file.path] = {
                        key: Waiting(len(rows), round(len(rows) * share), int(inputs.arrived[rows].min()))
                        for key, rows in inputs.by_key()
                    }
            for key, rows in self._waiting[file.path].items():
                found[key] = found[key] + rows if key in found else rows
        for path in self._waiting.keys() - {file.path for file in files}:
            del self._waiting[path]
        return found

    def _record(self, plan: _Plan, added: list[File], removed: list[File]) -> None:
        """Append the seal. Called with the lock held."""
        gone = {file.path for file in removed}
        left = [
            file
            for file in (*self._books.own_files(), *added)
            if file.day is None and file.kind in KINDS and file.path not in gone
        ]
        self._books.exchange(
            "seal",
            added,
            self._books.with_rollups(removed),
            sealed_seq=sealed_through(left, self._books.state.max_seq),
            unsealed_since_us=plan.since_us if fresh(left) else 0,
        )

    def _staged(
        self,
        work: Callable[[Stager], None],
        recoveries: int,
        record: Callable[[list[File]], None],
    ) -> list[File]:
        """Run ``work`` without the lock and ``record`` with it; on failure nothing is left in `staging`."""
        stager = Stager(self._fs, self._layout, rollups.delta)
        try:
            work(stager)
            added = stager.done()
        except BaseException:
            stager.abandon()
            raise
        finally:
            give_back()  # what a merge needed, nothing else needs until the next one
        with self._writing:
            if self._books.recoveries != recoveries:
                stager.abandon()  # recovery cleared `staging` while files were written to it
                raise CommitError("a recovery came between", hint="it is tried again", retry=True)
            record(added)
            if added:
                self._owner.files_changed()
        return added


def _all(_key: Key) -> bool:
    return True


def _none(_key: Key) -> bool:
    return False


def fresh(files: Iterable[File]) -> list[File]:
    """Return the live files that are not of late rows."""
    return [file for file in files if not file.late]


def sealed_through(live: Iterable[File], max_seq: int) -> int:
    """Return the seq up to which every committed row is in a sealed file, given all files that are not sealed."""
    return min((file.min_seq - 1 for file in live), default=max_seq)


def prefix(files: Sequence[File], target_bytes: int, most_rows: int) -> list[File]:
    """Return the first files by seq, about ``target_bytes`` and at most ``most_rows``: no row that is left comes before one that is taken.

    What there is is divided evenly, so that no small rest becomes a small file.
    """
    total_bytes, total_rows = sum(file.bytes for file in files), sum(file.rows for file in files)
    steps = max(1, round(total_bytes / target_bytes), -(-total_rows // most_rows))
    ordered = sorted(files, key=lambda file: file.max_seq)
    least = [file.min_seq for file in ordered]
    for place in reversed(range(len(least) - 1)):
        least[place] = min(least[place], least[place + 1])
    taken_bytes = taken_rows = 0
    for place, file in enumerate(ordered):
        taken_bytes += file.bytes
        taken_rows += file.rows
        last = place + 1 == len(ordered)
        if (last or least[place + 1] > file.max_seq) and (
            taken_bytes * steps >= total_bytes or taken_rows * steps >= total_rows
        ):
            return ordered[: place + 1]
    return ordered


def cheapest_run(live: Sequence[File], length: int, most_rows: int) -> list[File]:
    """Return ``length`` neighbouring files (by seq) with the fewest bytes: each byte is then folded rarely.

    None if they would have too many rows for one merge: sealing takes them as they are.
    """
    starts = range(len(live) - length + 1)
    best = min(starts, key=lambda start: sum(file.bytes for file in live[start : start + length]))
    chosen = list(live[best : best + length])
    return chosen if sum(file.rows for file in chosen) <= most_rows else []
