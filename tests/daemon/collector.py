"""A sink that records what the tailer hands over, by the archive's own rules: for tests of the tailer alone."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace

from parsers.batch import Chunk, Counts, Source
from storage.records import SourceSeen, SourceState


class Collector:
    """Keeps the chunks of every source. `commit` makes them durable; a new tailer then starts from there."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceState] = {}
        self.committed: dict[str, list[Chunk]] = {}
        self.pending: dict[str, list[Chunk]] = {}

    def register_all(self, seen: Sequence[SourceSeen]) -> list[Source]:
        made = []
        for item in seen:
            sid = secrets.token_hex(16)
            self.sources[sid] = SourceState(
                sid=sid,
                file=item.file,
                path=item.path,
                device=item.device,
                inode=item.inode,
                generation=item.generation,
                head=item.head,
                head_length=item.head_length,
                seam="",
                seam_length=0,
                offset=0,
                digest="",
                digest_from=0,
                first_seen_us=item.first_seen_us,
                file_date_us=item.file_date_us,
                profile=item.profile,
                internal=item.internal,
                size=0,
                counts=Counts(),
            )
            made.append(
                Source(sid, item.file, item.first_seen_us, item.file_date_us, item.profile, item.internal)
            )
        return made

    def append(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            sid = chunk.source.sid
            before = self.pending.get(sid) or self.committed.get(sid)
            assert chunk.start == (before[-1].end if before else 0), "ranges of a source are contiguous"
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
                size=last.place.size,
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
