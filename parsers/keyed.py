"""Columns of keys: a 64-bit hash for each distinct value of a batch, and which of them each event has.

Hashes are BLAKE2b, the same in every release and on every machine, because what is remembered by them lies on disk.
It is slow beside a look-up, so what was hashed once is remembered by its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from parsers.arrow import Array, Int64s, numbers
from parsers.memory import Keys

TEXTS_KNOWN: Final = 65_536  # distinct texts whose hash a column remembers: 8 MB
HASH_BYTES: Final = 8
NOTHING: Final = 0  # the key of an event without a value


@dataclass(frozen=True, slots=True)
class Keyed:
    """Keys of events: ``keys[codes[n]]`` is the key of event n. The keys are distinct, and NOTHING is the first."""

    codes: Int64s
    keys: Keys

    @classmethod
    def of(cls, values: Keys) -> Keyed:
        """Return some keys, one for each event, as a column."""
        keys, codes = np.unique(np.append(np.uint64(NOTHING), values), return_inverse=True)
        return cls(codes[1:], keys)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def there(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which events have a value."""
        return self.codes > 0

    def at(self, rows: Int64s | slice) -> Keyed:
        """Return the keys of some of the events."""
        return Keyed(self.codes[rows], self.keys)


class Hashes(dict[Any, int]):
    """The hash of each value, made when it is asked for first; never NOTHING. ``reduce`` makes bytes of a value."""

    def __init__(self, reduce: Callable[[Any], bytes]) -> None:
        super().__init__()
        self._reduce = reduce

    def __missing__(self, value: Any) -> int:
        digest = hashlib.blake2b(self._reduce(value), digest_size=HASH_BYTES).digest()
        found = self[value] = int.from_bytes(digest, "little") or 1
        return found

    def column(self, values: Array) -> Keyed:
        """Return the keys of a column of texts or bytes. Values that are reduced to the same bytes have one key."""
        if values.null_count == len(values):
            return Keyed(np.zeros(len(values), np.int64), np.zeros(1, np.uint64))
        encoded: Any = values.dictionary_encode()
        if len(self) > TEXTS_KNOWN:
            self.clear()
        distinct = encoded.dictionary.to_pylist()
        made = np.fromiter(map(self.__getitem__, distinct), np.uint64, len(distinct))
        keys = Keyed.of(made)
        places = np.append(keys.codes, 0)  # null has none
        return Keyed(places[numbers(encoded.indices, len(distinct))], keys.keys)
