"""The archive's committed state: a pure fold over ledger records. Two processes that read the same ledger agree."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from parsers.batch import Counts
from storage.atrisk import AT_RISK, FileAtRisk, FileKey
from storage.errors import LedgerError
from storage.gaps import GapBook
from storage.lineage import climbed, ground
from storage.records import Range, Record, Rung, SourceState, file_from_json, file_to_json
from storage.snapshot import File


@dataclass(frozen=True, slots=True)
class Bare:
    """Bytes ``[start, end)`` of a source that were committed without any file: nothing but blank lines and the like."""

    start: int
    end: int
    counts: Counts


@dataclass(slots=True)
class State:
    """What is committed. Only `apply` changes it."""

    sources: dict[str, SourceState] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)  # by relative path
    retired: dict[str, int] = field(default_factory=dict)  # superseded or dropped path → when, µs
    bare: dict[str, Bare] = field(default_factory=dict)  # by sid; the next file's footer tells of them
    reserved_to: int = 0  # no seq above this may be visible
    before_open: int = 0  # the reservation that the last process had: its numbers may have been shown
    max_seq: int = 0  # highest committed seq
    max_seq_internal: int = 0
    max_seq_external: int = 0
    sealed_seq: int = 0
    unsealed_since_us: int = (
        0  # when the oldest commit that waits for a seal was made, late rows apart; 0: none does
    )
    commits: int = 0
    commits_since_snapshot: int = 0
    drops: int = 0
    gaps: int = 0
    gap_bytes: int = 0
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)  # in force, by name; see `storage.holds`
    minimums: dict[str, int] = field(default_factory=dict)  # class → days that only a person lowers
    # Export → day → how many parts it has written, and which events files are in them; see `storage.daily`.
    exports: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    holds_unknown: bool = False  # the ledger was built again, and nobody has said yet that no hold is missing
    clock_us: int = 0  # what the clock showed when it was last believed; 0: never written down
    gap_book: GapBook = field(default_factory=GapBook)
    files_at_risk: dict[FileKey, FileAtRisk] = field(default_factory=dict)  # see `storage.atrisk`
    last_commit_us: int = 0
    last_placed: tuple[str, ...] = ()  # the files that the last commit, fold or seal put in place
    n: int = 0  # last record folded in
    head: str = ""

    def apply(self, record: Record) -> None:
        """Fold one record in. Raises LedgerError if it contradicts the state (a hole or an overlap of ranges)."""
        body = record.body
        match record.header.kind:
            case "open":
                self.before_open = self.reserved_to
                self.reserved_to = max(self.reserved_to, body["seq_reserved_to"])
            case "source":
                self._meet(body)
            case "commit":
                self._commit(record)
            case "fold" | "seal":
                self._replace(record)
            case "drop":
                self._retire(body["removes"], record.header.written_at)
                self.drops += 1
            case "gap":
                self._gap(body, record.header.written_at)
            case "hold":
                self._hold(body)
            case "config":
                self._config(body)
            case "snapshot":
                self._load(body)
            case _:
                pass  # reserved kinds say nothing about files or sources yet
        self.n = record.header.n
        self.head = record.hash

    def _meet(self, body: dict[str, Any]) -> None:
        source = SourceState.from_json(body)
        at_risk = self.files_at_risk.get((source.device, source.inode))
        if at_risk is not None and at_risk.generation == source.generation:
            del self.files_at_risk[at_risk.key]  # from now on the source says how much of it there is
        self.sources[source.sid] = replace(source, rungs=(ground(source, self.max_seq),))

    def _commit(self, record: Record) -> None:
        body = record.body
        for entry in body.get("sources", ()):
            self._meet(entry)
        for entry in body["ranges"]:
            extent = Range.from_json(entry)
            source = self.sources.get(extent.sid)
            if source is None or source.offset != extent.start:
                raise LedgerError(
                    f"commit {record.header.n} continues source {extent.sid} at {extent.start}, "
                    f"not at {source.offset if source else 'any known place'}",
                    where=f"record {record.header.n}",
                    hint="run 'watchkeep verify'",
                )
            self.sources[extent.sid] = advanced(source, extent, body["max_seq"])
            if not body["files"]:
                before = self.bare.get(extent.sid, Bare(extent.start, extent.start, Counts()))
                self.bare[extent.sid] = Bare(before.start, extent.end, before.counts + extent.counts)
        if body["files"]:
            self.bare.clear()
        self._place(body)
        self.reserved_to = max(self.reserved_to, body["seq_reserved_to"])
        self.max_seq = max(self.max_seq, body["max_seq"])
        self.max_seq_internal = max(self.max_seq_internal, body["max_seq_internal"])
        self.max_seq_external = max(self.max_seq_external, body["max_seq_external"])
        self.sealed_seq = max(self.sealed_seq, body.get("sealed_seq", 0))
        if not self.unsealed_since_us and any(entry["day"] is None for entry in body["files"]):
            self.unsealed_since_us = record.header.written_at
        for entry in body.get("gaps", ()):
            self._lost(entry, record.header.written_at)
        self.gap_book.tell(body.get("gaps_told", 0))
        self.commits += 1
        self.commits_since_snapshot += 1
        self.last_commit_us = record.header.written_at

    def _replace(self, record: Record) -> None:
        self._place(record.body)
        self._retire(record.body["removes"], record.header.written_at)
        self.sealed_seq = max(self.sealed_seq, record.body.get("sealed_seq", 0))
        if record.header.kind == "seal":
            self.unsealed_since_us = record.body.get("unsealed_since_us", 0)

    def _place(self, body: dict[str, Any]) -> None:
        files = [file_from_json(entry) for entry in body["files"]]
        for file in files:
            self.files[file.path] = file
        self.last_placed = tuple(file.path for file in files)

    def _retire(self, paths: Iterable[str], when_us: int) -> None:
        for path in paths:
            file = self.files.pop(path, None)
            self.retired[path] = when_us
            if file is not None and file.day is not None:
                for days in self.exports.values():
                    entry = days.get(file.day)
                    if entry is not None and path in entry["paths"]:
                        entry["paths"].remove(path)

    def _hold(self, body: dict[str, Any]) -> None:
        if body["action"] == "add":
            self.holds[body["name"]] = {name: value for name, value in body.items() if name != "action"}
        else:
            self.holds.pop(body["name"], None)

    def _config(self, body: dict[str, Any]) -> None:
        """Take what a `config` record is about; what this release does not know changes nothing for it."""
        match body.get("about"):
            case "minimum":
                self.minimums[body["class"]] = body["minimum_days"]
            case "export":
                entry = self.exports.setdefault(body["name"], {}).setdefault(
                    body["day"], {"parts": 0, "paths": []}
                )
                entry["parts"] = body["part"]
                entry["paths"] += [path for path in body["covers"] if path in self.files]
            case "clock":
                self.clock_us = body["us"]
            case "holds":
                self.holds_unknown = False
            case _:
                pass

    def _gap(self, body: dict[str, Any], when_us: int) -> None:
        source = self.sources.get(body["sid"])
        file = FileAtRisk.from_json(body["file"]) if "file" in body else None
        if body.get("code", "") == AT_RISK:
            if file is not None:
                self._risk(file)
            elif source is not None:
                self.sources[source.sid] = _known(source, body["start"], body["end"])
            return
        self._lost(body, when_us)
        if file is not None:
            self.files_at_risk.pop(
                file.key, None
            )  # its bytes were no source's: that of the gap was in it before
        elif source is not None:
            # What is lost is told once: nothing beyond the offset is expected of this source any more.
            self.sources[source.sid] = replace(source, size=source.offset)

    def _risk(self, file: FileAtRisk) -> None:
        if file.end > file.start:
            self.files_at_risk[file.key] = file
        else:
            self.files_at_risk.pop(file.key, None)

    def _lost(self, entry: dict[str, Any], when_us: int) -> None:
        gap = self.gap_book.add(entry, when_us)
        self.gaps += 1
        self.gap_bytes += gap.bytes

    def to_json(self) -> dict[str, Any]:
        """Return the body of a snapshot record; ``folds`` is the hash of the last record it stands for."""
        return {
            "sources": [source.to_json() for source in self.sources.values()],
            "files": [file_to_json(file) for file in self.files.values()],
            "retired": self.retired,
            "bare": {sid: asdict(bare) for sid, bare in self.bare.items()},
            "folds": self.head,
            "holds": self.holds,
            "minimums": self.minimums,
            "exports": self.exports,
            "holds_unknown": self.holds_unknown,
            "gap_book": self.gap_book.to_json(),
            "files_at_risk": [file.to_json() for file in self.files_at_risk.values()],
            **{name: getattr(self, name) for name in _SCALARS},
        }

    def _load(self, body: dict[str, Any]) -> None:
        self.sources = {entry["sid"]: SourceState.from_json(entry) for entry in body["sources"]}
        self.files = {entry["path"]: file_from_json(entry) for entry in body["files"]}
        self.retired = dict(body["retired"])
        self.gap_book = GapBook.from_json(body.get("gap_book"))
        at_risk = map(FileAtRisk.from_json, body.get("files_at_risk", ()))
        self.files_at_risk = {file.key: file for file in at_risk}
        self.bare = {
            sid: Bare(bare["start"], bare["end"], Counts(**bare["counts"]))
            for sid, bare in body.get("bare", {}).items()
        }
        self.holds = dict(body.get("holds", {}))
        self.minimums = dict(body.get("minimums", {}))
        self.exports = copy.deepcopy(body.get("exports", {}))  # changed in place later
        self.holds_unknown = bool(body.get("holds_unknown", False))
        for name in _SCALARS:
            setattr(self, name, body.get(name, 0))
        self.commits_since_snapshot = 0


_SCALARS = (
    "reserved_to",
    "max_seq",
    "max_seq_internal",
    "max_seq_external",
    "sealed_seq",
    "unsealed_since_us",
    "commits",
    "drops",
    "gaps",
    "gap_bytes",
    "clock_us",
    "last_commit_us",
)


def advanced(source: SourceState, extent: Range, max_seq: int) -> SourceState:
    """Return the source as it is once ``extent`` is committed, with rows up to ``max_seq``."""
    return replace(
        source,
        file=extent.file,
        path=extent.path,
        device=extent.device,
        inode=extent.inode,
        generation=extent.generation,
        head=extent.head,
        head_length=extent.head_length,
        seam=extent.seam,
        seam_length=extent.seam_length,
        offset=extent.end,
        digest=extent.digest,
        digest_from=extent.digest_from,
        size=max(source.size, extent.size),  # more may be known to be there, and at risk
        counts=source.counts + extent.counts,
        first_end=0,
        first_digest="",
        rungs=climbed(source.rungs, Rung(extent.digest_from, extent.end, extent.digest, max_seq)),
    )


def _known(source: SourceState, start: int, end: int) -> SourceState:
    """Return the source as it is once so many bytes of it are known; if there are none, nothing more is expected of it."""
    if end <= start:
        return replace(source, size=source.offset)
    if end <= source.size:
        return source
    return replace(source, size=end, first_end=0, first_digest="")  # nobody knows which lines those are


def fold(records: Iterable[Record]) -> State:
    """Return the state that some records, in order, lead to."""
    state = State()
    for record in records:
        state.apply(record)
    return state
