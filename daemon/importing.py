"""One-shot import: files at rest, read once, straight into sealed files. The sources are those a daemon would see.

One thread reads, parses and writes in turn; only what takes longest with many days, encoding and compressing a file that
ends, goes on beside it in two threads (`storage.seal`). Overlapping the three was measured with one big file: an eighth
less wall time, for an eighth more CPU (batches then pass between the processors' caches) and 100 MiB more memory. A
process for each half of 731 daily files needed 15 to 20 % more CPU and half as much memory again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from daemon import files
from daemon.binding import Binder
from daemon.books import MAX_UNPACKED_BYTES
from daemon.climbing import Climbs
from daemon.copies import SMALL_COPY_WAIT_SECONDS
from daemon.discovery import Discovery, Found, Root, Scan
from daemon.files import spelled
from daemon.following import Followed
from daemon.interrupting import Interrupt, deferred
from daemon.ladder import Ladder
from daemon.packs import Packs
from daemon.reader import RewrittenError, Span, short_hash
from daemon.scoring import Scorer
from daemon.sources import Candidate, Known, same_bytes
from parsers.batch import Chunk, Counts, Parsed
from parsers.decoding import MAGIC_BYTES, format_by_content, format_of
from storage.archive import Archive
from storage.freeing import give_back
from storage.records import SourceSeen, SourceState
from storage.transform import Transformer

# About 30,000 lines: larger batches parse hardly faster and cost six times their size in memory.
BATCH_BYTES = 24 << 20
# Of Parquet in one commit: what roll-ups are made of is held in memory until then.
COMMIT_BYTES = 32_000_000
OPEN_FILES = 256  # descriptors kept while the files are told apart

Tell = Callable[[int, Counts], None]  # bytes archived so far and what became of them


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """``commit_bytes`` of Parquet make one commit; ``final``: take last lines without a newline too."""

    max_line_bytes: int
    commit_bytes: int
    batch_bytes: int = BATCH_BYTES
    final: bool = False
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file, or a part of one, that was not read, and why. ``trouble``: somebody has to look at it."""

    path: str
    reason: str
    trouble: bool


@dataclass(slots=True)
class ImportReport:
    """What an import did. ``bytes`` were read now; ``known_bytes`` were in the archive before."""

    files: int = 0
    bytes: int = 0
    known_bytes: int = 0
    counts: Counts = field(default_factory=Counts)
    redactions: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False
    left_out: list[LeftOut] = field(default_factory=list)


def gather(
    paths: Sequence[str], roots: Sequence[Root], profile: str | None, archive: str
) -> tuple[list[Found], list[LeftOut]]:
    """Return the files that some names mean. A file below a configured root is named as the daemon would name it.

    Folders are searched by their root's patterns; files named one by one are taken whatever they are called. What lies
    in the archive is none: the daemon's own events would be read as an application's.
    """
    own = os.fsencode(os.path.realpath(archive))
    found: dict[tuple[int, int], Found] = {}
    left_out: list[LeftOut] = []
    for path in paths:
        absolute = os.fsencode(os.path.realpath(path))
        shown = spelled(os.fsencode(path))
        try:
            info = files.stat(absolute if path else b"")  # an empty name is none, and not the working folder
        except OSError as error:
            left_out.append(LeftOut(shown, error.strerror or "cannot be read", trouble=True))
            continue
        root = _root_of(absolute, roots, profile)
        if os.path.isdir(absolute):
            scan = Discovery((Root(absolute, root.include, root.exclude, root.profile),)).scan()
            left_out += [LeftOut(spelled(p.path), p.reason, trouble=True) for p in scan.problems]
            entries = [_named(entry, root) for entry in scan.files]
            if not entries:
                what = "holds no file that [logs] include names; one that is named itself is read, whatever it is called"
                left_out.append(LeftOut(shown, what, trouble=True))
        elif os.path.isfile(absolute):
            entry = Found(absolute, "", info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, root)
            entries = [_named(entry, root)]
        else:
            left_out.append(LeftOut(shown, "is neither a file nor a folder", trouble=True))
            continue
        history = [entry for entry in entries if not _below(entry.path, own)]
        if len(history) < len(entries):
            what = f"{len(entries) - len(history)} files of it lie in the archive, and are no history"
            left_out.append(LeftOut(shown, what, trouble=not history))
        for entry in history:
            found.setdefault(entry.key, entry)
    return list(found.values()), left_out


def _below(path: bytes, folder: bytes) -> bool:
    return os.path.commonpath([os.path.realpath(path), folder]) == folder


def _root_of(path: bytes, roots: Sequence[Root], profile: str | None) -> Root:
    """Return the configured root above a path, else one made of the path's own folder."""
    inside = [
        root
        for root in roots
        if os.path.commonpath([path, os.path.realpath(root.path)]) == os.path.realpath(root.path)
    ]
    if inside:
        root = max(inside, key=lambda root: len(root.path))
    else:
        root = Root(
            path if os.path.isdir(path) else os.path.dirname(path), roots[0].include, roots[0].exclude
        )
    return Root(os.path.realpath(root.path), root.include, root.exclude, profile or root.profile)


def _named(entry: Found, root: Root) -> Found:
    file = os.path.relpath(entry.path, root.path).decode("utf-8", "backslashreplace")
    return Found(entry.path, file, entry.device, entry.inode, entry.size, entry.mtime_ns, root)


class Importer:
    """Reads files into an open archive. The archive and the transformer stay the caller's."""

    def __init__(
        self,
        archive: Archive,
        transformer: Transformer,
        options: ImportOptions,
        *,
        ladder: Ladder | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        self._archive = archive
        self._scorer = scorer
        self._ladder = (
            ladder  # finds what is left of a file that was rewritten; without it such a file is read anew
        )
        self._transformer = transformer
        self._options = options
        self._report = ImportReport()
        self._by_head: dict[int, dict[str, list[SourceState]]] = {}

    def run(self, files: Sequence[Found], tell: Tell) -> ImportReport:
        """Read and commit everything that is not in the archive yet.

        Ctrl-C stops before anything is read, or after the batch at hand: in the middle of one its rows would be
        committed without the ranges that claim them, or the other way round.
        """
        started = time.monotonic()
        binder = Binder(
            self._archive,
            self._options.max_line_bytes,
            OPEN_FILES,
            threading.Lock(),
            time.monotonic,
            self._options.max_unpacked_bytes,
        )
        try:
            followed = self._found(binder, files)
            with deferred() as interrupt:
                self._archive_all(self._batches(binder, followed), tell, interrupt)
                if self._scorer is not None:
                    self._scorer.checkpoint()
        finally:
            for entry in list(binder.books.files.values()):
                binder.books.close(entry)
        self._report.seconds = time.monotonic() - started
        return self._report

    # Which files

    def _found(self, binder: Binder, files: Sequence[Found]) -> list[Followed]:
        """Return what is to be read; nothing after Ctrl-C, since comparing and unpacking may take minutes."""
        try:
            return self._bind(binder, [file for file in files if self._wanted(file, binder.books.packs)])
        except KeyboardInterrupt:
            self._report.interrupted = True
            return []

    def _wanted(self, found: Found, packs: Packs) -> bool:
        """Return whether a file is to be read; if not, say why. A compressed one is checked to its end first."""
        path = spelled(found.path)
        try:
            if format_of(found.path) is not None:
                packs.inspect(found)
            file = files.open_regular(found.path)
        except OSError as error:
            self._leave(path, error.strerror or "cannot be read", trouble=True)
            return False
        content = packs.content(file, found.path) if file is not None else None
        if file is None or content is None:
            self._leave(path, "is no regular file, or changes", trouble=True)
            return False
        try:
            if file is content and (kind := format_by_content(file.pread(MAGIC_BYTES, 0))) is not None:
                what = (
                    f"is compressed, but not named so: call it {os.path.basename(path)}{kind.ending.decode()}"
                )
                self._leave(path, what, trouble=True)
                return False
            original = self._original(content, found)
        finally:
            content.close()
        if original is not None:
            self._leave(path, f"repeats {original}, which is in the archive", trouble=False)
        return original is None

    def _original(self, file: files.Content, found: Found) -> str | None:
        """Return the archived file of which this one only repeats the beginning."""
        candidate = Candidate.of(file, internal=False)
        for length, heads in self._heads().items():
            if length > candidate.size:
                continue
            for state in heads.get(candidate.head(length), ()):
                longer = candidate.size < state.offset and found.key != (state.device, state.inode)
                if longer and _still_there(state, file, candidate.size):
                    return state.path
        return None

    def _heads(self) -> dict[int, dict[str, list[SourceState]]]:
        """Return the archived sources by what their files begin with, so that no file is compared with all of them."""
        if not self._by_head:
            for state in self._archive.sources.values():
                if state.head_length:
                    heads = self._by_head.setdefault(state.head_length, {})
                    heads.setdefault(state.head, []).append(state)
        return self._by_head

    def _bind(self, binder: Binder, files: list[Found]) -> list[Followed]:
        """Find the source of each file, by the daemon's rules, and return them in the order of their days."""
        now = time.monotonic()
        scan = Scan(tuple(files), (), ())
        binder.reconcile(scan, now, _leave_alone, _leave_alone)
        # Short files may well begin alike by chance: after its wait the daemon reads them too.
        binder.reconcile(scan, now + SMALL_COPY_WAIT_SECONDS, _leave_alone, _leave_alone)
        for held in binder.copies.held.values():
            self._leave(spelled(held.found.path), f"repeats {held.original}", trouble=False)
        self._climb(binder)
        followed = list(binder.books.files.values())
        self._report.files = len(followed)
        self._report.known_bytes = sum(entry.reader.offset for entry in followed)
        return sorted(followed, key=lambda entry: (entry.date_us or 0, entry.path))

    def _climb(self, binder: Binder) -> None:
        """Find out where to go on in files that do not hold any more what was read from them."""
        climbs = Climbs(binder, self._archive, self._ladder, None, time.monotonic)
        for followed in list(binder.books.climbing):
            path = spelled(followed.path)
            try:
                if binder.books.reopen(followed):
                    climbs.at_once(followed)
            except (OSError, RewrittenError) as error:
                reason = (
                    "was rewritten while it was read" if isinstance(error, RewrittenError) else str(error)
                )
                self._leave(path, reason, trouble=True)
            else:
                if followed.climb is not None:
                    self._leave(path, "holds nothing but what is in the archive", trouble=False)
            if followed.climb is not None:
                binder.books.forget(followed)

    def _leave(self, path: str, reason: str, *, trouble: bool) -> None:
        self._report.left_out.append(LeftOut(path, reason, trouble))

    # Reading

    def _batches(self, binder: Binder, files: Sequence[Followed]) -> Iterator[list[Chunk]]:
        """Yield the unread lines of all files, file by file, in batches."""
        batch: list[Chunk] = []
        held = 0
        for followed in files:
            try:
                for chunk in self._chunks(binder, followed):
                    batch.append(chunk)
                    held += len(chunk.data)
                    if held >= self._options.batch_bytes:
                        yield batch
                        batch, held = [], 0
            except RewrittenError:
                self._leave(spelled(followed.path), "was rewritten while it was read", trouble=True)
            except OSError as error:
                self._leave(spelled(followed.path), error.strerror or "cannot be read", trouble=True)
            binder.books.close(followed)
        if batch:
            yield batch

    def _chunks(self, binder: Binder, followed: Followed) -> Iterator[Chunk]:
        if not binder.books.reopen(followed):
            self._leave(spelled(followed.path), "is gone", trouble=True)
            return
        while True:
            before = followed.reader.position
            span = followed.reader.read(
                followed.size, finish=self._options.final or followed.packed is not None
            )
            if span is not None:
                yield self._chunk(followed, span)
            elif followed.reader.position == before:
                break
        if followed.unread:
            reason = f"the last {followed.unread} bytes have no newline yet (--final takes them)"
            self._leave(spelled(followed.path), reason, trouble=False)

    def _chunk(self, followed: Followed, span: Span) -> Chunk:
        """Return a span as a chunk of its source; the first one of a new file makes it a source."""
        place, now_us = followed.place(), time.time_ns() // 1000
        if followed.known is None:
            seen = SourceSeen(
                path=place.path,
                file=followed.file,
                device=followed.device,
                inode=followed.inode,
                generation=followed.generation,
                head=span.mark.head,
                head_length=span.mark.head_length,
                internal=False,
                profile=followed.root.profile,
                file_date_us=followed.date_us,
                first_seen_us=now_us,
                base=followed.origin.base,
                continues=followed.origin.continues,
                seam=short_hash(followed.origin.tail) if followed.origin.tail else "",
                seam_length=len(followed.origin.tail),
            )
            followed.known = Known.new(self._archive.bulk.meet(seen), place, seen)
        followed.known.advance(span.mark, span.end, place)
        return Chunk(
            source=followed.known.source,
            start=span.start,
            end=span.end,
            data=span.data,
            mark=span.mark,
            place=place,
            oversize=span.oversize,
            nul_bytes=span.nul_bytes,
            torn=span.torn,
            read_at_us=now_us,
        )

    # Parsing and writing

    def _archive_all(self, batches: Iterator[list[Chunk]], tell: Tell, interrupt: Interrupt) -> None:
        """Parse and write batch by batch, until Ctrl-C; what was written is committed, also before an error is raised."""
        try:
            for batch in batches:
                self._write(self._transformer.parse(batch), batch, tell)
                if interrupt.asked:
                    break
        except Exception:
            self._archive.bulk.commit()
            raise
        self._archive.bulk.commit()
        self._report.interrupted |= interrupt.asked

    def _write(self, parsed: Parsed, batch: list[Chunk], tell: Tell) -> None:
        now_us = time.time_ns() // 1000
        if self._scorer is not None:
            parsed = self._scorer.score(parsed, now_us)
        self._archive.bulk.append(parsed, batch, now_us=now_us)
        give_back()  # what parsing took and writing does not need, or the other way round, is as much as the rows themselves
        if self._scorer is not None:
            self._scorer.appended()
        if self._archive.bulk.due(self._options.commit_bytes):
            self._archive.bulk.commit()
        report = self._report
        report.bytes += sum(chunk.end - chunk.start for chunk in batch)
        for counts in parsed.counts:
            report.counts += counts
        for rule, hits in parsed.redactions.items():
            report.redactions[rule] = report.redactions.get(rule, 0) + hits
        tell(report.bytes, report.counts)


def _leave_alone(_followed: Followed, _now: float) -> None:
    """Files at rest are not looked at again."""


def _still_there(state: SourceState, file: files.Content, size: int) -> bool:
    """Return whether a source's file still exists and begins with the first ``size`` bytes of ``file``."""
    with suppress(OSError):
        original = files.open_regular(_path_now(state))
        if original is None:
            return False
        try:
            same = original.identity.may_be(state.device, state.inode, state.generation)
            return same and same_bytes(file, original, size)
        finally:
            original.close()
    return False


def _path_now(state: SourceState) -> bytes:
    """Return where a source's file is: at its last known path, or under another name beside it (rotation)."""
    path = os.fsencode(state.path)
    folder = os.path.dirname(path)
    with files.scandir(folder) as entries:
        beside = next((entry.path for entry in entries if entry.inode() == state.inode), None)
    return beside or path
