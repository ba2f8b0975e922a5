"""Lines into an archive without a daemon: one source, parsed, scored if asked for, appended, as the pipeline does."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.atlas import Atlas, AtlasOptions
from daemon.scoring import Scorer, ScoringOptions
from parsers.batch import Chunk, Mark, Parsed, Place
from parsers.points import Points
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.observer import Silent
from storage.records import SourceSeen
from storage.transform import ParseOptions, Transformer

FILE = "app.jsonl"
SEAM_BYTES = 1024
READ_US = 1_900_000_000_000_000  # later than all events, so that none is taken for one with a wrong clock


def plain_source(path: str, *, first_seen_us: int, inode: int = 1) -> SourceSeen:
    """Return a source that no tailer met: a file of lines in our own form. ``first_seen_us`` is microseconds since 1970."""
    return SourceSeen(
        path=path,
        file=path.rpartition("/")[2],
        device=1,
        inode=inode,
        generation=None,
        head="",
        head_length=0,
        internal=False,
        profile="native",
        file_date_us=None,
        first_seen_us=first_seen_us,
    )


class Feed:
    """A new archive in ``folder`` and one source of lines. With ``scored``, events get risk and places."""

    def __init__(self, folder: Path, *, scored: bool = False) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._closing = contextlib.ExitStack()
        self.archive = Archive.open(ArchiveOptions(path=str(folder)))
        self._closing.callback(self.archive.close)
        atlas = Atlas(AtlasOptions(), str(folder / "places"), Silent())
        self._closing.callback(atlas.close)
        self._transformer = Transformer(ParseOptions(), atlas.lookup if scored else None)
        self._closing.callback(self._transformer.close)
        self._scorer = Scorer(ScoringOptions(Points()), self.archive, Silent()) if scored else None
        self._source = self.archive.register(plain_source(f"/var/log/{FILE}", first_seen_us=0))
        self._offset = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def chunk(self, lines: Sequence[bytes]) -> Chunk:
        """Return the next lines of the source, hashed."""
        data = b"".join(lines)
        start, self._offset = self._offset, self._offset + len(data)
        seam = hashlib.blake2b(data[-SEAM_BYTES:], digest_size=16).hexdigest()
        mark = Mark(
            head=seam,
            head_length=0,
            seam=seam,
            seam_length=min(SEAM_BYTES, len(data)),
            digest=hashlib.sha256(data).hexdigest(),
            digest_from=start,
        )
        place = Place(f"/var/log/{FILE}", 1, 1, None, self._offset)
        return Chunk(source=self._source, start=start, end=self._offset, data=data, mark=mark, place=place)

    def parse(self, chunk: Chunk) -> Parsed:
        """Return what became of the lines of a chunk."""
        parsed = self._transformer.parse([chunk])
        return parsed if self._scorer is None else self._scorer.score(parsed, READ_US)

    def append(self, parsed: Parsed, chunk: Chunk) -> None:
        """Make parsed lines visible."""
        self.archive.append(parsed, [chunk], now_us=READ_US)
        if self._scorer is not None:
            self._scorer.appended()
