"""Blocks of bytes become lines: every byte belongs to one, wherever the block was cut."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from parsers.framing import BOM, frame

PIECES = st.sampled_from(
    [
        b'{"a":1}',
        b"{}",
        b"",
        b" ",
        b"\t",
        b"x",
        b"\xff",
        b"\x00",
        "é".encode(),
        b'{"a":"\xe2\x82"}',
        b"{",
        b"}",
        b"\r",
        b"\x85",
    ]
)
BLOCKS = st.lists(st.lists(PIECES, max_size=4).map(b"".join), max_size=12).map(
    lambda lines: b"".join(line + b"\n" for line in lines)
)


@given(BLOCKS, st.booleans(), st.binary(max_size=3))
def test_lines_cover_the_block(data, first, tail):
    """Offsets are those of a plain split; blank lines, and lines that cannot be objects, are told apart exactly."""
    tail = tail.replace(b"\n", b"")
    data += tail
    lines = frame(data, first=first)
    plain = data.split(b"\n")
    expected = [line + b"\n" for line in plain[:-1]] + ([plain[-1]] if plain[-1] else [])
    spans = [data[s:e] for s, e in zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)]
    if first and data.startswith(BOM) and expected:
        expected[0] = expected[0][len(BOM) :]
    assert spans == expected
    assert lines.blank.tolist() == [not line.strip(b" \t\r\n\x0b\x0c") for line in expected]
    assert lines.unreadable.tolist() == [b"\x00" in line or not utf8(line) for line in expected]
    for text, line, bad in zip(lines.text.to_pylist(), expected, lines.unreadable.tolist(), strict=True):
        body = line.removesuffix(b"\n").removesuffix(b"\r")
        assert (text is not None) == (body.startswith(b"{") and body.endswith(b"}") and not bad)
        assert text is None or text.encode() == line
    lines.text.validate(full=True)


def utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_lines_are_a_view_of_the_block():
    """No line is copied: the array points into the bytes that were read."""
    data = b'{"a":1}\n{"b":2}\r\n'
    lines = frame(data, first=True)
    view = lines.text.buffers()[2]
    assert view is not None
    assert view.address == pa.py_buffer(data).address
    assert [lines.line(0), lines.line(1)] == [b'{"a":1}', b'{"b":2}']


def test_a_prefix_is_blanked_where_it_is_one():
    """The object keeps its place, so offsets stay true; a line without the prefix is left to the slow path."""
    data = b'12:00 | INFO | {"a":"|"}\n{"b":1}\nnothing | {"c":1}\n'
    lines = frame(data, first=True, prefix=r"[^|{]{3,40} \| [A-Z]+ \| ")
    assert lines.text.to_pylist() == [" " * 15 + '{"a":"|"}\n', '{"b":1}\n', None]
    assert lines.data == data
    assert lines.starts.tolist() == [0, 25, 33]


def test_a_large_block_is_cut_like_a_small_one():
    """Blocks are searched in steps; the seams of the steps must not show."""
    data = b"".join(b'{"n":%d}\n' % n for n in range(100_000))
    lines = frame(data, first=False)
    assert len(lines) == 100_000
    assert np.array_equal(lines.ends[:-1], lines.starts[1:])
    assert lines.text[77_777].as_py() == '{"n":77777}\n'
