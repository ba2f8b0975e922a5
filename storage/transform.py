"""Chunks of lines to rows: frame, extract, read slowly what is left, finish, redact. One DuckDB instance, one thread."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from parsers.batch import Chunk, Counts, Oversize, Parsed
from parsers.columns import PARSED_REJECT_SCHEMA, REJECT_RAW_BYTES
from parsers.draft import DRAFT_SCHEMA
from parsers.finish import Origin, Terms, finish
from parsers.flags import BIT
from parsers.framing import Lines, frame
from parsers.jsontext import MAX_DEPTH
from parsers.profiles import AUTO, PROFILES, SAMPLE_LINES, detect, read_with
from parsers.slow import LineError


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How lines are read. ``timezone`` is an IANA name: where times without a zone were written."""

    node: str = "main"
    timezone: str = "UTC"
    max_depth: int = MAX_DEPTH
    retention_class: str = "default"
    memory_limit_mb: int = 256


@dataclass(slots=True)
class _Batch:
    """What was found so far in the chunks of one call."""

    drafts: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)


class Transformer:
    """Parses chunks. Blocking, and one call at a time; close it when done."""

    def __init__(self, options: ParseOptions) -> None:
        self._options = options
        self._terms = Terms(options.node, ZoneInfo(options.timezone), options.retention_class)
        self._profiles: dict[str, str] = {}  # sid → detected profile

    def parse(self, chunks: Sequence[Chunk]) -> Parsed:
        """Return what became of every line of the chunks, in their order. Raises nothing for what a line holds."""
        batch = _Batch()
        for at, chunk in enumerate(chunks):
            self._chunk(batch, at, chunk)
        events = finish(pa.Table.from_pylist(batch.drafts, DRAFT_SCHEMA), batch.origins, self._terms)
        rejects = pa.Table.from_pylist(batch.rejects, PARSED_REJECT_SCHEMA)
        return Parsed(events, rejects, tuple(batch.counts), {})

    def close(self) -> None:
        """Free what the instance holds."""

    def _chunk(self, batch: _Batch, at: int, chunk: Chunk) -> None:
        lines = frame(chunk.data, first=chunk.start == 0)
        profile = self._profile(chunk)
        batch.origins.append(Origin(chunk.source, profile))
        events = rejects = torn = 0
        for index in range(len(lines.starts)):
            line = lines.line(index)
            offset = chunk.start + int(lines.starts[index])
            last = chunk.torn and index == len(lines.starts) - 1
            try:
                draft = read_with(profile, line, self._options.max_depth)
            except LineError as error:
                reason = f"the file ended inside this line; it {error}" if last else f"The line {error}"
                batch.rejects.append(self._reject(chunk, offset, line, reason))
                torn += last
                rejects += not last
                continue
            draft["bits"] |= BIT["torn"] if last else 0
            batch.drafts.append({**draft, "offset": offset, "chunk": at})
            events += 1
        for oversize in chunk.oversize:
            batch.rejects.append(self._oversize(chunk, oversize))
        batch.counts.append(
            Counts(
                lines=len(lines.starts) + lines.blanks + len(chunk.oversize) + bool(chunk.nul_bytes),
                events=events,
                rejects=rejects,
                blanks=lines.blanks,
                oversize=len(chunk.oversize),
                nul=int(bool(chunk.nul_bytes)),
                torn=torn,
            )
        )

    def _profile(self, chunk: Chunk) -> str:
        named = chunk.source.profile
        if named != AUTO and named in PROFILES:
            return named
        known = self._profiles.get(chunk.source.sid)
        if known is None and chunk.data:
            known = self._profiles[chunk.source.sid] = detect(chunk.data)
        return known or "native"

    def _reject(self, chunk: Chunk, offset: int, line: bytes, reason: str) -> dict[str, Any]:
        return {
            "source": chunk.source.sid,
            "source_file": chunk.source.file,
            "source_offset": offset,
            "length": len(line),
            "sha256": hashlib.sha256(line).hexdigest(),
            "reason": reason,
            "raw": line[:REJECT_RAW_BYTES],
            "internal": chunk.source.internal,
            "node": self._options.node,
        }

    def _oversize(self, chunk: Chunk, oversize: Oversize) -> dict[str, Any]:
        reject = self._reject(chunk, oversize.offset, oversize.head, f"The line is longer than the limit: {oversize.length} bytes")
        return {**reject, "length": oversize.length, "sha256": oversize.sha256}
