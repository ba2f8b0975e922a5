"""Compressed rotations: their lines are those of the file that was compressed, and come through exactly once."""

import bz2
import gzip
import lzma
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import unpacked
from daemon.failpoints import planted
from daemon.packs import INCOMPLETE_SECONDS, RETRY_SECONDS
from tests.daemon.test_tailer import Followed, append

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def _zstd(data: bytes) -> bytes:
    """As the `zstd` command does it: with a checksum."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": _zstd,
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
}
ENDINGS = pytest.mark.parametrize("ending", COMPRESS)


def content(first: int, count: int) -> bytes:
    """Lines that compress badly, so that compressed files have a middle."""
    random_ = random.Random(first)
    return b"".join(
        b'{"n":%d,"x":"%016x"}\n' % (n, random_.getrandbits(64)) for n in range(first, first + count)
    )


def lines_of(data: bytes) -> list[bytes]:
    return sorted(data.splitlines())


def compress(path: Path, ending: str) -> Path:
    """Compress a file as rotation does: write the compressed one whole, then remove the original."""
    packed = path.with_name(path.name + ending)
    packed.write_bytes(COMPRESS[ending](path.read_bytes()))
    path.unlink()
    return packed


def troubles(it: Followed) -> list[str]:
    return [pack.trouble for pack in it.tailer.binder.books.packs.unread.values() if pack.trouble]


@ENDINGS
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_a_rotation_that_is_compressed_adds_nothing(it, ending, restart):
    """Everything in it is archived: it is the same source, under another name and in another form."""
    data = content(0, 3000)
    log = it.folder / "app.log"
    append(log, data)
    it.settle()
    log.rename(it.folder / "app.log.1")
    it.settle(seconds=1)
    if restart:
        it.restart()
    compress(it.folder / "app.log.1", ending)
    it.settle(seconds=1)
    it.settle(seconds=70)
    it.collector.commit()
    it.settle(seconds=700)

    assert it.lines == lines_of(data)
    assert len(it.collector.sources) == 1
    assert {note.kind for note in it.notes} <= {"renamed", "unlinked"}


@ENDINGS
def test_an_unread_tail_is_read_from_the_compressed_file(it, ending):
    """Exactly the tail, although the original is gone since the daemon last ran."""
    data = content(0, 40_000)
    log = it.folder / "app.log.1"
    append(log, data[: len(data) // 2])
    it.settle()
    it.restart()
    append(log, data[len(data) // 2 :])
    compress(log, ending)
    it.settle(seconds=1)
    it.settle(seconds=60)

    assert it.lines == lines_of(data)
    assert len(it.collector.sources) == 1
    assert "gap" not in it.kinds()


@ENDINGS
def test_history_that_was_compressed_before_the_first_start_is_read(it, ending):
    """Also a last line without its newline: nobody will end it."""
    data = content(0, 5000) + b'{"n":"last"}'
    (it.folder / f"app.jsonl.3{ending}").write_bytes(COMPRESS[ending](data))
    it.settle()

    assert it.lines == lines_of(data)


@ENDINGS
def test_nothing_is_read_before_the_last_checksum_is_there(it, ending):
    """A file that is being written is looked at as it grows, and read when it is whole."""
    data = content(0, 20_000)
    whole = COMPRESS[ending](data)
    path = it.folder / f"app.log{ending}"
    for cut in range(0, len(whole), len(whole) // 7):
        path.write_bytes(b"") if not cut else append(path, whole[path.stat().st_size : cut])
        it.settle(seconds=2)
        assert it.lines == []
        assert troubles(it) == []
    append(path, whole[path.stat().st_size : -1])
    it.settle(seconds=2)
    assert it.lines == []

    append(path, whole[-1:])
    it.settle(seconds=2)

    assert it.lines == lines_of(data)


@ENDINGS
def test_a_file_that_was_cut_is_shown_as_trouble_and_read_once_it_is_whole(it, ending):
    """After a minute without growth nobody seems to write it any more."""
    data = content(0, 3000)
    whole = COMPRESS[ending](data)
    path = it.folder / f"app.log{ending}"
    path.write_bytes(whole[: len(whole) // 2])
    it.settle()
    it.settle(seconds=INCOMPLETE_SECONDS + 1)

    assert it.lines == []
    assert troubles(it) == [f"is not complete ({len(whole) // 2} bytes); it is read once its end is there"]
    assert it.kinds() == ["damaged"]

    path.write_bytes(whole)
    it.settle(seconds=2)
    assert (it.lines, troubles(it)) == (lines_of(data), [])


@ENDINGS
@pytest.mark.parametrize("what", ["middle", "checksum", "followed by something else", "not compressed"])
def test_a_damaged_file_is_named_and_nothing_of_it_is_read(it, ending, what):
    """Until it changes."""
    data = content(0, 3000)
    good = COMPRESS[ending](data)
    bad = bytearray(good)
    if what == "middle":
        bad[len(bad) // 2] ^= 0x55
    elif what == "checksum":
        bad[-9 if ending == ".xz" else -5 if ending == ".gz" else -2] ^= 0x55
    elif what == "followed by something else":
        bad += b"something else"
    else:
        bad[:] = data
    path = it.folder / f"app.log{ending}"
    path.write_bytes(bytes(bad))
    append(it.folder / "other.log", b"one\n")
    it.settle()

    assert it.lines == [b"one"]
    (trouble,) = troubles(it)
    assert "it is read once it has changed" in trouble
    assert it.kinds() == ["damaged"]

    path.write_bytes(good)
    os.utime(path, ns=(1, 1))
    it.settle(seconds=2)
    assert (it.lines, troubles(it)) == (sorted([b"one", *data.splitlines()]), [])


@ENDINGS
def test_members_one_after_the_other_are_one_file(it, ending):
    """As `cat a.gz b.gz`, parallel compressors and appending writers make them; padding in between is allowed."""
    first, second, third = content(0, 900), content(900, 900), content(1800, 900)
    half = len(first) - 10  # a line goes over two members
    packed = COMPRESS[ending]
    path = it.folder / f"app.log{ending}"
    path.write_bytes(packed(first[:half]) + packed(b"") + packed(first[half:]) + packed(second))
    it.settle()
    assert it.lines == lines_of(first + second)

    append(path, bytes(512) + packed(third))
    it.settle(seconds=2)

    assert it.lines == lines_of(first + second + third)
    assert len(it.collector.sources) == 1


def test_frames_that_zstd_is_to_skip_are_skipped(it):
    """Parallel compressors put them first, seekable files last."""
    skip = b"\x5d\x2a\x4d\x18" + (300).to_bytes(4, "little") + bytes(300)
    data = content(0, 100)
    (it.folder / "app.log.zst").write_bytes(skip + _zstd(data) + skip)
    it.settle()

    assert it.lines == lines_of(data)


@ENDINGS
def test_a_compressed_copy_beside_its_original_is_held(it, ending):
    """`gzip -k`, and the moment before rotation removes the original; the original may even grow."""
    data = content(0, 3000)
    log = it.folder / "app.log"
    append(log, data)
    it.settle()
    (it.folder / f"app.log{ending}").write_bytes(COMPRESS[ending](data))
    it.settle(seconds=2)
    append(log, content(3000, 10))
    it.settle(seconds=700)

    assert it.lines == lines_of(data + content(3000, 10))
    assert "copy" in it.kinds()


@ENDINGS
def test_a_compressed_file_that_is_unpacked_again_adds_nothing(it, ending):
    """Whichever of the two comes first."""
    data = content(0, 3000)
    packed = it.folder / f"app.log.1{ending}"
    packed.write_bytes(COMPRESS[ending](data))
    it.settle()
    append(it.folder / "app.log.1", data)
    it.settle(seconds=2)
    packed.unlink()
    it.settle(seconds=10)
    it.collector.commit()
    it.settle(seconds=70)

    assert it.lines == lines_of(data)
    assert len(it.collector.sources) == 1


def test_a_rename_of_compressed_files_inspects_nothing_again(it):
    """A chain of rotations renames them all every day."""
    for number in range(1, 4):
        (it.folder / f"app.log.{number}.gz").write_bytes(gzip.compress(content(number * 100, 50)))
    it.settle()
    it.collector.commit()
    lines = it.lines
    with planted("pread delay=0 *.gz*") as (reads,):
        for number in (3, 2, 1):
            (it.folder / f"app.log.{number}.gz").rename(it.folder / f"app.log.{number + 1}.gz")
        it.settle(seconds=5)

    assert (it.lines, reads.hits) == (lines, 0)


def test_a_byte_order_mark_inside_is_part_of_the_first_line_s_range(it):
    """Offsets count from the first byte that comes out; the mark is skipped by the parser, as in a plain file."""
    data = b"\xef\xbb\xbf" + content(0, 5)
    (it.folder / "app.log.gz").write_bytes(gzip.compress(data))
    it.settle()

    (chunk,) = it.collector.chunks()
    assert (chunk.start, chunk.end, chunk.data) == (0, len(data), data)


def test_a_file_that_unpacks_to_too_much_is_refused_and_counted(tmp_path):
    """A few bytes can unpack to anything."""
    it = Followed(tmp_path, max_unpacked_bytes=1 << 20)
    (tmp_path / "bomb.log.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 1_000_000))
    (tmp_path / "small.log.gz").write_bytes(gzip.compress(b"one\n"))
    it.settle()
    it.tailer.close()

    assert it.lines == [b"one"]
    assert it.kinds() == ["too large"]
    assert "max_unpacked_bytes" in troubles(it)[0]


@ENDINGS
def test_memory_is_bounded_by_a_window(tmp_path, ending, monkeypatch):
    """Never the whole of what a file holds, however well it was compressed."""
    windows: list[int] = []
    step = unpacked.Unpacked._step

    def watched(self: unpacked.Unpacked, offset: int) -> None:
        step(self, offset)
        windows.append(len(self._window))

    monkeypatch.setattr(unpacked.Unpacked, "_step", watched)
    it = Followed(tmp_path)
    line = b'{"a": "' + b"x" * 990 + b'"}\n'
    (tmp_path / f"big.log{ending}").write_bytes(COMPRESS[ending](line * 24_000))
    it.settle()
    it.tailer.close()

    assert len(it.lines) == 24_000
    assert max(windows) < 3 << 20


def test_a_file_that_cannot_be_read_now_is_tried_again(it):
    """EIO, too many open files: the file waits, and others are read."""
    data = content(0, 100)
    (it.folder / "a.log.gz").write_bytes(gzip.compress(data))
    append(it.folder / "b.log", b"one\n")
    for plan in ("pread EIO */a.log.gz", "open_file EMFILE */a.log.gz"):
        with planted(plan):
            it.settle(seconds=RETRY_SECONDS + 1)
            it.settle(seconds=RETRY_SECONDS + 1)
            assert it.lines == [b"one"]
            assert len(troubles(it)) == 1

    it.settle(seconds=RETRY_SECONDS + 1)
    it.settle(seconds=RETRY_SECONDS + 1)

    assert it.lines == sorted([b"one", *data.splitlines()])


def test_a_file_that_is_replaced_while_it_is_read_hands_on_nothing_unchecked(it):
    """What was inspected is not there any more: what comes now is inspected first."""
    data, other = content(0, 120_000), content(200_000, 120_000)
    path = it.folder / "app.log.gz"
    path.write_bytes(gzip.compress(data))
    while not it.collector.chunks():
        turn = it.tailer.turn(rescan=True, room=1)
        it.collector.append([reading.chunk for reading in turn.readings])
        it.now += 0.3
    assert len(it.lines) < 120_000
    path.write_bytes(gzip.compress(other))
    it.settle(seconds=2)
    it.settle(seconds=30)

    assert set(it.lines) >= set(other.splitlines())
    assert set(it.lines) <= {*data.splitlines(), *other.splitlines()}
    assert len(it.lines) == len(set(it.lines))
    assert "gap" in it.kinds()
