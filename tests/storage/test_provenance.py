"""Every Parquet file says in its footer what a ledger would have to know of it: nothing else need survive."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parsers.batch import Chunk, Counts, Parsed, Source
from parsers.columns import PARSED_REJECT_SCHEMA, PARSED_SCHEMA
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.provenance import (
    BLOCK_SOURCES,
    KNOWN_SOURCES,
    SOURCES_KEY,
    Coverage,
    Covered,
    Footer,
    Origin,
    parse_footer,
)
from storage.records import SourceState
from storage.snapshot import File
from storage.state import State
from tests.storage.made import lines, seen


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive that keeps nothing superseded."""
    return Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0, fold_files=3))


def add(archive: Archive, source: Source, start: int, count: int) -> int:
    """Append events and return where the next line begins."""
    parsed, chunk = lines(source, start, count)
    archive.append(parsed, [chunk])
    return chunk.end


def add_blanks(archive: Archive, source: Source, start: int, count: int) -> int:
    """Append blank lines."""
    _, chunk = lines(source, start, count)
    counts = Counts(lines=count, blanks=count)
    archive.append(
        Parsed(PARSED_SCHEMA.empty_table(), PARSED_REJECT_SCHEMA.empty_table(), (counts,), {}), [chunk]
    )
    return chunk.end


def add_rejects(archive: Archive, source: Source, start: int, count: int) -> int:
    """Append lines that could not be parsed."""
    _, chunk = lines(source, start, count)
    counts = Counts(lines=count, rejects=count)
    archive.append(Parsed(PARSED_SCHEMA.empty_table(), rejects(chunk, count), (counts,), {}), [chunk])
    return chunk.end


def rejects(chunk: Chunk, count: int) -> pa.Table:
    """Return a chunk's lines as rejects."""
    given: dict[str, pa.Array[Any]] = {
        "source": pa.array([chunk.source.sid] * count),
        "source_file": pa.array([chunk.source.file] * count),
        "source_offset": pa.array([chunk.start + 10 * i for i in range(count)]),
        "length": pa.array([10] * count),
        "sha256": pa.array(["0" * 64] * count),
        "reason": pa.array(["not_json"] * count),
        "raw": pa.array([b"x" * 9] * count),
        "internal": pa.array([chunk.source.internal] * count),
        "node": pa.array(["main"] * count),
    }
    return pa.Table.from_arrays([given[f.name] for f in PARSED_REJECT_SCHEMA], schema=PARSED_REJECT_SCHEMA)


def footer(archive: Archive, file: File) -> Footer:
    """Return what a file on disk says of itself."""
    found = parse_footer(pq.read_metadata(archive.layout.absolute(file.path)).metadata)
    assert found is not None
    return found


def sources_bytes(archive: Archive, file: File) -> int:
    """Return how many bytes of a footer tell of sources."""
    metadata = pq.read_metadata(archive.layout.absolute(file.path)).metadata
    assert metadata is not None
    return len(metadata[SOURCES_KEY.encode()])


def test_a_file_says_everything_of_itself_but_its_size_and_hash(archive: Archive) -> None:
    """Live, folded, sealed and bulk files, their rejects and roll-ups: the entry in the footer is the ledger's."""
    own, theirs = archive.register_all([seen("self", internal=True), seen("a")])
    seen_kinds = set()
    at = 0
    for _ in range(4):
        end = add(archive, own, at, 3)
        add(archive, theirs, at, 2)
        add_rejects(archive, theirs, at + 20, 1)
        at = end
        archive.commit()
    for step in (lambda: None, archive.fold, archive.seal):
        step()
        for file in archive.state.files.values():
            told = footer(archive, file)
            assert told.entry == replace(file, bytes=0, sha256="")
            assert told.record <= archive.state.n
            seen_kinds.add((told.made_by, file.kind))
    parsed, chunk = lines(theirs, at, 50)
    archive.bulk.append(parsed, [chunk])
    archive.bulk.commit()
    for file in archive.state.files.values():
        seen_kinds.add((footer(archive, file).made_by, file.kind))
    assert {("fold", "events"), ("seal", "rejects"), ("bulk", "events"), ("bulk", "rollup")} <= seen_kinds
    archive.close()


def test_sealed_files_tell_the_ranges_of_all_their_commits_as_one(archive: Archive) -> None:
    """Ten commits become one range a source, with the sum of their counts; each day's file tells it."""
    first, second = archive.register_all([seen("a"), seen("b")])
    at = 0
    for _ in range(10):
        add(archive, second, at // 2, 2)
        at = add(archive, first, at, 4)
        archive.commit()
        archive.fold()
    archive.seal()
    for file in archive.snapshot.events:
        told = footer(archive, file).sources
        assert told[first.sid].covered.state == archive.sources[first.sid]
        covered = told[first.sid].covered
        assert (covered.start, covered.end, covered.counts) == (0, 400, Counts(lines=40, events=40))
        assert sum(each.rows for each in told.values()) == file.rows
    total = sum(footer(archive, file).sources[first.sid].rows for file in archive.snapshot.events)
    assert total == 40
    archive.close()


def test_bytes_without_rows_are_told_by_the_next_file(archive: Archive) -> None:
    """Blank lines alone make no file: their range waits, through a restart, for a commit that has one."""
    source, other = archive.register_all([seen("a"), seen("b")])
    at = add_blanks(archive, source, 0, 3)
    archive.commit()
    at = add_blanks(archive, source, at, 2)
    archive.commit()
    archive.close()
    archive = Archive.open(archive.options)
    add(archive, other, 0, 1)
    archive.commit()
    (file,) = archive.snapshot.events
    told = footer(archive, file).sources[source.sid]
    assert (told.covered.start, told.covered.end, told.rows) == (0, 50, 0)
    assert told.covered.counts == Counts(lines=5, blanks=5)
    add(archive, source, at, 1)
    archive.commit()
    archive.seal()
    assert not archive.state.bare
    covered = footer(archive, archive.snapshot.events[0]).sources[source.sid].covered
    assert (covered.start, covered.end, covered.counts) == (0, 60, Counts(lines=6, blanks=5, events=1))
    archive.close()


def test_ranges_of_rejects_alone_are_told_by_the_file_of_rejects(archive: Archive) -> None:
    """A source none of whose lines could be read is known from its rejects."""
    source = archive.register(seen("a"))
    add_rejects(archive, source, 0, 4)
    archive.commit()
    archive.seal()
    (file,) = archive.snapshot.rejects
    told = footer(archive, file).sources[source.sid]
    assert (told.covered.end, told.rows, told.covered.counts.rejects) == (40, 4, 4)
    archive.close()


def test_a_merged_file_names_what_it_replaces(archive: Archive) -> None:
    """Superseded files lie beside it for a while: without a ledger they must not count twice."""
    source = archive.register(seen("a"))
    at = 0
    for _ in range(4):
        at = add(archive, source, at, 2)
        archive.commit()
    before = {file.path for file in archive.state.files.values()}
    archive.seal()
    for file in archive.snapshot.events:
        assert set(footer(archive, file).replaces) == before
    archive.close()


def covering(sources: int) -> Origin:
    """Return what is said of files with one row of each of so many sources."""
    state = SourceState.from_json(
        {
            **asdict(seen("app.jsonl")),
            "sid": "",
            "offset": 10,
            "digest": "0" * 64,
            "digest_from": 0,
            "counts": {},
        }
    )
    states = (replace(state, sid=f"{number:032x}") for number in range(sources))
    covered = {each.sid: Covered(each, 0, 10, Counts(lines=1, events=1)) for each in states}
    return Origin("seal", 1, 1, "0", 1, covered)


ENTRY = File("a.parquet", "events", "main", 0, 0, "", 0, 0, 1, 1)
MANY_SOURCES = 8 * BLOCK_SOURCES


@pytest.mark.parametrize("sources", [0, 1, BLOCK_SOURCES, BLOCK_SOURCES + 1, 3 * BLOCK_SOURCES])
def test_a_footer_tells_of_each_source_however_many_blocks_it_takes(sources: int) -> None:
    """None, one, a block to its last place, one more, several: what is read is what was written, the newest sources too."""
    origin = covering(sources)
    origin.known = [replace(next(iter(covering(1).covered.values())).state, sid="known")]
    rows = dict.fromkeys(origin.covered, 1)

    written = {key.encode(): text.encode() for key, text in origin.footer(ENTRY, rows, last=True).items()}

    read = parse_footer(written)
    assert read is not None
    assert {sid: told.covered for sid, told in read.sources.items()} == origin.covered
    assert list(read.known) == origin.known
    coverage = Coverage()
    coverage.add(written)
    known = State(sources={sid: covered.state for sid, covered in origin.covered.items()})
    assert coverage.of(known) == origin.covered


def test_footers_of_many_sources_are_written_and_read_a_block_at_a_time() -> None:
    """What a merge needs of memory for them is little more than the text and its outcome: half a kilobyte a source."""
    origin = covering(MANY_SOURCES)
    rows = dict.fromkeys(origin.covered, 1)
    tracemalloc.start()
    try:
        text = origin.footer(ENTRY, rows)[SOURCES_KEY]
        writing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        Coverage().add({SOURCES_KEY.encode(): text.encode()})
        reading = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    assert writing < 1024 * MANY_SOURCES, "as one text it takes two kilobytes a source"
    assert reading < 1024 * MANY_SOURCES


def test_the_footer_stays_small_however_many_sources_there_are(archive: Archive) -> None:
    """A thousand files met at once cost some hundred bytes each in one footer; others are told within a bound."""
    many = archive.register_all([seen(f"{number}.jsonl") for number in range(1000)])
    for source in many:
        add(archive, source, 0, 1)
    archive.commit()
    (live,) = archive.snapshot.events
    assert sources_bytes(archive, live) < 150 * len(many)
    archive.seal()
    add(archive, archive.register(seen("late")), 0, 1)
    archive.commit()
    archive.seal()
    newest = max(archive.snapshot.events, key=lambda file: file.max_seq)
    assert len(footer(archive, newest).known) == KNOWN_SOURCES
    assert sources_bytes(archive, newest) < 20_000
    archive.close()
