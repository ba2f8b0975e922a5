"""Gaps: bytes that are known to have existed and will never be archived. Why, how many, and who has been told.

A gap is in the ledger first, so that it is told once whatever happens: in a record of its own, or, where the bytes lie
between archived ones, in the commit of these. The daemon makes an event of it afterwards, and a later commit says up
to which gap that was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from parsers.batch import Chunk, Parsed
from parsers.columns import REJECT_RAW_BYTES

# Why bytes are lost, by a code that never changes its meaning.
REASONS: dict[str, str] = {
    "gone": "the file was removed or rotated away while the daemon was not running, or before it could commit",
    "removed": "the file was removed before it was read to its end",
    "truncated": "the file was truncated or overwritten before it was read to its end",
    "uncompared": "the file was rewritten and removed, and the daemon ended before it knew what of it is archived",
    "unopened": "the file was removed, and could never be opened",
    "oversize": "a line that is no event is longer than what is kept of one",
    "nul": "the file holds a hole: NUL bytes where lines should be",
    "unknown": "an earlier release recorded no code",
}
RECENT = 50  # gaps that are kept one by one; of all others there are sums


@dataclass(frozen=True, slots=True)
class Gap:
    """``bytes`` lost in ``[start, end)`` of a source. ``number`` counts the gaps of a node from 1."""

    number: int
    sid: str
    path: str
    start: int
    end: int
    bytes: int
    code: str
    when_us: int

    @property
    def reason(self) -> str:
        """Return why, for people."""
        return REASONS.get(self.code, self.code)


@dataclass(frozen=True, slots=True)
class Tally:
    """Some gaps together."""

    count: int = 0
    bytes: int = 0
    code: str = ""  # of the newest
    when_us: int = 0

    def add(self, gap: Gap) -> Tally:
        """Return them with one more."""
        return Tally(self.count + 1, self.bytes + gap.bytes, gap.code, gap.when_us)


@dataclass(frozen=True, slots=True)
class Hole:
    """Lost bytes between archived ones, before their commit."""

    sid: str
    path: str
    start: int
    end: int
    bytes: int
    code: str

    def entry(self) -> dict[str, Any]:
        """Return the entry of the ledger."""
        return {**asdict(self), "reason": REASONS[self.code]}


@dataclass(slots=True)
class GapBook:
    """All gaps of a node, folded from its ledger."""

    number: int = 0
    told: int = 0  # events were made of the gaps up to this number
    by_source: dict[str, Tally] = field(default_factory=dict)
    by_code: dict[str, Tally] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)  # of the sources in `by_source`
    recent: list[Gap] = field(default_factory=list)  # all that are untold, and some told ones
    last: Gap | None = None

    def add(self, body: Mapping[str, Any], when_us: int) -> Gap:
        """Fold one entry of the ledger in."""
        self.number += 1
        gap = Gap(
            number=self.number,
            sid=body["sid"],
            path=body.get("path", ""),
            start=body["start"],
            end=body["end"],
            bytes=body.get("bytes", body["end"] - body["start"]),
            code=body.get("code", "unknown"),
            when_us=when_us,
        )
        self.by_code[gap.code] = self.by_code.get(gap.code, Tally()).add(gap)
        if gap.sid:
            self.by_source[gap.sid] = self.by_source.get(gap.sid, Tally()).add(gap)
            self.paths[gap.sid] = gap.path
        self.last = gap
        self.recent.append(gap)
        self._prune()
        return gap

    def tell(self, number: int) -> None:
        """Note that events were made of the gaps up to ``number``."""
        self.told = max(self.told, number)
        self._prune()

    def untold(self) -> list[Gap]:
        """Return the gaps of which no event is known to have been made."""
        return [gap for gap in self.recent if gap.number > self.told]

    def _prune(self) -> None:
        if len(self.recent) > RECENT:
            kept = self.recent[-RECENT:]
            self.recent = [gap for gap in self.recent[:-RECENT] if gap.number > self.told] + kept

    def to_json(self) -> dict[str, Any]:
        """Return the value for a snapshot record."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> GapBook:
        """Read it back; a snapshot of an earlier release has none."""
        if not body:
            return cls()
        return cls(
            number=body["number"],
            told=body["told"],
            by_source={sid: _tally(entry) for sid, entry in body["by_source"].items()},
            by_code={code: _tally(entry) for code, entry in body["by_code"].items()},
            paths=dict(body["paths"]),
            recent=[_gap(entry) for entry in body["recent"]],
            last=_gap(body["last"]) if body["last"] else None,
        )


def _tally(body: Mapping[str, Any]) -> Tally:
    return Tally(**{f.name: body[f.name] for f in fields(Tally)})


def _gap(body: Mapping[str, Any]) -> Gap:
    return Gap(**{f.name: body[f.name] for f in fields(Gap)})


def holes_in(parsed: Parsed, chunks: Sequence[Chunk]) -> list[Hole]:
    """Return what of some chunks will not be archived: NULs, and rejects beyond what is kept of a line."""
    paths = {chunk.source.sid: chunk.place.path for chunk in chunks}
    holes = [
        Hole(chunk.source.sid, chunk.place.path, chunk.start, chunk.end, chunk.nul_bytes, "nul")
        for chunk in chunks
        if chunk.nul_bytes
    ]
    if parsed.rejects.num_rows:
        long = parsed.rejects.filter(
            pc.greater(parsed.rejects["length"], pa.scalar(REJECT_RAW_BYTES, pa.int64()))
        )
        for row in long.select(["source", "source_offset", "length"]).to_pylist():
            start, end = row["source_offset"] + REJECT_RAW_BYTES, row["source_offset"] + row["length"]
            holes.append(
                Hole(row["source"], paths.get(row["source"], ""), start, end, end - start, "oversize")
            )
    return holes


def joined(holes: Iterable[Hole]) -> list[Hole]:
    """Return one hole for each source and code: a commit tells of each only once, however many lines it concerns."""
    found: dict[tuple[str, str], Hole] = {}
    for hole in holes:
        key = (hole.sid, hole.code)
        first = found.get(key)
        found[key] = (
            hole
            if first is None
            else replace(
                first,
                start=min(first.start, hole.start),
                end=max(first.end, hole.end),
                bytes=first.bytes + hole.bytes,
            )
        )
    return sorted(found.values(), key=lambda hole: (hole.sid, hole.end))
