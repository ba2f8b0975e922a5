"""Sources whose file lost its end: rungs that recognise what is left, and forks that go on from there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from parsers.batch import Mark
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.lineage import RUNGS_MOST, RUNGS_RECENT, climbed, lineage
from storage.records import Rung, SourceState
from storage.verify import verify
from tests.storage.made import LINE, lines, seen


def opened(path: Path) -> Archive:
    return Archive.open(ArchiveOptions(path=str(path)))


def add(archive: Archive, source: object, start: int, count: int) -> None:
    parsed, chunk = lines(source, start, count)  # type: ignore[arg-type]
    archive.append(parsed, [chunk])
    archive.commit()


@given(st.lists(st.integers(1, 1 << 30), min_size=1, max_size=300))
def test_rungs_stay_few_and_reach_from_the_first_byte_to_the_last(steps: list[int]) -> None:
    """However many commits a source has; the newest are all there."""
    rungs: tuple[Rung, ...] = (Rung(0, 0, "", 0),)
    ends = [0]
    for step in steps:
        ends.append(ends[-1] + step)
        rungs = climbed(rungs, Rung(0, ends[-1], "", len(ends)))

    assert len(rungs) <= RUNGS_MOST
    assert rungs[0].end == 0
    assert [rung.end for rung in rungs[-RUNGS_RECENT:]] == ends[-RUNGS_RECENT:]
    assert [rung.end for rung in rungs] == sorted(rung.end for rung in rungs)


def test_rungs_grow_sparser_with_the_distance_from_the_end() -> None:
    """Ten thousand equal commits: each step is a small multiple of the distance that the next one has."""
    rungs: tuple[Rung, ...] = (Rung(0, 0, "", 0),)
    for number in range(1, 10_001):
        rungs = climbed(rungs, Rung(0, number, "", number))
    left = [10_000 - rung.end for rung in rungs[:-RUNGS_RECENT]]

    assert all(far <= 8 * max(1, near) for far, near in pairwise(left))


def test_a_fork_begins_where_its_file_differs(tmp_path: Path) -> None:
    """Its ranges continue from there, the older source keeps its rows, and verification agrees."""
    archive = opened(tmp_path)
    first = archive.register(seen("a.log"))
    add(archive, first, 0, 10)
    fork = archive.register(replace(seen("a.log"), base=7 * LINE, continues=first.sid))
    add(archive, fork, 7 * LINE, 5)
    archive.abandon()

    archive = opened(tmp_path)
    state = archive.sources[fork.sid]
    segments = lineage(archive.sources, fork.sid)
    archive.close()

    assert (state.base, state.continues, state.offset, state.counts.events) == (70, first.sid, 120, 5)
    assert [(s.source.sid, s.start, s.end) for s in segments] == [(first.sid, 0, 70), (fork.sid, 70, 120)]
    report = verify(str(tmp_path), with_sources=False)
    assert report.ok, report.findings
    assert report.events == 15


def test_a_fork_of_a_fork_may_begin_before_it(tmp_path: Path) -> None:
    """Then the one in between holds nothing of the file any more."""
    archive = opened(tmp_path)
    first = archive.register(seen("a.log"))
    add(archive, first, 0, 10)
    second = archive.register(replace(seen("a.log"), base=7 * LINE, continues=first.sid))
    add(archive, second, 7 * LINE, 5)
    third = archive.register(replace(seen("a.log"), base=3 * LINE, continues=first.sid))
    add(archive, third, 3 * LINE, 1)
    segments = lineage(archive.sources, third.sid)
    archive.close()

    assert [(s.source.sid, s.start, s.end) for s in segments] == [(first.sid, 0, 30), (third.sid, 30, 40)]


def test_rungs_survive_a_restart_and_say_which_rows_lie_behind_them(tmp_path: Path) -> None:
    """They are folded from the commits; their numbers rise with them."""
    archive = opened(tmp_path)
    source = archive.register(seen("a.log"))
    add(archive, source, 0, 10)
    add(archive, source, 100, 10)
    before = archive.sources[source.sid].rungs
    archive.abandon()
    archive = opened(tmp_path)
    after = archive.sources[source.sid].rungs
    archive.close()

    assert after == before
    assert [(rung.end, rung.digest) for rung in after] == [
        (0, hashlib.sha256().hexdigest()),
        (100, "d100"),
        (200, "d200"),
    ]
    assert after[0].seq < after[1].seq < after[2].seq


def test_records_written_before_there_were_forks_are_read(tmp_path: Path) -> None:
    """What they lack is as it was: a source begins at byte 0 and continues none."""
    archive = opened(tmp_path)
    state = archive.sources[archive.register(seen("a.log")).sid]
    archive.close()
    old = {
        name: value for name, value in state.to_json().items() if name not in {"base", "continues", "rungs"}
    }

    read = SourceState.from_json(old)

    assert (read.base, read.continues, read.rungs) == (0, "", ())


def test_verification_compares_a_file_with_the_source_that_it_is_now(tmp_path: Path) -> None:
    """Of the one before, only what the file still holds; what it lost is no finding, what it changed is one."""
    path = tmp_path / "a.log"
    kept, lost, added = b"one.......", b"two.......", b"three....."
    path.write_bytes(kept + added)
    inode = path.stat().st_ino
    archive = opened(tmp_path / "archive")
    first = archive.register(replace(seen("a.log"), path=str(path), inode=inode))
    written(archive, first, path, 0, kept)
    written(archive, first, path, 10, lost, before=kept)
    fork = archive.register(replace(seen("a.log"), path=str(path), inode=inode, base=10, continues=first.sid))
    written(archive, fork, path, 10, added)
    archive.close()

    report = verify(str(tmp_path / "archive"))
    assert report.ok, report.findings
    assert (report.sources, report.sources_checked) == (2, 1)

    path.write_bytes(b"One......." + added)
    assert [finding.kind for finding in verify(str(tmp_path / "archive")).findings] == ["SOURCE"]


def written(
    archive: Archive, source: object, path: Path, start: int, data: bytes, *, before: bytes = b""
) -> None:
    """Commit one line that is in the file (or was), with the digests a reader would give."""
    parsed, chunk = lines(source, start, 1)  # type: ignore[arg-type]
    info = path.stat()
    mark = Mark("h", 1, "s", 1, hashlib.sha256(before + data).hexdigest(), start - len(before))
    place = replace(chunk.place, path=str(path), inode=info.st_ino, device=info.st_dev)
    archive.append(parsed, [replace(chunk, mark=mark, place=place)])
    archive.commit()
