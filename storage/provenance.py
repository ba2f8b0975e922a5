"""What a Parquet file says of itself in its footer: enough to build the ledger again when there is none.

Two keys. `watchkeep.file` is the file's own entry and which record made it; `watchkeep.sources` tells, for each source
that has rows in the file, how far it was committed, what identified its content, and which bytes the commits behind the
file took. Every committed byte range is told by some file: ranges of a source without rows are told by the last file of
their record, ranges of a commit without any file by the next commit that has one.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any, Literal

import orjson

from parsers.batch import Counts
from storage.records import Range, SourceState, file_to_json
from storage.snapshot import File
from storage.state import State, advanced

FILE_KEY = "watchkeep.file"
SOURCES_KEY = "watchkeep.sources"

# Above this the list of sources is packed: a few sources stay readable for anybody, thousands stay small.
PLAIN_BYTES = 4096
_PACKED = "zlib+base64:"
# Sources without rows in a file that its footer tells of all the same, the newest ones: when retention has removed the
# files of a source whose log file is still there, its offset is known from a younger file. 150 bytes each.
KNOWN_SOURCES = 100

Maker = Literal["commit", "fold", "seal", "bulk"]

_STATE = tuple(f.name for f in fields(SourceState) if f.name != "counts")
_COUNTS = tuple(f.name for f in fields(Counts))


@dataclass(frozen=True, slots=True)
class Covered:
    """Bytes ``[start, end)`` of a source that the commits behind a file took, and the source as it was then."""

    state: SourceState
    start: int
    end: int
    counts: Counts


@dataclass(slots=True)
class Origin:
    """What the files of one record share. Files are described one after another with `footer`."""

    made_by: Maker
    record: int  # number of the ledger record that will name them
    epoch: int
    writer: str
    seq_reserved_to: int
    covered: Mapping[str, Covered] = field(default_factory=dict)
    replaces: tuple[str, ...] = ()
    known: Sequence[SourceState] = ()
    _told: set[str] = field(default_factory=set)

    def footer(self, entry: File, rows: Mapping[str, int], *, last: bool = False) -> dict[str, str]:
        """Return the footer's keys for a file. ``entry`` need not know its size and hash yet.

        ``rows`` counts its rows by source. The ``last`` file of a record tells of every source that no other did.
        """
        rollup = entry.kind == "rollup"
        own = {name: value for name, value in file_to_json(entry).items() if name not in {"bytes", "sha256"}}
        about = {
            **own,
            "made_by": self.made_by,
            "record": self.record,
            "epoch": self.epoch,
            "writer": self.writer,
            "seq_reserved_to": self.seq_reserved_to,
            "replaces": () if rollup else self.replaces,
        }
        found = {FILE_KEY: orjson.dumps(about).decode()}
        if rollup:
            return found
        told = [sid for sid in self.covered if sid in rows or (last and sid not in self._told)]
        self._told.update(told)
        found[SOURCES_KEY] = _packed(
            {
                "fields": (*_STATE, "counts", "start", "end", "range_counts", "rows"),
                "counts": _COUNTS,
                "covered": [_covered_row(self.covered[sid], rows.get(sid, 0)) for sid in told],
                "known": [_state_row(state) for state in self.known] if last else [],
            }
        )
        return found


@dataclass(frozen=True, slots=True)
class Told:
    """A source as a footer tells of it; ``rows`` of it are in the file."""

    covered: Covered
    rows: int


@dataclass(frozen=True, slots=True)
class Footer:
    """A footer read back. ``entry`` lacks size and hash, which the file cannot know of itself."""

    entry: File
    made_by: Maker
    record: int
    epoch: int
    seq_reserved_to: int
    replaces: tuple[str, ...]
    sources: Mapping[str, Told]
    known: tuple[SourceState, ...]


def parse_footer(metadata: Mapping[bytes, bytes] | None) -> Footer | None:
    """Return what a file's key-value metadata says; None if a release before this one wrote the file.

    Raises ValueError or KeyError if it says something else than we write.
    """
    if not metadata or FILE_KEY.encode() not in metadata:
        return None
    about = orjson.loads(metadata[FILE_KEY.encode()])
    entry = File(**{f.name: about[f.name] for f in fields(File) if f.name in about}, bytes=0, sha256="")
    sources: dict[str, Told] = {}
    known: tuple[SourceState, ...] = ()
    if SOURCES_KEY.encode() in metadata:
        body = _unpacked(metadata[SOURCES_KEY.encode()].decode())
        names, counts = body["fields"], body["counts"]
        for row in body["covered"]:
            told = _told(dict(zip(names, row, strict=True)), counts)
            sources[told.covered.state.sid] = told
        known = tuple(_state(dict(zip(names, row, strict=False)), counts) for row in body["known"])
    return Footer(
        entry=entry,
        made_by=about["made_by"],
        record=about["record"],
        epoch=about["epoch"],
        seq_reserved_to=about["seq_reserved_to"],
        replaces=tuple(about["replaces"]),
        sources=sources,
        known=known,
    )


def covered_by(
    ranges: Mapping[str, Range], state: State, max_seq: int, met: Mapping[str, SourceState]
) -> dict[str, Covered]:
    """Return what a commit of ``ranges`` covers, with the ranges that no file told of so far.

    ``met`` are the sources that the state does not know yet.
    """
    covered = {}
    for sid, bare in state.bare.items():
        covered[sid] = Covered(state.sources[sid], bare.start, bare.end, bare.counts)
    for sid, extent in ranges.items():
        source = advanced(met.get(sid) or state.sources[sid], extent, max_seq)
        before = covered.get(sid)
        start = before.start if before else extent.start
        counts = before.counts + extent.counts if before else extent.counts
        covered[sid] = Covered(source, start, extent.end, counts)
    return covered


def coalesced(footers: Iterable[Footer | None], state: State) -> dict[str, Covered]:
    """Return what some files cover together.

    A range that two files tell of (events and rejects of one commit) counts once, and so does one within another: rows
    that wait in a live file, because they are late, are told of with the range that the others are sealed with.
    """
    ranges: dict[str, dict[tuple[int, int], Counts]] = {}
    for footer in footers:
        for sid, told in footer.sources.items() if footer else ():
            ranges.setdefault(sid, {})[told.covered.start, told.covered.end] = told.covered.counts
    covered = {}
    for sid, found in ranges.items():
        if sid not in state.sources:
            continue
        counts, end = Counts(), -1
        for (_, high), part in sorted(found.items(), key=lambda item: (item[0][0], -item[0][1])):
            if high > end:
                counts, end = counts + part, high
        covered[sid] = Covered(state.sources[sid], min(start for start, _ in found), end, counts)
    return covered


def newest_sources(state: State, but: Mapping[str, Covered]) -> list[SourceState]:
    """Return the newest sources, at most KNOWN_SOURCES, without those in ``but``."""
    found: list[SourceState] = []
    for sid in reversed(state.sources):
        if len(found) == KNOWN_SOURCES:
            break
        if sid not in but:
            found.append(replace(state.sources[sid], rungs=()))
    return found


def _state_row(state: SourceState) -> list[Any]:
    body = state.to_json()
    return [*(body[name] for name in _STATE), astuple(state.counts)]


def _covered_row(covered: Covered, rows: int) -> list[Any]:
    return [*_state_row(covered.state), covered.start, covered.end, astuple(covered.counts), rows]


def _state(row: dict[str, Any], names: Sequence[str]) -> SourceState:
    return SourceState.from_json({**row, "counts": dict(zip(names, row["counts"], strict=True))})


def _told(row: dict[str, Any], names: Sequence[str]) -> Told:
    counts = Counts(**dict(zip(names, row["range_counts"], strict=True)))
    return Told(Covered(_state(row, names), row["start"], row["end"], counts), row["rows"])


def _packed(body: dict[str, Any]) -> str:
    text = orjson.dumps(body)
    if len(text) <= PLAIN_BYTES:
        return text.decode()
    return _PACKED + base64.b64encode(zlib.compress(text)).decode()


def _unpacked(text: str) -> dict[str, Any]:
    if text.startswith(_PACKED):
        text = zlib.decompress(base64.b64decode(text.removeprefix(_PACKED))).decode()
    body: dict[str, Any] = orjson.loads(text)
    return body
