"""Risk while the daemon runs: events are scored between parsing and the archive, and what is learned outlives a crash.

Scores are final when their event is committed. What users' habits are is a fold over the committed rows in the order
of their seq; at the start it is taken from the last checkpoint and the rows committed since (`storage.checkpoints`).
Events that a crash took back are read again and scored again, from the same habits.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from parsers.arrow import numbers, whole
from parsers.batch import Parsed
from parsers.points import Points
from parsers.risk import READ, Scoring
from storage import checkpoints
from storage.archive import Archive
from storage.observer import Observer
from storage.replay import newest_rows_from, rows_after

CHECKPOINT_EVENTS = (
    250_000  # after which what is remembered is written down; as many are folded again in a second
)
CHECKPOINT_SHARE = (
    4  # and at least so many times what is remembered: writing must not cost more than learning
)
SCORED_AT_ONCE = 32_768  # events; how a stream is cut changes no score, and memory for it stays small
SHRINK_TO = 0.75  # of the memory limit, when it is reached

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """``memory_bytes`` bound what is remembered; ``rebuild_events`` what is folded again when no checkpoint is there."""

    points: Points
    memory_bytes: int = 128 << 20
    rebuild_events: int = 1_000_000


class Scorer:
    """Scores what is parsed, in the order in which it is appended. One thread at a time; blocking."""

    def __init__(self, options: ScoringOptions, archive: Archive, observer: Observer) -> None:
        self._options = options
        self._archive = archive
        self._observer = observer
        self._scoring = Scoring(options.points)
        self._since = 0  # events folded since the last checkpoint
        self._ahead = False  # whether something was scored and not appended yet

    def restore(self) -> int:
        """Learn again what was learned before this start; returns how many rows had to be folded again."""
        started = time.monotonic()
        snapshot = self._archive.snapshot
        committed = self._archive.state.max_seq
        known = 0
        for seq, arrays in checkpoints.newest(self._archive.fs, self._archive.layout, committed):
            try:
                self._scoring.habits.load(arrays)
            except (ValueError, KeyError) as error:
                _log.warning("a checkpoint of habits does not fit", extra={"seq": seq, "reason": str(error)})
                self._scoring = Scoring(self._options.points)
                continue
            known = seq
            break
        begin = max(known, newest_rows_from(snapshot, self._options.rebuild_events))
        if begin > known:
            _log.warning(
                "habits are learned again from the newest events alone",
                extra={"events": self._options.rebuild_events, "setting": "[risk] rebuild_events"},
            )
        folded = 0
        for table in rows_after(snapshot, begin, (*READ, "ingested_at")):
            read_us = numbers(whole(table.column("ingested_at")).cast(pa.int64()), 0).astype(np.int64)
            self._scoring.score(table, read_us)
            folded += table.num_rows
            self._bound()
        self._since = folded
        _log.info(
            "habits are known",
            extra={
                "users": len(self._scoring.habits.users),
                "checkpoint": known,
                "folded": folded,
                "seconds": round(time.monotonic() - started, 3),
            },
        )
        return folded

    def score(self, parsed: Parsed, now_us: int) -> Parsed:
        """Return what was parsed with its risk. It must be appended, with the same time, before the next is scored."""
        started = time.monotonic()
        parts = [
            self._scoring.score(parsed.events.slice(begin, SCORED_AT_ONCE), now_us)
            for begin in range(0, parsed.events.num_rows, SCORED_AT_ONCE)
        ]
        events = pa.concat_tables(parts) if parts else parsed.events
        self._since += events.num_rows
        self._ahead = True
        self._observer.seconds("score_seconds", time.monotonic() - started)
        return replace(parsed, events=events)

    def appended(self) -> None:
        """Write down what is remembered when that is due. Call it after what was scored was appended."""
        self._ahead = False
        habits = self._scoring.habits
        remembered = len(habits.users) + len(habits.values)
        if self._since >= max(CHECKPOINT_EVENTS, CHECKPOINT_SHARE * remembered):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write down what is remembered now. A disk that refuses is no trouble: more is folded again then."""
        if not self._since or self._ahead:  # what was scored last may never be appended
            return
        self._since = 0
        habits = self._scoring.habits
        self._bound()
        self._observer.gauge("habits_users", len(habits.users))
        self._observer.gauge("habits_bytes", habits.bytes)
        try:
            checkpoints.write(
                self._archive.fs, self._archive.layout, self._archive.next_seq - 1, habits.arrays()
            )
            checkpoints.collect(self._archive.fs, self._archive.layout, self._archive.state.max_seq)
        except OSError as error:
            self._observer.count("habits_checkpoint_failures")
            _log.warning("habits could not be written down", extra={"reason": str(error)})

    def _bound(self) -> None:
        """Forget what has no influence, and above the limit also those who were not seen for the longest time."""
        habits = self._scoring.habits
        habits.forget()
        if habits.bytes <= self._options.memory_bytes:
            return
        before = len(habits.users) + len(habits.values)
        share = SHRINK_TO * self._options.memory_bytes / habits.bytes
        for memory in (habits.users, habits.values):
            kept = np.zeros(len(memory), bool)
            kept[np.argsort(memory["last_day"], kind="stable")[int(len(memory) * (1 - share)) :]] = True
            memory.keep(kept)
        forgotten = before - len(habits.users) - len(habits.values)
        self._observer.count("habits_forgotten", forgotten)
        _log.warning(
            "habits take too much memory: those not seen for the longest time are forgotten",
            extra={"forgotten": forgotten, "setting": "[risk] memory_mb"},
        )
