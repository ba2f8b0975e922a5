"""Files that no longer hold what was read from them, while it is found out where reading goes on.

Such a file is held: nothing is read from it until everything that was read before is committed, and a comparison with
the archive (`daemon.ladder`, in a thread of its own) has found a line that differs. As long as there is none, the file
may still become what it was: an editor writes it anew, or its last lines are lost and no new one has come yet.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from daemon.binding import Binder
from daemon.exposure import AWAY
from daemon.following import Climb, Fate, Followed, Origin
from daemon.ladder import GivenUpError, Ladder, Reached
from daemon.reader import RewrittenError
from daemon.sources import Sink

LOOK_SECONDS = 0.05  # how often it is asked whether a comparison has ended
RETRY_SECONDS = 2.0  # after one that failed, because the file or the archive could not be read
_NOTHING = Reached(0, "", differs=True, head=b"", tail=b"")


class Climbs:
    """All comparisons of one tailer; belongs to its thread. Without a ladder every such file is read anew."""

    def __init__(
        self,
        binder: Binder,
        sink: Sink,
        ladder: Ladder | None,
        executor: Executor | None,
        clock: Callable[[], float],
    ) -> None:
        self.urgent = False  # something must be committed before a comparison can begin
        self._books = binder.books
        self._rewrites = binder.rewrites
        self._sink = sink
        self._ladder = ladder
        self._executor = executor
        self._clock = clock
        self._closed = False

    @property
    def wait(self) -> float:
        """Return after how many seconds to look again."""
        running = any(f.climb is not None and f.climb.running is not None for f in self._books.climbing)
        return LOOK_SECONDS if running else RETRY_SECONDS

    def step(self, *, closing: bool = False) -> list[Followed]:
        """Begin and end comparisons; returns the files that may be read now.

        ``closing`` says that the daemon stops: then only deleted files matter, the others are compared at the next start.
        """
        ready: list[Followed] = []
        for followed in self.deleted if closing else list(self._books.climbing):
            self._begin(followed)
            if self._ended(followed) or self._sealed(followed, closing=closing):
                ready.append(followed)
        return ready

    @property
    def deleted(self) -> list[Followed]:
        """The files among them that nobody can open again, those apart of which it is known that they only repeat."""
        return [
            followed
            for followed in self._books.climbing
            if followed.fate is Fate.UNLINKED and not _only_repeats(followed)
        ]

    def give_up(self, followed: Followed) -> None:
        """Leave a deleted file uncompared. What of it is not archived is lost; nobody knows how much that is."""
        self._books.lost_uncompared(followed)

    def at_once(self, followed: Followed) -> None:
        """Compare a file here and now; everything read of it is committed. Raises OSError and RewrittenError."""
        climb = followed.climb
        assert climb is not None
        reached = _NOTHING
        if self._ladder is not None:
            sid = climb.known.source.sid
            reached = self._ladder.climb(
                sid, climb.limit, followed.reader.file, since=None, wanted=lambda: True
            )
        self._go_on(followed, climb, reached)

    def close(self) -> None:
        """Let running comparisons end early; the next start makes them again."""
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def _begin(self, followed: Followed) -> None:
        climb = followed.climb
        assert climb is not None
        state = (followed.size, followed.written_ns)
        if climb.running is not None or climb.compared == state or self._clock() < climb.not_before:
            return
        if self._ladder is None:
            climb.running = Future()
            climb.running.set_result(_NOTHING)
        elif self._committed(climb):
            if not self._books.reopen(followed):
                return
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="ladder")
            climb.compared = state
            climb.running = self._executor.submit(self._compare, self._ladder, followed, climb)

    def _committed(self, climb: Climb) -> bool:
        """Return whether all that was read is durable: hot rows will be committed, so they count, but later."""
        committed = self._sink.sources[climb.known.source.sid].offset >= climb.limit
        if not committed and not climb.asked:
            climb.asked = self.urgent = True
        return committed

    def _compare(self, ladder: Ladder, followed: Followed, climb: Climb) -> Reached:
        content = followed.reader.file.duplicate()
        try:
            return ladder.climb(
                climb.known.source.sid,
                climb.limit,
                content,
                since=climb.reached,
                wanted=lambda: followed.climb is climb and not self._closed,
            )
        finally:
            content.close()

    def _ended(self, followed: Followed) -> bool:
        """Take in the result of a comparison, if there is one; return whether the file may be read."""
        climb = followed.climb
        if climb is None or climb.running is None or not climb.running.done():
            return False
        running, climb.running = climb.running, None
        try:
            reached = running.result()
        except RewrittenError:
            climb.reached = climb.compared = None  # it changed meanwhile
            return False
        except GivenUpError:
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the file waits, and nothing of it is lost
            followed.trouble = f"cannot be compared with the archive: {error}"
            climb.compared = None
            climb.not_before = self._clock() + RETRY_SECONDS
            return False
        followed.trouble = ""
        return self._go_on(followed, climb, reached)

    def _go_on(self, followed: Followed, climb: Climb, reached: Reached) -> bool:
        if not reached.differs and (
            reached.offset < climb.limit or not self._rewrites.free_to(followed, climb)
        ):
            if climb.copy and climb.reached is None:
                self._rewrites.told_copy(followed)
            climb.reached = reached
            return False
        self._rewrites.resolved(followed, climb, reached)
        return True

    def _sealed(self, followed: Followed, *, closing: bool) -> bool:
        """Return whether nothing will be written to a file any more that ends within what was archived."""
        climb = followed.climb
        if climb is None or climb.reached is None or not followed.repeats:
            return False
        if not followed.finishing(self._clock(), closing=closing):
            return False
        reached = climb.reached
        if reached.unended:
            # Nothing is left to be read. It stays held, as long as it has a name: the newline may come back.
            if followed.fate in AWAY:
                self._books.forget(followed)
            return False
        # What is put in its place goes on from what was read of it, and must be compared with that as well.
        former = None if climb.copy else climb.again()
        continues = reached.sid if reached.offset else ""
        followed.begin(Origin(reached.offset, continues, reached.head, reached.tail, former))
        self._books.climbing.discard(followed)
        return True


def _only_repeats(followed: Followed) -> bool:
    return followed.climb is not None and followed.climb.copy and followed.repeats
