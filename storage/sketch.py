"""Sketches: which words occur in a row group at all, a byte an event, so that a search skips what cannot match.

A sketch is a Bloom filter (`storage.bloom`) over two kinds of keys: the values of columns with few of them, and every
run of GRAM bytes in the texts that `/events?search_query=` looks through, ASCII letters in lower case. It is made when
a row group of a sealed file is written, lies in the roll-up of that file, and only ever proves absence: what it cannot
exclude is read. Files without one (live ones, those of earlier releases) are read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.columns import TIMESTAMP
from storage.bloom import BLOCK_BITS, BLOCK_BYTES, Probe, filled, mixed
from storage.filters import SEARCHED
from storage.words import used

VERSION = 2  # 1 had one probe for a value, and was never released
FAMILY = "sketches"  # of the rows of a roll-up that hold sketches; their `key` is the number of the row group
COLUMN = "sketch"
BITS_A_KEY = 8  # one absent key in forty is not told
# Keys of one value: two make that one in sixteen hundred. A word has a key for each run anyhow.
KEYS_A_VALUE = 2
MOST_VALUES = 8_192  # a column with more values in a row group is left out: nearly a value a row
# Columns that are left out where a value has fewer rows than that: in small files they have few values, and many a row.
OFTEN_DISTINCT = ("entity_id", "entity_name", "path")
LEAST_ROWS_A_VALUE = 16

# The columns whose values are in sketches. Their numbers are stored: only ever add at the end.
VALUES = (
    *("level", "category", "action", "outcome", "user_id", "username", "ip_bytes", "country_code", "city"),
    *("entity_type", "entity_id", "entity_name", "method", "path", "user_agent", "status_code", "server"),
    *("environment", "source", "source_file", "tags", "tenant"),
)
TEXTS = 31  # the bit of a sketch that tells of texts
GRAM = 4  # bytes, one machine word; runs of three occur everywhere, of five are five times as many
_GRAM_BITS = 22  # of a run's hash: four million, of which a row group has some 30,000
_SPREAD = 2_654_435_761
_MOST_GRAMS = 32  # of a search that are looked for; more would hardly exclude more
_FEW_BYTES = 1 << 20  # texts below are sorted, those above marked in a table of all hashes
# Letters that are not ASCII while their lower case is: a text with one could match what its bytes do not show.
DECEITFUL = tuple(letter.encode() for letter in "\u0130\u212a")

_A, _LETTERS, _CASE_BIT = np.uint8(ord("A")), np.uint8(26), np.uint8(5)  # 1 << 5 makes a letter a small one
_HEAD = struct.Struct("<BxxxIIqq")  # version, rows, columns told, least and greatest time


@dataclass(frozen=True, slots=True)
class Key:
    """Something that must occur: in which column (a bit of a sketch), and the probes that must all be there."""

    bit: int
    probes: tuple[Probe, ...]


Clause = tuple[Key, ...]
"""Alternatives: at least one of these keys must occur."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """The sketch of one row group, and the rows and times of the group.

    ``data`` is what `sketch` wrote, or None; ``at`` is where it lies in its file (None: only there is no telling).
    One of the two is needed to ask, so that a year of sketches need not be held in memory.
    """

    rows: int
    min_time_us: int
    max_time_us: int
    told: int
    blocks: int
    data: bytes | None
    at: int | None = None

    @classmethod
    def read(cls, data: bytes) -> Sketch | None:
        """Read what `sketch` wrote; None for a version that this release does not know."""
        version, rows, told, low, high = _HEAD.unpack_from(data)
        blocks = (len(data) - _HEAD.size) // BLOCK_BYTES
        return cls(rows, low, high, told, blocks, data) if version == VERSION else None

    def may_hold(self, clauses: Iterable[Clause], handle: int = -1) -> bool:
        """Say whether rows of the group may fulfil every clause; False is proof that none does.

        ``handle`` is its file, for a sketch without ``data``.
        """
        return all(any(self._may_hold(key, handle) for key in clause) for clause in clauses)

    def _may_hold(self, key: Key, handle: int) -> bool:
        if not self.told >> key.bit & 1:
            return True
        for probe in key.probes:
            start = _HEAD.size + BLOCK_BYTES * probe.block(self.blocks)
            if self.data is not None:
                block = self.data[start : start + BLOCK_BYTES]
            else:
                assert self.at is not None
                block = os.pread(handle, BLOCK_BYTES, self.at + start)
            if len(block) == BLOCK_BYTES and not probe.in_block(block):
                return False
        return True


def value_key(column: str, value: bytes) -> Key:
    """Return the key of a value of one of VALUES."""
    bit = VALUES.index(column)
    return Key(bit, tuple(map(_probe, _value_keys(bit, [value]))))


def text_key(text: str) -> Key | None:
    """Return the key of a text that must occur in any case; None when it has no run of GRAM ASCII characters."""
    grams: set[int] = set()
    for run in "".join(letter if letter.isascii() else "\0" for letter in text).split("\0"):
        grams.update(_grams(np.frombuffer(run.lower().encode(), np.uint8)).tolist())
    chosen = sorted(grams)[:_MOST_GRAMS]
    return Key(TEXTS, tuple(map(_probe, _gram_keys(np.array(chosen, np.uint64))))) if chosen else None


def sketch(table: pa.Table) -> bytes:
    """Return the sketch of the rows of one row group, which must not be empty."""
    told = 0
    keys: list[npt.NDArray[np.uint64]] = []
    for bit, name in enumerate(VALUES):
        most = table.num_rows // LEAST_ROWS_A_VALUE if name in OFTEN_DISTINCT else MOST_VALUES
        values = _values(table[name], min(most, MOST_VALUES))
        if values is not None:
            told |= 1 << bit
            keys.append(_value_keys(bit, values))
    found = [_bytes(table[name]) for name in SEARCHED]
    if not any(_deceives(text) for text in found):
        told |= 1 << TEXTS
        keys.append(_gram_keys(_distinct_grams(found)))
    hashes = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
    blocks = max(1, -(-len(hashes) * BITS_A_KEY // BLOCK_BITS))
    times: Any = pc.min_max(table["timestamp"].cast(pa.int64()))
    head = _HEAD.pack(VERSION, table.num_rows, told, times["min"].as_py(), times["max"].as_py())
    return head + filled(hashes, blocks)


def with_sketches(rollup: pa.Table, sketches: Sequence[bytes]) -> pa.Table:
    """Return a roll-up with the sketches of its file's row groups as rows of one more family, and column."""
    if not sketches:
        return rollup
    size = len(sketches)
    own = {
        "family": pa.array([FAMILY] * size),
        "bucket": pa.array([Sketch.read(data).min_time_us for data in sketches], pa.int64()).cast(TIMESTAMP),  # type: ignore[union-attr]
        "key": pa.array([str(number) for number in range(size)]),
        "events": pa.array([0] * size, pa.int64()),
    }
    rows = pa.table(
        [own[f.name] if f.name in own else pa.nulls(size, f.type) for f in rollup.schema],
        schema=rollup.schema,
    )
    before = rollup.append_column(COLUMN, pa.nulls(rollup.num_rows, pa.binary()))
    return pa.concat_tables([before, rows.append_column(COLUMN, pa.array(sketches, pa.binary()))])


def _probe(key: Any) -> Probe:
    return Probe.of(int(key))


def _value_keys(bit: int, values: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    sums = np.fromiter(map(zlib.crc32, values), np.uint64, len(values)) | np.uint64(bit) << np.uint64(32)
    return np.concatenate([mixed(sums | np.uint64(key) << np.uint64(40)) for key in range(KEYS_A_VALUE)])


def _gram_keys(grams: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return mixed(grams | np.uint64(TEXTS) << np.uint64(32))


def _values(column: Any, most: int) -> list[bytes] | None:
    """Return the distinct values of a column as bytes; None if there are more than ``most``."""
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    if column.null_count == len(column):
        return []
    if pa.types.is_dictionary(column.type):
        column = _words(column)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    if len(column) > 2 * most and len(pc.unique(column.slice(0, 2 * most))) > most + 1:
        return None  # told early, from a part
    distinct: Any = pc.unique(column).drop_null()
    if len(distinct) > most:
        return None
    found: list[bytes] = (
        distinct.cast(pa.binary()) if pa.types.is_string(distinct.type) else distinct
    ).to_pylist()
    return found


def _words(column: Any) -> Any:
    """Return the words of a coded column that some row has."""
    return pa.concat_arrays([chunk.dictionary.filter(pa.array(used(chunk))) for chunk in column.chunks])


def _bytes(column: Any) -> npt.NDArray[np.uint8]:
    """Return the bytes of all texts of a column, one after the other."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([_words(column)])
    texts: Any = column.drop_null().combine_chunks()
    if isinstance(texts, pa.ChunkedArray):
        texts = pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], pa.string())
    if not len(texts):
        return np.zeros(0, np.uint8)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    found: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8)[int(ends[0]) : int(ends[-1])]
    return found


def _deceives(text: npt.NDArray[np.uint8]) -> bool:
    data = text.tobytes()
    return not data.isascii() and any(letter in data for letter in DECEITFUL)


def _grams(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return the hash of every run of GRAM bytes, ASCII letters in lower case."""
    if len(text) < GRAM:
        return np.zeros(0, np.uint32)
    lower = text | ((text - _A < _LETTERS).view(np.uint8) << _CASE_BIT)
    # Every run of four bytes is a number that begins one byte after the one before.
    runs = np.ndarray((len(lower) - GRAM + 1,), "<u4", lower.data, strides=(1,))
    found: npt.NDArray[np.uint32] = runs * np.uint32(_SPREAD)
    found >>= np.uint32(32 - _GRAM_BITS)
    return found


def _distinct_grams(texts: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint64]:
    """Return the distinct hashes of all runs. Runs across the ends of texts are among them; they do no harm."""
    if sum(map(len, texts)) < _FEW_BYTES:
        return np.unique(np.concatenate([_grams(text) for text in texts])).astype(np.uint64)
    present = np.zeros(1 << _GRAM_BITS, np.bool_)
    for text in texts:
        for begin in range(0, len(text), _FEW_BYTES):
            present[_grams(text[begin : begin + _FEW_BYTES + GRAM - 1])] = True
    return np.flatnonzero(present).astype(np.uint64)
