"""Bytes to lines without an object per line: newlines are searched in the whole block, and one Arrow array results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.arrow import Array, Bytes, Int64s, Mask, buffer, find, pc, true

BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\x0b\x0c"
_NEWLINE, _RETURN, _SPACE, _OPEN, _CLOSE = 0x0A, 0x0D, 0x20, 0x7B, 0x7D
_ASCII = 0x80


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one chunk, in order.

    ``starts`` and ``ends`` are positions in ``data``, line ends included. ``text`` is a zero-copy Arrow array over
    ``data``, a line with its line end, which JSON allows as white space; it is null where a line is ``blank`` or cannot
    be a JSON object as it stands: not ``{…}``, not UTF-8, or with NUL bytes (``unreadable``).
    """

    data: bytes
    block: Bytes  # what `text` points into: `data`, or a copy with the prefixes of its lines blanked
    text: Array
    starts: Int64s
    ends: Int64s
    blank: Mask
    unreadable: Mask

    def __len__(self) -> int:
        return len(self.starts)

    def line(self, index: int) -> bytes:
        """Return one line as bytes without its line end."""
        return self.data[self.starts[index] : self.ends[index]].rstrip(b"\r\n")


def frame(data: bytes, *, first: bool, prefix: str | None = None) -> Lines:
    """Split a block that ends where a line ends. ``first``: it begins a file, so a byte order mark is skipped.

    ``prefix`` is a pattern (RE2) of what stands before the object in lines of this profile; white space takes its place.
    """
    block = np.frombuffer(data, np.uint8)
    ends = find(block, _NEWLINE) + 1
    if len(data) and (not len(ends) or ends[-1] != len(data)):
        ends = np.append(ends, len(data))
    offsets = np.zeros(len(ends) + 1, np.int64)
    offsets[1:] = ends
    if first and data.startswith(BOM):
        offsets[0] = len(BOM)
    starts = offsets[:-1]
    if not len(starts):
        empty = np.zeros(0, bool)
        return Lines(data, block, pa.array([], pa.string()), starts, ends, empty, empty)
    closed = _last_bytes(block, ends) == _CLOSE
    object_like = closed & (block[np.minimum(starts, len(block) - 1)] == _OPEN)
    blank = np.zeros(len(starts), bool)
    for index in np.flatnonzero(~object_like).tolist():
        blank[index] = not data[starts[index] : ends[index]].strip(_BLANK)
    unreadable = _unreadable(data, starts, ends)
    if prefix is not None:
        block, prefixed = _without_prefix(block, offsets, closed & ~blank & ~unreadable, prefix)
        object_like |= prefixed
    return Lines(
        data, block, _view(block, offsets, object_like & ~unreadable), starts, ends, blank, unreadable
    )


def _without_prefix(block: Bytes, offsets: Int64s, possible: Mask, prefix: str) -> tuple[Bytes, Mask]:
    """A copy of the block with each line's prefix blanked, and which lines had one."""
    found = true(pc.match_substring_regex(_view(block, offsets, possible), "^" + prefix + r"\{"))
    at = np.flatnonzero(found)
    starts = offsets[at]
    braces = find(block, _OPEN)
    sizes = braces[np.searchsorted(braces, starts)] - starts if len(at) else starts
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    blanked = block.copy()
    blanked[np.repeat(starts, sizes) + within] = _SPACE
    return blanked, found


def _last_bytes(block: Bytes, ends: Int64s) -> Bytes:
    """The byte before each line's end (its newline, and one carriage return before that)."""
    at = ends - 1
    at = at - (block[at] == _NEWLINE)
    at = np.maximum(at, 0)
    at = at - (block[at] == _RETURN)
    last: Bytes = block[np.maximum(at, 0)]
    return last


def _unreadable(data: bytes, starts: Int64s, ends: Int64s) -> Mask:
    """True for lines that hold NUL bytes or are not UTF-8. The whole block is asked first: it nearly always passes."""
    found = np.zeros(len(starts), bool)
    block = np.frombuffer(data, np.uint8)
    if b"\x00" in data:
        found[np.searchsorted(ends, np.flatnonzero(block == 0), side="right")] = True
    if not data.isascii() and not _is_utf8(data):
        for index in np.unique(np.searchsorted(ends, np.flatnonzero(block >= _ASCII), side="right")).tolist():
            found[index] |= not _is_utf8(data[starts[index] : ends[index]])
    return found


def _is_utf8(data: bytes) -> bool:
    ends = np.array([0, len(data)], np.int32)
    buffers: list[Any] = [None, buffer(ends), pa.py_buffer(data)]
    try:
        pa.Array.from_buffers(pa.string(), 1, buffers).validate(
            full=True
        )  # five times as fast as bytes.decode
    except pa.ArrowInvalid:
        return False
    return True


def _view(block: Bytes, offsets: Int64s, valid: Mask) -> Array:
    bitmap = None if valid.all() else buffer(np.packbits(valid, bitorder="little"))
    buffers: list[Any] = [bitmap, buffer(offsets.astype(np.int32)), buffer(block)]
    array: Array = pa.Array.from_buffers(pa.string(), len(valid), buffers)
    return array
