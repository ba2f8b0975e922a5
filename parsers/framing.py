"""Bytes to lines without an object per line: newlines are searched in the whole block, and one Arrow array results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NEWLINE = 0x0A
BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\x0b\x0c"

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one chunk that are not blank.

    ``text`` is a zero-copy view of the chunk's bytes: each line with its newline, which JSON allows as white space.
    ``starts`` and ``ends`` are positions in the chunk's bytes, newline included; ``bad`` holds the indexes of lines
    that are not UTF-8 or hold NUL bytes (they are empty strings in ``text``, so that every reader of it is safe).
    """

    data: bytes
    text: pa.StringArray
    starts: Int64s
    ends: Int64s
    blanks: int
    bad: Int64s

    def line(self, index: int) -> bytes:
        """Return one line as bytes without its line end."""
        return self.data[self.starts[index] : self.ends[index]].rstrip(b"\r\n")


def frame(data: bytes, *, first: bool) -> Lines:
    """Split a block that ends at a line's end. ``first``: it begins a file, so a byte order mark is skipped."""
    block = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(block == NEWLINE) + 1
    if len(data) and (not len(ends) or ends[-1] != len(data)):
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1]
    if first and data.startswith(BOM):
        starts[0] = len(BOM)
    blank = _blanks(data, starts, ends)
    blanks = len(blank)
    if blanks:
        starts, ends = np.delete(starts, blank), np.delete(ends, blank)
    bad = _bad(data, starts, ends)
    return Lines(data, _view(data, starts, ends, bad, whole=not blanks), starts, ends, blanks, bad)


def _blanks(data: bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """Indexes of lines of white space only: only short lines, and long ones that begin with it, are looked at."""
    block = np.frombuffer(data, np.uint8)
    odd = np.flatnonzero(block[np.minimum(starts, len(block) - 1)] <= 0x20) if len(starts) else starts
    empty = np.flatnonzero(starts >= ends)
    suspects = np.union1d(odd, empty)
    return np.array([i for i in suspects if not data[starts[i] : ends[i]].strip(_BLANK)], np.int64)


def _bad(data: bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """Indexes of lines that hold NUL bytes or are not UTF-8; the whole block is checked first."""
    suspects: list[int] = []
    if b"\x00" in data:
        zeros = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
        suspects.extend(np.unique(np.searchsorted(ends, zeros, side="right")).tolist())
    if not data.isascii() and not _is_utf8(data):
        high = np.flatnonzero(np.frombuffer(data, np.uint8) >= 0x80)
        lines = np.unique(np.searchsorted(ends, high, side="right")).tolist()
        suspects.extend(i for i in lines if i < len(ends) and not _is_utf8(data[starts[i] : ends[i]]))
    inside = [i for i in set(suspects) if i < len(starts)]
    return np.array(sorted(inside), np.int64)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _view(data: bytes, starts: Int64s, ends: Int64s, bad: Int64s, *, whole: bool) -> pa.StringArray:
    """An Arrow array over the bytes. Offsets are monotone, so bad and blank lines need a copy without them."""
    if len(bad) or not whole:
        keep = np.ones(len(starts), bool)
        keep[bad] = False
        parts = [data[s:e] if k else b"" for s, e, k in zip(starts.tolist(), ends.tolist(), keep.tolist(), strict=True)]
        return pa.array(parts, pa.binary()).cast(pa.string())
    offsets = np.empty(len(starts) + 1, np.int32)
    offsets[:1] = starts[:1] if len(starts) else 0
    offsets[1:] = ends
    buffers: list[Any] = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.Array.from_buffers(pa.string(), len(starts), buffers)
    assert isinstance(array, pa.StringArray)
    return array
