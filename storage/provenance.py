"""What a Parquet file says of itself in its footer: enough to build the ledger again when there is none.

Two keys. `watchkeep.file` is the file's own entry and which record made it; `watchkeep.sources` tells, for each source
that has rows in the file, how far it was committed, what identified its content, and which bytes the commits behind the
file took. Every committed byte range is told by some file: ranges of a source without rows are told by the last file of
their record, ranges of a commit without any file by the next commit that has one.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
# Sources in one packed text. A file of tens of thousands has several: read or written at once, each source takes two
# kilobytes of memory, a hundred megabytes in all.
BLOCK_SOURCES = 1024
_BETWEEN = "."  # stands between two blocks; base64 does not have it
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
        found[SOURCES_KEY] = _packed(self._blocks(told, rows, last=last))
        return found

    def _blocks(self, told: Sequence[str], rows: Mapping[str, int], *, last: bool) -> Iterator[bytes]:
        """Yield what is said of some sources as JSON texts, BLOCK_SOURCES at a time."""
        for begin in range(0, max(len(told), 1), BLOCK_SOURCES):
            some = told[begin : begin + BLOCK_SOURCES]
            known = self.known if last and begin + BLOCK_SOURCES >= len(told) else ()
            yield orjson.dumps(
                {
                    "fields": (*_STATE, "counts", "start", "end", "range_counts", "rows"),
                    "counts": _COUNTS,
                    "covered": [_covered_row(self.covered[sid], rows.get(sid, 0)) for sid in some],
                    "known": [_state_row(state) for state in known],
                }
            )


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
    for body in _bodies(metadata):
        names, counts = body["fields"], body["counts"]
        for row in body["covered"]:
            told = _told(dict(zip(names, row, strict=True)), counts)
            sources[told.covered.state.sid] = told
        known += tuple(_state(dict(zip(names, row, strict=False)), counts) for row in body["known"])
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


class Coverage:
    """The byte ranges that the footers of some files tell of, by source: all that merging them needs to know."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[tuple[int, int, Counts]]] = {}
        self._counts: dict[tuple[int, ...], Counts] = {}  # those of small files are all alike, and held once

    def add(self, metadata: Mapping[bytes, bytes] | None) -> None:
        """Take the ranges that a file's key-value metadata tells of, none if it has none."""
        for body in _bodies(metadata or {}):
            names: list[str] = body["fields"]
            sid, start, end, counts = map(names.index, ("sid", "start", "end", "range_counts"))
            for row in body["covered"]:
                values = tuple(row[counts])
                if values not in self._counts:
                    self._counts[values] = Counts(**dict(zip(body["counts"], values, strict=True)))
                self._ranges.setdefault(row[sid], []).append((row[start], row[end], self._counts[values]))

    def of(self, state: State) -> dict[str, Covered]:
        """Return what the files cover together, of the sources that the state knows.

        A range that two files tell of (events and rejects of one commit) counts once, and so does one within another:
        rows that wait in a live file, because they are late, are told of with the range that the others are sealed with.
        """
        covered = {}
        for sid, found in self._ranges.items():
            if sid not in state.sources:
                continue
            (start, end, counts), *others = sorted(found, key=_outer)
            for _, high, part in others:
                if high > end:
                    counts, end = counts + part, high
            covered[sid] = Covered(state.sources[sid], start, end, counts)
        return covered


def _outer(extent: tuple[int, int, Counts]) -> tuple[int, int]:
    """Order ranges so that one comes before those within it."""
    start, end, _ = extent
    return start, -end


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
    return [*(getattr(state, name) for name in _STATE), astuple(state.counts)]


def _covered_row(covered: Covered, rows: int) -> list[Any]:
    return [*_state_row(covered.state), covered.start, covered.end, astuple(covered.counts), rows]


def _state(row: dict[str, Any], names: Sequence[str]) -> SourceState:
    return SourceState.from_json({**row, "counts": dict(zip(names, row["counts"], strict=True))})


def _told(row: dict[str, Any], names: Sequence[str]) -> Told:
    counts = Counts(**dict(zip(names, row["range_counts"], strict=True)))
    return Told(Covered(_state(row, names), row["start"], row["end"], counts), row["rows"])


def _packed(blocks: Iterable[bytes]) -> str:
    packed: list[str] = []
    plain = b""
    for text in blocks:
        plain = text
        packed.append(base64.b64encode(zlib.compress(text)).decode())
    if len(packed) == 1 and len(plain) <= PLAIN_BYTES:
        return plain.decode()
    return _PACKED + _BETWEEN.join(packed)


def _bodies(metadata: Mapping[bytes, bytes]) -> Iterator[dict[str, Any]]:
    """Yield what a footer says of its sources, block by block."""
    text = metadata.get(SOURCES_KEY.encode(), b"").decode()
    if text and not text.startswith(_PACKED):
        yield orjson.loads(text)
        return
    begin = len(_PACKED)
    while begin < len(text):
        end = text.find(_BETWEEN, begin)
        end = len(text) if end < 0 else end
        yield orjson.loads(zlib.decompress(base64.b64decode(text[begin:end])))
        begin = end + 1
