"""Chunks of lines to rows: frame, extract, read slowly what is left, finish. One DuckDB instance with one thread.

The fast path reads all lines of a profile with one statement and keeps what is proven (`parsers.extract`); every
other line is read alone (`parsers.slow`), and teaches the profile's shape what it had not seen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parsers.arrow import Array, Int64s, Mask, from_numpy, mask, pc, rows
from parsers.batch import Chunk, Counts, Oversize, Parsed
from parsers.classes import Classes
from parsers.columns import PARSED_REJECT_SCHEMA, REJECT_RAW_BYTES
from parsers.draft import DRAFT_SCHEMA
from parsers.extract import extract, lines_with_escaped_quotes
from parsers.finish import Origin, Terms, finish
from parsers.flags import BIT
from parsers.forwarded import Proxies
from parsers.framing import Lines, frame
from parsers.geography import Lookup, located
from parsers.jsontext import MAX_DEPTH
from parsers.profiles import AUTO, DEFAULT, PROFILES, detect, read_with
from parsers.redact import RedactionOptions, Redactor
from parsers.shape import VALID_SQL, Shape
from parsers.slow import LineError
from parsers.weigh import ODD, weigh

SAMPLE_LINES = 64  # lines that a new shape is made of
LESSONS = 200  # slow lines of one batch that a shape learns from
# A statement that is not prepared costs a millisecond, and its rows come one by one, not all together as a copy.
STREAMED_LINES = 4_096
MOST_PROFILES_KNOWN = 10_000  # sources whose detected profile is remembered
CAREFUL_BATCHES = (
    32  # after a malformed line, check validity first for so many batches: an error costs a second run
)


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """How lines are read. ``timezone`` is an IANA name: where times without a zone were written."""

    node: str = "main"
    timezone: str = "UTC"
    max_depth: int = MAX_DEPTH
    classes: Classes = field(default_factory=Classes)
    memory_limit_mb: int = 256
    redaction: RedactionOptions = field(default_factory=RedactionOptions)
    proxies: Proxies = field(default_factory=Proxies)


class _Feed:
    """The table `lines`: registered once, so that a prepared statement reads whatever was put here."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Let go of the lines."""
        self.table = pa.table({"line": pa.array([], pa.string())})

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]  # no stub


@dataclass(slots=True)
class _Reader:
    """What one profile's lines look like so far, and the statement that reads them."""

    profile: str
    shape: Shape = field(default_factory=Shape)
    prepared: int = -1  # version of the shape that is prepared
    careful: int = 0  # batches for which validity is checked first


@dataclass(frozen=True, slots=True)
class _Framed:
    """One chunk and its lines; ``base`` numbers its first line among all lines of the call."""

    at: int
    chunk: Chunk
    lines: Lines
    profile: str
    base: int


class Transformer:
    """Parses chunks. Blocking, and one call at a time; close it when done.

    ``lookup`` says where an address lies; without it no event is given a place.
    """

    def __init__(self, options: ParseOptions, lookup: Lookup | None = None) -> None:
        self._options = options
        self._lookup = lookup
        self._terms = Terms(options.node, ZoneInfo(options.timezone), options.classes, options.proxies)
        self._redactor = Redactor(options.redaction)
        self._profiles: dict[str, str] = {}  # sid → detected profile
        self._readers: dict[str, _Reader] = {}
        self._feed = _Feed()
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": f"{options.memory_limit_mb}MB",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.register("lines", self._feed)

    def parse(self, chunks: Sequence[Chunk]) -> Parsed:
        """Return what became of every line of the chunks, in their order. Raises nothing for what a line holds."""
        framed = self._frame(chunks)
        origins = [Origin(f.chunk.source, f.profile) for f in framed]
        drafts: list[pa.Table] = []
        places: list[Int64s] = []  # number of each draft's line
        rejects: list[tuple[int, dict[str, Any]]] = []
        for profile in dict.fromkeys(f.profile for f in framed):
            group = [f for f in framed if f.profile == profile]
            self._read_group(profile, group, drafts, places, rejects)
        table, place = _in_order(drafts, places)
        hits = Counter[str]()
        events = finish(table, origins, self._terms)
        if self._lookup is not None:
            events = located(events, self._lookup)
        events = self._redactor.table(events, hits)
        found = self._rejected(framed, rejects, hits)
        return Parsed(
            events, found, _counts(framed, place, rejects), {rule: n for rule, n in hits.items() if n}
        )

    def close(self) -> None:
        """Free what the instance holds."""
        self._connection.unregister("lines")
        self._connection.close()

    def _frame(self, chunks: Sequence[Chunk]) -> list[_Framed]:
        framed: list[_Framed] = []
        base = 0
        for at, chunk in enumerate(chunks):
            profile = self._profile(chunk)
            lines = frame(chunk.data, first=chunk.start == 0, prefix=PROFILES[profile].prefix)
            framed.append(_Framed(at, chunk, lines, profile, base))
            base += len(lines)
        return framed

    def _profile(self, chunk: Chunk) -> str:
        named = chunk.source.profile
        if named != AUTO and named in PROFILES:
            return named
        known = self._profiles.get(chunk.source.sid)
        if known is None and chunk.data:
            if len(self._profiles) >= MOST_PROFILES_KNOWN:
                self._profiles.pop(next(iter(self._profiles)))
            known = self._profiles[chunk.source.sid] = detect(chunk.data)
        return known or DEFAULT

    def _read_group(
        self,
        profile: str,
        group: list[_Framed],
        drafts: list[pa.Table],
        places: list[Int64s],
        rejects: list[tuple[int, dict[str, Any]]],
    ) -> None:
        """Read the lines of one profile: fast where that is proven, the rest one by one."""
        reader = self._readers.setdefault(profile, _Reader(profile))
        sure = np.zeros(sum(len(f.lines) for f in group), bool)
        place, chunk, offset = _whereabouts(group)
        if PROFILES[profile].vectorised and len(sure):
            columns, sure = self._fast(reader, group)
            columns |= {"chunk": from_numpy(chunk, pa.int32()), "offset": from_numpy(offset, pa.int64())}
            drafts.append(_draft_table(columns, sure))
            places.append(place[sure])
        blank = np.concatenate([f.lines.blank for f in group]) if group else sure
        read: list[dict[str, Any]] = []
        numbers: list[int] = []
        lessons = 0
        for index in np.flatnonzero(~sure & ~blank).tolist():
            framed = group[_owner(group, int(place[index]))]
            try:
                row, value = self._slow(framed, int(place[index]) - framed.base)
            except LineError as error:
                rejects.append(
                    (int(place[index]), self._reject_line(framed, int(place[index]) - framed.base, error))
                )
                continue
            if value is not None and lessons < LESSONS:
                lessons += 1
                reader.shape.learn(value)
            read.append({**row, "chunk": int(chunk[index]), "offset": int(offset[index])})
            numbers.append(int(place[index]))
        if read:
            drafts.append(pa.Table.from_pylist(read, DRAFT_SCHEMA))
            places.append(np.array(numbers, np.int64))

    def _fast(self, reader: _Reader, group: list[_Framed]) -> tuple[dict[str, Array], Mask]:
        """Columns of a draft for every line of the group, and which of them are proven."""
        if not reader.shape:
            self._sample(reader, group)
        rows = sum(len(f.lines) for f in group)
        if not reader.shape:
            return {}, np.zeros(rows, bool)
        texts = pa.chunked_array([f.lines.text for f in group], pa.string())
        weights = np.concatenate([_weights(f.lines) for f in group])
        structs = self._structs(reader, texts)
        if structs is None:
            return {}, np.zeros(rows, bool)
        found = extract(reader.shape, structs, texts, weights, self._options.max_depth)
        for framed, end in zip(group, np.cumsum([len(f.lines) for f in group]).tolist(), strict=True):
            if framed.chunk.torn and len(framed.lines):
                found.sure[end - 1] = False  # decided, and flagged, alone
        if (
            PROFILES[reader.profile].prefix is not None
        ):  # the prefix stands in for a time or a level that is missing
            found.sure &= found.has("timestamp") & found.has("level")
        return found.columns, found.sure

    def _sample(self, reader: _Reader, group: list[_Framed]) -> None:
        for framed in group:
            step = max(1, len(framed.lines) * len(group) // SAMPLE_LINES)
            for index in range(0, len(framed.lines), step):
                try:
                    _, value = read_with(framed.profile, framed.lines.line(index), self._options.max_depth)
                except LineError:
                    continue
                if value is not None:
                    reader.shape.learn(value, at_once=True)

    def _structs(self, reader: _Reader, texts: pa.ChunkedArray[Any]) -> pa.StructArray | None:
        """One struct per line, null for null; None when DuckDB cannot read these lines at all."""
        if reader.careful:
            reader.careful -= 1
            texts = self._only_valid(texts)
        for _ in range(2):
            try:
                return self._run(reader, texts)
            except duckdb.Error:
                reader.careful = CAREFUL_BATCHES
                texts = self._only_valid(texts)
        return None

    def _run(self, reader: _Reader, texts: pa.ChunkedArray[Any]) -> pa.StructArray:
        self._feed.table = pa.table({"line": texts})
        try:
            if len(texts) >= STREAMED_LINES:
                rows = self._connection.sql(reader.shape.sql()).to_arrow_reader(len(texts))
                result = rows.read_all()
            else:
                name = f"read_{reader.profile}"
                if reader.prepared != reader.shape.version:
                    self._connection.execute(f"PREPARE {name} AS {reader.shape.sql()}")
                    reader.prepared = reader.shape.version
                result = self._connection.sql(f"EXECUTE {name}").to_arrow_table()
        finally:
            self._feed.clear()
        structs = result.column("s").combine_chunks()
        return structs if isinstance(structs, pa.StructArray) else structs.chunk(0)

    def _only_valid(self, texts: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
        self._feed.table = pa.table({"line": texts})
        valid = self._connection.sql(VALID_SQL).to_arrow_table().column("valid")
        found: pa.ChunkedArray[Any] = pc.if_else(pc.fill_null(valid, False), texts, None)
        return found

    def _slow(self, framed: _Framed, index: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
        line = framed.lines.line(index)
        row, value = read_with(framed.profile, line, self._options.max_depth)
        if _torn(framed, index):
            row["bits"] |= BIT["torn"]
        return row, value

    def _reject_line(self, framed: _Framed, index: int, error: LineError) -> dict[str, Any]:
        torn = "The file ended inside this line, and it" if _torn(framed, index) else "The line"
        line = framed.lines.line(index)
        return self._reject(
            framed.chunk, framed.chunk.start + int(framed.lines.starts[index]), line, f"{torn} {error}"
        )

    def _rejected(
        self, framed: list[_Framed], rejects: list[tuple[int, dict[str, Any]]], hits: Counter[str]
    ) -> pa.Table:
        found = [reject for _, reject in sorted(rejects, key=lambda item: item[0])]
        found.extend(self._oversize(f.chunk, oversize) for f in framed for oversize in f.chunk.oversize)
        for row in found:
            row["raw"] = self._redactor.raw(row["raw"], hits)[:REJECT_RAW_BYTES]
        return pa.Table.from_pylist(found, PARSED_REJECT_SCHEMA)

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
        reason = f"The line is longer than the limit: {oversize.length} bytes; its beginning is kept"
        reject = self._reject(chunk, oversize.offset, oversize.head, reason)
        return {**reject, "length": oversize.length, "sha256": oversize.sha256}


def _weights(lines: Lines) -> Int64s:
    weights = weigh(lines.block, lines.starts, lines.ends)
    if b"\\" in lines.data and b"\\u00" in lines.data:  # the search for one byte is ten times as fast
        weights[lines_with_escaped_quotes(lines.text)] = ODD
    return weights


def _torn(framed: _Framed, index: int) -> bool:
    return framed.chunk.torn and index == len(framed.lines) - 1


def _owner(group: list[_Framed], place: int) -> int:
    """Index of the chunk in ``group`` that the line with this number belongs to."""
    bases = [f.base for f in group]
    return int(np.searchsorted(bases, place, side="right")) - 1


def _whereabouts(group: list[_Framed]) -> tuple[Int64s, npt.NDArray[np.int32], Int64s]:
    """Per line of the group: its number in the call, the index of its chunk, its offset in the source."""
    sizes = [len(f.lines) for f in group]
    place = [f.base + np.arange(size) for f, size in zip(group, sizes, strict=True)]
    offset = [f.chunk.start + f.lines.starts for f in group]
    chunk = np.repeat(np.array([f.at for f in group], np.int32), sizes)
    return np.concatenate(place).astype(np.int64), chunk, np.concatenate(offset).astype(np.int64)


def _draft_table(columns: dict[str, Array], sure: Mask) -> pa.Table:
    arrays = [columns.get(f.name) for f in DRAFT_SCHEMA]
    filled = [
        pa.nulls(len(sure), f.type)
        if array is None
        else array
        if array.type == f.type
        else array.cast(f.type)
        for f, array in zip(DRAFT_SCHEMA, arrays, strict=True)
    ]
    table = pa.Table.from_arrays(filled, schema=DRAFT_SCHEMA)
    return table if sure.all() else table.filter(mask(sure))


def _in_order(drafts: list[pa.Table], places: list[Int64s]) -> tuple[pa.Table, Int64s]:
    """All drafts in the order of their lines."""
    if not drafts:
        return DRAFT_SCHEMA.empty_table(), np.zeros(0, np.int64)
    table, place = pa.concat_tables(drafts), np.concatenate(places)
    if len(drafts) == 1:
        return table, place
    order = np.argsort(place, kind="stable")
    return table.take(rows(order)), place[order]


def _counts(
    framed: list[_Framed], place: Int64s, rejects: list[tuple[int, dict[str, Any]]]
) -> tuple[Counts, ...]:
    """How the lines of each chunk ended."""
    bases = np.array([f.base for f in framed], np.int64)
    bad = np.array([number for number, _ in rejects], np.int64)
    events = np.bincount(np.searchsorted(bases, place, side="right") - 1, minlength=len(framed))
    rejected = np.bincount(np.searchsorted(bases, bad, side="right") - 1, minlength=len(framed))
    lost = set(bad.tolist())
    counts = []
    for f in framed:
        torn = int(f.chunk.torn and f.base + len(f.lines) - 1 in lost)
        blanks = int(f.lines.blank.sum())
        hole = int(bool(f.chunk.nul_bytes))
        counts.append(
            Counts(
                lines=len(f.lines) + len(f.chunk.oversize) + hole,
                events=int(events[f.at]),
                rejects=int(rejected[f.at]) - torn,
                blanks=blanks,
                oversize=len(f.chunk.oversize),
                nul=hole,
                torn=torn,
            )
        )
    return tuple(counts)
