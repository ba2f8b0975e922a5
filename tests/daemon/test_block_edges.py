"""Whatever falls on the edge of a block: characters, line ends, lines as long as the block itself."""

import os
from pathlib import Path

import pytest

from daemon import reader
from daemon.files import Content, Plain
from daemon.reader import BLOCK_BYTES, Reader, Span
from parsers.framing import frame

MIXED = (
    '{"text":"größer als 10 €, 𝄞"}\r\n'
    "\r\n"
    "\n"
    '{"text":"a lone \rreturn"}\n'
    "   \r\n"
    '{"text":"日本語"}\n'
    '{"text":"last"}\r\n'
).encode()  # fmt: skip


def opened(path: Path, data: bytes) -> Content:
    path.write_bytes(data)
    return Plain(os.open(path, os.O_RDONLY))


def spans(it: Reader, size: int) -> list[Span]:
    found = []
    while True:
        before = it.position
        span = it.read(size)
        if span is not None:
            found.append(span)
        elif it.position == before:
            return found


@pytest.mark.parametrize("block", range(1, 65))
def test_characters_and_line_ends_are_whole_for_every_block_size(tmp_path, monkeypatch, block):
    """T49, T51. Blocks are cut at newlines before anything is decoded; one return before a newline belongs to it."""
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    file = opened(tmp_path / "a.log", MIXED)
    found = spans(Reader(file, 1000), len(MIXED))
    file.close()

    assert b"".join(span.data for span in found) == MIXED
    lines = [frame(span.data, first=span.start == 0) for span in found]
    texts = [framed.line(index).decode() for framed in lines for index in range(len(framed))]
    assert [text for text in texts if text.strip()] == [
        '{"text":"größer als 10 €, 𝄞"}',
        '{"text":"a lone \rreturn"}',
        '{"text":"日本語"}',
        '{"text":"last"}',
    ]
    assert sum(int(framed.blank.sum()) for framed in lines) == 3
    assert not any(framed.unreadable.any() for framed in lines)


@pytest.mark.parametrize("extra", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("limit", [BLOCK_BYTES, 2 * BLOCK_BYTES], ids=["limit is a block", "limit is two"])
def test_lines_around_the_size_of_a_block_are_whole(tmp_path, limit, extra):
    """T54. The newline may be the last byte of a block, the first of the next, or behind the longest line allowed."""
    long = b"x" * (BLOCK_BYTES + extra)
    data = b"before\n" + long + b"\nafter\n"
    file = opened(tmp_path / "a.log", data)
    found = spans(Reader(file, limit), len(data))
    file.close()

    if len(long) <= limit:
        assert b"".join(span.data for span in found) == data
    else:
        (entry,) = [entry for span in found for entry in span.oversize]
        assert (entry.offset, entry.length) == (len(b"before\n"), len(long))
        assert b"".join(span.data for span in found) == b"before\nafter\n"
    assert found[-1].end == len(data)
