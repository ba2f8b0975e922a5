"""Event ids for lines that name none: derived from source and offset, so that reading a line again gives the same id.

Shaped as UUIDv7: 48 bits of the event's milliseconds, so that ids sort by time, then version, variant and 74 bits
that mix the source's id with the offset. The mix is a bijection of the offset for one source: two lines of one
file never share an id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parsers.arrow import Array, Int64s, buffer

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_DASHES = (8, 13, 18, 23)
_TEXT_BYTES = 36
_VERSION = np.uint64(7)

UInt64s = npt.NDArray[np.uint64]


def derived_ids(sids: Sequence[str], source: Int64s, offset: Int64s, time_us: Int64s) -> Array:
    """Return one UUIDv7-shaped text per row; ``source`` indexes ``sids``."""
    seeds = [hashlib.blake2b(sid.encode(), digest_size=16).digest() for sid in sids]
    low = np.array([int.from_bytes(seed[:8], "big") for seed in seeds], np.uint64)[source]
    high = np.array([int.from_bytes(seed[8:], "big") for seed in seeds], np.uint64)[source]
    mixed = _mix(offset.astype(np.uint64) ^ low)
    millis = np.maximum(time_us // 1000, 0).astype(np.uint64) & np.uint64(2**48 - 1)
    twelve = mixed >> np.uint64(52)
    # 62 bits: the other 52 of the mix, and ten of the source, so that nothing of the mix is lost.
    rest = ((mixed & np.uint64(2**52 - 1)) << np.uint64(10)) | (high & np.uint64(1023))
    first = (millis << np.uint64(16)) | (_VERSION << np.uint64(12)) | twelve
    second = (np.uint64(2) << np.uint64(62)) | rest
    return _texts(first, second)


def _mix(value: UInt64s) -> UInt64s:
    """The finaliser of splitmix64: a bijection whose bits look random."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _texts(first: UInt64s, second: UInt64s) -> Array:
    raw = np.stack([first, second], axis=1).astype(">u8").view(np.uint8).reshape(len(first), 16)
    digits = np.empty((len(first), 32), np.uint8)
    digits[:, 0::2] = _HEX[raw >> 4]
    digits[:, 1::2] = _HEX[raw & 15]
    text = np.full((len(first), _TEXT_BYTES), ord("-"), np.uint8)
    text[:, [at for at in range(_TEXT_BYTES) if at not in _DASHES]] = digits
    offsets = np.arange(0, _TEXT_BYTES * (len(first) + 1), _TEXT_BYTES, dtype=np.int32)
    array: Array = pa.Array.from_buffers(pa.string(), len(first), [None, buffer(offsets), buffer(text)])
    return array
