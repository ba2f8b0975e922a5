"""Between numpy and Arrow without detours: `pa.array` looks for pandas on every call, which costs a micro-batch dear."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

# The stubs know neither plain Python values nor chunked arrays as arguments of compute functions.
pc: Any = pyarrow.compute

if TYPE_CHECKING:  # generic in the stubs alone
    Array: TypeAlias = pa.Array[Any]
else:
    Array = pa.Array

# `pa.array` tries to import it in every call. Where it is missing, each try looks through the whole path: 20 to 300 µs,
# a system call at a time, which is as much as a small batch costs otherwise. This says once that it is not there.
_TRIED = "dateutil"
if importlib.util.find_spec(_TRIED) is None:
    sys.modules.setdefault(_TRIED, cast("Any", None))

CACHE_BYTES = 1 << 20  # bytes worked on together: more fall out of the cache, fewer cost more calls

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]


def buffer(values: npt.NDArray[Any]) -> pa.Buffer:
    """Return numbers as an Arrow buffer, sharing memory."""
    return pa.py_buffer(
        cast("bytes", np.ascontiguousarray(values))
    )  # arrays are buffers; the stub does not know


def find(block: Bytes, byte: int) -> Int64s:
    """Return the positions of a byte. Looks at as much at a time as the processor's cache holds."""
    if len(block) <= CACHE_BYTES:
        return np.flatnonzero(block == byte)
    steps = range(0, len(block), CACHE_BYTES)
    return np.concatenate([np.flatnonzero(block[at : at + CACHE_BYTES] == byte) + at for at in steps])


def texts(values: Array) -> tuple[npt.NDArray[np.int32], Bytes]:
    """Return the offsets of an array of strings and the bytes they point into (never empty)."""
    _, offsets, data = values.buffers()
    assert offsets is not None
    found: npt.NDArray[np.int32] = np.frombuffer(cast("bytes", offsets), np.int32)
    block = (
        np.frombuffer(cast("bytes", data), np.uint8)
        if data is not None and data.size
        else np.zeros(1, np.uint8)
    )
    return found[values.offset : values.offset + len(values) + 1], block


def whole(column: pa.ChunkedArray[Any]) -> Array:
    """Return a column as one array."""
    return cast("Array", column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks))


def nulls(size: int, kind: pa.DataType) -> Array:
    """Return an array of nothing."""
    array: Array = pc.cast(pa.nulls(size), kind)
    return array


def strings(values: Array) -> list[str]:
    """Return texts as Python's; there must be no nulls among them."""
    return cast("list[str]", values.to_pylist())


def from_numpy(values: npt.NDArray[Any], kind: pa.DataType, valid: Mask | None = None) -> Array:
    """Return the numbers as an Arrow array of a type of the same width, sharing memory; null where not ``valid``."""
    bitmap = None if valid is None or valid.all() else buffer(np.packbits(valid, bitorder="little"))
    buffers: list[Any] = [bitmap, buffer(values)]
    array: Array = pa.Array.from_buffers(kind, len(values), buffers)
    return array


def mask(values: Mask) -> pa.BooleanArray:
    """Return a mask as an Arrow array."""
    buffers: list[Any] = [None, buffer(np.packbits(values, bitorder="little"))]
    array = pa.Array.from_buffers(pa.bool_(), len(values), buffers)
    assert isinstance(array, pa.BooleanArray)
    return array


def rows(values: Int64s) -> Array:
    """Return row numbers for `take`."""
    return from_numpy(values, pa.int64())


def true(values: Any) -> Mask:
    """Return Arrow booleans as a mask: null is False."""
    if values.null_count:
        values = pc.fill_null(values, False)
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def valid(values: Any) -> Mask:
    """Return where the values are not null."""
    if values.null_count == 0:
        return np.ones(len(values), bool)
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), bool)


def numbers(values: Any, default: float) -> npt.NDArray[Any]:
    """Return Arrow numbers as numpy ones, with ``default`` for null."""
    return np.asarray(pc.fill_null(values, default).to_numpy(zero_copy_only=False))
