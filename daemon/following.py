"""One file that is being followed: its content, how far it was read, and what became of its name."""

from __future__ import annotations

import functools
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum

from daemon import files
from daemon.discovery import Found, Root
from daemon.files import Content
from daemon.ladder import Reached
from daemon.patterns import file_date_us
from daemon.reader import Reader
from daemon.sources import Known
from daemon.unpacked import Facts, Unpacked
from parsers.batch import Place

UNLINKED_IDLE_SECONDS = 5.0  # a deleted file nobody wrote to for so long gets no more bytes
RENAMED_IDLE_SECONDS = 60.0  # a writer may hold the old descriptor for a while after a rotation
SUPERSEDED_IDLE_SECONDS = 600.0  # yesterday's file, once today's exists
RETARGETED_IDLE_SECONDS = 48 * 3600.0  # what a link led to before: its writer may not know of the new target


class Fate(StrEnum):
    """What became of the name under which a file is followed."""

    PRESENT = "present"
    SUPERSEDED = "superseded"  # a file of the same name with a later date exists
    RENAMED = "renamed"  # still found, under another name
    MOVED = "moved"  # has links, but none that discovery finds
    RETARGETED = "retargeted"  # a symbolic link led to it and leads elsewhere now; it is where it was
    UNLINKED = "unlinked"


# How long a file must be idle before an unterminated last line counts as its last. None: never.
_IDLE_SECONDS: dict[Fate, float | None] = {
    Fate.PRESENT: None,
    Fate.SUPERSEDED: SUPERSEDED_IDLE_SECONDS,
    Fate.RENAMED: RENAMED_IDLE_SECONDS,
    Fate.MOVED: RENAMED_IDLE_SECONDS,
    Fate.RETARGETED: RETARGETED_IDLE_SECONDS,
    Fate.UNLINKED: UNLINKED_IDLE_SECONDS,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file's next source begins: at ``base``, behind bytes that are archived under the source ``continues``.

    ``head`` and ``tail`` are the first of these bytes and the last. ``former`` is what was read of the file before.
    """

    base: int = 0
    continues: str = ""
    head: bytes = b""
    tail: bytes = b""
    former: Climb | None = None


BEGINNING = Origin()  # of a file of which nothing is archived: one object for all of them


@dataclass(slots=True)
class Climb:
    """A source whose first ``limit`` bytes were read from a file that does not hold them all any more.

    ``reached`` is what the last comparison with the archive found, ``compared`` the file's size and time then.
    """

    known: Known
    limit: int
    copy: bool = False  # another file, which may repeat the source: if it differs, all of it is read
    others: tuple[Known, ...] = ()  # what else such a file may repeat
    reached: Reached | None = None
    compared: tuple[int, int] | None = None
    running: Future[Reached] | None = None
    asked: bool = False  # a commit was asked for
    not_before: float = 0.0  # monotonic

    def again(self) -> Climb:
        """Return the same, of which nothing was compared yet."""
        return Climb(self.known, self.limit, self.copy, self.others)


_UNDATED = (None, b"")


@functools.lru_cache(maxsize=1 << 17)  # asked of every file whenever a name changes anywhere
def dated(path: bytes) -> tuple[int | None, bytes]:
    """Return the day in a file's name, and the path without digits, which its siblings of other days share.

    A file without a day has no siblings.
    """
    date = file_date_us(path)
    return (date, path.translate(None, b"0123456789")) if date is not None else _UNDATED


@dataclass(slots=True, eq=False)
class Followed:
    """A file under its present name. ``known`` is None until its first complete line makes it a source.

    While there is a ``climb``, nothing is read from it.
    """

    path: bytes
    file: str
    root: Root
    device: int
    inode: int
    generation: int | None
    reader: Reader
    known: Known | None
    size: int  # at the last look, bytes
    written_ns: int  # time of the last write as the file system says, for latency only
    changed_at: float  # monotonic, when growth was last seen
    verified_ns: int = 0  # time of the last write before what was read was last found to be still there
    fate: Fate = Fate.PRESENT
    trouble: str = ""  # why it cannot be read now
    target: bytes = b""  # where the file is, if its path leads over a symbolic link
    origin: Origin = BEGINNING
    climb: Climb | None = None

    @classmethod
    def of(
        cls, found: Found, file: Content, known: Known | None, *, max_line_bytes: int, now: float
    ) -> Followed:
        """Follow an open file from where its source was read to, or from its beginning."""
        if known is None:
            reader = Reader(file, max_line_bytes)
        else:
            reader = Reader(
                file,
                max_line_bytes,
                known.offset,
                file.pread(min(known.head_length, known.offset), 0),
                file.pread(known.seam_length, known.offset - known.seam_length),
            )
        info = file.info()
        return cls(
            path=found.path,
            file=found.file,
            root=found.root,
            device=found.device,
            inode=found.inode,
            generation=file.identity.generation,
            reader=reader,
            known=known,
            size=file.size(),
            written_ns=info.st_mtime_ns,
            changed_at=now,
            verified_ns=found.mtime_ns,
            target=b"" if (real := file.real_path()) == found.path else real,
        )

    @property
    def key(self) -> tuple[int, int]:
        """Return what tells two files apart while both exist."""
        return self.device, self.inode

    @property
    def sid(self) -> str:
        """Return the source's id; empty while it has none."""
        return self.known.source.sid if self.known else ""

    @property
    def packed(self) -> Facts | None:
        """Return what is known of the compressed file; None for a plain one."""
        file = self.reader.file
        return file.facts if isinstance(file, Unpacked) else None

    @property
    def disk_size(self) -> int:
        """Return the file's size on disk at the last look."""
        return self.packed.raw_size if self.packed is not None else self.size

    @property
    def unread(self) -> int:
        """Return how many bytes lie after the offset."""
        return max(0, self.size - self.reader.offset)

    def unchanged(self) -> bool:
        """Return whether the file stands where it stood, as it was at the last look."""
        try:
            info = files.stat(self.path)
        except OSError:
            return False
        return (
            info.st_size == self.disk_size
            and info.st_mtime_ns == self.written_ns
            and info.st_ino == self.inode
            and info.st_dev == self.device
        )

    @property
    def date_us(self) -> int | None:
        """Return the day in the file's name."""
        return dated(self.path)[0]

    @property
    def repeats(self) -> bool:
        """Return whether the file, as it is now, was compared to its end and holds no line that is not archived."""
        climb = self.climb
        if climb is None or climb.reached is None or climb.running is not None:
            return False
        return climb.compared == (self.size, self.written_ns)

    @property
    def half(self) -> int:
        """Return how many bytes of a file that repeats what is archived lie behind that, as half a line."""
        reached = self.climb.reached if self.climb is not None else None
        return self.size - reached.offset if reached is not None and not reached.unended else 0

    def place(self) -> Place:
        """Return where the file is now."""
        return Place(files.spelled(self.path), self.device, self.inode, self.generation, self.size)

    def finishing(self, now: float, *, closing: bool) -> bool:
        """Return whether an unterminated last line is to be taken: the file is sealed, and nobody writes to it.

        ``closing`` says that the daemon stops: a deleted file will not be there when it starts again.
        """
        if self.packed is not None or (self.fate is Fate.UNLINKED and closing):
            return True  # what is compressed is whole
        idle = _IDLE_SECONDS[self.fate]
        return idle is not None and now - self.changed_at >= idle

    def begin(self, origin: Origin) -> None:
        """Read from where a source yet to be registered begins."""
        self.known = self.climb = None
        self.origin = origin
        file, limit = self.reader.file, self.reader.max_line_bytes
        self.reader = Reader(file, limit, origin.base, origin.head, origin.tail)

    def start_over(self) -> None:
        """Read again what was read of a source that could not be registered."""
        self.begin(self.origin)

    def hold(self, climb: Climb) -> None:
        """Read nothing until a comparison has found where to go on."""
        self.begin(BEGINNING)
        self.climb = climb

    def resume(self, climb: Climb, reached: Reached) -> None:
        """Go on with a source that the file holds whole after all."""
        self.begin(Origin(reached.offset, "", reached.head, reached.tail))
        self.known = climb.known
