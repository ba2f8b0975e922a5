"""The newest lines of files, read backwards, and which files may be opened at all."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import tails
from web.status import LogFile
from web.tails import Line, last_lines, opened


def log_file(root: Path, name: str = "a.log") -> LogFile:
    return LogFile(sid="0" * 32, root=str(root), file=name, day=None)


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")), max_size=40),
    partial=st.binary(max_size=10).map(lambda b: b.replace(b"\n", b" ")),
    count=st.integers(min_value=1, max_value=12),
    block=st.integers(min_value=1, max_value=64),
)
def test_paging_backwards_gives_every_complete_line_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], partial: bytes, count: int, block: int
) -> None:
    """Whatever the block size, all pages together are the file without its unfinished line, offsets included."""
    root = tmp_path_factory.mktemp("tail")
    (root / "a.log").write_bytes(b"".join(line + b"\n" for line in lines) + partial)
    offsets, at = [], 0
    for line in lines:
        offsets.append(at)
        at += len(line) + 1
    original = tails.BLOCK_BYTES
    tails.BLOCK_BYTES = block
    try:
        with opened([log_file(root)]) as entries:
            end, found = entries[0].size, list[Line]()
            while page := last_lines(entries[0], end, count, 1 << 20):
                assert len(page) <= count
                found = page + found
                end = page[0].offset
    finally:
        tails.BLOCK_BYTES = original
        shutil.rmtree(root)
    assert [line.data for line in found] == lines
    assert [line.offset for line in found] == offsets
    assert not any(line.cut for line in found)


def test_a_line_longer_than_the_window_shows_its_end_and_says_so(tmp_path: Path) -> None:
    """Memory stays bounded, and paging goes on before the giant line."""
    (tmp_path / "a.log").write_bytes(b"first\n" + b"x" * 400_000 + b"\nlast\n")
    with opened([log_file(tmp_path)]) as entries:
        newest = last_lines(entries[0], entries[0].size, 1, 100_000)
        assert [(line.data, line.cut) for line in newest] == [(b"last", False)]
        end, found = newest[0].offset, list[Line]()
        while page := last_lines(entries[0], end, 1, 100_000):
            assert page[0].offset < end
            end = page[0].offset
            found.append(page[0])
    assert found[0].cut
    assert set(found[0].data) == {ord("x")}
    assert (found[-1].data, found[-1].cut) == (b"first", False)


@pytest.mark.parametrize(
    "name",
    ["../secret.log", "/etc/passwd", "sub/../../secret.log", "", "link.log", "dir", "pipe", "linked/in.log"],
)
def test_only_regular_files_below_the_directory_are_opened(tmp_path: Path, name: str) -> None:
    """No parent, no link anywhere on the way, no folder, no FIFO: they are left out without an error."""
    root = tmp_path / "logs"
    (root / "dir").mkdir(parents=True)
    (tmp_path / "secret.log").write_text("secret\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "in.log").write_text("secret\n")
    (root / "link.log").symlink_to(tmp_path / "secret.log")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "pipe")
    with opened([log_file(root, name)]) as entries:
        assert entries == []


def test_opening_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    """Folders on the way and files are closed, found or not."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.log").write_text("a\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with opened([log_file(tmp_path, "sub/a.log"), log_file(tmp_path, "sub/none.log")]) as entries:
            assert len(entries) == 1
    assert len(os.listdir("/proc/self/fd")) == before
