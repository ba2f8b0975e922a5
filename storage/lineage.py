"""How a source's bytes can be recognised long after they were archived: rungs, and where a fork's beginning lies.

A file that no longer holds what was read from it (the last lines were removed, a power cut took them) is compared with
the archive from its beginning. Rungs make that cheap: each is a digest of the bytes up to a commit's end, so one pass
over the file finds the last one that fits, and only what lies behind it is compared row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.records import Rung, SourceState

RUNGS_MOST = 12  # of each source: about 1.5 KB of a ledger snapshot
RUNGS_RECENT = 4  # kept whole: what is lost is nearly always at the end
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes ``[start, end)`` of a file as they are archived: under ``source``."""

    source: SourceState
    start: int
    end: int


def ground(source: SourceState, max_seq: int) -> Rung:
    """Return the rung of a source nothing of which is committed."""
    return Rung(source.base, source.base, _EMPTY, max_seq)


def climbed(rungs: Sequence[Rung], new: Rung) -> tuple[Rung, ...]:
    """Return the rungs of a source with a commit's one added.

    The first and the last few stay. Of the others that one goes whose absence widens the step least, measured by the
    distance from the end: so the steps grow as powers of a constant, and a source of any length keeps RUNGS_MOST.
    """
    kept = [*rungs, new]
    if len(kept) > RUNGS_MOST:
        inner = range(1, len(kept) - RUNGS_RECENT)
        widths = {i: (kept[i + 1].end - kept[i - 1].end) / (new.end - kept[i - 1].end + 1) for i in inner}
        del kept[min(widths, key=lambda i: widths[i])]
    return tuple(kept)


def lineage(sources: Mapping[str, SourceState], sid: str) -> list[Segment]:
    """Return under which sources the bytes ``[0, offset)`` of ``sid``'s file are archived, in order."""
    source = sources[sid]
    segments = [Segment(source, source.base, source.offset)]
    while (end := segments[0].start) and (before := sources.get(segments[0].source.continues)):
        if before.base >= end:
            break  # cannot be: a fork continues the source that holds the byte before it
        segments.insert(0, Segment(before, before.base, end))
    return segments
