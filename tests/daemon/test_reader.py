"""Spans of complete lines, whatever the block boundaries: the offset only ever moves past a newline."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import reader
from daemon.files import Plain
from daemon.reader import Reader, RewrittenError, Span, short_hash


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def open_reader(path: Path) -> Iterator[Callable[..., Reader]]:
    made: list[Plain] = []

    def make(content: bytes, *, max_line_bytes: int = 1 << 20) -> Reader:
        path.write_bytes(content)
        made.append(Plain(os.open(path, os.O_RDONLY)))
        return Reader(made[-1], max_line_bytes)

    yield make
    for file in made:
        file.close()


def spans(it: Reader, size: int, *, finish: bool = False) -> list[Span]:
    found = []
    while True:
        before = it.position
        span = it.read(size, finish=finish)
        if span is not None:
            found.append(span)
        elif it.position == before:
            return found


def size_of(path: Path) -> int:
    return path.stat().st_size


def test_a_half_written_line_waits_for_its_newline(open_reader, path):
    """A line without its newline is not an event yet."""
    it = open_reader(b"one\ntwo")
    (span,) = spans(it, 7)
    assert span.data == b"one\n"
    with path.open("ab") as file:
        file.write(b" more\n")

    (rest,) = spans(it, size_of(path))

    assert (rest.start, rest.data) == (4, b"two more\n")


def test_an_unterminated_last_line_is_taken_when_the_file_is_finished(open_reader):
    """Nobody will end it any more."""
    it = open_reader(b"one\ntwo")

    first, last = spans(it, 7, finish=True)

    assert (first.torn, last.torn, last.data, last.end) == (False, True, b"two", 7)


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 100])
def test_the_longest_line_allowed_does_not_count_its_newline(open_reader, path, extra):
    """One byte more makes it oversize, wherever blocks begin."""
    long = b"x" * (100 + extra)
    it = open_reader(b"a\n" + long + b"\nb\n", max_line_bytes=100)

    found = spans(it, size_of(path))

    lines = b"".join(span.data for span in found)
    if extra <= 0:
        assert lines == b"a\n" + long + b"\nb\n"
    else:
        assert lines == b"a\nb\n"
        (entry,) = [entry for span in found for entry in span.oversize]
        assert (entry.offset, entry.length) == (2, len(long))
        assert entry.sha256 == hashlib.sha256(long).hexdigest()
        assert entry.head == long


def test_an_enormous_line_costs_no_memory_and_the_next_one_is_read(open_reader, path):
    """Its length, hash and first bytes are kept, nothing else."""
    it = open_reader(b"")
    with path.open("r+b") as file:
        file.seek(64 << 20)
        file.write(b"x\nnext\n")
    size = size_of(path)
    with path.open("r+b") as file:
        file.write(b"begins ")  # not a hole: the line starts with text

    found = spans(it, size)

    (entry,) = found[0].oversize
    assert entry.length == (64 << 20) + 1
    assert entry.head.startswith(b"begins \0")
    assert len(entry.head) == 64 * 1024
    assert found[1].data == b"next\n"


def test_an_oversize_line_without_an_end_waits_and_then_ends_with_the_file(open_reader, path):
    """It is counted once, and only when it is over."""
    it = open_reader(b"y" * 5000, max_line_bytes=1000)
    assert spans(it, 5000) == []
    assert it.offset == 0

    (span,) = spans(it, 5000, finish=True)

    assert (span.end, span.oversize[0].length) == (5000, 5000)


def test_a_hole_of_nuls_is_counted_and_skipped(open_reader, path):
    """A writer that kept its offset over a truncation leaves one at the head; crashes leave them anywhere."""
    it = open_reader(bytes(5000) + b"one\n" + bytes(100) + b"two\n")

    found = spans(it, size_of(path))

    assert [span.nul_bytes for span in found] == [5000, 0, 100, 0]
    assert [span.data for span in found] == [b"", b"one\n", b"", b"two\n"]
    assert [span.start for span in found] == [0, 5000, 5004, 5104]


def test_a_hole_of_gigabytes_is_skipped_without_being_read(open_reader, path):
    """T32. A writer that does not append goes on at its old position after a truncation."""
    it = open_reader(b"one\n")
    spans(it, 4)
    with path.open("r+b") as file:
        file.seek(8 << 30)
        file.write(b"two\nthree\n")
    size = size_of(path)

    found = spans(it, size)

    assert len(found) <= 3  # the hole, what of it lies in the block of the lines, the lines
    assert sum(span.nul_bytes for span in found) == (8 << 30) - 4
    assert found[-1].data == b"two\nthree\n"
    assert (found[0].start, found[-1].end) == (4, size)
    mark = found[-1].mark
    content = bytes((8 << 30) - mark.digest_from) if mark.digest_from < 8 << 30 else b""
    assert mark.digest == hashlib.sha256(content + b"two\nthree\n").hexdigest()
    with path.open("ab") as file:
        file.write(b"four\n")
    (rest,) = spans(it, size_of(path))
    assert rest.data == b"four\n"


def test_a_short_hole_belongs_to_the_digest(open_reader, path):
    """Its bytes are zeros, read or not."""
    it = open_reader(b"one\n")
    with path.open("r+b") as file:
        file.seek(5 << 20)
        file.write(b"two\n")
    size = size_of(path)

    last = spans(it, size)[-1]

    assert last.mark.digest_from == 0
    assert last.mark.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_first_bytes_are_read_twice_when_nothing_was_read_before(open_reader, path, monkeypatch):
    """H11. Truncated and written anew between two preads: old and new bytes are never mixed."""
    old = b"".join(b"old %06d\n" % n for n in range(1000))
    it = open_reader(old)
    real = it.file.pread
    reads: list[int] = []

    def rewritten_after_the_first(length, offset):
        data = real(length, offset)
        if not reads:
            path.write_bytes(old.replace(b"old", b"new") + b"more\n")
        reads.append(offset)
        return data

    monkeypatch.setattr(
        Plain, "pread", lambda _self, length, offset: rewritten_after_the_first(length, offset)
    )

    with pytest.raises(RewrittenError):
        it.read(len(old))


def test_nuls_at_the_end_may_be_reserved_room_and_wait(open_reader, path):
    """A writer that reserves room fills it later."""
    it = open_reader(b"one\n" + bytes(4096))
    assert [span.data for span in spans(it, size_of(path))] == [b"one\n"]
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"two\n")

    (span,) = spans(it, size_of(path))

    assert span.data == b"two\n"


def test_a_truncated_file_is_noticed_by_its_size(open_reader):
    """Less than was read."""
    it = open_reader(b"one\ntwo\n")
    spans(it, 8)

    with pytest.raises(RewrittenError):
        it.read(3)


def test_a_file_that_grew_again_past_the_offset_is_noticed_by_its_seam(open_reader, path):
    """Truncated and rewritten between two looks: the size says nothing."""
    it = open_reader(b"one\ntwo\n")
    spans(it, 8)
    path.write_bytes(b"other content that is longer\n")

    with pytest.raises(RewrittenError):
        it.read(size_of(path))


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    block=st.integers(1, 64),
    stops=st.lists(st.integers(1, 200), max_size=8),
)
def test_spans_join_to_the_file_for_every_block_size(tmp_path_factory, lines, block, stops):
    """Any byte boundary may fall anywhere: ranges are contiguous, lines whole, marks those of the content."""
    content = b"".join(line + b"\n" for line in lines)
    path = tmp_path_factory.mktemp("spans") / "a"
    path.write_bytes(content)
    file = Plain(os.open(path, os.O_RDONLY))
    before, reader.BLOCK_BYTES = reader.BLOCK_BYTES, block
    try:
        it = Reader(file, 1000)
        found = []
        for size in [*(min(stop, len(content)) for stop in sorted(stops)), len(content)]:
            if size >= it.position:
                found += spans(it, size)
    finally:
        reader.BLOCK_BYTES = before
        file.close()

    at = 0
    for span in found:
        assert span.start == at
        at = span.end
        assert span.nul_bytes or span.data == content[span.start : span.end]
        assert span.nul_bytes or span.data.endswith(b"\n")
        mark = span.mark
        assert mark.head == short_hash(content[: mark.head_length])
        assert mark.seam == short_hash(content[at - mark.seam_length : at])
        assert mark.digest == hashlib.sha256(content[mark.digest_from : at]).hexdigest()
    assert at == len(content)
