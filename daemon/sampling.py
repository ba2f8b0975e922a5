"""A look at a log file's first lines: which profile fits, and what becomes of each line. Nothing is stored."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from dataclasses import dataclass, field

from daemon.books import MAX_UNPACKED_BYTES
from daemon.files import spelled
from daemon.packs import open_whole
from daemon.patterns import file_date_us
from daemon.reader import Reader
from parsers.batch import Chunk, Counts, Place, Source
from parsers.profiles import detect
from storage.transform import ParseOptions, Transformer

SHOWN_REJECTS = 10
SHOWN_CHARACTERS = 200  # of a rejected line


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that would be rejected: where it begins, why, and its beginning (redacted as when it is stored)."""

    offset: int
    reason: str
    text: str


@dataclass(slots=True)
class Sample:
    """What the first lines of a file are."""

    path: str
    profile: str = ""
    counts: Counts = field(default_factory=Counts)
    levels: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)  # what had to be decided for lines, and how often
    bad: list[BadLine] = field(default_factory=list)


def take(path: str, parse: ParseOptions, *, max_line_bytes: int, profile: str = "auto") -> Sample:
    """Read the first block of a file as the daemon would. Raises OSError if it cannot be read."""
    name = spelled(os.fsencode(path))
    sample = Sample(name)
    file = open_whole(path, MAX_UNPACKED_BYTES)
    if file is None:
        raise OSError(errno.EINVAL, "is not a regular file", path)
    try:
        info = file.info()
        span = Reader(file, max_line_bytes).read(file.size(), finish=True)
    finally:
        file.close()
    if span is None:
        return sample
    now_us = time.time_ns() // 1000
    source = Source(
        "0" * 32, os.path.basename(name), now_us, file_date_us(os.fsencode(path)), profile, internal=False
    )
    chunk = Chunk(
        source=source,
        start=span.start,
        end=span.end,
        data=span.data,
        mark=span.mark,
        place=Place(name, info.st_dev, info.st_ino, None, info.st_size),
        oversize=span.oversize,
        nul_bytes=span.nul_bytes,
        torn=span.torn,
    )
    transformer = Transformer(parse)
    try:
        parsed = transformer.parse([chunk])
    finally:
        transformer.close()
    sample.profile = detect(span.data) if profile == "auto" else profile
    sample.counts = parsed.counts[0]
    sample.levels = dict(Counter(str(level) for level in parsed.events.column("level").to_pylist()))
    flags = (flag for row in parsed.events.column("flags").to_pylist() for flag in row or ())
    sample.flags = dict(Counter(flags).most_common())
    for row in parsed.rejects.slice(0, SHOWN_REJECTS).to_pylist():
        text = (row["raw"] or b"").decode("utf-8", "backslashreplace")[:SHOWN_CHARACTERS]
        sample.bad.append(BadLine(row["source_offset"], row["reason"], text))
    return sample
