"""What is left of a file, compared with a real archive: the longest prefix, at a line's end, that was archived."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.files import Plain
from daemon.ladder import ArchiveLadder, GivenUpError, Reached
from daemon.reader import MARK_BYTES, Reader, short_hash
from parsers.batch import Chunk, Place, Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.records import SourceSeen
from storage.transform import ParseOptions, Transformer
from tests.daemon.collector import common

MAX_LINE = 1 << 12


class Bench:
    """A file, an archive, and lines on their way from one into the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "app.log"
        self.path.write_bytes(b"")
        self.archive = Archive.open(ArchiveOptions(str(folder / "archive")))
        self.transformer = Transformer(ParseOptions())
        self.ladder = ArchiveLadder(self.archive, ParseOptions(), MAX_LINE)

    def close(self) -> None:
        self.transformer.close()
        self.archive.abandon()

    def content(self) -> Plain:
        return Plain(os.open(self.path, os.O_RDONLY))

    def register(self, base: int = 0, continues: str = "", profile: str = "auto") -> Source:
        head = self.path.read_bytes()[:MARK_BYTES]
        return self.archive.register(
            SourceSeen(
                str(self.path), "app.log", 1, 1, None, short_hash(head), len(head), False, profile, None,
                1_700_000_000_000_000, base, continues,
            )
        )  # fmt: skip

    def archive_rest(self, source: Source, offset: int, *, commit_each: int | None = None) -> int:
        """Read the file from an offset on and commit it, at the end or every few chunks; return where it ended."""
        content = self.content()
        whole = self.path.read_bytes()
        reader = Reader(
            content,
            MAX_LINE,
            offset,
            whole[: min(offset, MARK_BYTES)],
            whole[max(0, offset - MARK_BYTES) : offset],
        )
        size = content.size() if commit_each is None else min(content.size(), offset + commit_each)
        while True:
            before = reader.position
            span = reader.read(size)
            if span is not None:
                place = Place(str(self.path), 1, 1, None, content.size())
                chunk = Chunk(
                    source, span.start, span.end, span.data, span.mark, place, span.oversize, span.nul_bytes
                )
                self.archive.append(self.transformer.parse([chunk]), [chunk])
            elif reader.position == before:
                self.archive.commit()
                if size >= content.size():
                    break
                size = min(content.size(), size + (commit_each or 0))
        content.close()
        return reader.offset

    def climb(
        self, sid: str, limit: int, since: Reached | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> Reached:
        content = self.content()
        try:
            return self.ladder.climb(sid, limit, content, since=since, wanted=wanted)
        finally:
            content.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def line(number: int, more: str = "") -> bytes:
    event = {
        "eventId": f"e{number}",
        "timestamp": f"2026-03-01T10:00:{number % 60:02}Z",
        "level": "info",
        "description": f"number {number}{more}",
        "metadata": {"n": number},
    }
    return json.dumps(event).encode() + b"\n"


LINES = [line(number) for number in range(400)]


def test_a_file_that_is_whole_is_recognised(bench: Bench) -> None:
    """Nothing differs: it was only written again."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0, commit_each=3000)

    reached = bench.climb(source.sid, end)

    assert (reached.offset, reached.differs) == (end, False)


@pytest.mark.parametrize("kept", [0, 1, 2, 57, 200, 399, 400])
@pytest.mark.parametrize("commit_each", [None, 5000], ids=["one commit", "many commits"])
def test_lines_after_the_lost_ones_begin_where_those_began(
    bench: Bench, kept: int, commit_each: int | None
) -> None:
    """The last lines were removed, then others came: the prefix ends exactly before the first that differs."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0, commit_each=commit_each)
    prefix = b"".join(LINES[:kept])
    bench.path.write_bytes(prefix + b"".join(line(number) for number in range(1000, 1500)))

    reached = bench.climb(source.sid, end)

    assert reached.offset == len(prefix)
    assert reached.differs == (kept < 400)
    assert reached.tail == prefix[-MARK_BYTES:]
    assert reached.head == prefix[:MARK_BYTES]


def test_a_file_cut_within_a_line_ends_before_it_and_nothing_differs_yet(bench: Bench) -> None:
    """Half of an archived line may still become the whole of it."""
    content = b"".join(LINES)
    bench.path.write_bytes(content)
    source = bench.register()
    end = bench.archive_rest(source, 0)
    boundary = len(b"".join(LINES[:100]))
    bench.path.write_bytes(content[: boundary + 20])
    reached = bench.climb(source.sid, end)
    assert (reached.offset, reached.differs) == (boundary, False)

    bench.path.write_bytes(content)
    again = bench.climb(source.sid, end, since=reached)
    assert (again.offset, again.differs) == (end, False)

    bench.path.write_bytes(content[: boundary + 20] + b"something else\n")
    other = bench.climb(source.sid, end, since=reached)
    assert (other.offset, other.differs) == (boundary, True)


@pytest.mark.parametrize(
    "last",
    [line(1), line(1)[:-1] + b"\r\n", b"not json\n", b"x" * 5000 + b"\n", b"[1, 2]\n", bytes(4) + line(1)],
    ids=["an event", "carriage return", "a reject", "oversize", "no object", "a few NUL bytes"],
)
@pytest.mark.parametrize("before", [0, 400])
def test_a_line_that_lost_only_its_newline_is_known(bench: Bench, last: bytes, before: int) -> None:
    """Whatever was archived of it, and wherever the commits ended; a shorter end is the half of some line."""
    lines = [*LINES[:before], last]
    bench.path.write_bytes(b"".join(lines))
    source = bench.register()
    end = bench.archive_rest(source, 0, commit_each=30_000)
    boundary = end - len(last)
    found = []
    for lost in (1, 3):
        bench.path.write_bytes(b"".join(lines)[: end - lost])
        reached = bench.climb(source.sid, end)
        assert (reached.offset, reached.differs) == (boundary, False)
        found.append(reached.unended)

    assert found == [True, False]


def test_another_line_without_a_newline_is_not_taken_for_the_archived_one(bench: Bench) -> None:
    """It has the same length and the same place."""
    bench.path.write_bytes(line(1) + line(2) + line(3))
    source = bench.register()
    end = bench.archive_rest(source, 0)
    bench.path.write_bytes(line(1) + line(7)[:-1])
    assert not bench.climb(source.sid, end).unended

    bench.path.write_bytes(line(1) + line(2)[:-1])
    assert bench.climb(source.sid, end).unended


@pytest.mark.parametrize(
    ("archived", "present", "kept"),
    [
        ([b"\n", b"  \n", line(1)], [b"\n", b"  \n", line(2)], 2),
        ([line(1), b"not json\n", line(2)], [line(1), b"not json\n", line(3)], 2),
        ([line(1), b"not json\n", line(2)], [line(1), b"not JSON\n", line(2)], 1),
        ([line(1), b"x" * 5000 + b"\n", line(2)], [line(1), b"x" * 5000 + b"\n", line(3)], 2),
        ([line(1), b"x" * 5000 + b"\n", line(2)], [line(1), b"x" * 4999 + b"y\n", line(2)], 1),
        ([line(1), bytes(500) + line(2), line(3)], [line(1), bytes(500) + line(2), line(4)], 2),
        ([line(1), line(2)], [bytes(len(line(1))) + line(2)], 0),
        ([line(1), line(2), line(3)], [line(1), line(2)[:-1] + b" " * len(line(3)) + b"\n"], 1),
        ([line(1), line(1), line(1)], [line(1), line(1), line(2)], 2),
    ],
    ids=[
        "blank lines", "a reject that stayed", "a reject that changed", "a long line that stayed",
        "a long line that changed", "a hole that stayed", "a hole in place of lines",
        "a line grown over the next one", "equal lines",
    ],
)  # fmt: skip
def test_every_kind_of_line_is_compared(
    bench: Bench, archived: list[bytes], present: list[bytes], kept: int
) -> None:
    """Events by their columns, rejects and long lines by their hash; blanks and holes have no rows."""
    bench.path.write_bytes(b"".join(archived))
    source = bench.register()
    end = bench.archive_rest(source, 0)
    bench.path.write_bytes(b"".join(present))

    reached = bench.climb(source.sid, end)

    assert reached.offset == len(b"".join(archived[:kept]))
    assert reached.differs


def test_a_fork_is_compared_with_what_it_continues_too(bench: Bench) -> None:
    """A file that lost lines twice, the second time more than the first."""
    bench.path.write_bytes(b"".join(LINES))
    first = bench.register()
    bench.archive_rest(first, 0, commit_each=7000)
    base = len(b"".join(LINES[:300]))
    others = [line(number) for number in range(1000, 1100)]
    bench.path.write_bytes(b"".join(LINES[:300] + others))
    fork = bench.register(base, first.sid)
    end = bench.archive_rest(fork, base, commit_each=7000)

    whole = bench.climb(fork.sid, end)
    bench.path.write_bytes(b"".join(LINES[:300] + others[:50]) + line(5000))
    in_the_fork = bench.climb(fork.sid, end)
    bench.path.write_bytes(b"".join(LINES[:300]) + line(5000))
    at_its_base = bench.climb(fork.sid, end)
    bench.path.write_bytes(b"".join(LINES[:120]) + line(5000))
    before_it = bench.climb(fork.sid, end)

    assert (whole.offset, whole.sid, whole.differs) == (end, fork.sid, False)
    assert (in_the_fork.offset, in_the_fork.sid) == (base + len(b"".join(others[:50])), fork.sid)
    assert (at_its_base.offset, at_its_base.sid) == (base, first.sid)
    assert (before_it.offset, before_it.sid) == (len(b"".join(LINES[:120])), first.sid)


def test_the_lines_of_a_restarted_daemon_are_compared_where_no_digest_reaches(bench: Bench) -> None:
    """Every start begins a digest of its own; without the rung between, rows bridge the two."""
    bench.path.write_bytes(b"".join(LINES[:200]))
    source = bench.register()
    middle = bench.archive_rest(source, 0)
    bench.path.write_bytes(b"".join(LINES))
    end = bench.archive_rest(source, middle, commit_each=6000)
    states = bench.archive.state.sources
    bridge = states[source.sid].rungs
    states[source.sid] = replace(states[source.sid], rungs=(bridge[0], *bridge[2:]))
    bench.path.write_bytes(b"".join(LINES[:350]) + line(9))

    assert bench.climb(source.sid, end).offset == len(b"".join(LINES[:350]))


def test_sources_written_before_there_were_rungs_are_compared_by_row(bench: Bench) -> None:
    """Slower, and as exact."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0, commit_each=6000)
    states = bench.archive.state.sources
    states[source.sid] = replace(states[source.sid], rungs=())
    bench.path.write_bytes(b"".join(LINES[:250]) + line(9))

    assert bench.climb(source.sid, end).offset == len(b"".join(LINES[:250]))


def test_lines_are_read_again_with_the_profile_that_read_them(bench: Bench) -> None:
    """What the middle of a file looks like does not decide, even where two profiles read it."""
    text = [
        f"2025-10-17T09:30:{n:02}.123Z [info]: {n}, 2025-10-17T09:30:00.123Z, successful, made a, b, x, x.ts\n".encode()
        for n in range(50)
    ]
    bench.path.write_bytes(b"".join(text))
    source = bench.register()
    bench.archive_rest(source, 0)
    bench.path.write_bytes(b"".join(text) + b"".join(LINES[:50]))
    end = bench.archive_rest(replace(source, profile="native"), len(b"".join(text)))
    files = [Path(bench.archive.snapshot.root) / file.path for file in bench.archive.snapshot.events]
    parsers = {name for file in files for name in pq.read_table(file).column("parser").to_pylist()}
    assert len(parsers) == 2
    states = bench.archive.state.sources
    states[source.sid] = replace(states[source.sid], rungs=())
    bench.path.write_bytes(b"".join(text + LINES[:30]) + line(9))

    assert bench.climb(source.sid, end).offset == len(b"".join(text + LINES[:30]))


@pytest.mark.parametrize("edited", [[0], [3, 4, 200], [0, 350]], ids=str)
def test_lines_edited_in_place_do_not_make_a_file_another_one(bench: Bench, edited: list[int]) -> None:
    """T35. A few lines of the same length, all others where they were: the archive keeps what it has."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0, commit_each=5000)
    changed = [text.replace(b"number", b"NUMBER") if at in edited else text for at, text in enumerate(LINES)]
    bench.path.write_bytes(b"".join(changed) + line(1000))

    reached = bench.climb(source.sid, end)

    assert (reached.offset, reached.differs) == (end, False)


def test_a_file_written_anew_with_the_same_end_is_another_one(bench: Bench) -> None:
    """Many lines of the same length differ."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0)
    changed = [
        text.replace(b"number", b"NUMBER") if 10 <= at < 300 else text for at, text in enumerate(LINES)
    ]
    bench.path.write_bytes(b"".join(changed) + line(1000))

    reached = bench.climb(source.sid, end)

    assert (reached.offset, reached.differs) == (len(b"".join(LINES[:10])), True)


def test_sealed_rows_are_compared_as_live_ones_are(bench: Bench) -> None:
    """Where the rows lie makes no difference."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0)
    bench.archive.seal()
    bench.path.write_bytes(b"".join(LINES[:33]) + line(9))

    assert bench.climb(source.sid, end).offset == len(b"".join(LINES[:33]))


def test_a_redacted_line_is_the_line_that_it_was(bench: Bench) -> None:
    """The archive has no secret to compare with, and needs none."""
    secret = json.dumps({"level": "info", "description": "x", "metadata": {"password": "hunter2"}}).encode()
    bench.path.write_bytes(line(1) + secret + b"\n" + line(2))
    source = bench.register()
    end = bench.archive_rest(source, 0)
    bench.path.write_bytes(line(1) + secret + b"\n" + line(3))

    assert bench.climb(source.sid, end).offset == len(line(1) + secret) + 1


def test_a_comparison_can_be_given_up(bench: Bench) -> None:
    """The daemon stops: the next start compares again."""
    bench.path.write_bytes(b"".join(LINES))
    source = bench.register()
    end = bench.archive_rest(source, 0)

    with pytest.raises(GivenUpError):
        bench.climb(source.sid, end, wanted=lambda: False)


KINDS = st.sampled_from(
    [line(1), line(2), line(3, "x" * 300), b"\n", b"broken\n", b'{"level":"warning"}\n', b"y" * 4500 + b"\n"]
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(KINDS, min_size=1, max_size=12),
    kept=st.integers(0, 12),
    later=st.lists(KINDS, max_size=4),
    commit_each=st.sampled_from([None, 200, 5000]),
)
def test_the_prefix_is_what_a_comparison_of_bytes_would_find(
    bench: Bench, lines: list[bytes], kept: int, later: list[bytes], commit_each: int | None
) -> None:
    """For any lines, any commits: against the bytes themselves, which the archive does not have."""
    before = b"".join(lines)
    bench.path.write_bytes(before)
    source = bench.register()
    end = bench.archive_rest(source, 0, commit_each=commit_each)
    now = b"".join(lines[:kept] + later)
    bench.path.write_bytes(now)

    reached = bench.climb(source.sid, end)

    same = common(before[:end], now)
    boundary = 0
    for part in lines:
        if boundary + len(part) > same:
            break
        boundary += len(part)
    assert reached.offset == boundary
    assert reached.differs == (boundary < end and b"\n" in now[boundary:])
