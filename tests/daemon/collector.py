"""A sink that records what the tailer hands over, by the archive's own rules: for tests of the tailer alone."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any

from daemon.files import Content
from daemon.ladder import EDITED_MOST, UNCHANGED_LEAST, Reached
from daemon.notes import Note
from daemon.reader import MARK_BYTES
from parsers.batch import Chunk, Counts, Source
from storage.atrisk import FileAtRisk, FileKey
from storage.lineage import lineage
from storage.records import SourceSeen, SourceState


class Collector:
    """Keeps the chunks of every source. `commit` makes them durable; a new tailer then starts from there."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceState] = {}
        self.committed: dict[str, list[Chunk]] = {}
        self.pending: dict[str, list[Chunk]] = {}
        self.files_at_risk: dict[FileKey, FileAtRisk] = {}

    def at_risk(self, sizes: Mapping[str, int], files: Sequence[FileAtRisk]) -> None:
        for sid, size in sizes.items():
            state = self.sources[sid]
            assert size > max(state.offset, state.size) or size == state.offset < state.size, "it is no news"
            if size > state.size:
                state = replace(state, first_end=0, first_digest="")
            self.sources[sid] = replace(state, size=size)
        for file in files:
            if file.end > file.start:
                self.files_at_risk[file.key] = file
            else:
                del self.files_at_risk[file.key]

    def told(self, notes: Sequence[Note]) -> None:
        """Record the gaps among some notes, as the daemon does."""
        for note in notes:
            if note.kind == "gap" and note.file is not None:
                self.files_at_risk.pop(note.file.key, None)
            elif note.kind == "gap" and note.sid:
                self.sources[note.sid] = replace(self.sources[note.sid], size=self.sources[note.sid].offset)

    def register_all(self, seen: Sequence[SourceSeen]) -> list[Source]:
        made = []
        for item in seen:
            sid = secrets.token_hex(16)
            self.files_at_risk.pop((item.device, item.inode), None)
            self.sources[sid] = SourceState(
                sid=sid,
                file=item.file,
                path=item.path,
                device=item.device,
                inode=item.inode,
                generation=item.generation,
                head=item.head,
                head_length=item.head_length,
                seam=item.seam,
                seam_length=item.seam_length,
                offset=item.base,
                digest="",
                digest_from=item.base,
                first_seen_us=item.first_seen_us,
                file_date_us=item.file_date_us,
                profile=item.profile,
                internal=item.internal,
                size=item.size,
                counts=Counts(),
                base=item.base,
                continues=item.continues,
                first_end=item.first_end,
                first_digest=item.first_digest,
            )
            made.append(
                Source(sid, item.file, item.first_seen_us, item.file_date_us, item.profile, item.internal)
            )
        return made

    def append(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            sid = chunk.source.sid
            before = self.pending.get(sid) or self.committed.get(sid)
            end = before[-1].end if before else self.sources[sid].base
            assert chunk.start == end, "ranges of a source are contiguous"
            assert chunk.end > chunk.start
            assert not chunk.data or chunk.torn or chunk.data.endswith(b"\n")
            assert chunk.oversize or chunk.nul_bytes or chunk.end - chunk.start == len(chunk.data)
            self.pending.setdefault(sid, []).append(chunk)

    def commit(self) -> None:
        for sid, chunks in self.pending.items():
            last = chunks[-1]
            self.committed.setdefault(sid, []).extend(chunks)
            self.sources[sid] = replace(
                self.sources[sid],
                path=last.place.path,
                device=last.place.device,
                inode=last.place.inode,
                generation=last.place.generation,
                head=last.mark.head,
                head_length=last.mark.head_length,
                seam=last.mark.seam,
                seam_length=last.mark.seam_length,
                offset=last.end,
                size=max(self.sources[sid].size, last.place.size),
                first_end=0,
                first_digest="",
            )
        self.pending = {}

    def crash(self) -> None:
        """Forget what was not committed, as a killed process does."""
        self.pending = {}

    def chunks(self) -> list[Chunk]:
        kept = [chunk for chunks in self.committed.values() for chunk in chunks]
        return kept + [chunk for chunks in self.pending.values() for chunk in chunks]

    def lines(self) -> list[bytes]:
        return [line for chunk in self.chunks() for line in chunk.data.splitlines()]

    def digest_holds(self, chunk: Chunk, content: bytes) -> bool:
        """Whether the chunk's digest is that of the file's bytes."""
        expected = hashlib.sha256(content[chunk.mark.digest_from : chunk.end])
        return chunk.mark.digest == expected.hexdigest()

    def bytes_of(self, sid: str) -> bytes:
        """What is committed of a source, from its base on; where a line was too long to be kept, question marks."""
        return b"".join(
            chunk.data or (b"\0" if chunk.nul_bytes else b"?") * (chunk.end - chunk.start)
            for chunk in self.committed.get(sid, [])
        )


class CollectorLadder:
    """Compares files with what a collector committed, byte by byte: what `ArchiveLadder` finds out from rows."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def climb(
        self, sid: str, limit: int, content: Content, *, since: Reached | None, wanted: Callable[[], bool]
    ) -> Reached:
        segments = lineage(self.collector.sources, sid)
        archived = b"".join(self.collector.bytes_of(s.source.sid)[: s.end - s.start] for s in segments)[
            :limit
        ]
        assert len(archived) == limit, "everything that was read is committed before it is compared"
        present = content.pread(limit + (1 << 20), 0)
        same = common(archived, present)
        edited = len(present) >= limit and _edited(archived, present[:limit])
        offset = limit if edited or same == limit else archived.rfind(b"\n", 0, same) + 1
        differs = offset < limit and (b"\n" in present[offset:] or len(present) < content.size())
        holder = next((s for s in segments if offset <= s.end), segments[-1])
        head, tail = present[: min(offset, MARK_BYTES)], present[max(0, offset - MARK_BYTES) : offset]
        rest = present[offset:] + b"\n"
        unended = not differs and offset < content.size() < limit and archived.startswith(rest, offset)
        return Reached(offset, holder.source.sid, differs, head, tail, unended)


def common(left: bytes, right: bytes) -> int:
    """Return how many first bytes two texts have in common."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    return next(at for at in range(size) if left[at] != right[at])


def _edited(archived: bytes, present: bytes) -> bool:
    """Return whether only a few lines were changed, in place."""
    old, new = archived.splitlines(keepends=True), present.splitlines(keepends=True)
    first = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
    changed = sum(before != after for before, after in zip(old, new, strict=False))
    return (
        [*map(len, old)] == [*map(len, new)]
        and archived[-MARK_BYTES:] == present[-MARK_BYTES:]
        and changed <= EDITED_MOST
        and len(old) - first - changed >= UNCHANGED_LEAST * changed
    )


class AtOnce(Executor):
    """Runs what it is given before it returns: comparisons then need no waiting."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **named))
        except Exception as error:  # noqa: BLE001 - belongs to who asks for the result
            done.set_exception(error)
        return done
