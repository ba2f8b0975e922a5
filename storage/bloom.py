"""Split-block Bloom filters: the ones that Parquet files carry for ids, and the ones of our sketches.

Both have the same bits (the Parquet format's description of its filter is the source): 32-byte blocks, the upper half
of a 64-bit hash chooses the block, the lower half one bit in each of its eight words. Parquet hashes a value's bytes
by XXH64; a lookup needs one value hashed and one block read, so plain Python does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 32
BLOCK_BITS = 8 * BLOCK_BYTES
_SALTS = (
    0x47B6137B,
    0x44974D91,
    0x8824AD5B,
    0xA2B7289D,
    0x705495C7,
    0x2DF1424B,
    0x9EFC4947,
    0x5C6BFB31,
)
_MASK_32 = (1 << 32) - 1
_MASK_64 = (1 << 64) - 1
_PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_STRIPE = 32  # bytes that XXH64 takes at a time


@dataclass(frozen=True, slots=True)
class Probe:
    """A hashed value: which share of the blocks comes before its own (of 2^32), and its bits in that block."""

    place: int
    bits: int

    @classmethod
    def of(cls, hashed: int) -> Probe:
        """Return the probe of a 64-bit hash."""
        low = hashed & _MASK_32
        bits = 0
        for word, salt in enumerate(_SALTS):
            bits |= 1 << (32 * word + ((low * salt & _MASK_32) >> 27))
        return cls(hashed >> 32, bits)

    def block(self, blocks: int) -> int:
        """Return the number of its block among so many."""
        return self.place * blocks >> 32

    def in_block(self, block: bytes) -> bool:
        """Say whether all its bits are set; False proves that the value was never put in."""
        return int.from_bytes(block, "little") & self.bits == self.bits


def filled(hashes: npt.NDArray[np.uint64], blocks: int) -> bytes:
    """Return a filter of so many blocks that holds these hashes."""
    low = hashes & np.uint64(_MASK_32)
    first = (hashes >> np.uint64(32)) * np.uint64(blocks) >> np.uint64(32)
    first *= np.uint64(BLOCK_BITS)
    bits = np.zeros(blocks * BLOCK_BITS, np.bool_)
    for word, salt in enumerate(_SALTS):
        chosen = (low * np.uint64(salt) & np.uint64(_MASK_32)) >> np.uint64(27)
        bits[first + np.uint64(32 * word) + chosen] = True
    return np.packbits(bits, bitorder="little").tobytes()


def mixed(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a hash of each key: the finalizer of SplitMix64, in which every bit of a key moves every bit of its hash."""
    found = keys + np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed_keys: npt.NDArray[np.uint64] = found ^ (found >> np.uint64(31))
    return mixed_keys


def xxh64(data: bytes) -> int:
    """Return the XXH64 hash, seed 0, as Parquet's filters use it (xxHash's specification is the source)."""
    p1, p2, p3, p4, p5 = _PRIMES
    place, length = 0, len(data)
    if length >= _STRIPE:
        lanes = [(p1 + p2) & _MASK_64, p2, 0, -p1 & _MASK_64]
        while place + _STRIPE <= length:
            for lane, word in enumerate(struct.unpack_from("<4Q", data, place)):
                lanes[lane] = _round(lanes[lane], word)
            place += _STRIPE
        found = sum(_rotated(value, by) for value, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK_64
        for value in lanes:
            found = ((found ^ _round(0, value)) * p1 + p4) & _MASK_64
    else:
        found = p5
    found = (found + length) & _MASK_64
    while place + 8 <= length:
        found = (_rotated(found ^ _round(0, _word(data, place, 8)), 27) * p1 + p4) & _MASK_64
        place += 8
    if place + 4 <= length:
        found = (_rotated(found ^ (_word(data, place, 4) * p1 & _MASK_64), 23) * p2 + p3) & _MASK_64
        place += 4
    for byte in data[place:]:
        found = _rotated(found ^ (byte * p5 & _MASK_64), 11) * p1 & _MASK_64
    for shift, prime in ((33, p2), (29, p3)):
        found = (found ^ (found >> shift)) * prime & _MASK_64
    return found ^ (found >> 32)


def _word(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _MASK_64


def _round(value: int, word: int) -> int:
    return _rotated((value + word * _PRIMES[1]) & _MASK_64, 31) * _PRIMES[0] & _MASK_64


def bitset_bytes(footer_length: int, header: bytes) -> int:
    """Return how many bytes of a Parquet filter are its bits; the rest, in front of them, is a header.

    ``header`` is how it begins (Thrift's compact protocol: the first field is the number of bytes, a zigzag varint).
    Returns 0, which means that nothing can be told, for a header that is none.
    """
    if len(header) < 6 or header[0] != 0x15:
        return 0
    number = 0
    for place, byte in enumerate(header[1:6]):
        number |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            break
    size = number >> 1
    return size if 0 < size < footer_length and size % BLOCK_BYTES == 0 else 0
