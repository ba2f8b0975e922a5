"""A source that is met for the first time."""

from __future__ import annotations

import uuid

from parsers.batch import Counts, Source
from storage.records import SourceSeen, SourceState


def first_state(seen: SourceSeen) -> SourceState:
    """Return the state of a source nothing of which is committed yet."""
    return SourceState(
        sid=uuid.uuid4().hex,
        file=seen.file,
        path=seen.path,
        device=seen.device,
        inode=seen.inode,
        generation=seen.generation,
        head=seen.head,
        head_length=seen.head_length,
        seam=seen.seam,
        seam_length=seen.seam_length,
        offset=seen.base,
        digest="",
        digest_from=seen.base,
        first_seen_us=seen.first_seen_us,
        file_date_us=seen.file_date_us,
        profile=seen.profile,
        internal=seen.internal,
        size=seen.size,
        counts=Counts(),
        base=seen.base,
        continues=seen.continues,
        first_end=seen.first_end,
        first_digest=seen.first_digest,
    )


def source_of(state: SourceState) -> Source:
    """Return what the parser needs to know of a source."""
    return Source(
        state.sid, state.file, state.first_seen_us, state.file_date_us, state.profile, state.internal
    )
