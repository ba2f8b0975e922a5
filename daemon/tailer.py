"""Follows files: looks which have grown, reads them fairly, and says what was read as chunks of complete lines.

Everything here blocks and belongs to one thread (only `Tailer.sync` may be called from another): `daemon.pipeline`
runs one turn after the other in it. Notices from the kernel only make a turn happen sooner; what is true is looked
up: hot files four times a second, recently active ones every two seconds, the others in turn, some at a time. Each
kind of look takes at most a small share of the thread's time, however many files there are.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from daemon import files
from daemon.binding import Binder
from daemon.books import MAX_UNPACKED_BYTES
from daemon.climbing import LOOK_SECONDS, Climbs
from daemon.copies import OnCopy
from daemon.discovery import Discovery, Root, Watchable
from daemon.following import Fate, Followed
from daemon.ladder import Ladder
from daemon.losses import LOST_WAIT_SECONDS
from daemon.oldlogs import OldFile, sync_folder
from daemon.reader import BLOCK_BYTES, RewrittenError
from daemon.reading import Spanned, Turn, seen
from daemon.rounds import ACTIVE_EVERY_SECONDS, ACTIVE_SECONDS, Rounds
from daemon.sources import Known, Sink

SCAN_SECONDS = 10.0
SCAN_PAUSE_SECONDS = 0.05  # the least time between two listings, however many notices come
SCAN_COST_FACTOR = 5  # listings that notices ask for take at most a fifth of the reader's time
LONG_PAUSE_SECONDS = (
    5.0  # a turn so much too late: the process was stopped, and notices may have been dropped
)
QUANTUM_BYTES = BLOCK_BYTES  # one file's share of a turn
TURN_BYTES = 4 * BLOCK_BYTES  # a turn ends after so much, so that live files are looked at often
# How often a stop looks whether deleted files are compared yet: a second and a half, of the two that draining may take.
CLOSING_LOOKS = 30
SYNC_THREADS = 8  # files that are made durable at the same time
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class TailOptions:
    """``max_line_bytes`` without the newline; ``max_open_files`` descriptors are kept; listings every ``scan_seconds``.

    ``lost_wait_seconds``: how long a source may take to turn up again before it counts as lost.
    ``pinned_bytes``: how much deleted files may hold on their disk before they are let go of as soon as possible.
    """

    roots: tuple[Root, ...]
    max_line_bytes: int = 1 << 20
    max_open_files: int = 512
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    on_copy: OnCopy = "skip"
    scan_seconds: float = SCAN_SECONDS
    pinned_bytes: int = 1 << 30
    lost_wait_seconds: float = LOST_WAIT_SECONDS


class Tailer:
    """All followed files of one daemon."""

    def __init__(
        self,
        options: TailOptions,
        sink: Sink,
        *,
        ladder: Ladder | None = None,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``ladder`` compares files that were rewritten with the archive, in ``executor``: a thread, if none is given."""
        self._options = options
        self._sink = sink
        self._clock = clock
        self._discovery = Discovery(options.roots, clock=clock)
        self._lock = threading.Lock()  # held while a descriptor is closed or duplicated
        self._binder = Binder(
            sink,
            options.max_line_bytes,
            options.max_open_files,
            self._lock,
            clock,
            options.max_unpacked_bytes,
            options.on_copy,
            options.lost_wait_seconds,
        )
        self._books = self._binder.books
        self._climbs = Climbs(self._binder, sink, ladder, executor, clock)
        self._rounds = Rounds(
            self._binder, clock, options.scan_seconds, look=self._look, enqueue=self._enqueue
        )
        self._live: deque[Followed] = deque()  # little to read: served first
        self._behind: deque[Followed] = deque()  # catching up, a quantum each in turn
        self._queued: set[Followed] = set()
        self._scan_due = self._scan_not_before = 0.0
        self._scan_wanted = self._everything_wanted = True
        self._turn_due = clock()
        self._urgent = False
        self._closing_looks = 0
        self.pinned_bytes = 0  # held by files that are deleted
        self._unpacking: Followed | None = None  # the compressed file that is being read
        self._started_ns = time.time_ns()
        self._spans: list[Spanned] = []

    @property
    def files(self) -> Collection[Followed]:
        """Return the files that are followed now."""
        return self._books.files.values()

    @property
    def binder(self) -> Binder:
        """Return who knows which file is which source."""
        return self._binder

    @property
    def pinned_too_much(self) -> bool:
        """Return whether deleted files hold more of their disk than they may."""
        return self.pinned_bytes > self._options.pinned_bytes

    def watchable(self) -> tuple[tuple[Watchable, ...], Mapping[bytes, str], int]:
        """Return the directories of the last listing, why notices are no help in some, and the others' folders."""
        return self._binder.roots, self._binder.unwatchable, self._binder.folders

    def turn(
        self,
        touched: Iterable[bytes] = (),
        *,
        room: int = TURN_BYTES,
        rescan: bool = False,
        closing: bool = False,
    ) -> Turn:
        """Look at what may have changed and read at most about ``room`` bytes.

        ``touched`` are paths something was noticed about; ``rescan`` asks for a listing now.
        """
        turn = Turn()
        now = self._clock()
        for path in touched:
            followed = self._books.by_path.get(path)
            if followed is not None:
                self._look(followed, now)
            elif not self._scan_wanted and self._discovery.concerns(path):
                self._scan_wanted = True
        if rescan or now > self._turn_due + LONG_PAUSE_SECONDS:
            self._scan_wanted = self._everything_wanted = True
            self._scan_not_before = 0.0
        self._rounds.some(now)
        if self._scan_due <= now or (self._scan_wanted and self._scan_not_before <= now):
            self._scan()
        self._rounds.sweep(now)
        self._settle_risks(turn)  # before it may be compared
        for followed in self._climbs.step(closing=closing):
            self._enqueue(followed)
        if closing:
            self._only_unlinked()
        else:
            self._inspect(turn)
        self._read_fairly(turn, min(room, TURN_BYTES), closing=closing)
        if closing:
            turn.more = self._await_comparisons()
        self._release()
        self._settle_risks(turn)
        turn.notes = self._books.take_notes()
        self._scan_wanted = self._scan_wanted or self._books.anew
        turn.urgent = self._urgent or self._climbs.urgent or self._books.take_urgent()
        self._urgent = self._climbs.urgent = False
        turn.more = turn.more or bool(self._live or self._behind)
        turn.wait = self._wait(turn)
        self._turn_due = self._clock() + turn.wait
        return turn

    def _inspect(self, turn: Turn) -> None:
        """Go on with looking whether compressed files are whole; then they are files like the others."""
        packs = self._books.packs
        found = packs.work(QUANTUM_BYTES)
        if found:
            self._scan_wanted = True
            if not packs.busy:
                self._scan_not_before = 0.0
        turn.more = found or packs.busy

    def _only_unlinked(self) -> None:
        """Leave everything to the next start but files that will not be there then."""
        self._live = deque(f for f in self._books.away if f.unread and f.fate is Fate.UNLINKED)
        self._behind.clear()
        self._queued = set(self._live)

    def _await_comparisons(self) -> bool:
        """Wait a moment for deleted files to be compared, and give up those that take too long; whether any is left."""
        if not self._climbs.deleted:
            return False
        self._closing_looks += 1
        if self._closing_looks <= CLOSING_LOOKS:
            time.sleep(LOOK_SECONDS)
            return True
        for followed in self._climbs.deleted:
            self._climbs.give_up(followed)
        return False

    def _wait(self, turn: Turn) -> float:
        if turn.more:
            return 0.0
        due = min(self._rounds.due, self._scan_due)
        if self._scan_wanted:
            due = min(due, self._scan_not_before)
        if self._books.climbing:
            due = min(due, self._clock() + self._climbs.wait)
        return max(0.0, due - self._clock())

    # Looking.

    def _look(self, followed: Followed, now: float) -> None:
        """See whether a file has grown, shrunk, or lost its name."""
        if not self._books.follows(followed):
            self._rounds.drop(followed)
            return
        try:
            info = files.stat(followed.path)
            here = (info.st_dev, info.st_ino) == followed.key
        except FileNotFoundError:
            here, info = False, None
        except OSError as error:
            followed.trouble = error.strerror or str(error)
            return
        if not here:
            before = followed.fate
            try:
                info = self._binder.names.look_away(followed)
            except OSError as error:
                followed.trouble = error.strerror or str(error)
                return
            if followed.fate is not before or not self._books.follows(followed):
                self._scan_wanted = True
            if info is None:
                return
        assert info is not None
        followed.trouble = ""  # if it cannot be read, the next attempt says so again
        self._sized(followed, info, now)

    def _recheck(self, followed: Followed, now: float) -> None:
        """Look at a file, and whether it still holds what was read from it."""
        self._look(followed, now)
        if not self._books.follows(followed) or followed.climb is not None:
            return
        try:
            if self._books.reopen(followed):
                written_ns = followed.reader.file.info().st_mtime_ns
                followed.reader.verify()
                followed.verified_ns = written_ns
        except RewrittenError:
            self._rewritten(followed)
        except OSError as error:
            followed.trouble = error.strerror or str(error)

    def _sized(self, followed: Followed, info: os.stat_result, now: float) -> None:
        if followed.packed is not None:
            if not followed.packed.are_of(info.st_size, info.st_mtime_ns):
                self._binder.rewrites.changed(followed)
                self._scan_wanted = True
            return
        if info.st_size == followed.size and info.st_mtime_ns == followed.written_ns:
            return  # a new time alone decides nothing, but is a reason to verify what was read
        if info.st_size < followed.reader.offset or self._overwritten(followed):
            self._rewritten(followed)  # so how large it is says nothing of what it held before
        followed.size = info.st_size
        followed.written_ns = info.st_mtime_ns
        followed.changed_at = now
        if followed.known is not None:
            followed.known.size = max(followed.known.size, info.st_size)
        self._rounds.heat(followed)
        self._enqueue(followed)

    def _overwritten(self, followed: Followed) -> bool:
        """Return whether a file does not hold what was read from it any more, as far as that can be told now."""
        if followed.known is None:
            return False
        try:
            if self._books.reopen(followed):
                followed.reader.verify()
        except RewrittenError:
            return True
        except OSError as error:
            followed.trouble = error.strerror or str(error)
        return False

    def _rewritten(self, followed: Followed) -> None:
        """Hold the file until it is known where to go on; a copy of the old content may be found by the next listing."""
        self._binder.rewrites.rewritten(followed)
        self._scan_wanted = True
        self._scan_not_before = 0.0
        self._enqueue(followed)

    def _scan(self) -> None:
        started, began = self._clock(), self._rounds.began()
        everything = self._everything_wanted or self._books.anew
        self._everything_wanted = self._books.anew = False
        scan = self._discovery.scan(self._books.files, relist=everything)
        recently_ns = time.time_ns() - int(ACTIVE_SECONDS * 1e9)
        for followed in self._binder.reconcile(scan, started, self._look, self._recheck):
            if followed.written_ns > recently_ns:
                self._rounds.heat(followed)
            self._enqueue(followed)
        for found in scan.fresh:
            known = self._books.files.get(found.key)
            if known is not None and known.disk_size != found.size:
                self._look(known, started)
        if everything:
            self._rounds.everything(started)
        ended, spent = self._clock(), self._rounds.spent(began)
        self._scan_wanted = False
        self._scan_due = ended + max(self._options.scan_seconds, self._rounds.pause(began))
        self._scan_not_before = ended + max(SCAN_PAUSE_SECONDS, SCAN_COST_FACTOR * spent)
        if self._binder.rescan_soon:
            self._scan_due = min(self._scan_due, max(ended + ACTIVE_EVERY_SECONDS, self._scan_not_before))

    # Reading.

    def _enqueue(self, followed: Followed) -> None:
        if followed in self._queued:
            return
        self._queued.add(followed)
        (self._live if followed.unread <= QUANTUM_BYTES else self._behind).append(followed)

    def _read_fairly(self, turn: Turn, room: int, *, closing: bool) -> None:
        """Serve every live file once, then those that are behind in turn, until the room is used up."""
        for lane in (self._live, self._behind):
            for _ in range(len(lane)):
                if room <= 0:
                    break
                followed = lane.popleft()
                self._queued.discard(followed)
                used, again = self._read(followed, turn, live=lane is self._live, closing=closing)
                room -= used
                if again:
                    self._queued.add(followed)
                    self._behind.append(followed)
        self._settle(turn)

    def _read(self, followed: Followed, turn: Turn, *, live: bool, closing: bool) -> tuple[int, bool]:
        """Read one file's quantum. Returns the bytes read and whether there is more."""
        used = 0
        again = False
        if followed.climb is not None:
            return 0, False
        try:
            if not self._books.follows(followed) or not self._books.reopen(followed):
                return 0, False  # it is tried again when its turn among the idle files comes
            if followed.packed is not None and not self._may_unpack(followed):
                return 0, True
            if not followed.reader.file.reach(followed.reader.position):
                return QUANTUM_BYTES, True
            finish = followed.finishing(self._clock(), closing=closing)
            while used < QUANTUM_BYTES:
                before = followed.reader.position
                span = followed.reader.read(followed.size, finish=finish)
                used += followed.reader.position - before
                if span is not None:
                    now_ns = time.time_ns()
                    fresh = live and followed.written_ns >= self._started_ns and followed.packed is None
                    self._spans.append(Spanned(followed, span, followed.place(), live, fresh, now_ns // 1000))
                elif followed.reader.position == before:
                    break  # nothing complete is left
            else:
                again = followed.reader.position < followed.size
        except RewrittenError:
            self._settle(turn)  # what was read before belongs to the old source
            self._rewritten(followed)
            self._look(followed, self._clock())
            return used, False
        except OSError as error:
            # Nothing is skipped: the same bytes are asked for again when the file is looked at next.
            followed.trouble = error.strerror or str(error)
            return used, False
        followed.trouble = ""
        followed.verified_ns = followed.written_ns
        if used and followed.fate in {Fate.UNLINKED, Fate.MOVED}:
            self._urgent = True
        return used, again

    def _may_unpack(self, followed: Followed) -> bool:
        """Return whether it is this compressed file's turn: one is read to its end before the next, for their memory."""
        if self._unpacking is not followed and self._unpacking in self._queued:
            return False
        self._unpacking = followed
        return True

    def _settle(self, turn: Turn) -> None:
        """Turn what was read into chunks, registering the sources that are new: one sync for all of them."""
        spans, self._spans = self._spans, []
        firsts = {s.followed: s for s in reversed(spans) if s.followed.known is None}
        lasts = {s.followed: s.span for s in spans}
        new = {f: seen(f, s.span.mark, lasts[f], s.place, s.read_at_us) for f, s in firsts.items()}
        for followed in self._books.lineless - new.keys():
            reader, now_us = followed.reader, time.time_ns() // 1000
            new[followed] = seen(followed, reader.mark(), None, followed.place(), now_us)
        if new:
            try:
                sources = self._sink.register_all(list(new.values()))
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost what else was read
                turn.trouble = error
                for followed in firsts:
                    followed.start_over()
                    self._enqueue(followed)
            else:
                for (followed, told), source in zip(new.items(), sources, strict=True):
                    first = firsts.get(followed)
                    place = first.place if first is not None else followed.place()
                    followed.known = Known.new(source, place, told)
                    self._books.adopted(followed)
                self._books.lineless.clear()
        turn.readings.extend(spanned.reading() for spanned in spans if spanned.followed.known is not None)

    # Letting go.

    def _settle_risks(self, turn: Turn) -> None:
        """Record what a crash would lose from now on, before anything else happens."""
        try:
            self._books.settle_risks()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost what was read
            turn.trouble = turn.trouble or error

    def _release(self) -> None:
        """Stop following files that are gone, fully read and committed."""
        now = self._clock()
        deleted = [f for f in self._books.away if f.fate is Fate.UNLINKED]
        self.pinned_bytes = sum(followed.size for followed in deleted)
        if self.pinned_too_much:
            # Nobody waits for a last line then: what is complete is archived, and the disk is worth more.
            self._urgent = self._urgent or not all(map(self._committed, deleted))
            for followed in sorted(deleted, key=lambda f: f.unread, reverse=True):
                self._hurry(followed)
        for followed in list(self._books.away):
            idle = followed.finishing(now, closing=False) or (
                self.pinned_too_much and followed.fate is Fate.UNLINKED
            )
            if idle and not followed.unread and self._committed(followed):
                self._books.forget(followed)

    def _hurry(self, followed: Followed) -> None:
        """Read a file before all others."""
        if followed in self._queued and followed in self._behind:
            self._behind.remove(followed)
            self._live.appendleft(followed)

    def _committed(self, followed: Followed) -> bool:
        return self._books.committed(followed)

    def older(self, before_us: int) -> list[OldFile]:
        """Return the files that were last written before a time and whose every byte is committed.

        Never the daemon's own log, nor a file whose name says a later day.
        """
        found: list[OldFile] = []
        for followed in list(self.files):
            old = max(followed.written_ns // 1000, followed.date_us or 0) < before_us
            if not old or not self._done_with(followed):
                continue
            try:
                info = files.lstat(
                    followed.path
                )  # a symbolic link is somebody's arrangement, no file of ours
            except FileNotFoundError:
                continue
            if self._whole(followed, info):
                found.append(OldFile.of(followed.path, info, packed=followed.packed is not None))
        return found

    def remove(self, old: OldFile) -> bool:
        """Remove a file that `older` gave, if it is still as it was then; returns whether it was removed.

        Its descriptor stays open until the next turn has looked: what a writer appended at the last moment is read.
        Raises OSError when the file cannot be removed.
        """
        followed = self._books.by_path.get(old.path)
        if followed is None or not self._done_with(followed) or not old.unchanged():
            return False
        if not self._books.reopen(followed) or not self._whole(followed, followed.reader.file.info()):
            return False
        files.unlink(old.path)
        sync_folder(os.path.dirname(old.path))
        self._look(followed, self._clock())
        return True

    def _done_with(self, followed: Followed) -> bool:
        """Return whether nothing of a file is left to be archived; one that lost its end waits for ever for another one."""
        if followed.root.internal:
            return False
        if followed.climb is not None:
            return followed.repeats and not followed.half
        return not followed.unread and self._committed(followed)

    @staticmethod
    def _whole(followed: Followed, info: os.stat_result) -> bool:
        """Return whether a file is the one that was read, to its end, or compared as it is."""
        size = followed.reader.offset if followed.packed is None else followed.disk_size
        if followed.climb is not None:
            size = followed.disk_size if info.st_mtime_ns == followed.written_ns else -1
        return (info.st_dev, info.st_ino, info.st_size) == (*followed.key, size)

    def sync(self, sids: Sequence[str]) -> None:
        """Make the bytes of some sources durable, in parallel; any thread. Raises OSError if one cannot be."""
        with ThreadPoolExecutor(min(SYNC_THREADS, len(sids) or 1), "sync") as pool:
            list(pool.map(self._sync_one, sids))

    def _sync_one(self, sid: str) -> None:
        with self._lock:
            followed = self._books.by_sid.get(sid)
            if followed is None:
                return
            file: files.Content | None = None
            if not followed.reader.file.closed:
                file = followed.reader.file.duplicate()
            path, key = followed.path, followed.key
        try:
            if file is None:
                # Closed for want of descriptors. What was written through any is synced through this one.
                file = files.open_regular(path)
            if file is not None and file.identity.key == key:
                file.sync()
        except FileNotFoundError:
            return  # nothing is left to be made durable
        finally:
            if file is not None:
                file.close()

    def close(self) -> None:
        """Close every descriptor."""
        self._climbs.close()
        self._books.packs.close()
        for followed in list(self.files):
            self._books.close(followed)
